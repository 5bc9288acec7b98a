"""A scene dealt to tiles: cores, which partition it, and what surrounds each of them.

A pass over a volume looks at one tile after the other: it reads `outer`, the core with its halo,
and writes `core`.  Cores begin at multiples of one size, so that each of them is one shard of a
stored array and no two tasks ever write to one file.  The last core of an axis may be smaller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Region = tuple[slice, ...]
"""A box of samples: a slice with start and stop for each axis."""


@dataclass(frozen=True)
class Tile:
    """One part of a scene.

    Attributes
    ----------
    index : its number in `Tiling.tiles`
    core : the samples that it alone writes, in coordinates of the scene
    outer : the core and its halo, clipped to the scene
    true_sides : for each axis, whether `outer` ends where the scene ends (before, after)
    """

    index: int
    core: Region
    outer: Region
    true_sides: tuple[tuple[bool, bool], ...]


class Tiling:
    """A scene dealt to tiles, in C order.

    Parameters
    ----------
    scene : its shape
    core : the shape of a core; the last one of an axis is what is left
    halo : for each axis, how many samples `outer` has on either side of the core

    Examples
    --------
    >>> tiling = Tiling((10, 6), (4, 6), (1, 2))
    >>> [tile.core[0] for tile in tiling.tiles]
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    >>> tiling.tiles[1].outer, tiling.tiles[1].true_sides
    ((slice(3, 9, None), slice(0, 6, None)), ((False, False), (True, True)))
    """

    def __init__(self, scene: Sequence[int], core: Sequence[int], halo: Sequence[int]) -> None:
        self.scene = tuple(scene)
        self.core = tuple(core)
        self.halo = tuple(halo)
        lines = [_line(*axis) for axis in zip(self.scene, self.core, self.halo, strict=True)]
        self.tiles = tuple(
            Tile(index, *(tuple(part) for part in zip(*axes, strict=True)))
            for index, axes in enumerate(itertools.product(*lines))
        )


def within(inner: Region, outer: Region) -> Region:
    """A region in the coordinates of one that holds it.

    Examples
    --------
    >>> within((slice(4, 6),), (slice(3, 9),))
    (slice(1, 3, None),)
    """
    return tuple(
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )


def shape_of(region: Region) -> tuple[int, ...]:
    """How many samples a region has along each axis.

    Examples
    --------
    >>> shape_of((slice(2, 5), slice(0, 7)))
    (3, 7)
    """
    return tuple(axis.stop - axis.start for axis in region)


def place_of(region: Region, axes: Sequence[str]) -> str:
    """A region in words: ``z 0-96, y 96-192``, the last sample excluded.

    Examples
    --------
    >>> place_of((slice(0, 96), slice(96, 192)), "yx")
    'y 0-96, x 96-192'
    """
    return ", ".join(f"{a} {r.start}-{r.stop}" for a, r in zip(axes, region, strict=True))


def _line(n: int, core: int, halo: int) -> list[tuple[slice, slice, tuple[bool, bool]]]:
    """The core, outer and true sides of the tiles along one axis."""
    found = []
    for i in range(math.ceil(n / core)):
        start, stop = i * core, min((i + 1) * core, n)
        outer = slice(max(start - halo, 0), min(stop + halo, n))
        found.append((slice(start, stop), outer, (outer.start == 0, outer.stop == n)))
    return found
