"""Pictures that were stored sideways: upright when read, as by Pillow, and written so."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures.formats import read_picture, write_picture
from unconv.pictures.formats.orientation import upright

from .samples import make_pixels

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
tifffile = pytest.importorskip("tifffile")

ALL = range(1, 9)


def exif_of(orientation: int, **more: Any) -> Any:
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "maker"
    exif.get_ifd(0x8769).update({40962: 5, 40963: 7, 37500: b"a maker's note with offsets"})
    return exif


def sideways(path: Path, orientation: int) -> Path:
    """7 rows and 5 columns as stored."""
    pixels = make_pixels("uint8", 3)
    if path.suffix == ".tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, pixels, photometric="rgb", extratags=tags, metadata=None)
    else:
        options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
        dpi = (300, 150)
        Image.fromarray(pixels).save(path, exif=exif_of(orientation), dpi=dpi, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", ALL)
def test_upright_as_pillow_has_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = sideways(tmp_path / f"a{suffix}", orientation)
    expected = make_pixels("uint8", 3)
    if suffix == ".jpg":
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
    else:
        expected = np.asarray(_turned(Image.fromarray(expected), orientation))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.planes * 255, np.moveaxis(expected, -1, 0))
    write_picture(tmp_path / f"b{suffix}", picture)
    again = read_picture(tmp_path / f"b{suffix}")
    if suffix != ".jpg":
        np.testing.assert_array_equal(again.planes, picture.planes)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.getexif()[274] == 1
        assert image.size == expected.shape[1::-1]
        if suffix != ".tif":
            assert image.getexif()[271] == "maker"
            inner = image.getexif().get_ifd(0x8769)
            assert inner[37500] == b"a maker's note with offsets"
            assert (inner[40962], inner[40963]) == image.size
            assert image.info["dpi"] == pytest.approx(
                (300, 150) if orientation < 5 else (150, 300), abs=1
            )


def _turned(image: Any, orientation: int) -> Any:
    image.getexif()[274] = orientation
    return ImageOps.exif_transpose(image)


def test_tables_of_a_jpeg_are_turned_with_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    tables = [[*range(1, 65)]] * 2
    Image.fromarray(make_pixels("uint8", 3, 16, 16)).save(path, exif=exif_of(6), qtables=tables)
    kept = read_picture(path).metadata["jpeg"]["qtables"]
    with Image.open(path) as image:
        stored = image.quantization
    for k, table in stored.items():
        np.testing.assert_array_equal(np.reshape(kept[k], (8, 8)), np.reshape(table, (8, 8)).T)


def test_thumbnails_show_old_pixels_and_are_unlinked(tmp_path: Path) -> None:
    inner, thumbnail = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    small = thumbnail.getvalue()
    # a block of one entry, and a second directory with a thumbnail behind it
    inner.write(b"II*\0" + struct.pack("<I", 8))
    inner.write(struct.pack("<HHHIHH", 1, 274, 3, 1, 3, 0) + struct.pack("<I", 26))
    entries = struct.pack("<HHII", 513, 4, 1, 56) + struct.pack("<HHII", 514, 4, 1, len(small))
    inner.write(struct.pack("<H", 2) + entries + struct.pack("<I", 0) + small)
    block = inner.getvalue()
    Image.fromarray(make_pixels("uint8", 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get_ifd(-1) != {}
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[274] == 1
        assert image.getexif().get_ifd(-1) == {}


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"]
)
def test_a_block_that_cannot_be_read_is_left_alone(exif: bytes) -> None:
    pixels = make_pixels("uint8", 3)
    turned, metadata = upright(pixels, {"exif": exif})
    assert turned is pixels
    assert metadata == {"exif": exif}


def test_other_places_that_say_it() -> None:
    pixels = make_pixels("uint8", 1)
    text = b'<rdf:Description tiff:Orientation="6" a="6"/>'
    _, metadata = upright(pixels, {"xmp": text, "png_chunks": ((b"iTXt", text),)})
    assert metadata["xmp"] == text.replace(b'="6" a', b'="1" a')
    assert metadata["png_chunks"] == ((b"iTXt", metadata["xmp"]),)
