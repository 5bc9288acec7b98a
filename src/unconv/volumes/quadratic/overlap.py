"""Where tiles overlap: smooth windows, and a place for what every tile has found.

The squares of the windows are a partition of unity.  Along an axis the borders between cores are at
b_i, and s_i is a ramp from 0 to 1 that begins one halo before b_i and ends one halo behind it:

    W_i² = s_i − s_{i+1} ≥ 0,     Σ_i W_i² = s_0 − s_n = 1,

with s_0 = 1 and s_n = 0: no ramp at the border of the scene.  In several axes it is the product.

Answers of neighbours overlap, and an array that several tiles write together is none of which a
tile can be done again.  So each tile writes its answer into a box of its own, in an array with one
box beside the next, and whoever needs the sum adds up what overlaps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..engine.store import sharded
from ..tiling.stages import Array, Read
from ..tiling.tiles import Region, Tile, Tiling, shape_of


@dataclass(frozen=True)
class Overlap:
    """Tiles of a scene with their windows and boxes.

    Attributes
    ----------
    tiling : of the scene

    Examples
    --------
    >>> overlap = Overlap(Tiling((10,), (4,), (1,)))
    >>> round(sum(float(overlap.window(tile).square().sum()) for tile in overlap.tiling.tiles), 5)
    10.0
    >>> overlap.boxes.scene
    (18,)
    >>> for where in overlap.pieces((slice(3, 5),)):  # the first two tiles reach there
    ...     print(where)
    ((slice(0, 2, None),), (slice(3, 5, None),))
    ((slice(0, 2, None),), (slice(6, 8, None),))
    """

    tiling: Tiling

    def __reduce__(self) -> tuple[object, ...]:
        return _overlap, (self.tiling.scene, self.tiling.core, self.tiling.halo)

    @cached_property
    def box(self) -> tuple[int, ...]:
        """The shape of a box: the largest `outer`, and what makes it a shard."""
        axes = zip(self.tiling.scene, self.tiling.core, self.tiling.halo, strict=True)
        return tuple(sharded(min(n, c + 2 * h)) for n, c, h in axes)

    @cached_property
    def boxes(self) -> Tiling:
        """The array of answers: its tiles are the boxes, in the order of tiles."""
        counts = (
            math.ceil(n / c) for n, c in zip(self.tiling.scene, self.tiling.core, strict=True)
        )
        scene = [count * size for count, size in zip(counts, self.box, strict=True)]
        return Tiling(scene, self.box, [0] * len(scene))

    def window(self, tile: Tile) -> Tensor:
        """W_i on `tile.outer`, float32."""
        found = torch.ones(())
        for axis, core in enumerate(tile.core):
            line = self._line(axis, core.start // self.tiling.core[axis])
            found = found[..., None] * torch.from_numpy(line.astype(np.float32))
        return found

    def boxed(self, answer: Tensor) -> Array:
        """An answer on `outer` in its box."""
        found = np.zeros(self.box, np.float32)
        found[tuple(slice(n) for n in answer.shape)] = answer.numpy()
        return found

    def pieces(self, region: Region) -> list[tuple[Region, Region]]:
        """What to add up in a region of the scene: (where within it, where among the boxes)."""
        lines = [self._pieces(axis, part) for axis, part in enumerate(region)]
        return [
            (tuple(to for to, _ in axes), tuple(at for _, at in axes))
            for axes in itertools.product(*lines)
        ]

    def gathered(self, name: str, region: Region, read: Read) -> Tensor:
        """The answers of all tiles that reach into a region of the scene, added up; float32."""
        found = torch.zeros(shape_of(region), dtype=torch.float32)
        for to, at in self.pieces(region):
            found[to] += torch.from_numpy(read(name, at))
        return found

    def _outer(self, axis: int, i: int) -> slice:
        n, c, h = self._axis(axis)
        return slice(max(i * c - h, 0), min((i + 1) * c + h, n))

    def _line(self, axis: int, i: int) -> Array:
        n, c, h = self._axis(axis)
        outer = self._outer(axis, i)
        x = np.arange(outer.start, outer.stop) + 0.5
        mine = _ramp(x - i * c, h) if i else np.ones(len(x))
        return np.sqrt(mine - (_ramp(x - (i + 1) * c, h) if (i + 1) * c < n else 0.0))

    def _pieces(self, axis: int, part: slice) -> list[tuple[slice, slice]]:
        n, c, h = self._axis(axis)
        last = min(math.ceil(n / c) - 1, (part.stop - 1 + h) // c)
        found = []
        for i in range(max(0, (part.start - h) // c), last + 1):
            outer = self._outer(axis, i)
            start, stop = max(outer.start, part.start), min(outer.stop, part.stop)
            first = i * self.box[axis] - outer.start
            to = slice(start - part.start, stop - part.start)
            found.append((to, slice(first + start, first + stop)))
        return found

    def _axis(self, axis: int) -> tuple[int, int, int]:
        return self.tiling.scene[axis], self.tiling.core[axis], self.tiling.halo[axis]


def _overlap(scene: Sequence[int], core: Sequence[int], halo: Sequence[int]) -> Overlap:
    """Made anew where it is sent to: three shapes travel, and not all tiles."""
    return Overlap(Tiling(scene, core, halo))


def _ramp(x: Array, halo: int) -> Array:
    """From 0 at −halo to 1 at halo."""
    along = np.clip(x / (2 * max(halo, 0.25)) + 0.5, 0, 1)  # half samples: a step without a halo
    return np.sin(np.pi / 2 * along) ** 2
