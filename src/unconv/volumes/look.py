"""What is shown of a volume before and after: planes and projections of a part, never the whole.

The part is a box around the brightest place of the smallest level of the pyramid, so that there is
something to see.  Of the input the box alone is read; of the output the box, and that level, which
holds all of it at a low resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import need
from .sources.source import Batch, whole_region
from .tiling.tiles import Region

SIDE, DEPTH = 256, 96  # samples of the box: along y and x, and along z
_FEW_AROUND = 9  # samples of the smallest level that make a place

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """Pictures of a part of one volume.

    Attributes
    ----------
    axes, spacing : of the volume, 'zyx' or 'yx', and the distances of its samples
    box : the part
    before, after : name of two axes, such as 'yx' -> the plane through the middle of the box
    brightest_before, brightest_after : likewise -> the largest values along the third axis
    overview : the largest values along the first axis of the smallest level, of the whole output
    overview_spacing : of its samples
    """

    axes: str
    spacing: tuple[float, ...]
    box: Region
    before: dict[str, Plane]
    after: dict[str, Plane]
    brightest_before: dict[str, Plane]
    brightest_after: dict[str, Plane]
    overview: Plane
    overview_spacing: tuple[float, float]


def look_at(batch: Batch, out: Path) -> Look:
    """Read what is shown of one batch from the input and from the finished ome-zarr."""
    frame = batch.source.frame
    group = need("zarr").open_group(out, mode="r")
    levels = sorted((key for key in group if key.isdigit()), key=int)

    def stored(level: str) -> Callable[[Region], NDArray[Any]]:
        def read(region: Region) -> NDArray[Any]:
            part = np.asarray(group[level][whole_region(frame.axes, batch.at, region)])
            return part.reshape([r.stop - r.start for r in region])

        return read

    sizes = [n for a, n in zip(frame.axes, group[levels[-1]].shape, strict=True)
             if a not in batch.at]  # fmt: skip
    small = stored(levels[-1])(tuple(slice(0, n) for n in sizes))
    box = _box(small, batch.shape)
    before = batch.read(box).astype(np.float32)
    after = stored(levels[0])(box).astype(np.float32)
    spacing = tuple(frame.voxel.get(a, 1.0) for a in frame.space)
    coarse = [s * n / m for s, n, m in zip(spacing, batch.shape, small.shape, strict=True)]
    return Look(
        axes=frame.space,
        spacing=spacing,
        box=box,
        before=_planes(before, frame.space, _middle),
        after=_planes(after, frame.space, _middle),
        brightest_before=_planes(before, frame.space, np.max),
        brightest_after=_planes(after, frame.space, np.max),
        overview=small.max(0) if small.ndim > 2 else small,
        overview_spacing=(coarse[-2], coarse[-1]),
    )


def _box(small: NDArray[Any], shape: tuple[int, ...]) -> Region:
    """Around the brightest place of the smallest level."""
    from scipy.ndimage import uniform_filter

    known = np.nan_to_num(small.astype(np.float64))
    smooth = uniform_filter(known, [min(_FEW_AROUND, n) for n in known.shape], mode="nearest")
    place = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    sides = (DEPTH, SIDE, SIDE)[-len(shape) :]
    region = []
    for i, coarse, n, side in zip(place, small.shape, shape, sides, strict=True):
        length = min(side, n)
        middle = round((float(i) + 0.5) * n / coarse)
        start = min(max(middle - length // 2, 0), n - length)
        region.append(slice(start, start + length))
    return tuple(region)


def _middle(part: NDArray[Any], axis: int) -> NDArray[Any]:
    return part.take(part.shape[axis] // 2, axis)


def _planes(part: NDArray[Any], axes: str, along: Callable[..., Any]) -> dict[str, Plane]:
    """What is left of a volume along each axis in turn; a plane is itself."""
    if part.ndim == 2:
        return {axes: part}
    return {axes.replace(a, ""): np.asarray(along(part, axis=i)) for i, a in enumerate(axes)}
