"""The output: an ome-zarr with its pyramid, written tile by tile; metadata as the input had them.

Level 0 is cropped from the scene, and each further level averages the one before: both are stages
like any other, so that they too go on after a run was killed.

Source: OME-Zarr 0.5 on Zarr 3 (axes, multiscales, omero).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..sources.frame import SPACE, Frame
from ..sources.source import Source
from ..tiling.stages import Array, Numbers, Read
from ..tiling.tiles import Region, Tile, shape_of
from .store import create_array

TOP = 256
"""Samples an axis of the last level at most."""
_SLAB = 16  # samples of the first axis that are averaged at one time
_TYPES = {"t": "time", "c": "channel"}


@dataclass(frozen=True)
class Crop:
    """Take the part of the scene that the data cover.

    Attributes
    ----------
    read, write : names of arrays
    before : for each axis, how many samples the scene has before the data
    """

    read: str
    write: str
    before: tuple[int, ...]

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The restoration on a tile."""
        region = tuple(
            slice(c.start + b, c.stop + b) for c, b in zip(tile.core, self.before, strict=True)
        )
        part = read(self.read, region).astype(np.float32, copy=False)
        least, most = float(part.min()), float(part.max())
        return {self.write: part}, {"min": least, "max": most}

    def bytes_for(self, tile: Tile) -> int:
        """The part, and a copy of it."""
        return 2 * 4 * int(np.prod(shape_of(tile.core)))


@dataclass(frozen=True)
class Fill:
    """What stands for a batch that could not be restored: NaN."""

    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """NaN on a tile."""
        return {self.write: np.full(shape_of(tile.core), np.nan, np.float32)}, {}

    def bytes_for(self, tile: Tile) -> int:
        """The part."""
        return 4 * int(np.prod(shape_of(tile.core)))


@dataclass(frozen=True)
class Reduce:
    """Average blocks of samples; those at the end of an axis may be smaller.

    Attributes
    ----------
    read, write : names of arrays
    shape : of the array that is read
    factors : the shape of a block
    """

    read: str
    write: str
    shape: tuple[int, ...]
    factors: tuple[int, ...]

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The means of the blocks of a tile."""
        out = np.empty(shape_of(tile.core), np.float32)
        first, *rest = tile.core
        for start in range(first.start, first.stop, _SLAB):  # little memory for large tiles
            stop = min(start + _SLAB, first.stop)
            region = self._source((slice(start, stop), *rest))
            part = read(self.read, region).astype(np.float64)
            for axis, factor in enumerate(self.factors):
                part = _block_means(part, axis, factor)
            out[start - first.start : stop - first.start] = part
        return {self.write: out}, {}

    def bytes_for(self, tile: Tile) -> int:
        """A slab of blocks in float32 and float64 and half of it, and the means of all."""
        shape = shape_of(tile.core)
        blocks = int(np.prod(shape) * np.prod(self.factors))
        return 4 * int(np.prod(shape)) + 16 * blocks * min(_SLAB, shape[0]) // shape[0]

    def _source(self, region: Region) -> Region:
        axes = zip(region, self.factors, self.shape, strict=True)
        return tuple(slice(r.start * f, min(r.stop * f, n)) for r, f, n in axes)


def _block_means(part: Array, axis: int, factor: int) -> Array:
    starts = np.arange(0, part.shape[axis], factor)
    sums = np.add.reduceat(part, starts, axis=axis)
    counts = np.minimum(factor, part.shape[axis] - starts)
    return sums / np.expand_dims(counts, [a for a in range(part.ndim) if a != axis])


def level_shapes(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes of the levels of a volume: axes that are longer than `TOP` are halved, until none is.

    Examples
    --------
    >>> level_shapes((40, 1000, 301))
    [(40, 1000, 301), (40, 500, 151), (40, 250, 151)]
    """
    levels = [tuple(shape)]
    while max(levels[-1]) > TOP:
        levels.append(tuple(-(-n // 2) if n > TOP else n for n in levels[-1]))
    return levels


def make_output(path: Path, source: Source, core: Sequence[int]) -> None:
    """Make the group and the arrays of all levels, where they are not yet."""
    frame = source.frame
    space = [n for a, n in zip(frame.axes, source.shape, strict=True) if a in SPACE]
    for level, shape in enumerate(level_shapes(space)):
        place = path / str(level)
        if (place / "zarr.json").exists():
            continue
        sizes, shards = iter(shape), iter(core)
        pairs = zip(frame.axes, source.shape, strict=True)
        whole = [next(sizes) if a in SPACE else n for a, n in pairs]
        shard = [next(shards) if a in SPACE else 1 for a in frame.axes]
        create_array(place, whole, shard, np.float32, [*frame.axes])


def write_metadata(
    path: Path,
    name: str,
    source: Source,
    ranges: Mapping[int, tuple[float, float]],
    told: Mapping[str, Any],
) -> None:
    """Write what a group of the output says of itself.

    Parameters
    ----------
    path : of the group
    name : of the image
    source : whose axes, voxel size, units and channels it has
    ranges : least and greatest value of each channel
    told : JSON for the attribute ``unconv``: version, parameters, the input's identity, estimates
    """
    attributes = {"ome": _ome(name, source, ranges), "unconv": told}
    text = json.dumps(
        {"zarr_format": 3, "node_type": "group", "attributes": _finite(attributes)},
        indent=2, ensure_ascii=False, allow_nan=False,
    )  # fmt: skip
    (path / "zarr.json").write_text(text, encoding="utf-8")


def _ome(name: str, source: Source, ranges: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    frame = source.frame
    space = [n for a, n in zip(frame.axes, source.shape, strict=True) if a in SPACE]
    levels = level_shapes(space)
    axes: list[dict[str, str]] = []
    for a in frame.axes:
        axes.append({"name": a, "type": _TYPES.get(a, "space")})
        if a in frame.units:
            axes[-1]["unit"] = frame.units[a]
    multiscale = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transforms(frame, levels, level)}
            for level in range(len(levels))
        ],
        "type": "mean",
    }
    return {"version": "0.5", "multiscales": [multiscale]} | _omero(source, ranges)


def _transforms(frame: Frame, levels: list[tuple[int, ...]], level: int) -> list[dict[str, Any]]:
    """Where the samples of a level are: its blocks begin with those of level 0."""
    ratio = dict.fromkeys(frame.axes, 1)
    for before, after in itertools.pairwise(levels[: level + 1]):
        for a, n, m in zip(frame.space, before, after, strict=True):
            ratio[a] *= 2 if m != n else 1
    size = {a: frame.voxel.get(a, 1.0) for a in frame.axes}
    scale = {"type": "scale", "scale": [size[a] * ratio[a] for a in frame.axes]}
    if level == 0:
        return [scale]
    shift = [size[a] * (ratio[a] - 1) / 2 for a in frame.axes]
    return [scale, {"type": "translation", "translation": shift}]


def _omero(source: Source, ranges: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    frame = source.frame
    if "c" not in frame.axes:
        return {}
    count = source.shape[frame.axes.index("c")]
    names = frame.channels if len(frame.channels) == count else [f"{c}" for c in range(count)]
    colours = ["FFFFFF"] if count == 1 else list(itertools.islice(itertools.cycle(
        ["0000FF", "00FF00", "FF0000", "FF00FF", "00FFFF", "FFFF00"]), count))  # fmt: skip
    channels = []
    for c, (label, colour) in enumerate(zip(names, colours, strict=True)):
        least, most = ranges.get(c, (0.0, 1.0))
        window = {"min": least, "max": most, "start": least, "end": most}
        channels.append({"label": label, "color": colour, "window": window, "active": True})
    return {"omero": {"channels": channels}}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become texts."""
    if isinstance(value, Mapping):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else str(float(value))
    return value.item() if isinstance(value, np.generic) else value
