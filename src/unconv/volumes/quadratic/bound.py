"""A lower bound μ of the eigenvalues of N, for a scene of any size.

‖x − x*‖ ≤ ‖g(x)‖/μ, so that μ is what every promise of this room rests on.  Three are known:

- λε, always;
- the dense tile bound of regularize/natural_edges/tile_bound.py, where its tiles of 2k − 2 samples
  an axis have few unknowns (13 samples in two dimensions);
- the same splitting without matrices.  N = Σ N_i over tiles that overlap by k − 1 samples, rows and
  samples in an overlap shared by halves, M_i the shares of the samples, ΣM_i = I, and so
  λ_min(N) ≥ min λ_min(M_i^{-½} N_i M_i^{-½}).  That of a tile is found by the Lanczos method on
  Λ − B_i, B_i = M_i^{-½} N_i M_i^{-½}, Λ ≥ ‖B_i‖ by norms.  After m steps from a random start its
  largest Ritz value Λ − θ is too small by more than a share δ of Λ − λ_min with a probability of at
  most

      p = 1.648·√n·exp(−√δ·(2m − 1)),    so that    λ_min ≥ (θ − δΛ)/(1 − δ)

  but for one start in 1/p = 10⁹.  The start is drawn from the same seed every time, whatever the
  psf; a psf that is made for that draw could deceive it.

Not for data with holes: with rows missing N is smaller, and λε is what remains.

Sources: Toselli & Widlund, "Domain Decomposition Methods", Springer 2005, §2.5; Kuczyński &
Woźniakowski, SIAM J. Matrix Anal. Appl. 13 (1992), Theorem 4.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...grid.fft import fast_size
from ...regularize.natural_edges.tile_bound import shares, tile_bound, tile_kinds
from .problem import Problem, transfer

_DOUBT = 1e-9  # the probability of a bound that is none, for all tiles together
_SHARP_BOUND = 0.75  # of the Ritz value that is to be proven
_LANCZOS_STEPS = 3_000  # of Lanczos at most
_LANCZOS_LOOKS = 10  # steps between two looks
_ROUND_OFF = 1e-12  # of Λ
_INVERSE_POWERS = 5  # of the positive matrix
_MOST_UNKNOWNS = 400_000  # of a tile: two hundred steps take a minute

_Shape = tuple[tuple[int, tuple[bool, bool]], ...]  # samples, and neighbours before and after


class Bound(NamedTuple):
    """μ ≤ λ_min(N), and why.

    Attributes
    ----------
    mu : the bound
    source : how it is known, in words
    """

    mu: float
    source: str


def lower_bound(problem: Problem) -> Bound:
    """μ for scenes of at least two tiles an axis, and for smaller ones.

    Examples
    --------
    >>> problem = Problem(torch.ones(3, 3, dtype=torch.float64) / 9, (500, 400), 0.01, (1.0, 1.0))
    >>> found = lower_bound(problem)
    >>> found.mu > 100 * problem.smallest, found.source
    (True, 'tiles, by Cholesky factors')
    """
    least = Bound(problem.smallest, "strength times ridge")
    dense = tile_bound(_rows(problem), problem.scene)
    if dense > least.mu:
        return Bound(dense, "tiles, by Cholesky factors")
    found = _by_lanczos(problem)
    return (
        Bound(found, "tiles, by Lanczos steps from a random start") if found > least.mu else least
    )


def _rows(problem: Problem) -> list[Tensor]:
    """Rows (1, 1, *taps) of A, of differences and of the ridge."""
    nd = problem.psf.ndim
    found = [problem.taps[None, None]]
    for axis, weight in enumerate(problem.weights):
        gain = math.sqrt(problem.strength * weight)
        shape = [2 if a == axis else 1 for a in range(nd)]
        found.append(torch.tensor([-gain, gain], dtype=torch.float64).view(1, 1, *shape))
    found.append(torch.full((1, 1, *[1] * nd), math.sqrt(problem.smallest), dtype=torch.float64))
    return found


def _by_lanczos(problem: Problem) -> float:
    """μ from all shapes of tiles, or 0; mirror images of a shape are left out."""
    reach = [max(2, k) for k in problem.psf.shape]  # differences read two samples
    kinds = [tile_kinds(k, n) for k, n in zip(reach, problem.scene, strict=True)]
    shapes: list[_Shape] = list(itertools.product(*kinds))
    if math.prod(max(n for n, _ in kind) for kind in kinds) > _MOST_UNKNOWNS:
        return 0.0
    even = [a for a in range(len(reach)) if torch.equal(problem.psf, problem.psf.flip(a))]
    whole = torch.equal(problem.psf, problem.taps)
    found, done = math.inf, set[_Shape]()
    for shape in shapes:
        key = tuple(
            (n, (min(ends), max(ends)) if a in even else ends) for a, (n, ends) in enumerate(shape)
        )
        back = tuple((n, ends[::-1]) for n, ends in key)
        if key in done or (whole and back in done):
            continue
        done.add(key)
        found = min(found, _of_tile(problem, reach, shape, _DOUBT / len(shapes)))
        if found <= problem.smallest:
            return 0.0
    return found


class _TileMatrix:
    """B = M_i^{-½} N_i M_i^{-½} of one tile, or the same with all numbers made positive.

    The latter is nowhere less than |B|, and so its norm no less than that of B.
    """

    def __init__(
        self, problem: Problem, reach: Sequence[int], shape: _Shape, *, positive: bool
    ) -> None:
        self.size = tuple(n for n, _ in shape)
        self.ridge, self.positive = problem.smallest, positive
        self._grid = tuple(fast_size(n) for n in self.size)
        if positive:
            problem = replace(problem, psf=problem.psf.abs())
        self._transfer = transfer(problem, self._grid)
        self._outputs = self._dealt(problem.psf.shape, reach, shape)
        self._differences = []
        for axis, weight in enumerate(problem.weights):
            taps = [2 if a == axis else 1 for a in range(len(reach))]
            self._differences.append(self._dealt(taps, reach, shape) * (problem.strength * weight))
        self.scale = self._dealt([1] * len(reach), reach, shape).rsqrt()

    def _dealt(self, taps: Sequence[int], reach: Sequence[int], shape: _Shape) -> Tensor:
        """The share of the tile in all rows that read so many samples."""
        found = shares(self.size, taps, reach, [ends for _, ends in shape])
        return found.view([n - k + 1 for n, k in zip(self.size, taps, strict=True)])

    def __call__(self, v: Tensor) -> Tensor:
        """(n,) -> (n,)."""
        x = v.view(self.size) * self.scale
        y = self._filtered(x, self._transfer)
        y = y[tuple(slice(n) for n in self._outputs.shape)] * self._outputs
        found = self._filtered(y, self._transfer.conj())[tuple(slice(n) for n in self.size)]
        for axis, share in enumerate(self._differences):
            n = share.shape[axis]
            one, other = x.narrow(axis, 1, n), x.narrow(axis, 0, n)
            step = (one + other if self.positive else one - other).mul_(share)
            found.narrow(axis, 1, n).add_(step)
            found.narrow(axis, 0, n).add_(step, alpha=1 if self.positive else -1)
        return (found * self.scale).flatten().add_(v, alpha=self.ridge)

    def _filtered(self, x: Tensor, by: Tensor) -> Tensor:
        return torch.fft.irfftn(torch.fft.rfftn(x, s=self._grid).mul_(by), s=self._grid)


def _of_tile(problem: Problem, reach: Sequence[int], shape: _Shape, doubt: float) -> float:
    """A lower bound of the eigenvalues of B but for a probability; −inf where none is found."""
    B = _TileMatrix(problem, reach, shape, positive=False)
    top = _norm(_TileMatrix(problem, reach, shape, positive=True))
    n, found = math.prod(B.size), -math.inf
    w = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w /= torch.linalg.vector_norm(w)
    before = torch.zeros_like(w)
    alpha: list[float] = []
    beta = [0.0]
    for m in range(1, _LANCZOS_STEPS + 1):
        v = (w * top).sub_(B(w))
        alpha.append(float(v @ w))
        v.sub_(w, alpha=alpha[-1]).sub_(before, alpha=beta[-1])
        beta.append(float(torch.linalg.vector_norm(v)))
        exhausted = beta[-1] < _ROUND_OFF * top
        if m % _LANCZOS_LOOKS == 0 or exhausted:
            theta = top - _largest_of_tridiagonal(alpha, beta[1:-1])
            delta = (math.log(1.648 * math.sqrt(n) / doubt) / (2 * m - 1)) ** 2
            if delta < 1:
                found = max(found, (theta - delta * top) / (1 - delta) - _ROUND_OFF * top)
            if found >= _SHARP_BOUND * theta or theta <= problem.smallest or exhausted:
                break
        before, w = w, v / beta[-1]
    return found


def _norm(B: _TileMatrix) -> float:
    """At least ‖B‖ for a matrix of positive entries: max (Bv)_i/v_i of a positive v."""
    v, found = B.scale.reciprocal().flatten(), math.inf
    for _ in range(_INVERSE_POWERS):
        image = B(v)
        found = min(found, float((image / v).amax()))
        v = image / image.amax()
    return found * (1 + _ROUND_OFF)


def _largest_of_tridiagonal(alpha: list[float], beta: list[float]) -> float:
    """The largest eigenvalue of a symmetric matrix with this diagonal and this one beside it."""
    from scipy.linalg import eigvalsh_tridiagonal  # slow to load

    last = (len(alpha) - 1,) * 2
    return float(eigvalsh_tridiagonal(alpha, beta, select="i", select_range=last)[0])
