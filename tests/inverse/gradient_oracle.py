"""A slow oracle: derivatives of damped solves in as many digits as are asked for.

The loss is L = Re⟨g, B v⟩, B = (AᴴA + damp²)⁻¹Aᴴ or its adjoint, A = Σ w_t E_t with integer E_t.
First derivatives come from the formula, second ones from differences of first ones at a step of
1e-40 in 120 digits: their error is 1e-40 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.testing import dense_twin

STEP = mpmath.mpf(10) ** -40
EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Point:
    """Where a derivative is taken: vectors of mpmath numbers, and a damp."""

    v: list
    w: list
    damp: mpmath.mpf
    g: list

    def moved(self, along: Point, step) -> Point:
        """self + step·along."""
        v, w, g = (
            [a + step * b for a, b in zip(getattr(self, n), getattr(along, n), strict=True)]
            for n in ("v", "w", "g")
        )
        return Point(v, w, self.damp + step * along.damp, g)

    @classmethod
    def of(cls, v: Tensor, w: Tensor, damp: float, g: Tensor) -> Point:
        """Exactly these numbers."""
        return cls(numbers(v), numbers(w), mpmath.mpf(damp), numbers(g))


class Oracle:
    """Gradients of one operator's damped inverse, for one image.

    op : its geometry; its weight does not matter
    """

    def __init__(self, op: ConvOperator, adjoint: bool) -> None:
        self.adjoint, self.shape, self.places = adjoint, op.shape, []
        unit = torch.zeros(op.weight.numel(), dtype=torch.float64)
        for t in range(len(unit)):
            unit[t] = 1
            E = dense_twin(op.with_weight(unit.reshape(op.weight.shape).clone()))
            unit[t] = 0
            self.places.append([(i, j, int(E[i, j])) for i, j in E.nonzero().tolist()])

    def matrix(self, w: Sequence) -> mpmath.matrix:
        """A for these weights."""
        A = mpmath.zeros(*self.shape)
        for value, places in zip(w, self.places, strict=True):
            for i, j, count in places:
                A[i, j] += count * value
        return A

    def gradient(self, at: Point, change: mpmath.matrix | None = None) -> tuple[list, list, list]:
        """Of L in (v, w, damp), for A + change."""
        A = self.matrix(at.w)
        if change is not None:
            A = A + change
        A = A.H if self.adjoint else A
        v, g = mpmath.matrix(at.v), mpmath.matrix(at.g)
        normal = A.H * A + at.damp**2 * mpmath.eye(A.cols)
        both = mpmath.matrix(A.cols, 2)
        both[:, 0], both[:, 1] = A.H * v, g
        both = _solved(normal, both)
        x, n = both[:, 0], both[:, 1]
        w, r = A * n, v - A * x
        of_w = []
        for places in self.places:  # of −w xᴴ + r nᴴ, which is that of A
            total = mpmath.mpf(0)
            for i, j, count in places:
                if self.adjoint:
                    total += count * mpmath.conj(
                        r[j] * mpmath.conj(n[i]) - w[j] * mpmath.conj(x[i])
                    )
                else:
                    total += count * (r[i] * mpmath.conj(n[j]) - w[i] * mpmath.conj(x[j]))
            of_w.append(total)
        of_damp = -2 * at.damp * mpmath.re((n.H * x)[0])
        return list(w), of_w, [of_damp]

    def sensitivity(
        self, at: Point, find: Callable[..., tuple[list, ...]], draws: int = 2
    ) -> list[float]:
        """How far `find(point, change of A)` moves when all that is given is rounded."""
        generator = torch.Generator().manual_seed(0)
        exact, norm = find(at, None), mpmath.norm(self.matrix(at.w), 2)
        worst = [0.0] * len(exact)

        def noise(values: list) -> list:
            size = EPS * mpmath.norm(mpmath.matrix(values), 2)
            z = torch.randn(len(values), generator=generator, dtype=torch.float64)
            return [a + size * mpmath.mpf(e) for a, e in zip(values, z.tolist(), strict=True)]

        for _ in range(draws):
            E = torch.randn(*self.shape, generator=generator, dtype=torch.float64)
            change = mpmath.matrix(E.tolist()) * (EPS * norm)
            moved = Point(noise(at.v), at.w, at.damp * (1 + EPS), noise(at.g))
            for k, (a, b) in enumerate(zip(find(moved, change), exact, strict=True)):
                worst[k] = max(worst[k], distance(a, b))
        return worst


def differentiated(gradient: Callable, along: Point) -> Callable[..., tuple[list, ...]]:
    """The derivative of `Oracle.gradient` along a direction, of the same arguments."""

    def find(at: Point, change: mpmath.matrix | None) -> tuple[list, ...]:
        ahead, behind = (gradient(at.moved(along, s), change) for s in (STEP, -STEP))
        return tuple(
            [(a - b) / (2 * STEP) for a, b in zip(x, y, strict=True)]
            for x, y in zip(ahead, behind, strict=True)
        )

    return find


def distance(a: Sequence, b: Sequence) -> float:
    """‖a − b‖."""
    return float(mpmath.norm(mpmath.matrix([x - y for x, y in zip(a, b, strict=True)]), 2))


def numbers(t: Tensor) -> list:
    """The entries, exactly."""
    t = t.detach().flatten()
    if not t.is_complex():
        return [mpmath.mpf(value) for value in t.tolist()]
    return [mpmath.mpc(value) for value in t.tolist()]


def _solved(A: mpmath.matrix, right: mpmath.matrix) -> mpmath.matrix:
    """Gauss without pivoting: A is positive definite."""
    A, X, n = A.copy(), right.copy(), A.rows
    for k in range(n):
        for i in range(k + 1, n):
            factor = A[i, k] / A[k, k]
            for j in range(k, n):
                A[i, j] -= factor * A[k, j]
            for j in range(X.cols):
                X[i, j] -= factor * X[k, j]
    for k in reversed(range(n)):
        for j in range(X.cols):
            for i in range(k + 1, n):
                X[k, j] -= A[k, i] * X[i, j]
            X[k, j] /= A[k, k]
    return X
