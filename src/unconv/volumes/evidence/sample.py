"""A few tiles that stand for a volume: drawn without a look, and judged before they are believed.

A mean over tiles stands for the whole volume only if nobody chose them by what is in them, so their
places are drawn: one at random in each cell of a grid of cells.  Then those are left out that say
nothing of the noise, or something wrong:

- *empty*: one value, the smallest there is, fills whole blocks of a good part of them, as outside a
  mosaic or where a program set the background to zero; they hold no noise;
- *saturated*: where the sensor was full there is none either, and edges that no scene has;
- *unseen*: NaN or infinite values.

Cost: as many reads of a tile as are drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tiling.tiles import Region

ReadData = Callable[[Region], NDArray[Any]]
"""A region of the data, within its bounds, as an array."""

_MOST_TILES = 48
BLOCK = 8  # samples along an axis
_EMPTY = 0.2  # of the blocks of a tile, that may be the smallest value and nothing else
_SATURATED, _ANY_SATURATED = 1e-3, 1e-3  # of a tile, and of all, at the largest value
_UNSEEN = 1e-3  # of a tile, that may be no number


@dataclass(frozen=True)
class Sample:
    """Tiles of a volume.

    Attributes
    ----------
    tiles : (N, *side) float64, complete and finite
    drawn : how many were looked at
    left_out : why -> how many of them
    step : distance of neighbouring values, 1 for integers and 0 for floating point
    """

    tiles: NDArray[np.float64]
    drawn: int
    left_out: dict[str, int]
    step: float

    @property
    def doubt(self) -> str | None:
        """A sentence where none was fit, and those that are least unfit were taken."""
        if self.drawn > sum(self.left_out.values()):
            return None
        why = " and ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return (
            f"all {self.drawn} tiles that were looked at are unfit to tell the noise ({why}); give "
            "noise_std"
        )


def draw_sample(read: ReadData, shape: Sequence[int], least: Sequence[int], seed: int) -> Sample:
    """Draw tiles of a volume and leave out those that are unfit.

    Parameters
    ----------
    read : gives a region of the data
    shape : of the data
    least : samples that a tile has along each axis, if there are so many; at most half as many more
    seed : the same one draws the same tiles
    """
    parts = [np.asarray(read(region)) for region in _places(shape, least, seed)]
    integer = parts[0].dtype.kind in "ui"
    tiles = np.stack([part.astype(np.float64) for part in parts])
    unfit = _unfit(tiles)
    left_out = {why: int(which.sum()) for why, which in unfit.items() if which.any()}
    fit = ~np.logical_or.reduce(list(unfit.values()))
    if not fit.any():
        fit = ~unfit["unseen"] if not unfit["unseen"].all() else np.ones(len(tiles), bool)
    kept = tiles[fit]
    if not np.isfinite(kept).any():
        raise ValueError(
            f"none of the {len(tiles)} tiles that were looked at holds a finite value; check how "
            "the volume was read."
        )
    kept = np.where(np.isfinite(kept), kept, np.median(kept[np.isfinite(kept)]))
    return Sample(kept, len(tiles), left_out, float(integer))


def _places(shape: Sequence[int], least: Sequence[int], seed: int) -> list[Region]:
    """One place in each cell of a grid, drawn; tiles do not overlap, so each says something new."""
    cells = [max(1, n // t) for n, t in zip(shape, least, strict=True)]
    side = [
        n if n < t else min(n // count, t + t // 2)
        for n, t, count in zip(shape, least, cells, strict=True)
    ]
    while math.prod(cells) > _MOST_TILES:  # the axis with most cells gets fewer
        longest = cells.index(max(cells))
        cells[longest] = min(cells[longest] - 1, math.ceil(0.8 * cells[longest]))
    draw = np.random.default_rng(seed)
    places = []
    for cell in itertools.product(*(range(count) for count in cells)):
        region = []
        for i, n, t, count in zip(cell, shape, side, cells, strict=True):
            start = int(draw.integers(i * n // count, (i + 1) * n // count - t + 1))
            region.append(slice(start, start + t))
        places.append(tuple(region))
    return places


def _unfit(tiles: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Why -> which tiles."""
    axes = tuple(range(1, tiles.ndim))
    finite = np.isfinite(tiles)
    unseen = (~finite).mean(axes) > _UNSEEN
    known = tiles[~unseen] if not unseen.all() else tiles
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    empty = np.stack([(of_blocks(tile, np.max) <= low).mean() for tile in tiles]) > _EMPTY
    at_top = (tiles == high).mean(axes)
    saturated = (at_top > _SATURATED) & (float(at_top.mean()) > _ANY_SATURATED) & ~empty
    return {"empty": empty & ~unseen, "saturated": saturated & ~unseen, "unseen": unseen}


def of_blocks(tile: NDArray[np.float64], what: Callable[..., Any]) -> NDArray[np.float64]:
    """A number for each whole block of a tile: its mean, its largest value."""
    size = [min(BLOCK, n) for n in tile.shape]
    count = [n // b for n, b in zip(tile.shape, size, strict=True)]
    whole = tile[tuple(slice(0, c * b) for c, b in zip(count, size, strict=True))]
    split = whole.reshape([n for pair in zip(count, size, strict=True) for n in pair])
    return np.asarray(what(split, axis=tuple(range(1, split.ndim, 2))))
