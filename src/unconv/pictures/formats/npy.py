"""NPY, by NumPy; never unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .checks import StackError, require_size
from .picture import DTYPES, Array, PictureError

_LARGEST_HEADER = 10_000  # bytes, as NumPy has it; a picture's has a hundred


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, C), and the metadata."""
    start = file.read(12)  # since version 2 a header may have 4 GB, and NumPy would read them
    if start[6:7] > b"\1" and (size := int.from_bytes(start[8:], "little")) > _LARGEST_HEADER:
        raise ValueError(f"a header of {size:,} bytes")
    # Mapping reads the header, checks the file's length, and cannot unpickle.
    pixels = np.lib.format.open_memmap(file.name, mode="r")
    shape = pixels.shape
    if pixels.dtype.name not in DTYPES:
        raise PictureError(
            f"{file.name} holds {pixels.dtype}; convert it to one of {', '.join(DTYPES)}"
        )
    planes = math.prod(shape[:-2])
    if len(shape) in (3, 4) and planes > 4 and shape[-1] > 16:  # fewer may well be channels
        raise StackError(file.name, f"{planes} planes")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"{file.name} has shape {shape}, expected (H, W) or (H, W, 1 | 3 | 4); move the axes"
        )
    require_size(file, shape[1], shape[0], max_pixels)
    return np.array(pixels), {"npy": {"channel_axis": True}} if shape[2:] == (1,) else {}


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, and the metadata."""
    if pixels.ndim == 2 and metadata.get("npy", {}).get("channel_axis"):
        pixels = pixels[..., np.newaxis]
    np.lib.format.write_array(file, np.ascontiguousarray(pixels), allow_pickle=False)
