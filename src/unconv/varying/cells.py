"""A blur whose psf varies, cell by cell: only the psfs that count in a cell are transformed there.

    spread    v[j + t] += Σᵢ hᵢ[t] wᵢ[j] u[j]            product, then convolution
    gathered  u[j] = Σᵢ wᵢ[j] Σ_t h̄ᵢ[t] v[j + t]         its adjoint: correlation, then product

The grid of u is cut where a weight begins or ends.  A cell of L samples needs the L + k − 1 samples
of v that its psfs reach, one FFT of this size for each psf with weight in it and one for all
together: with linear weights on a grid 2ᵈ + 1 FFTs a cell, half as many pairs, however many psfs
there are.  For 512² samples and psfs of 15² a product with A takes, in FFT pairs of the whole
picture (one thread, float64; FFTs that fit the cache are cheaper):

| psfs                                          | 2²  | 3²  | 5²  | 9²  | 17² | 33²  |
| cells                                         | 1.6 | 1.6 | 1.6 | 2.3 | 4.0 | 10.7 |
| tiles: one psf on all the support of a weight | 2.6 | 2.6 | 2.4 | 2.7 | 4.4 | 10.6 |
| the whole picture for each psf                | 2.6 | 4.0 | 10  | 33  |     |      |

Neighbours are made one cell where that is cheaper: cells shorter than a psf are mostly margin.

Source: Escande & Weiss, "Approximation of integral operators using product-convolution expansions",
J. Math. Imaging Vision 58 (2017); Nagy & O'Leary, "Restoring images degraded by spatially variant
blur", SIAM J. Sci. Comput. 19 (1998), for sections with an own psf each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..grid.fft import fast_size
from .weights import Weights

_CELL_SAMPLES = 2**15  # of a cell, for the cache
_MARGINS = 8  # times the margin, that a cell has at least


class Cell(NamedTuple):
    """A box of u.

    Attributes
    ----------
    first, sizes : where it lies
    grid : samples of its FFT, at least sizes + k − 1
    active : the psfs with weight in it
    weights : (active, *sizes)
    """

    first: tuple[int, ...]
    sizes: tuple[int, ...]
    grid: tuple[int, ...]
    active: tuple[int, ...]
    weights: Tensor

    @property
    def key(self) -> tuple[Any, ...]:
        """What its spectra are kept by; cells may share them."""
        return self.active, self.grid

    def box(self, margins: Sequence[int] | None = None) -> tuple[Any, ...]:
        """Its place in u, or with margins of k − 1 in v."""
        margins = margins or (0,) * len(self.sizes)
        ends = zip(self.first, self.sizes, margins, strict=True)
        return (..., *(slice(a, a + n + more) for a, n, more in ends))

    def inside(self, margins: Sequence[int] | None = None) -> tuple[Any, ...]:
        """Where its samples, or those of v, lie on its own grid."""
        margins = margins or (0,) * len(self.sizes)
        return (..., *(slice(n + m) for n, m in zip(self.sizes, margins, strict=True)))


class Cells:
    """Psfs with weights, ready to be applied.

    Parameters
    ----------
    taps : (C or 1, P, *k) real, h
    weights : w
    """

    def __init__(self, taps: Tensor, weights: Weights) -> None:
        self.sizes, kernel = weights.sizes, tuple(taps.shape[2:])
        self.margins = tuple(k - 1 for k in kernel)
        self.full = tuple(n + more for n, more in zip(self.sizes, self.margins, strict=True))
        self.cells = list(_cut(weights, self.margins, taps))
        self._axes = tuple(range(-len(kernel), 0))
        self.spectra: dict[tuple[Any, ...], Tensor] = {}  # (C or 1, active, *spectrum)
        for cell in self.cells:
            if cell.key not in self.spectra:
                self.spectra[cell.key] = self._transform(taps[:, list(cell.active)], cell.grid)

    def spread(self, u: Tensor) -> Tensor:
        """(N, C, *sizes) -> (N, C, *full)."""
        v = u.new_zeros(*u.shape[:2], *self.full)
        for cell in self.cells:
            parts = u[cell.box()][:, :, None] * cell.weights  # (N, C, active, *sizes)
            total = (self._transform(parts, cell.grid) * self.spectra[cell.key]).sum(2)
            place = cell.box(self.margins)
            v[place] += self._inverse(total, cell.grid)[cell.inside(self.margins)]
        return v

    def gathered(self, v: Tensor) -> Tensor:
        """(N, C, *full) -> (N, C, *sizes), the adjoint of `spread`."""
        u = v.new_zeros(*v.shape[:2], *self.sizes)
        for cell in self.cells:
            whole = self._transform(v[cell.box(self.margins)], cell.grid)[:, :, None]
            parts = self._inverse(whole * self.spectra[cell.key].conj(), cell.grid)
            u[cell.box()] = (parts[cell.inside()] * cell.weights).sum(2)
        return u

    def _transform(self, t: Tensor, grid: tuple[int, ...]) -> Tensor:
        return torch.fft.rfftn(t, s=grid, dim=self._axes)

    def _inverse(self, t: Tensor, grid: tuple[int, ...]) -> Tensor:
        return torch.fft.irfftn(t, s=grid, dim=self._axes)


def _cut(weights: Weights, margins: tuple[int, ...], like: Tensor) -> Iterator[Cell]:
    """The cells, with weights of the dtype and device of `like`."""
    nd = len(margins)
    lines = []
    for d in range(nd):
        longest = max(round(_CELL_SAMPLES ** (1 / nd)), _MARGINS * margins[d])
        lines.append(_segments(weights.used(d), margins[d], longest))
    for box in itertools.product(*lines):
        first, last = zip(*box, strict=True)
        active, here = weights.block([slice(a, b) for a, b in box])
        sizes = tuple(b - a for a, b in zip(first, last, strict=True))
        grid = tuple(fast_size(n + more) for n, more in zip(sizes, margins, strict=True))
        yield Cell(first, sizes, grid, active, here.to(like))


def _segments(used: Tensor, margin: int, longest: int) -> list[tuple[int, int]]:
    """Where an axis is cut: at the ends of the weights, but for cuts that would cost.

    used : (P, n) bool, whether a psf has weight at a sample
    longest : samples of a cell that is not cut further
    """
    n = used.shape[1]
    changes = (used[:, 1:] != used[:, :-1]).any(0).nonzero()[:, 0] + 1
    ends = [0, *changes.tolist(), n]

    def cost(a: int, b: int) -> int:  # transforms, one more for their sum, times samples of each
        return (int(used[:, a:b].any(1).sum()) + 1) * (b - a + margin)

    found = list(itertools.pairwise(ends))
    while len(found) > 1:
        gains = [
            cost(a, b) + cost(b, c) - cost(a, c) for (a, b), (_, c) in itertools.pairwise(found)
        ]
        best = max(range(len(gains)), key=gains.__getitem__)
        if gains[best] < 0:
            break
        found[best : best + 2] = [(found[best][0], found[best + 1][1])]
    return [part for a, b in found for part in _parts(a, b, longest)]


def _parts(a: int, b: int, longest: int) -> Iterator[tuple[int, int]]:
    """a to b in parts of nearly the same length."""
    count = -(-(b - a) // longest)
    ends = [a + (b - a) * i // count for i in range(count + 1)]
    return itertools.pairwise(ends)
