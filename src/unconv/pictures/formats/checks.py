"""What every format asks: is the package there, is the size allowed, are the pixels finite?"""

from __future__ import annotations

import importlib
import os
from typing import Any, BinaryIO

import numpy as np

from .picture import Array, PictureError


def need(module: str) -> Any:
    """Import a module of the extras `cli` and `fits`, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        package = {"PIL": "pillow"}.get(name := module.partition(".")[0], name)
        extra = {"astropy": "fits"}.get(package, "cli")
        raise PictureError(
            f"this picture needs the package {package}; pip install 'unconv[{extra}]'"
        ) from exc


class StackError(PictureError):
    """A file of several planes where one picture is read.

    planes : how many of what, in words
    """

    def __init__(self, name: str, planes: str) -> None:
        super().__init__(
            f"{name} is a stack of {planes}, expected one picture; restore a volume with unconv "
            "volume, or one plane at a time, each saved to its own file"
        )
        self.planes = planes


def require_finite(pixels: Array, name: str, remedy: str) -> None:
    """Refuse NaN and infinity in pixels (H, W) or (H, W, C)."""
    if pixels.dtype.kind != "f":
        return
    bad = ~np.isfinite(pixels)
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), bad.shape)
        axes = ("row", "column", "channel")[: bad.ndim]
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, first, strict=True))
        raise PictureError(
            f"{name}: {int(bad.sum())} pixel values are NaN or infinite, the first at {where}; "
            f"{remedy}"
        )


def require_size(file: BinaryIO, width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture without pixels or with too many, before it is decoded."""
    if width < 1 or height < 1:
        raise PictureError(f"{file.name} has no pixels ({width} x {height}); get a fresh copy")
    if width * height > max_pixels:
        raise PictureError(
            f"{file.name} is {width} x {height} = {width * height:,} pixels, more than "
            f"max_pixels={max_pixels:,}; raise max_pixels if you trust the file"
        )


def read_bytes(file: BinaryIO, most: int) -> bytes:
    """All that is left of a file, unless the file is larger than its pixels can explain."""
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise PictureError(
            f"{file.name} has {size:,} bytes, and a picture of its size at most {most:,}; save it "
            "again from another program"
        )
    return file.read()
