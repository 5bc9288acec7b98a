"""One channel or one time point of an input, as an input without that axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...numerics.checks import shown
from ..errors import VolumeError
from ..tiling.tiles import Region
from .source import Source

_NAMES = {"c": "channel", "t": "time"}


def selected(source: Source, *, channel: int | str | None, time: int | None) -> Source:
    """A source of one channel, one time point, or both; of all of them where neither is given.

    Parameters
    ----------
    source : the input
    channel : counted from 0, or its name if the file has names
    time : counted from 0

    Raises
    ------
    VolumeError : there is no such channel or time point
    """
    wanted = {"c": channel, "t": time}
    at = {
        axis: _position(source, axis, value) for axis, value in wanted.items() if value is not None
    }
    if not at:
        return source
    axes = source.frame.axes
    kept = [axis for axis in axes if axis not in at]
    told = ", ".join(f"{_NAMES[axis]} {i}" for axis, i in at.items())
    frame = replace(
        source.frame,
        axes="".join(kept),
        voxel=_without(source.frame.voxel, at),
        units=_without(source.frame.units, at),
        channels=() if "c" in at else source.frame.channels,
    )
    return replace(
        source,
        shape=tuple(source.shape[axes.index(axis)] for axis in kept),
        frame=frame,
        opened=functools.partial(_Part, source.opened, source.stored, at),
        identity=f"{source.identity}; {told}",
        stored="".join(axis for axis in source.stored if axis not in at),
        remarks=(*source.remarks, f"{told} of {source.name} alone is restored"),
        _array=None,
    )


class _Part:
    """An array of which one position along some axes is all that is seen."""

    def __init__(self, opened: Callable[[], Any], stored: str, at: Mapping[str, int]) -> None:
        self.array, self.stored, self.at = opened(), stored, at

    def __getitem__(self, region: Region) -> Any:
        rest = iter(region)
        at = self.at
        whole = tuple(slice(at[a], at[a] + 1) if a in at else next(rest) for a in self.stored)
        dropped = tuple(i for i, axis in enumerate(self.stored) if axis in at)
        return np.array(self.array[whole]).squeeze(dropped)  # a copy: parts of arrays are views


def _without(values: Mapping[str, Any], at: Mapping[str, int]) -> dict[str, Any]:
    return {axis: value for axis, value in values.items() if axis not in at}


def _position(source: Source, axis: str, value: int | str) -> int:
    """Where a channel or time point is."""
    name, names = _NAMES[axis], source.frame.channels if axis == "c" else ()
    if axis not in source.frame.axes:
        raise VolumeError(
            f"{name}={shown(value)} of {source.name}, whose axes are {source.frame.axes}: it has "
            f"one; leave {name} out."
        )
    if isinstance(value, str) and value in names:
        return names.index(value)
    count = source.shape[source.frame.axes.index(axis)]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        named = f" or one of {', '.join(names)}" if any(names) else ""
        raise VolumeError(
            f"{name}={shown(value)} is none of {source.name}; give 0 to {count - 1}{named}."
        )
    return value
