"""PNG: depths, palettes and transparency, and streams that do not keep to their header."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import (
    read_picture,
)
from unconv.pictures.formats.picture import to_pixels

from .samples import little_memory, make_pixels, png_bytes, png_chunk, refused

Image = pytest.importorskip("PIL.Image")
png = pytest.importorskip("png")


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_16_bit_png_keeps_low_bits(tmp_path: Path, channels: int, interlace: bool) -> None:
    pixels = make_pixels("uint16", channels, h=9, w=11)
    writer = png.Writer(
        11, 9, greyscale=channels == 2, alpha=channels != 3, bitdepth=16, interlace=interlace
    )
    with (tmp_path / "a.png").open("wb") as file:
        writer.write_array(file, pixels.ravel())
    picture = read_picture(tmp_path / "a.png")
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(to_pixels(picture, picture.dtype), pixels)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("transparent", [False, True])
def test_shallow_grey_png(tmp_path: Path, depth: int, transparent: bool) -> None:
    top = 2**depth - 1
    raw = b"\0" + bytes([top << (8 - depth)])  # one row: white, then black
    extra = [png_chunk(b"tRNS", struct.pack(">H", top))] if transparent else []
    (tmp_path / "a.png").write_bytes(png_bytes(2, 1, depth, 0, raw, *extra))
    picture = read_picture(tmp_path / "a.png")
    assert picture.dtype == np.uint8
    assert picture.planes.tolist() == [[[1, 0]]]
    assert picture.alpha is None if not transparent else picture.alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_png(tmp_path: Path, transparent: bool) -> None:
    extra = [png_chunk(b"PLTE", bytes([255, 0, 0, 0, 51, 0]))]
    if transparent:
        extra.append(png_chunk(b"tRNS", bytes([7])))
    (tmp_path / "a.png").write_bytes(png_bytes(2, 1, 8, 3, b"\0\0\1", *extra))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.planes[:, 0], [[1, 0], [0, 0.2], [0, 0]])
    assert picture.alpha is None if not transparent else picture.alpha.tolist() == [[7, 255]]


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (8, 2), (16, 0), (16, 2)])
def test_transparent_colour_becomes_alpha(tmp_path: Path, depth: int, colour: int) -> None:
    channels = 1 if colour == 0 else 3
    pixels = np.zeros((1, 2, channels), np.uint8 if depth == 8 else ">u2")
    pixels[0, 1] = 200 if depth == 8 else 51_234
    extra = png_chunk(b"tRNS", struct.pack(">H", pixels[0, 1, 0]) * channels)
    raw = b"\0" + pixels.tobytes()
    (tmp_path / "a.png").write_bytes(png_bytes(2, 1, depth, colour, raw, extra))
    picture = read_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255 if depth == 8 else 65535, 0]]
    np.testing.assert_array_equal(
        to_pixels(picture, picture.dtype)[..., :-1], pixels.astype(picture.dtype)
    )


def test_png_bomb_is_refused_undecoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(60_000, 60_000, 8, 2, b""))
    refused(tmp_path / "a.png", "60000 x 60000", "3,600,000,000", "max_pixels")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("interlace", [0, 1])
def test_png_stream_is_held_to_its_header(tmp_path: Path, depth: int, interlace: int) -> None:
    header = struct.pack(">IIBBBBB", 8, 8, depth, 2, 0, 0, interlace)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(20_000_000)))
    whole = b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(whole)
    with little_memory():
        refused(tmp_path / "a.png", "or more bytes of pixels", "expected")


def test_animated_png(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.png", "3 frames")
