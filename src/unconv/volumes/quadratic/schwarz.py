"""An approximate N⁻¹ for a scene of any size, and a first guess: tiles solved side by side.

    M = Σ_i W_i R_iᵀ T_i⁻¹ R_i W_i,      Σ_i W_i² = 1.

R_i cuts out tile i with its halo, T_i is N with natural edges at the border of the scene and
periodic elsewhere (local_inverse.py), W_i a smooth window (overlap.py).  M is symmetric and
positive, so with it conjugate gradients converge whatever the noise: the error falls in the norm of
N at every pass.  Restricted Schwarz, which keeps the core of each answer, is not symmetric: with
these T_i it stands still where the noise is 0.3 %, and with T_i of zeros beyond the tile, which
take five pairs of FFTs more a tile, it needs as many passes.

The first guess is Σ_i W_i² x_i, x_i the minimiser of tile i from its own data alone, with natural
edges on all sides.  From a constant the passes would have to find the large waves of the tiles'
insides through windows first: a guess saves one to five passes, and costs as much as some four.

Source: Dryja & Widlund, "Towards a unified theory of domain decomposition algorithms for elliptic
problems", 1990.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ...grid.fft import fast_size
from ..tiling.stages import Array, Constant, Numbers, Read
from ..tiling.tiles import Region, Tile, within
from .grid_factor import GridFactor, factor_bytes, grid_factor
from .local_inverse import LocalInverse
from .overlap import Overlap
from .problem import Problem
from .residual import as_seen, as_tensor, dot

# images of the grid at the peak of a solve, all that is read and written included; measured
_GRIDS_HELD = 15
_SLABS = 14  # vectors of rows across the cuts, and their spectra


@dataclass(frozen=True)
class Solves:
    """T_i⁻¹ for the tiles of a scene, from one factor.

    Attributes
    ----------
    overlap : of the tiles
    factor : of their grid
    """

    overlap: Overlap
    factor: GridFactor
    _made: dict[tuple[int, ...], LocalInverse] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return {"overlap": self.overlap, "factor": self.factor, "_made": {}}

    def of(self, tile: Tile) -> tuple[LocalInverse, tuple[int, ...]]:
        """T_i⁻¹, and where the tile begins on its grid."""
        axes, first = [], []
        for a, (outer, (before, after)) in enumerate(zip(tile.outer, tile.true_sides, strict=True)):
            whole = self.factor.sizes[a] == self.overlap.tiling.scene[a]
            if whole or before or after:
                axes.append(a)
            end = self.factor.sizes[a] - (outer.stop - outer.start)
            first.append(outer.start if whole else end if after else 0)
        return self.cut_open(tuple(axes)), tuple(first)

    def cut_open(self, axes: tuple[int, ...]) -> LocalInverse:
        """T⁻¹ with some axes cut open; the memory of a solve is kept for the next one like it."""
        if axes not in self._made:
            self._made.clear()  # that of another choice: two of them would take twice as much
            self._made[axes] = LocalInverse(self.factor, axes)
        return self._made[axes]


def grid_sizes(problem: Problem, core: Sequence[int], halo: Sequence[int]) -> tuple[int, ...]:
    """P along each axis: a tile, its halo and room for what wraps, or the scene if that is less."""
    axes = zip(problem.scene, core, halo, problem.reach, strict=True)
    return tuple(min(n, fast_size(min(n, c) + 2 * h + k)) for n, c, h, k in axes)


def guess_sizes(problem: Problem, core: Sequence[int], halo: Sequence[int]) -> tuple[int, ...]:
    """The domain of a first guess: a tile and its halo, or the scene if that is less."""
    axes = zip(problem.scene, core, halo, strict=True)
    return tuple(min(n, fast_size(min(n, c) + 2 * h)) for n, c, h in axes)


def local_solves(problem: Problem, overlap: Overlap) -> Solves:
    """The factor of all tiles, made."""
    tiling = overlap.tiling
    sizes = grid_sizes(problem, tiling.core, tiling.halo)
    return Solves(overlap, grid_factor(problem, sizes, range(len(sizes))))


def solve_bytes(problem: Problem, sizes: Sequence[int]) -> int:
    """Memory of a factor, of its set-up and of a solve, whichever takes more; predicted."""
    kept, peak = factor_bytes(problem, sizes, range(len(sizes)))
    grid = math.prod(sizes)
    slabs = sum(grid // n * k for n, k in zip(sizes, problem.psf.shape, strict=True))
    return max(peak, kept + 4 * (_GRIDS_HELD * grid + _SLABS * slabs))


class Solve:
    """W_i T_i⁻¹ W_i r for each tile, and its products with r and with the r before.

    Parameters
    ----------
    solves : a `Solves`
    r, before : the names of arrays; no `before` in a first pass
    name : of what is written, on `Overlap.boxes`
    tol : see `LocalInverse`
    """

    def __init__(self, solves: Constant, r: str, before: str, name: str, tol: float) -> None:
        self.solves, self.r, self.before, self.name, self.tol = solves, r, before, name, tol

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The answer of one tile; `tile` is its box."""
        solves: Solves = self.solves.value
        mine = solves.overlap.tiling.tiles[tile.index]
        r = as_tensor(read(self.r, mine.outer), torch.float32)
        window = solves.overlap.window(mine)
        inverse, first = solves.of(mine)
        before = inverse.applied
        e = inverse(r * window, first, tol=self.tol).mul_(window)
        numbers = {"er": dot(e, r), "applied": inverse.applied - before, "before": 0.0}
        if self.before:
            numbers["before"] = dot(e, as_tensor(read(self.before, mine.outer), torch.float32))
        return {self.name: solves.overlap.boxed(e)}, numbers

    def bytes_for(self, tile: Tile) -> int:
        """What a tile takes beside the factor."""
        return 4 * _GRIDS_HELD * math.prod(self.solves.value.factor.sizes)


class Guess:
    """W_i² x_i for each tile, x_i the minimiser from the data of the tile and its halo alone.

    Parameters
    ----------
    solves : of domains of one size, cut open along all axes: a `Solves`
    normal : A and Aᵀ on these domains
    level : c
    name : of what is written, on `Overlap.boxes`
    tol : see `LocalInverse`
    """

    def __init__(
        self, solves: Constant, normal: Constant, level: float, name: str, tol: float
    ) -> None:
        self.solves, self.normal, self.level, self.name, self.tol = solves, normal, level, name, tol

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The guess of one tile; `tile` is its box."""
        overlap, normal = self.solves.value.overlap, self.normal.value
        mine = overlap.tiling.tiles[tile.index]
        domain = self._domain(mine, overlap.tiling.scene)
        y, seen = as_seen(as_tensor(read("data", normal.rows(domain)), torch.float64))
        y -= self.level * float(normal.problem.psf.sum())
        b = normal.blur.H((y if seen is None else y * seen).float())
        inverse = self.solves.value.cut_open(tuple(range(b.ndim)))
        before = inverse.applied
        x = inverse(b, [0] * b.ndim, tol=self.tol)[within(mine.outer, domain)]
        x = x * overlap.window(mine).square_()
        return {self.name: overlap.boxed(x)}, {"applied": inverse.applied - before}

    def _domain(self, tile: Tile, scene: Sequence[int]) -> Region:
        """As large as those of all tiles, and so moved inwards at the border of the scene."""
        sizes = self.solves.value.factor.sizes
        firsts = [min(o.start, n - m) for o, n, m in zip(tile.outer, scene, sizes, strict=True)]
        return tuple(slice(first, first + m) for first, m in zip(firsts, sizes, strict=True))

    def bytes_for(self, tile: Tile) -> int:
        """What a tile takes beside the factor."""
        return 4 * _GRIDS_HELD * math.prod(self.solves.value.factor.sizes)
