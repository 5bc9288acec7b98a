"""Pictures to write and files to read, shared by the tests of the formats."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures.formats import (
    Picture,
    PictureError,
    read_picture,
)
from unconv.pictures.formats.picture import from_pixels

for package in ("PIL.Image", "png", "tifffile", "imagecodecs", "simplejpeg"):
    pytest.importorskip(package)

H, W = 7, 5
INTEGERS = ["uint8", "uint16"]
FLOATS = ["float16", "float32", "float64"]


def make_pixels(dtype: str, channels: int, h: int = H, w: int = W) -> np.ndarray:
    rng = np.random.default_rng(channels)
    if np.dtype(dtype).kind == "u":
        pixels = rng.integers(0, np.iinfo(dtype).max, (h, w, channels), dtype, endpoint=True)
        pixels[0, 0], pixels[-1, -1] = 0, np.iinfo(dtype).max
    else:  # beyond [0, 1] on purpose
        pixels = rng.normal(0, 3, (h, w, channels)).astype(dtype)
    return pixels[..., 0] if channels == 1 else pixels


def make_picture(dtype: str, channels: int, **kwargs: Any) -> Picture:
    return from_pixels(make_pixels(dtype, channels, **kwargs), {})


def same(a: Picture, b: Picture) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a.planes, b.planes)
    assert (a.alpha is None) == (b.alpha is None)
    if a.alpha is not None:
        assert b.alpha is not None
        assert a.alpha.dtype == b.alpha.dtype
        np.testing.assert_array_equal(a.alpha, b.alpha)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()  # sees what zlib, imagecodecs and NumPy hand out
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def refused(path: Path, *words: str, **kwargs: Any) -> None:
    with pytest.raises(PictureError) as info:
        read_picture(path, **kwargs)
    message = str(info.value)
    assert path.name in message
    assert "\n" not in message
    for word in words:
        assert word in message


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bytes(width: int, height: int, depth: int, colour: int, raw: bytes, *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".unconv-")]
