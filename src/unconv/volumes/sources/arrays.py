"""Inputs that are arrays of Python: NumPy's, Zarr's, dask's."""

from __future__ import annotations

import functools
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...numerics.checks import shown
from ..errors import VolumeError
from .frame import check_axes
from .source import Source, content_identity, make_source
from .zarrs import is_zarr_array, zarr_array_source


class Held:
    """An array of this process, which travels with what is pickled."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __call__(self) -> Any:
        """The array."""
        return self.array


class Computed(Held):
    """An array of dask's, of which only what is read is computed, in this thread."""

    def __call__(self) -> Any:
        """What computes a region when it is indexed."""
        return self

    def __getitem__(self, region: Any) -> Any:
        return self.array[region].compute(scheduler="synchronous")


def array_source(array: Any, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """The source of an array of NumPy's, Zarr's or dask's."""
    if is_zarr_array(array):
        return zarr_array_source(array, axes, voxel)
    if type(array).__module__.startswith("dask.array"):
        name = "the array of dask"
        frame = check_axes(name, array.shape, None, axes, voxel)
        chunk = int(np.prod([max(c) for c in array.chunks])) * array.dtype.itemsize
        return make_source(name, array, frame, Computed(array), array.name, chunk_bytes=chunk)
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise VolumeError(
            f"the volume must be a path or an array of NumPy, Zarr or dask, got {shown(array)}."
        )
    name = "the array"
    frame = check_axes(name, array.shape, None, axes, voxel)
    return make_source(name, array, frame, _opener(array), content_identity(array))


def _opener(array: Any) -> Any:
    """Mapped again in another process where it is a mapping here, else sent there."""
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename:
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        return functools.partial(
            np.memmap, Path(array.filename), array.dtype, "r", array.offset, array.shape, order
        )
    return Held(array)
