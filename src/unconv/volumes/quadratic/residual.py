"""N and the gradient on one tile of a scene, exactly, and the works of a pass that need no more.

N looks k − 1 samples far.  On the core of a tile it follows from what lies within k − 1 samples of
the core: the block.  Rows of A within the block are all rows that read the core, so that

    (Nx)(core) = [Aᵀ m A x + λ(Σ_a w_a D_aᵀD_a x + εx)](core),

with m the rows that there are: all of the block's, less outputs that were not observed.  A and Aᵀ
are FFTs of one size for all tiles, two pairs; a core at the border of the scene has a smaller
block.  Differences end where the block ends: at the border of the scene that is how the prior is
defined, and elsewhere it is outside of the core.  Away from the border, and where all was observed,
N is a convolution, one pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...grid.fft import fast_size
from ..tiling.blur import Blur
from ..tiling.scene import around, rows_within
from ..tiling.stages import Array, Constant, Numbers, Read
from ..tiling.tiles import Region, Tile, shape_of, within
from .overlap import Overlap
from .problem import Problem, symbol, transfer

_ROUNDED_STEP = 1e-5  # of a step to a bound, that sums of windows in single precision leave


class TileNormal:
    """A, Aᵀ and N on blocks of one scene.

    Parameters
    ----------
    problem : its scene
    core : the shape of the largest core
    dtype : float32 or float64, of all that is computed
    """

    def __init__(self, problem: Problem, core: Sequence[int], dtype: torch.dtype) -> None:
        self.problem, self.dtype = problem, dtype
        self.sizes = self.grid(problem, core)
        self.blur = Blur(problem.psf, self.sizes, dtype)

    @staticmethod
    def grid(problem: Problem, core: Sequence[int]) -> tuple[int, ...]:
        """The sizes of its FFTs."""
        axes = zip(core, problem.reach, problem.scene, strict=True)
        return tuple(fast_size(min(c + 2 * k, n)) for c, k, n in axes)

    def block(self, tile: Tile) -> Region:
        """What N reads for a core."""
        return around(tile.core, self.problem.reach, self.problem.scene)

    def rows(self, block: Region) -> Region:
        """The outputs whose samples all lie in a block, as a region of the data."""
        return rows_within(block, self.problem.psf.shape)

    def prior(self, x: Tensor) -> Tensor:
        """λ(Σ_a w_a D_aᵀD_a x + εx) of a block."""
        found = x * (self.problem.strength * self.problem.ridge)
        for axis, weight in enumerate(self.problem.weights):
            step = x.diff(dim=axis).mul_(self.problem.strength * weight)
            found.narrow(axis, 1, step.shape[axis]).add_(step)
            found.narrow(axis, 0, step.shape[axis]).sub_(step)
        return found

    def on_core(self, tile: Tile, x: Tensor, seen: Tensor | None) -> Tensor:
        """N x on the core of a tile, given x on its block."""
        block = self.block(tile)
        core = within(tile.core, block)
        whole = all(
            b.start == c.start - m and b.stop == c.stop + m
            for b, c, m in zip(block, tile.core, self.problem.reach, strict=True)
        )
        if seen is not None or not whole:
            return self(x, seen)[core]
        # what wraps on the grid comes no nearer to the core than the block's end
        spectrum = torch.fft.rfftn(x, s=self.sizes).mul_(self._symbol)
        return torch.fft.irfftn(spectrum, s=self.sizes)[core]

    @cached_property
    def _symbol(self) -> Tensor:
        return symbol(self.problem, transfer(self.problem, self.sizes), self.sizes).to(self.dtype)

    def __call__(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """N x of a block, right on the core; `seen` is 0 at outputs that were not observed."""
        y = self.blur(x)
        if seen is not None:
            y = y * seen
        return self.blur.H(y).add_(self.prior(x))


def as_tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """A region that was read, as numbers to compute with."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def as_seen(data: Tensor) -> tuple[Tensor, Tensor | None]:
    """Data with 0 where they are not finite, and 1 where they are; None where all of them are."""
    if math.isfinite(float(data.sum())):
        return data, None
    seen = torch.isfinite(data)
    return data.where(seen, 0.0), seen.to(data.dtype)


class Join:
    """An array of what tiles have found in their boxes, added up.

    Parameters
    ----------
    overlap : of the tiles
    boxes : the name of what they have found
    name : of what is written
    least : what is below it is set to it
    """

    def __init__(self, overlap: Overlap, boxes: str, name: str, least: float = -math.inf) -> None:
        self.overlap, self.boxes, self.name, self.least = overlap, boxes, name, least

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """One core."""
        found = self.overlap.gathered(self.boxes, tile.core, read)
        return {self.name: found.clamp_(min=self.least).numpy()}, {}

    def bytes_for(self, tile: Tile) -> int:
        """What is read, and the sum."""
        return 8 * math.prod(shape_of(tile.core))


class Gradient:
    """g(x) = Aᵀ(y − Ax) − λ(…) on the cores, in double precision whatever x is stored in.

    Parameters
    ----------
    normal : a `TileNormal` in double precision
    level : c, to which the ridge pulls
    x : the name of the array that holds x − c
    name : of what is written
    least : no sample of it may be less
    """

    IMAGES = 8
    """Images of the grid in double precision that are held, spectra included."""

    def __init__(
        self, normal: Constant, level: float, x: str, name: str, least: float = -math.inf
    ) -> None:
        self.normal, self.level, self.x, self.name = normal, level, x, name
        self.least = least

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The gradient of one core; sums over it of p² (bounded.py), x − c and (x − c)²."""
        normal: TileNormal = self.normal.value
        block = normal.block(tile)
        y, seen = as_seen(as_tensor(read("data", normal.rows(block)), normal.dtype))
        x = as_tensor(read(self.x, block), normal.dtype)
        left = y - normal.blur(x) - self.level * float(normal.problem.psf.sum())
        g = normal.blur.H(left if seen is None else left * seen).sub_(normal.prior(x))
        core = within(tile.core, block)
        return {self.name: g[core].float().numpy()}, _sums(g[core], x[core], self.least)

    def bytes_for(self, tile: Tile) -> int:
        """Whatever the tile, for its grid is that of the largest."""
        return 8 * self.IMAGES * math.prod(self.normal.value.sizes)


class Direction:
    """p = M r + βp₋ and q = N p on the cores.

    Parameters
    ----------
    normal : a `TileNormal` in single precision
    overlap : of the tiles
    reads : the names of M r in boxes, p₋ ("" in a first pass) and r
    beta : β
    number : of the pass; what is written is named after it
    lost : whether some data are not finite
    """

    def __init__(
        self,
        normal: Constant,
        overlap: Overlap,
        reads: tuple[str, str, str],
        beta: float,
        number: int,
        lost: bool,
    ) -> None:
        self.normal, self.overlap, self.reads = normal, overlap, reads
        self.beta, self.number, self.lost = beta, number, lost

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """p and q of one core; ⟨p, q⟩ and ⟨p, r⟩ over it."""
        normal: TileNormal = self.normal.value
        boxes, before, r = self.reads
        block = normal.block(tile)
        p = self.overlap.gathered(boxes, block, read)
        if before:
            p.add_(as_tensor(read(before, block), p.dtype), alpha=self.beta)
        seen = None
        if self.lost:
            seen = as_seen(as_tensor(read("data", normal.rows(block)), p.dtype))[1]
        q, p = normal.on_core(tile, p, seen), p[within(tile.core, block)]
        mine = as_tensor(read(r, tile.core), p.dtype)
        numbers = {"pq": dot(p, q), "pr": dot(p, mine)}
        return {f"p/{self.number}": p.numpy(), f"q/{self.number}": q.numpy()}, numbers

    def bytes_for(self, tile: Tile) -> int:
        """Whatever the tile, for its grid is that of the largest."""
        return 4 * Gradient.IMAGES * math.prod(self.normal.value.sizes)


class Step:
    """x + αp and r − αq on the cores, in double precision but as they are stored.

    Parameters
    ----------
    reads : the names of x − c, p, r and q
    alpha : α
    number : of the pass; what is written is named after it
    least : no sample of x − c may be less, and none is at its beginning
    """

    def __init__(
        self,
        reads: tuple[str, str, str, str],
        alpha: float,
        number: int,
        least: float = -math.inf,
    ) -> None:
        self.reads, self.alpha, self.number, self.least = reads, alpha, number, least

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """x and r of one core; sums over it of r² (or p², bounded.py), x − c and (x − c)²."""
        x, p, r, q = (as_tensor(read(name, tile.core), torch.float64) for name in self.reads)
        if self.least > -math.inf:
            near = (x - self.least).mul_(_ROUNDED_STEP).add_(self.least)
        x.add_(p, alpha=self.alpha)
        if self.least > -math.inf:
            x.masked_fill_(x <= near, self.least)  # a step to the bound, but for rounding
        r.sub_(q, alpha=self.alpha)
        found = {f"x/{self.number}": x.float().numpy(), f"r/{self.number}": r.float().numpy()}
        return found, _sums(r, x, self.least)

    def bytes_for(self, tile: Tile) -> int:
        """Four arrays in both precisions, and squares."""
        return 64 * math.prod(shape_of(tile.core))


class Finish:
    """x from x − c, as it is stored, and what storing it has cost.

    Parameters
    ----------
    away : the name of x − c
    level : c
    name : of what is written
    """

    def __init__(self, away: str, level: float, name: str) -> None:
        self.away, self.level, self.name = away, level, name

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """One core; the sum of the squares of its rounding errors."""
        x = as_tensor(read(self.away, tile.core), torch.float64).add_(self.level)
        stored = x.float()
        return {self.name: stored.numpy()}, {"rounding": float((stored - x).square().sum())}

    def bytes_for(self, tile: Tile) -> int:
        """In both precisions, with the difference."""
        return 40 * math.prod(shape_of(tile.core))


def dot(a: Tensor, b: Tensor) -> float:
    """A product of two parts of arrays, summed in double precision a few slices at a time."""
    parts = zip(a.split(4), b.split(4), strict=True)
    return math.fsum(float(u.double().flatten() @ v.double().flatten()) for u, v in parts)


def _sums(g: Tensor, x: Tensor, least: float) -> Numbers:
    p = g.where(x > least, g.clamp(min=0)) if least > -math.inf else g
    return {"gg": dot(p, p), "sum": float(x.sum()), "square": dot(x, x)}
