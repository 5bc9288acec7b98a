"""A first look at a volume: its range and mean, and where it holds no numbers.

A stage like any other, always by the same name: whoever asks again is answered from the first look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import VolumeError
from .stages import Array, Numbers, Read, Runner
from .tiles import Tile, Tiling, place_of, shape_of

SIDE = 96
"""Samples an axis of the tiles of this look, which writes nothing."""
SHOWN = 5  # places in a sentence
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Survey(NamedTuple):
    """What a volume holds.

    Attributes
    ----------
    least, most, mean : of all samples that are finite
    lost : how many are NaN or infinite, and so no data
    remarks : sentences that say where these are
    """

    least: float
    most: float
    mean: float
    lost: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Extent:
    """Range, sum and count of the finite samples of a tile."""

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The numbers of a tile."""
        found = {"sum": 0.0, "count": 0.0, "least": math.inf, "most": -math.inf}
        for plane in read("data", tile.core):  # little memory beside the tile
            part = plane[np.isfinite(plane)]
            if part.size:
                found["sum"] += float(part.sum(dtype=np.float64))
                found["count"] += part.size
                found["least"] = min(found["least"], float(part.min()))
                found["most"] = max(found["most"], float(part.max()))
        return {}, found

    def bytes_for(self, tile: Tile) -> int:
        """The samples, of eight bytes at most, and copies of a plane."""
        return 11 * int(np.prod(shape_of(tile.core)))


def survey(runner: Runner, name: str, axes: str, shape: tuple[int, ...]) -> Survey:
    """Look at a volume, tile by tile.

    Raises
    ------
    VolumeError : it has not one finite sample, or such as float32 does not hold
    """
    tiling = Tiling(shape, (SIDE,) * len(shape), (0,) * len(shape))
    found = runner.run("survey", Extent(), tiling, {})
    count = int(sum(part["count"] for part in found))
    if count == 0:
        raise VolumeError(f"{name} holds only NaN or infinity at {_whole(axes, shape)}.")
    least, most = min(p["least"] for p in found), max(p["most"] for p in found)
    if max(-least, most) > _FLOAT32_MAX:
        raise VolumeError(
            f"{name} holds values from {least:.3g} to {most:.3g}, and the output is float32, which "
            f"ends at {_FLOAT32_MAX:.3g}; divide the values by a number first."
        )
    lost = math.prod(shape) - count
    empty = [t for t, p in zip(tiling.tiles, found, strict=True) if p["count"] == 0]
    remarks = []
    if lost:
        remarks.append(
            f"{lost:,} of the {lost + count:,} samples of {name} are NaN or infinite and taken for "
            "missing"
        )
    if empty:
        places = [place_of(tile.core, axes) for tile in empty[:SHOWN]]
        more = "; …" if len(empty) > SHOWN else ""
        remarks.append(f"{name} holds nothing else at {'; '.join(places)}{more}")
    return Survey(least, most, sum(p["sum"] for p in found) / count, lost, tuple(remarks))


def _whole(axes: str, shape: tuple[int, ...]) -> str:
    return place_of(tuple(slice(0, n) for n in shape), axes)
