"""A first look at a volume: its range and mean, and whether all of it is numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import VolumeError
from .stages import Array, Numbers, Read, Runner
from .tiles import Tile, Tiling, place_of, shape_of

SIDE = 128
"""Samples an axis of the tiles of this look, which writes nothing."""


class Survey(NamedTuple):
    """What a volume holds.

    Attributes
    ----------
    least, most, mean : of all samples
    """

    least: float
    most: float
    mean: float


@dataclass(frozen=True)
class Look:
    """Range, sum and count of samples of a tile; refuses those that are no numbers.

    Attributes
    ----------
    name : of the input
    axes : of the volume
    """

    name: str
    axes: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The numbers of a tile."""
        part = read("data", tile.core)
        bad = 0 if part.dtype.kind != "f" else int(np.count_nonzero(~np.isfinite(part)))
        if bad:
            which = "only" if bad == part.size else f"{bad:,} of {part.size:,} values that are"
            raise VolumeError(
                f"{self.name} holds {which} NaN or infinity at {place_of(tile.core, self.axes)}; "
                "replace them by numbers, or crop the volume."
            )
        numbers = {"least": part.min(), "most": part.max(), "sum": part.sum(dtype=np.float64)}
        return {}, numbers | {"count": part.size}

    def bytes_for(self, tile: Tile) -> int:
        """The samples twice, and which of them are finite."""
        return 18 * int(np.prod(shape_of(tile.core)))


def survey(runner: Runner, name: str, axes: str, shape: tuple[int, ...]) -> Survey:
    """Look at a volume, tile by tile."""
    tiling = Tiling(shape, (SIDE,) * len(shape), (0,) * len(shape))
    found = runner.run("survey", Look(name, axes), tiling, {})
    total, count = (sum(part[key] for part in found) for key in ("sum", "count"))
    least, most = min(p["least"] for p in found), max(p["most"] for p in found)
    return Survey(least, most, total / count)
