"""A proven lower bound of λ_min(AᴴA + damp²LᴴL) for a domain of any size, from small tiles.

No row of A or L reads more than k samples along an axis.  Cover the domain with tiles of t + k − 1
samples an axis, t ≥ k − 1, of which neighbours alone overlap, by k − 1 samples, so that every row
lies in a tile.  Share the samples of an overlap, and the rows that read nothing else, by halves.
The tiles' matrices N_i and the diagonal shares M_i of the samples add up:

    N = Σ N_i  ≥  Σ μ_i M_i  ≥  min μ_i,          μ_i = λ_min(N_i, M_i),   Σ M_i = I,

and tiles at an edge, at both edges or at none are few shapes.  That a μ is below all μ_i is proven
by a Cholesky factor of N_i − μM_i.

Cost: a Cholesky factorisation of c·(2k − 2)^nd unknowns or two for each of 3^nd shapes, whatever
the size of the domain.
Not for: outputs that were not observed, which differ from tile to tile.

Source: the splitting of a sum of quadratic forms over subdomains, Toselli & Widlund, "Domain
Decomposition Methods", Springer 2005, §2.5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

MOST_UNKNOWNS = 3_000
"""Of a tile, above which nothing is proven: a factorisation takes some 0.3 s."""

_SAFE = 0.8  # of an estimate from above, so that a factor proves it, and mostly the next ones
_LESS = 0.5  # of it, where that failed
_MOST_TRIALS = 6
_OF_CHOLESKY = 4 * torch.finfo(torch.float64).eps  # of n·‖N‖₁: backward error of a factorisation
_FEW_TAPS = 8  # whose squares are entered one by one: differences
_POWERS = 6  # of inverse iteration: it only has to come near

_Tile = tuple[int, tuple[bool, bool]]  # samples, and whether there is a neighbour before and after
_Shape = tuple[_Tile, ...]


def spread(taps: Tensor, dilations: Sequence[int]) -> Tensor:
    """Taps (r, c, *k) with zeros between them."""
    sizes = [d * (k - 1) + 1 for d, k in zip(dilations, taps.shape[2:], strict=True)]
    found = taps.new_zeros(*taps.shape[:2], *sizes)
    places: tuple[Any, ...] = (..., *(slice(None, None, d) for d in dilations))
    found[places] = taps
    return found


def trimmed(taps: Tensor) -> Tensor:
    """Taps (r, c, *k) without the zeros around them."""
    for d in range(2, taps.ndim):
        used = taps.abs().movedim(d, 0).flatten(1).amax(1).nonzero()[:, 0].tolist() or [0]
        taps = taps.narrow(d, used[0], used[-1] - used[0] + 1)
    return taps


def tile_bound(rows: list[Tensor], domain: tuple[int, ...]) -> float:
    """μ > 0, or 0 where nothing is proven.

    Parameters
    ----------
    rows : (r, c, *k) each, taps of rows of A and of damp·L that read k samples, all within
    domain : its samples along each axis
    """
    nd, found = len(domain), math.inf
    reach = [max(sizes) for sizes in zip(*(row.shape[2:] for row in rows), strict=True)]
    turns = [axes for axes in _subsets(nd) if all(_is_even(row, axes) for row in rows)]
    grams: dict[tuple[int, ...], Tensor] = {}
    done: set[_Shape] = set()
    for shape in itertools.product(*(tile_kinds(k, n) for k, n in zip(reach, domain, strict=True))):
        size = tuple(samples for samples, _ in shape)
        samples = rows[0].shape[1] * math.prod(size)
        if samples > MOST_UNKNOWNS:
            return 0.0
        if any(_turned(shape, axes) in done for axes in turns):
            continue
        done.add(shape)
        sides = [ends for _, ends in shape]
        N = torch.zeros(samples, samples, dtype=rows[0].dtype)
        for number, row in enumerate(rows):
            dealt = shares(size, row.shape[2:], reach, sides)
            if _used(row).numel() <= _FEW_TAPS:
                _add_gram_(N, row, size, dealt)
                continue
            plain = bool((dealt == 1).all())  # a row that reads the most is shared by nobody
            key = (number, *size)
            gram = grams[key] if plain and key in grams else _gram(row, size, dealt)
            if plain:
                grams[key] = gram
            N += gram
        share = shares(size, [1] * nd, reach, sides).repeat(rows[0].shape[1]).rsqrt()
        found = _at_most(N.mul_(share[:, None]).mul_(share), found)
    return found


def tile_kinds(k: int, n: int) -> list[_Tile]:
    """The kinds of tiles along an axis of n samples whose rows read k."""
    t, outputs = max(1, k - 1), n - k + 1
    if outputs < 2 * t:
        return [(n, (False, False))]
    even = [size for size in range(t, t + t // 4 + 1) if outputs % size == 0]
    t = even[0] if even else t  # no larger tile at the end: both ends are alike
    count, rest = divmod(outputs, t)
    tiles = [(t, (False, True)), (t + rest, (True, False))]
    tiles += [(t, (True, True))] if count > 2 else []
    return [(size + k - 1, sides) for size, sides in tiles]


def _subsets(nd: int) -> Iterator[tuple[int, ...]]:
    for count in range(nd + 1):
        yield from itertools.combinations(range(nd), count)


def _is_even(taps: Tensor, axes: tuple[int, ...]) -> bool:
    """Whether reversing some axes gives the same rows but for their sign."""
    turned = taps.flip([2 + d for d in axes])
    return bool((turned == taps).all() | (turned == -taps).all())


def _turned(shape: _Shape, axes: tuple[int, ...]) -> _Shape:
    """A tile seen with some axes reversed."""
    return tuple((size, ends[::-1] if d in axes else ends) for d, (size, ends) in enumerate(shape))


def shares(
    size: Sequence[int],
    reach: Sequence[int],
    overlap: Sequence[int],
    sides: Sequence[tuple[bool, bool]],
) -> Tensor:
    """The share of a tile in each row of so many samples' reach within it, laid flat."""
    found = torch.ones(1, dtype=torch.float64)
    for n, p, k, (before, after) in zip(size, reach, overlap, sides, strict=True):
        share, both = torch.ones(n - p + 1, dtype=torch.float64), k - p
        share[: both * before] /= 2
        share[n - p + 1 - both * after :] /= 2
        found = (found[:, None] * share).flatten()
    return found


def _used(taps: Tensor) -> Tensor:
    """Which of the samples that rows of taps (r, c, *k) may read they do."""
    return taps.flatten(2).abs().sum((0, 1)).nonzero()[:, 0]


def _samples_of(taps: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(rows,) the first sample of each row within a tile, and (*k laid flat) those from it on."""
    first, offset = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    for d, (n, k) in enumerate(zip(size, taps.shape[2:], strict=True)):
        stride = math.prod(size[d + 1 :])
        first = (first[:, None] + stride * torch.arange(n - k + 1)).flatten()
        offset = (offset[:, None] + stride * torch.arange(k)).flatten()
    return first, offset


def _add_gram_(N: Tensor, taps: Tensor, size: Sequence[int], dealt: Tensor) -> None:
    """Add Σ shareᵢ·rowᵢᴴ rowᵢ over the rows of few taps (r, c, *k) within a tile to (c·n, c·n)."""
    c, samples, flat = taps.shape[1], math.prod(size), taps.flatten(2)
    first, offset = _samples_of(taps, size)
    tiles = N.view(c, samples, c, samples)
    for a, b in itertools.product(_used(taps).tolist(), repeat=2):
        pair = (flat[:, :, a].mH @ flat[:, :, b])[None] * dealt[:, None, None]
        tiles[:, first + offset[a], :, first + offset[b]] += pair


def _gram(taps: Tensor, size: Sequence[int], dealt: Tensor) -> Tensor:
    """Σ shareᵢ·rowᵢᴴ rowᵢ over the rows of taps (r, c, *k) within a tile, (c·n, c·n)."""
    r, c, samples = *taps.shape[:2], math.prod(size)
    first, offset = _samples_of(taps, size)
    matrix = taps.new_zeros(r, len(first), c, samples)
    line = torch.arange(len(first))[:, None]
    matrix[:, line, :, first[:, None] + offset] = taps.flatten(2).permute(2, 0, 1)
    matrix = matrix * dealt.sqrt()[:, None, None]
    matrix = matrix.reshape(r * len(first), -1)
    return matrix.mH @ matrix


def _at_most(N: Tensor, known: float) -> float:
    """The smaller one of `known` and a proven lower bound of the eigenvalues of N ≥ 0."""
    slack = _OF_CHOLESKY * len(N) * float(torch.linalg.matrix_norm(N, 1))
    shifted = torch.empty_like(N)

    def proves(mu: float) -> bool:
        shifted.copy_(N).diagonal().sub_(mu + slack)
        return not bool(torch.linalg.cholesky_ex(shifted)[1])

    if known < math.inf and proves(known):
        return known
    factor, info = torch.linalg.cholesky_ex(N)
    if bool(info):
        return 0.0
    v = torch.ones(len(N), 1, dtype=N.dtype)
    for _ in range(_POWERS):
        v = torch.cholesky_solve(v / torch.linalg.vector_norm(v), factor)
    mu = _SAFE / float(torch.linalg.vector_norm(v))
    for _ in range(_MOST_TRIALS):
        if proves(mu):
            return min(mu, known)
        mu *= _LESS
    return 0.0
