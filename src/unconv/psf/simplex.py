"""Least squares over psfs: no sample below zero, and all of them together one.

    h = argmin ½ hᵀG h − bᵀh   over the simplex  h ≥ 0, Σ h = 1

The samples are split into a face, where h may be positive, and the rest, where it is zero.  On a
face the problem has one equation more than unknowns, and is solved exactly.  A sample is wrong if
it is free and its h is negative, or zero and its gradient is below the multiplier of Σ h = 1.  All
wrong ones change sides at once while that makes them fewer; else the last one alone does, which
ends for every positive definite G of the problem without a sum (block principal pivoting: Portugal,
Júdice and Vicente, Math. Comp. 63 (1994) 625; Kim and Park, SIAM J. Sci. Comput. 33 (2011) 3261).
From ten to twenty faces are enough for 625 samples and a condition of 10⁷.

Whoever calls knows the cheapest exact solve on a face: by Cholesky where G is a matrix (`Matrix`),
by conjugate gradients where it is a sum of shifts (`points/point_light.py`).

The answer carries its proof: on the simplex f(h) − min f ≤ gᵀh − min g for g = G h − b, the gap of
Frank and Wolfe (Jaggi, ICML 2013, eq. 2).

Not for: an unconstrained fit, which is one solve.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_FACE_NOISE = 1e-11  # of the largest |b|: differences of products that large say no more
_FACE_STALLS = 3  # blocks that may be exchanged without having fewer samples wrong


class Quadratic(Protocol):
    """½ hᵀG h − bᵀh for h of n samples, and its exact minimum on a face."""

    b: Tensor

    def apply(self, h: Tensor) -> Tensor:
        """G h."""
        ...

    def on_face(self, free: Tensor, h: Tensor) -> Tensor:
        """The minimum with Σ h = 1 and zeros where not `free`, of any sign; `h` is near it."""
        ...


class Minimum(NamedTuple):
    """A psf of least objective.

    Attributes
    ----------
    h : (n,), in the simplex
    gap : by how much, at most, its objective is above the minimum
    steps : faces that were tried
    settled : whether no sample is wrong, or the gap is as small as was asked for
    """

    h: Tensor
    gap: float
    steps: int
    settled: bool


class Matrix:
    """The objective of a matrix G, (n, n), and b, (n,)."""

    def __init__(self, G: Tensor, b: Tensor) -> None:
        self.G, self.b = G, b

    def apply(self, h: Tensor) -> Tensor:
        """G h."""
        return self.G @ h

    def on_face(self, free: Tensor, h: Tensor) -> Tensor:
        """h = G⁻¹(b − λ1) on the face, with the multiplier λ for which it sums to 1."""
        where = free.nonzero()[:, 0]
        factor = cholesky(self.G[where][:, where])
        sides = torch.stack([self.b[where], torch.ones_like(self.b[where])], dim=1)
        data, ones = torch.cholesky_solve(sides, factor).unbind(1)
        h = torch.zeros_like(h)
        h[where] = data + ones * ((1 - data.sum()) / ones.sum())
        return h


def cholesky(G: Tensor) -> Tensor:
    """The Cholesky factor of G, of the least G + ε·tr G/n·1 that has one if G is singular."""
    level = float(G.diagonal().mean()) or 1.0
    eye = torch.eye(len(G), dtype=G.dtype, device=G.device)
    for ridge in (0.0, 1e-14, 1e-13, 1e-12, 1e-11):
        factor, failed = torch.linalg.cholesky_ex(G + ridge * level * eye)
        if not int(failed) and bool(factor.isfinite().all()):
            return factor
    return torch.linalg.cholesky(G + 1e-8 * level * eye)


def minimise(
    problem: Quadratic, start: Tensor, *, rtol: float = 1e-13, maxiter: int = 300
) -> Minimum:
    """The psf of least objective, its gap at most rtol·|bᵀh| or what no exchange makes smaller.

    `start` is a guess whose zeros are a guess as well.
    """
    h, free, best = start, start > 0, Minimum(start, float("inf"), 0, False)
    tolerance = _FACE_NOISE * float(problem.b.abs().max())
    fewest, patience = len(h) + 1, _FACE_STALLS
    for step in range(1, maxiter + 1):
        h = problem.on_face(free, h)
        gradient = problem.apply(h) - problem.b
        wrong = torch.where(free, h < -_FACE_NOISE, gradient < gradient[free].mean() - tolerance)
        count = int(wrong.sum())
        answer = _judged(problem, h, step, rtol, exact=count == 0)
        best = min(best, answer, key=lambda minimum: minimum.gap)
        if answer.settled:
            return answer
        patience = _FACE_STALLS if count < fewest else patience - 1
        fewest = min(fewest, count)
        if patience < 0:  # one at a time, by its place: no split comes twice
            wrong &= torch.arange(len(h)) == int(wrong.nonzero()[-1])
        free = free ^ wrong
        if not bool(free.any()):
            free[int(gradient.argmin())] = True
    return best


def _judged(problem: Quadratic, h: Tensor, step: int, rtol: float, *, exact: bool) -> Minimum:
    """The nearest psf to the minimum on a face, and what it is proven to be worth."""
    h = h.clamp(min=0)
    h = h / h.sum()
    gradient = problem.apply(h) - problem.b
    gap = float(gradient @ h - gradient.min())
    return Minimum(h, gap, step, exact or gap <= rtol * abs(float(problem.b @ h)))
