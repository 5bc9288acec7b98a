"""What the tiles of a scene have in common: a periodic grid, and the rows across cuts of its axes.

local_inverse.py says what a cut is and what its blocks are for.  A factor holds K̂ and 1/N̂ on half
of the frequencies, and for each axis that some tile has cut open a block of k × k for each
frequency along the other axes: 8k²·F bytes, F half of the places of the cut.  For wide psfs these
are more than all the rest (k = 31 on a grid of 160³: 100 MB an axis, beside 16 MB an image).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...numerics.memory import return_freed_memory
from .problem import Problem, frequencies, symbol, transfer

_BYTES_AT_ONCE = 2**22  # of blocks that are made and inverted at a time


@dataclass(frozen=True)
class GridFactor:
    """What the tiles of a scene have in common: one grid, whichever axes of it are cut open.

    Attributes
    ----------
    sizes : P along each axis
    transfer : K̂, half of the frequencies of the last axis
    inverse : 1/N̂ at the same ones, real
    cuts : for each axis that some tile has cut open, what is known of the rows across the cut
    """

    sizes: tuple[int, ...]
    transfer: Tensor
    inverse: Tensor
    cuts: dict[int, Cut]


@dataclass(frozen=True)
class Cut:
    """The rows of A and D across the cut of one axis.

    Attributes
    ----------
    axis : which
    outputs : k − 1, of A; they begin at the last `outputs` samples of the grid
    blocks : (k, k, F) complex, the inverted blocks of S; the last row is that of the difference
    gain : √(λ w), of a difference
    """

    axis: int
    outputs: int
    blocks: Tensor
    gain: float


def grid_factor(
    problem: Problem, sizes: Sequence[int], axes: Sequence[int], dtype: torch.dtype = torch.float32
) -> GridFactor:
    """What is computed once for all tiles.

    Parameters
    ----------
    problem : its psf is no larger than the grid
    sizes : P along each axis
    axes : which some tile has cut open
    dtype : float32 or float64, in which tiles are solved
    """
    K = transfer(problem, sizes)
    N = symbol(problem, K, sizes)
    cuts = {a: _cut(problem, sizes, a, dtype.to_complex()) for a in axes}
    found = GridFactor(tuple(sizes), K.to(dtype.to_complex()), N.reciprocal_().to(dtype), cuts)
    del K, N
    return_freed_memory(16 * math.prod(sizes))
    return found


def factor_bytes(problem: Problem, sizes: Sequence[int], axes: Sequence[int]) -> tuple[int, int]:
    """(kept, at the peak of the set-up) of a factor in single precision, before it is made."""
    half = math.prod(sizes[:-1]) * (sizes[-1] // 2 + 1)
    blocks = [_lines(sizes, a) * problem.psf.shape[a] ** 2 for a in axes]
    return 12 * half + 8 * sum(blocks), 160 * half + 8 * sum(blocks)


def _lines(sizes: Sequence[int], axis: int) -> int:
    """Frequencies of a real image over the other axes."""
    others = [n for a, n in enumerate(sizes) if a != axis]
    return math.prod(others[:-1]) * (others[-1] // 2 + 1)


def _cut(problem: Problem, sizes: Sequence[int], axis: int, dtype: torch.dtype) -> Cut:
    k, P = problem.psf.shape[axis], sizes[axis]
    K = transfer(problem, sizes, axis).flatten(1)  # (P, F)
    N = symbol(problem, K.view(P, *_shape(sizes, axis)), sizes, axis).flatten(1)
    gain = math.sqrt(problem.strength * problem.weights[axis])
    D = gain * (1 - torch.polar(torch.ones(P, dtype=N.dtype), -frequencies(P, half=False)))
    rows = torch.arange(P - k + 1, P)
    blocks = torch.empty(k, k, K.shape[1], dtype=dtype)
    step = max(1, _BYTES_AT_ONCE // (16 * max(k, 2) ** 2))
    for start in range(0, K.shape[1], step):
        part = slice(start, start + step)
        of_outputs = torch.fft.ifft(K[:, part].abs().square() / N[:, part], dim=0)
        mixed = torch.fft.ifft(K[:, part] * D.conj()[:, None] / N[:, part], dim=0)
        alone = (D.abs().square()[:, None] / N[:, part]).mean(0)
        S = of_outputs.new_zeros(of_outputs.shape[1], k, k)
        S[:, :-1, :-1] = -of_outputs[(rows[:, None] - rows) % P].permute(2, 0, 1)
        S[:, :-1, -1] = -mixed[rows].mT
        S[:, -1, :-1] = -mixed[rows].mT.conj()
        S[:, -1, -1] = -alone
        S.diagonal(dim1=1, dim2=2).add_(1)
        blocks[:, :, part] = torch.cholesky_inverse(torch.linalg.cholesky(S)).permute(1, 2, 0)
    return Cut(axis, k - 1, blocks, gain)


def _shape(sizes: Sequence[int], axis: int) -> tuple[int, ...]:
    others = [n for a, n in enumerate(sizes) if a != axis]
    return (*others[:-1], others[-1] // 2 + 1)
