"""A drawn volume as of a microscope, of any size: beads, filaments and shells.

    scene = Phantom((96, 256, 256), voxel=(0.3, 0.1, 0.1))
    part = scene.draw((slice(0, 32), slice(0, 64), slice(0, 64)))    # float32, brightest 1

Objects are drawn in micrometres: beads of 0.2 to 0.4 in radius, curved filaments of 0.12, shells of
1 to 2.5 with a wall of 0.2.  Their number grows with the volume and their places follow from the
seed, so that a region is the same whoever draws it, and a volume larger than memory is drawn part
by part.  Surfaces fall over one voxel, so that nothing depends on where the samples lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIDE = 6.0
"""Micrometres, of the cubes that the volume is dealt to: each holds objects of its own seed."""
BEADS, FILAMENTS, SHELLS = 6, 2, 1
"""In a cube, on average."""


class Solid(NamedTuple):
    """All points whose distance from a chain of segments lies between `inner` and `outer`."""

    points: Array  # (corners, 3), micrometres
    inner: float
    outer: float
    bright: float

    def box(self, margin: float) -> tuple[Array, Array]:
        """The least and the largest coordinates that it touches."""
        reach = self.outer + margin
        return self.points.min(0) - reach, self.points.max(0) + reach

    def distance(self, grid: Sequence[Array]) -> Array:
        """Of the points of a grid, one array of coordinates an axis, to the chain."""
        best: Array = np.full(np.broadcast_shapes(*(g.shape for g in grid)), np.inf)
        if len(self.points) == 1:
            return _length([g - c for g, c in zip(grid, self.points[0], strict=True)])
        for start, end in zip(self.points[:-1], self.points[1:], strict=True):
            along = end - start
            offset = [g - c for g, c in zip(grid, start, strict=True)]
            share = sum(o * a for o, a in zip(offset, along, strict=True)) / (along @ along)
            share = np.clip(share, 0, 1)
            nearest = [o - share * a for o, a in zip(offset, along, strict=True)]
            best = np.minimum(best, _length(nearest))
        return best


class Phantom:
    """A scene of this many voxels.

    Parameters
    ----------
    shape : (depth, height, width)
    voxel : micrometres along each axis
    seed : of places, sizes and brightness
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        voxel: tuple[float, float, float] = (0.3, 0.1, 0.1),
        *,
        seed: int = 0,
    ) -> None:
        self.shape, self.voxel, self.seed = shape, np.array(voxel), seed

    def draw(self, region: tuple[slice, slice, slice] | None = None) -> NDArray[np.float32]:
        """A region, slices with start and stop, or all of it; float32 from 0 to 1."""
        depth, height, width = self.shape
        region = region or (slice(0, depth), slice(0, height), slice(0, width))
        start = np.array([s.start for s in region])
        stop = np.array([s.stop for s in region])
        volume = np.zeros(stop - start, np.float32)
        for solid in self._solids(start * self.voxel, stop * self.voxel):
            least, most = solid.box(self.voxel.max())
            a = np.maximum(np.floor(least / self.voxel).astype(int), start)
            b = np.minimum(np.ceil(most / self.voxel).astype(int) + 1, stop)
            if (a >= b).any():
                continue
            axes = [np.arange(i, j) * v for i, j, v in zip(a, b, self.voxel, strict=True)]
            part = volume[tuple(slice(i, j) for i, j in zip(a - start, b - start, strict=True))]
            np.maximum(part, self._drawn(solid, axes), out=part)
        return volume

    def _drawn(self, solid: Solid, axes: list[Array]) -> Array:
        """Its brightness on a grid; the share of a voxel that lies within it."""
        distance = solid.distance(np.meshgrid(*axes, indexing="ij", sparse=True))
        soft = float(np.exp(np.log(self.voxel).mean()))
        filled = np.clip((solid.outer - distance) / soft + 0.5, 0, 1)
        hollow = np.clip((solid.inner - distance) / soft + 0.5, 0, 1)
        return solid.bright * (filled - 0.9 * hollow * (solid.inner > 0))

    def _solids(self, least: Array, most: Array) -> list[Solid]:
        """Those of all cubes that may reach into a box; an object reaches less than a cube far."""
        first = np.floor(least / SIDE).astype(int) - 1
        last = np.ceil(most / SIDE).astype(int) + 1
        cubes = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), -1)
        return [solid for cube in cubes.reshape(-1, 3) for solid in self._in_cube(cube)]

    def _in_cube(self, cube: NDArray[np.int64]) -> list[Solid]:
        random = np.random.default_rng([self.seed, *(int(c) + 2**20 for c in cube)])
        corner, found = cube * SIDE, []
        for _ in range(random.poisson(BEADS)):
            at = corner + SIDE * random.random((1, 3))
            found.append(Solid(at, 0.0, 0.2 + 0.2 * random.random(), 0.3 + 0.7 * random.random()))
        for _ in range(random.poisson(FILAMENTS)):
            points = _curve(random, corner + SIDE * random.random(3))
            found.append(Solid(points, 0.0, 0.12, 0.3 + 0.5 * random.random()))
        for _ in range(random.poisson(SHELLS)):
            at, outer = corner + SIDE * random.random((1, 3)), 1 + 1.5 * random.random()
            found.append(Solid(at, outer - 0.2, outer, 0.2 + 0.3 * random.random()))
        return found


def _curve(random: np.random.Generator, start: Array, steps: int = 11) -> Array:
    """A chain of steps of half a micrometre whose direction turns slowly."""
    direction, points = random.normal(size=3), [start]
    for _ in range(steps):
        direction = direction / math.sqrt(direction @ direction) + 0.3 * random.normal(size=3)
        points.append(points[-1] + 0.5 * direction / math.sqrt(direction @ direction))
    return np.array(points)


def _length(parts: Sequence[Array]) -> Array:
    return np.sqrt(sum((p * p for p in parts), np.zeros(())))
