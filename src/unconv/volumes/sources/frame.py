"""What the axes of an array mean: time, channel, place; the size of a voxel; names of channels.

Words are those of OME: axes t, c, z, y, x, and units written out ("micrometer").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...numerics.checks import check_number, shown
from ..errors import VolumeError

SPACE = "zyx"


@dataclass(frozen=True)
class Frame:
    """What the axes of an array mean.

    Attributes
    ----------
    axes : a letter for each axis, t, c, z, y or x, each at most once
    voxel : the distance of two samples along an axis, where it is known
    units : of these distances, as OME writes them
    channels : their names, or empty
    """

    axes: str
    voxel: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()

    @property
    def space(self) -> str:
        """The axes along which a volume is restored."""
        return "".join(a for a in SPACE if a in self.axes)

    def batches(self, shape: Sequence[int]) -> Iterator[dict[str, int]]:
        """Each time point and channel of an array of this shape, by itself."""
        others = [a for a in self.axes if a not in SPACE]
        sizes = [range(shape[self.axes.index(a)]) for a in others]
        for at in itertools.product(*sizes):
            yield dict(zip(others, at, strict=True))


def check_axes(
    name: str,
    shape: Sequence[int],
    found: Frame | None,
    axes: str | None,
    voxel: Sequence[float] | None,
) -> Frame:
    """What a file says of its axes, and what the user says, who is believed first.

    The letters are in the order of the file, whatever it is; see `sources.source.Source`.

    found : by the file, or None where it says nothing
    """
    if axes is not None:
        if not isinstance(axes, str) or not _known(axes, len(shape)):
            raise VolumeError(
                f"axes={shown(axes)} does not fit {name}, which has {len(shape)} axes "
                f"{tuple(shape)}; give one of the letters t, c, z, y, x for each, y and x among "
                "them."
            )
        found = replace(found, axes=axes) if found is not None else Frame(axes)
    if found is None:
        if len(shape) not in (2, 3):
            raise VolumeError(
                f"{name} has {len(shape)} axes {tuple(shape)} and does not say which; pass axes, "
                "one of the letters t, c, z, y, x for each, such as 'czyx'."
            )
        found = Frame(SPACE[-len(shape) :])
    if not _known(found.axes, len(shape)):
        raise VolumeError(
            f"{name} says that its {len(shape)} axes are {found.axes!r}, expected some of t, c, z, "
            "y, x, with y and x among them; pass axes to say what they are."
        )
    if voxel is not None:
        return _with_voxel(found, voxel)
    for axis, size in found.voxel.items():
        if axis in SPACE and not (math.isfinite(size) and size > 0):
            raise VolumeError(
                f"{name} says that its samples are {size:g} apart along {axis}, expected a "
                "positive number; pass voxel to say what is right."
            )
    return found


def _known(axes: str, count: int) -> bool:
    return len(axes) == len({*axes}) == count and {"y", "x"} <= {*axes} <= {*"tczyx"}


def _with_voxel(frame: Frame, voxel: Sequence[float]) -> Frame:
    space = [a for a in SPACE if a in frame.axes]
    if isinstance(voxel, str) or not isinstance(voxel, Sequence) or len(voxel) != len(space):
        raise VolumeError(
            f"voxel={shown(voxel)} must have a size for each of the axes {', '.join(space)}."
        )
    sizes = [check_number("voxel", size, positive=True) for size in voxel]
    return replace(frame, voxel={**frame.voxel, **dict(zip(space, sizes, strict=True))})
