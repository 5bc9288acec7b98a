"""Metadata: kept within a format, and what is shared crosses to another one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures.formats import (
    Picture,
    read_picture,
    write_picture,
)

from .samples import INTEGERS, H, W, make_picture, make_pixels

Image = pytest.importorskip("PIL.Image")
ImageCms = pytest.importorskip("PIL.ImageCms")
PngImagePlugin = pytest.importorskip("PIL.PngImagePlugin")
png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")


def rich_exif() -> Any:
    exif = Image.Exif()
    exif[274], exif[270], exif[305], exif[271] = 6, "a caf\xe9", "camera", "maker"
    exif[0x8769] = {0x829A: 0.01, 0x9003: "2024:01:02 03:04:05"}  # ExposureTime, DateTimeOriginal
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.5)}
    return exif


def source(tmp_path: Path, suffix: str, dtype: str) -> Path:
    """A file with everything, written by the packages themselves."""
    path = tmp_path / f"source{suffix}"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = make_pixels("uint8", 3)
    if suffix == ".tif":
        extra = [(274, "H", 1, 6, True), (315, "s", 0, "somebody", True)]
        tifffile.imwrite(
            path, make_pixels(dtype, 3), photometric="rgb", iccprofile=icc, extratags=extra,
            resolution=(118.0, 118.0), resolutionunit="CENTIMETER", description="a cup",
            software="camera", datetime="2024:01:02 03:04:05", metadata=None,
        )  # fmt: skip
        return path
    options: dict[str, Any] = {"exif": rich_exif(), "icc_profile": icc, "dpi": (300, 300)}
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Title", "a cup", zip=True)
        info.add_itxt("Author", "caf\xe9", lang="fr")
        info.add(b"gAMA", struct.pack(">I", 45455))
        info.add(b"tEXt", b"Comment\0late", after_idat=True)
        options["pnginfo"] = info
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("dtype", INTEGERS)
def test_png_metadata(tmp_path: Path, dtype: str) -> None:
    first = source(tmp_path, ".png", "uint8")
    picture = read_picture(first)
    again = Picture(picture.planes, dtype=np.dtype(dtype), metadata=picture.metadata)
    write_picture(tmp_path / "b.png", again)
    assert read_picture(tmp_path / "b.png").dtype == dtype
    with Image.open(first) as a, Image.open(tmp_path / "b.png") as b:
        a.load()
        b.load()
        assert a.text == b.text == {"Title": "a cup", "Author": "caf\xe9", "Comment": "late"}
        assert a.info["dpi"] == b.info["dpi"]
        assert a.info["icc_profile"] == b.info["icc_profile"]
        assert a.info["gamma"] == b.info["gamma"]
        upright(a, b)


def upright(before: Any, after: Any) -> None:
    """The block of EXIF is that of a picture that has been turned by a quarter, and no other."""
    old, new = before.getexif(), after.getexif()
    assert {**old, 274: 1} == dict(new)
    for directory in (0x8769, 0x8825):
        assert old.get_ifd(directory) == new.get_ifd(directory) != {}
    assert after.size == before.size[::-1]


def test_jpeg_metadata(tmp_path: Path) -> None:
    first = source(tmp_path, ".jpg", "uint8")
    write_picture(tmp_path / "b.jpg", read_picture(first))
    with Image.open(first) as a, Image.open(tmp_path / "b.jpg") as b:
        upright(a, b)
        assert a.info["icc_profile"] == b.info["icc_profile"]
        assert a.info["dpi"] == b.info["dpi"] == (300, 300)
        assert a.size == (W, H)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_metadata(tmp_path: Path, dtype: str) -> None:
    first = source(tmp_path, ".tif", dtype)
    write_picture(tmp_path / "b.tif", read_picture(first))
    with tifffile.TiffFile(first) as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        old, new = a.pages[0].tags, b.pages[0].tags
        for tag in (270, 305, 306, 315, 34675):
            assert old[tag].value == new[tag].value
        assert (old[274].value, new[274].value) == (6, 1)
        assert b.pages[0].get_resolution("CENTIMETER") == pytest.approx((118, 118))


@pytest.mark.parametrize("old", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("new", [".png", ".jpg", ".tif"])
def test_shared_metadata_crosses_formats(tmp_path: Path, old: str, new: str) -> None:
    picture = read_picture(source(tmp_path, old, "uint8"))
    write_picture(tmp_path / f"b{new}", picture)
    back = read_picture(tmp_path / f"b{new}")
    assert back.metadata["icc_profile"] == picture.metadata["icc_profile"]
    assert back.metadata["dpi"] == pytest.approx(picture.metadata["dpi"], abs=0.5)
    exif, expected = Image.Exif(), Image.Exif()
    exif.load(back.metadata["exif"])
    expected.load(picture.metadata["exif"])
    assert exif[274] == 1
    assert exif[270] == expected[270]
    if ".tif" not in (old, new):
        for directory in (0x8769, 0x8825):
            assert exif.get_ifd(directory) == expected.get_ifd(directory) != {}


def test_tiff_text_is_kept_byte_for_byte(tmp_path: Path) -> None:
    tags = [(270, "s", 0, "caf\xe9 \u03bb".encode(), True), (271, "s", 0, "maker", True)]
    pixels = make_pixels("uint8", 1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=tags, metadata=None, software=False)
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].description == "caf\xe9 \u03bb"
        assert tif.pages[0].tags[271].value == "maker"


@pytest.mark.parametrize("layout", [{"bigtiff": True}, {"byteorder": ">"}], ids=str)
def test_tiff_tags_of_other_layouts(tmp_path: Path, layout: dict[str, Any]) -> None:
    pixels = make_pixels("uint8", 1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, description="a cup", metadata=None, **layout)
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].description == "a cup"


def test_xmp_crosses_formats(tmp_path: Path) -> None:
    picture = make_picture("uint8", 3)
    tagged = Picture(picture.planes, None, picture.dtype, {"xmp": b"<x:xmpmeta/>"})
    for suffix in (".png", ".jpg", ".tif"):
        for _ in range(2):  # the second time PNG has it as a chunk too
            write_picture(tmp_path / f"a{suffix}", tagged)
            tagged = read_picture(tmp_path / f"a{suffix}")
            assert tagged.metadata["xmp"] == b"<x:xmpmeta/>"
