"""Restorations of small images with dense matrices: the slow textbook version."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unconv import ConvOperator


def difference_matrices(
    kind: str, shape: Sequence[int], spacing: Sequence[float], wraps: Sequence[bool]
) -> list[Tensor]:
    """One matrix a difference, (n, n); rows of those that leave the image are zero."""
    nd, n = len(shape), math.prod(shape)

    def line(d: int, stencil: dict[int, float]) -> Tensor:
        N = shape[d]
        found = torch.zeros(N, N, dtype=torch.float64)
        for i in range(N):
            reached = [i + o for o in stencil]
            if not wraps[d] and not all(0 <= j < N for j in reached):
                continue
            for j, factor in zip(reached, stencil.values(), strict=True):
                found[i, j % N] += factor
        return found

    def whole(parts: dict[int, Tensor]) -> Tensor:
        found = torch.ones(1, 1, dtype=torch.float64)
        for d in range(nd):
            found = torch.kron(found, parts.get(d, torch.eye(shape[d], dtype=torch.float64)))
        return found

    first = [{1: 1 / h, 0: -1 / h} for h in spacing]
    if kind == "gradient":
        return [whole({d: line(d, first[d])}) for d in range(nd)]
    second = [{-1: 1 / h**2, 0: -2 / h**2, 1: 1 / h**2} for h in spacing]
    found = [whole({d: line(d, second[d])}) for d in range(nd)]
    for d, e in itertools.combinations(range(nd), 2):
        found.append(math.sqrt(2) * whole({d: line(d, first[d]), e: line(e, first[e])}))
    assert all(m.shape == (n, n) for m in found)
    return found


@dataclass
class DenseProblem:
    """f(Ax) + (ε/2)‖x‖² + strength·Σ|Dx| for one image, with the definitions of `restore`.

    A : (m, n), rows of what was seen
    y : (m,)
    D : (J, n, n), the same for each channel
    """

    A: Tensor
    y: Tensor
    D: Tensor
    channels: int
    coupled: bool
    strength: float
    epsilon: float
    noise_model: str = "gaussian"
    background: float = 0.0
    delta: float = 0.0
    lower: float = -math.inf
    upper: float = math.inf

    def differences(self, x: Tensor) -> Tensor:
        """(J, c, n/c)."""
        d = x.reshape(self.channels, -1) @ self.D.flatten(0, 1).to(x.dtype).mT
        return d.unflatten(1, (len(self.D), -1)).transpose(0, 1)

    def penalty(self, x: Tensor) -> float:
        return float(self.size(self.differences(x)).sum())

    def size(self, d: Tensor) -> Tensor:
        dims = (0, 1) if self.coupled else (0,)
        return torch.linalg.vector_norm(d, dim=dims, keepdim=True)

    def data(self, x: Tensor) -> float:
        z = self.A @ x
        if self.noise_model == "gaussian":
            return float((z - self.y).abs().square().sum()) / 2
        if self.noise_model == "huber":
            r = (z - self.y).abs()
            far = self.delta * r - self.delta**2 / 2
            return float(torch.where(r <= self.delta, r.square() / 2, far).sum())
        mean = z + self.background
        if bool((mean < 0).any()):
            return math.inf
        y = self.y
        terms = mean - torch.xlogy(y, mean) - y + torch.xlogy(y, y)
        return float(terms.sum())

    def objective(self, x: Tensor) -> float:
        assert bool((self.lower <= x.real).all() and (x.real <= self.upper).all())
        squares = self.epsilon / 2 * float(x.abs().square().sum())
        return self.data(x) + squares + self.strength * self.penalty(x)

    def prox(self, c: Tensor, r: float) -> Tensor:
        """argmin f(z) + (r/2)(z − c)²."""
        match self.noise_model:
            case "gaussian":
                return (self.y + r * c) / (1 + r)
            case "huber":
                near = (self.y + r * c) / (1 + r)
                far = c - self.delta / r * (c - self.y).sign()
                return torch.where((near - self.y).abs() <= self.delta, near, far)
        b = c + self.background - 1 / r
        return (b + (b.square() + 4 * self.y / r).sqrt()) / 2 - self.background

    def solve(self, start: Tensor, iterations: int = 6000) -> Tensor:
        """Over-relaxed ADMM on z = Ax, g = Dx, w = x, from any start, or until w is at rest."""
        n = self.A.shape[1]
        gain = float(torch.linalg.matrix_norm(self.A, 2))
        amplitude = float((self.y - self.background).abs().square().mean().sqrt()) / gain or 1.0
        r1 = 0.1 / max(1.0, float(self.y.mean())) if self.noise_model == "poisson" else 0.1
        r2 = self.strength / (0.3 * amplitude)
        r3 = 2 * gain * math.sqrt(r1 * r2)
        gram = sum(d.T @ d for d in self.D)
        blocks = torch.block_diag(*[gram] * self.channels).to(self.A.dtype)
        whole = r1 * self.A.mH @ self.A + r2 * blocks
        inverse = torch.linalg.inv(whole + (r3 + self.epsilon) * torch.eye(n, dtype=torch.float64))
        D, AH = self.D.flatten(0, 1).to(start.dtype), self.A.mH.contiguous()
        z, g, w = self.A @ start, self.differences(start), start.clone()
        d, b, e = torch.zeros_like(z), torch.zeros_like(g), torch.zeros_like(w)
        before = w
        for k in range(iterations):
            pulled = ((g - b).transpose(0, 1).flatten(1) @ D).flatten()
            x = inverse @ (r1 * (AH @ (z - d)) + r2 * pulled + r3 * (w - e))
            c = 1.7 * (self.A @ x) - 0.7 * z + d
            z = self.prox(c, r1)
            d = c - z
            c = 1.7 * self.differences(x) - 0.7 * g + b
            g = c * (1 - self.strength / r2 / self.size(c).clamp(min=1e-300)).clamp(min=0)
            b = c - g
            c = 1.7 * x - 0.7 * w + e
            w = c if c.is_complex() else c.clamp(self.lower, self.upper)
            e = c - w
            if k % 50 == 49:
                if (w - before).norm() <= 1e-15 * w.norm():
                    break
                before = w
        return w


def dense_problem(
    A: ConvOperator,
    y: Tensor,
    strength: float,
    epsilon: float,
    *,
    kind: str = "gradient",
    spacing: Sequence[float] | None = None,
    wraps: Sequence[bool] | None = None,
    coupled: bool = True,
    **rest: object,
) -> DenseProblem:
    """The dense problem of one image y (1, *range_shape) of an operator."""
    shape = A.domain_shape[1:]
    D = difference_matrices(
        kind, shape, spacing or [1.0] * len(shape), wraps or [False] * len(shape)
    )
    seen = torch.ones(A.range_shape, dtype=torch.bool)
    seen = (seen if A.seen is None else seen & A.seen).flatten()
    matrix = A.to_dense().to(torch.promote_types(A.dtype, torch.float64))
    return DenseProblem(
        matrix[seen],
        y.flatten()[seen].to(torch.promote_types(y.dtype, torch.float64)),
        torch.stack(D),
        A.domain_shape[0],
        coupled,
        strength,
        epsilon,
        **rest,
    )
