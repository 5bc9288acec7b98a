"""TIFF: layouts, compressions and pages, and what is refused."""

from __future__ import annotations

import contextlib
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures.formats import (
    PictureError,
    read_picture,
    write_picture,
)
from unconv.pictures.formats.picture import to_pixels

from .samples import INTEGERS, little_memory, make_picture, make_pixels, refused, same

Image = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

STREAMS = ["lzw", "zlib", "packbits", "lzma", "zstd"]


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "layout",
    [
        {"planarconfig": "separate"},
        {"tile": (16, 16)},
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 2},
        {"rowsperstrip": 3, "planarconfig": "separate", "compression": "zlib"},
    ],
    ids=str,
)
def test_tiff_layouts(tmp_path: Path, dtype: str, channels: int, layout: dict[str, Any]) -> None:
    pixels = make_pixels(dtype, channels)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **extra, **layout)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(to_pixels(picture, picture.dtype), pixels)
    write_picture(tmp_path / "b.tif", picture)
    same(picture, read_picture(tmp_path / "b.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert (tif.pages[0].compression != 1) == ("compression" in layout)


def test_tiff_premultiplied_alpha_stays_so(tmp_path: Path) -> None:
    pixels = make_pixels("uint8", 4)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].extrasamples == (1,)
        np.testing.assert_array_equal(tif.asarray(), pixels)


def test_tiff_white_is_zero(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.uint8([[0, 255, 51]]), photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").planes, [[[1, 0, 0.8]]])
    pixels = np.uint8([[[0, 7], [255, 8], [51, 9]]])
    options = {"photometric": "miniswhite", "planarconfig": "contig", "extrasamples": [2]}
    tifffile.imwrite(tmp_path / "b.tif", pixels, **options)
    picture = read_picture(tmp_path / "b.tif")
    np.testing.assert_array_equal(picture.planes, [[[1, 0, 0.8]]])
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[7, 8, 9]]


def test_tiff_compressed_strip_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels("uint8", 1, h=64, w=64), compression="zlib")
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "cut short")


def test_tiff_with_an_empty_strip(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels("uint8", 1), rowsperstrip=2)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags["StripByteCounts"].overwrite([10, 0, 10, 5])
    refused(path, "only 3 of its 4 strips")


@pytest.mark.parametrize("first", [False, True])
def test_tiff_preview_is_not_a_page(tmp_path: Path, first: bool) -> None:
    pixels = make_pixels("uint16", 1)
    pages = [(pixels, 0), (pixels[:2, :2], 1)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page, subfiletype in reversed(pages) if first else pages:
            tif.write(page, subfiletype=subfiletype, metadata=None)
    same(make_picture("uint16", 1), read_picture(tmp_path / "a.tif"))


def test_tiff_ring_of_pages_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint8), metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, second = (page.offset for page in tif.pages)
        entries = len(tif.pages[1].tags)
    whole = bytearray(path.read_bytes())
    after = second + 2 + 12 * entries  # where the second directory points to the next
    whole[after : after + 4] = struct.pack("<I", first)
    path.write_bytes(whole)
    refused(path, "pages")


@pytest.mark.parametrize("imagej", [False, True])
def test_tiff_stack(tmp_path: Path, imagej: bool) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 8, 9), np.uint8), imagej=imagej)
    refused(tmp_path / "a.tif", "stack of 6 pages", "unconv volume", "one plane at a time")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("colours", "extra"), [(1, 1), (1, 2), (1, 4), (3, 1), (3, 2)])
def test_channels_that_are_no_alpha_are_planes(
    tmp_path: Path, colours: int, extra: int, planar: str
) -> None:
    """Two channels of a microscope are no grey picture with alpha."""
    planes = make_pixels("uint16", colours + extra).transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", planes if planar == "separate" else np.moveaxis(planes, 0, -1),
        photometric="rgb" if colours == 3 else "minisblack", planarconfig=planar,
        extrasamples=[0] * extra, metadata=None,
    )  # fmt: skip
    picture = read_picture(tmp_path / "a.tif")
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.planes, planes / 65535)
    write_picture(tmp_path / "b.tif", picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        page = tif.pages[0]
        assert page.extrasamples == (0,) * extra
        assert (page.photometric, page.planarconfig) == (
            2 if colours == 3 else 1, 2 if planar == "separate" else 1,
        )  # fmt: skip
    same(picture, read_picture(tmp_path / "b.tif"))


def test_planar_grey_with_alpha(tmp_path: Path) -> None:
    pixels = make_pixels("uint8", 2)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels.transpose(2, 0, 1), photometric="minisblack",
        planarconfig="separate", extrasamples=["unassalpha"], metadata=None,
    )  # fmt: skip
    same(make_picture("uint8", 2), read_picture(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("pixels", "options", "word"),
    [
        (np.zeros((8, 8), np.int16), {}, "int16"),
        (np.zeros((8, 8), np.uint32), {}, "uint32"),
        (np.zeros((8, 8), np.complex64), {}, "complex64"),
        (np.zeros((8, 8), bool), {}, "bool"),
        (np.zeros((8, 8, 4), np.uint8), {"photometric": "separated"}, "SEPARATED"),
        (
            np.zeros((8, 8), np.uint8),
            {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
            "PALETTE",
        ),
        (
            np.zeros((8, 8, 5), np.uint8),
            {"photometric": "rgb", "planarconfig": "contig", "extrasamples": [0, 2]},
            "5 channels",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tiff_kinds(tmp_path: Path, pixels: np.ndarray, options: dict[str, Any], word: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    refused(tmp_path / "a.tif", word, "convert it")


@pytest.mark.parametrize("compression", STREAMS)
def test_tiff_compressions(tmp_path: Path, compression: str) -> None:
    pytest.importorskip("imagecodecs")
    pixels = make_pixels("uint16", 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression=compression)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(to_pixels(picture, picture.dtype), pixels)


@pytest.mark.parametrize("compression", STREAMS)
def test_tiff_stream_is_held_to_its_header(tmp_path: Path, compression: str) -> None:
    codec = pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    if compression == "packbits":  # its encoder takes minutes
        bomb = b"\x81\0" * 160_000
    else:
        bomb = getattr(codec, f"{compression}_encode")(bytes(20_000_000))
    tifffile.imwrite(path, iter([bomb]), shape=(8, 8), dtype="uint8", compression=compression)
    with little_memory(), contextlib.suppress(PictureError):  # some decoders stop when full
        read_picture(path)


def test_tiff_of_jpeg(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].photometric == 6  # YCbCr
    np.testing.assert_allclose(to_pixels(read_picture(path), np.dtype("uint8")), pixels, atol=3)
    size = struct.pack(">HH", 16, 24)
    whole = path.read_bytes()
    assert whole.count(size) == 1
    path.write_bytes(whole.replace(size, struct.pack(">HH", 60_000, 60_000)))
    refused(path, "60000 x 60000", "max_pixels")


def test_compressed_tiff_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(make_pixels("uint8", 3)).save(tmp_path / "a.tif", compression="tiff_lzw")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)  # as if it were not installed
    with pytest.raises(PictureError, match=r"imagecodecs; pip install 'unconv\[cli\]'"):
        read_picture(tmp_path / "a.tif")
