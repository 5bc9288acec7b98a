"""One record of an input, whatever its format: read by regions, never as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VolumeError
from ..tiling.stages import Array
from ..tiling.tiles import Region, place_of, shape_of
from .frame import Frame

ORDER = "tczyx"


@dataclass(eq=False)
class Source:
    """An input whose axes are in the order t, c, z, y, x, whatever they are in the file.

    It can be pickled; what is open stays behind, and is opened again where it is read.

    Attributes
    ----------
    name : for messages
    shape, dtype, frame : of the array in the order t, c, z, y, x; the dtype in native byte order
    opened : a function that can be pickled, without arguments; its value is indexed by slices
    identity : a text that differs where the content does
    stored : the order of the axes in the file
    chunk_bytes : what has to be decoded at least to read one sample
    remarks : sentences for the user
    path : of the file or folder, where it is one
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    frame: Frame
    opened: Callable[[], Any]
    identity: str
    stored: str
    chunk_bytes: int = 0
    remarks: tuple[str, ...] = ()
    path: Path | None = None
    _array: Any = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def read(self, region: Region) -> Array:
        """A region, in native byte order, as a new array."""
        at = dict(zip(self.frame.axes, region, strict=True))
        try:
            if self._array is None:
                self._array = self.opened()
            part = np.asarray(self._array[tuple(at[a] for a in self.stored)])
            if isinstance(self._array, np.ndarray):  # whose parts are views
                part = part.copy()
        except Exception as exc:  # whatever a reader of one of the formats raises
            raise VolumeError(
                f"{self.name} could not be read at {place_of(region, self.frame.axes)} "
                f"({reason_of(exc)}); get a fresh copy of it."
            ) from exc
        part = part.transpose([self.stored.index(a) for a in self.frame.axes])
        if part.shape != shape_of(region):
            raise VolumeError(
                f"{self.name} gave {part.shape} at {place_of(region, self.frame.axes)}, expected "
                f"{shape_of(region)}; it is cut short: get a fresh copy of it."
            )
        return part.astype(part.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Batch:
    """One time point and channel of a source: a volume with the axes of space alone.

    Attributes
    ----------
    source : read by regions
    at : the position along each axis that is none of space
    """

    source: Source
    at: dict[str, int]

    @property
    def label(self) -> str:
        """Its name in messages and in the folder of work: ``t0-c2``, or ``all``."""
        return "-".join(f"{a}{i}" for a, i in self.at.items()) or "all"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the volume, along the axes of `source.frame.space`."""
        pairs = zip(self.source.frame.axes, self.source.shape, strict=True)
        return tuple(n for a, n in pairs if a not in self.at)

    def read(self, region: Region) -> Array:
        """A region of the volume, as a new array."""
        part = self.source.read(whole_region(self.source.frame.axes, self.at, region))
        return np.ascontiguousarray(part.reshape(shape_of(region)))


def whole_region(axes: str, at: dict[str, int], region: Region) -> Region:
    """A region of one batch as one of the array of all of them."""
    rest = iter(region)
    return tuple(slice(at[a], at[a] + 1) if a in at else next(rest) for a in axes)


def make_source(
    name: str,
    array: Any,
    frame: Frame,
    opened: Callable[[], Any],
    identity: str,
    *,
    chunk_bytes: int = 0,
    remarks: tuple[str, ...] = (),
    path: Path | None = None,
) -> Source:
    """The source of what has a shape and a dtype, with its axes put in order.

    frame : in the order of the file
    """
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise VolumeError(f"{name} holds {dtype}; convert it to uint8, uint16, float32 or float64.")
    if 0 in array.shape:
        raise VolumeError(f"{name} has no samples, its shape is {tuple(array.shape)}.")
    axes = "".join(a for a in ORDER if a in frame.axes)
    shape = tuple(int(array.shape[frame.axes.index(a)]) for a in axes)
    return Source(name, shape, dtype, replace(frame, axes=axes), opened, identity,
                  frame.axes, chunk_bytes, remarks, path)  # fmt: skip


def file_identity(path: Path) -> str:
    """Which content a file has, as far as its size and the time of its last change tell."""
    stat = path.stat()
    return f"{stat.st_size} bytes, changed at {stat.st_mtime_ns}"


def content_identity(array: Any, step: int = 1) -> str:
    """Which content an array in memory has; `step` of its first axis are copied at one time."""
    found = hashlib.blake2b(digest_size=16)
    for start in range(0, array.shape[0], step):
        found.update(np.ascontiguousarray(array[start : start + step]).data)
    return found.hexdigest()


def reason_of(exc: Exception) -> str:
    """What went wrong, on one line."""
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text[:200]}" if text else type(exc).__name__
