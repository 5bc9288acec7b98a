"""Damaged files: what is read is what another reader reads; all else is refused in a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import read_picture, write_picture
from unconv.pictures.formats.picture import from_pixels, to_pixels

from .samples import (
    little_memory,
    make_pixels,
    png_bytes,
    png_chunk,
    refused,
)

Image = pytest.importorskip("PIL.Image")
imagecodecs = pytest.importorskip("imagecodecs")
png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("simplejpeg")

END = b"\xff\xd9"  # of a JPEG


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "NPY", "FITS"])
@pytest.mark.parametrize("draws", [200, pytest.param(4000, marks=pytest.mark.slow)])
def test_damage_is_refused_or_changes_nothing_unseen(
    tmp_path: Path, capfd: pytest.CaptureFixture, name: str, draws: int
) -> None:
    kinds = pytest.importorskip("tests.mutants.kinds")
    rng, refusals = np.random.default_rng(7), 0
    for _ in range(draws):
        refusals += kinds.judged(kinds.KINDS[name], rng, tmp_path) is not None
        assert capfd.readouterr() == ("", "")
    assert draws / 5 < refusals < draws


# Kinds of damage, one by one


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(
    ("depth", "colour"),
    [(1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (2, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)],
)
@pytest.mark.parametrize("more", [-1, 1])
def test_png_pixels_are_counted_to_the_byte(
    tmp_path: Path, depth: int, colour: int, interlace: int, more: int
) -> None:
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    writer = png.Writer(
        7, 6, bitdepth=depth, interlace=bool(interlace),
        **({"palette": [(1, 2, 3)] * 2**depth} if colour == 3 else
           {"greyscale": colour in (0, 4), "alpha": colour in (4, 6)}),
    )  # fmt: skip
    file = io.BytesIO()
    writer.write_array(file, [0] * (7 * 6 * samples))
    chunks = [*png.Reader(bytes=file.getvalue()).chunks()]
    raw = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    wrong = zlib.compress(raw + b"\0" if more > 0 else raw[:-1])
    whole = file.getvalue()[:8] + b"".join(
        png_chunk(bytes(name), wrong if name == b"IDAT" else bytes(data)) for name, data in chunks
    )
    (tmp_path / "a.png").write_bytes(whole)
    refused(tmp_path / "a.png", "bytes of pixels, expected", f"{len(raw):,}")


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (8, 2), (16, 0), (16, 2), (16, 6)])
def test_png_that_claims_more_than_it_has_takes_nothing(
    tmp_path: Path, depth: int, colour: int
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(52, 1_000_000, depth, colour, bytes(6_000_000)))
    assert path.stat().st_size < 6_000
    with little_memory():
        refused(path, "6,000,000 bytes of pixels, expected")


def test_png_out_of_order(tmp_path: Path) -> None:
    path, raw = tmp_path / "a.png", b"\0\0\1"
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    palette, clear = png_chunk(b"PLTE", bytes(6)), png_chunk(b"tRNS", b"\0\1")
    for extra, colour, word in [
        ([header], 0, "IHDR IHDR IDAT IEND"),
        ([], 3, "its palette has 0 bytes"),
        ([png_chunk(b"PLTE", bytes(5))], 3, "its palette has 5 bytes"),
        ([palette, palette], 3, "PLTE PLTE"),
        ([clear, palette], 3, "tRNS PLTE"),
        ([palette, png_chunk(b"tRNS", bytes(3))], 3, "its transparency has 3 bytes"),
        ([clear], 4, "its transparency has 2 bytes"),
        ([png_chunk(b"NEWS", b"")], 0, "NEWS"),
    ]:
        samples = raw if colour != 4 else b"\0\0\1\0\1"
        path.write_bytes(png_bytes(2, 1, 8, colour, samples, *extra))
        refused(path, word)
    whole = png_bytes(2, 1, 8, 0, raw)
    path.write_bytes(whole.replace(b"IEND", b"IENE"))
    refused(path)
    stream = bytearray(zlib.compress(raw))
    stream[-1] ^= 1
    right = png_chunk(b"IDAT", zlib.compress(raw))
    assert right in whole
    path.write_bytes(whole.replace(right, png_chunk(b"IDAT", bytes(stream))))
    refused(path, "incorrect data check")


def test_png_transparency_of_few_bits_is_read_from_the_lowest(tmp_path: Path) -> None:
    key = png_chunk(b"tRNS", b"\xff\x02")
    (tmp_path / "a.png").write_bytes(png_bytes(4, 1, 2, 0, b"\0\x1b", key))
    alpha = read_picture(tmp_path / "a.png").alpha
    assert alpha is not None
    assert alpha.tolist() == [[255, 255, 0, 255]]


def jpeg_bytes(**options: object) -> bytes:
    ramp = np.add.outer(np.arange(160), np.arange(120))
    noise = np.random.default_rng(0).integers(0, 60, (160, 120, 3))
    file = io.BytesIO()
    pixels = (ramp[..., None] * 0.6 + noise).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_with_a_part_missing(tmp_path: Path, progressive: bool) -> None:
    whole, path = jpeg_bytes(progressive=progressive), tmp_path / "a.jpg"
    half = len(whole) // 2
    scan = whole.rindex(b"\xff\xda")
    for part in (
        whole[:half],
        whole[:half] + END,
        whole[:half] + whole[half + 100 :],
        whole[:half] + bytes(10_000),
        whole[:half] + whole,
        whole[:-2],
        whole[:scan] + END,
    ):
        path.write_bytes(part)
        refused(path)
    path.write_bytes(whole + b"what a camera appends" + END)
    np.testing.assert_array_equal(
        to_pixels(read_picture(path), np.dtype("uint8")), np.asarray(Image.open(io.BytesIO(whole)))
    )


def test_jpeg_of_too_many_scans(tmp_path: Path) -> None:
    whole, path = jpeg_bytes(progressive=True), tmp_path / "a.jpg"
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    path.write_bytes(whole[:-2] + 100 * scan + END)
    refused(path, "more than 50 scans")


def test_jpeg_with_data_that_its_size_cannot_explain(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_bytes())
    with path.open("r+b") as file:
        file.truncate(2_000_000_000)  # sparse: takes no space
    with little_memory():
        refused(path, "2,000,000,000 bytes")


def test_tiff_of_a_jpeg_with_a_part_missing(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", make_pixels("uint8", 3, h=64, w=64)
    tifffile.imwrite(path, pixels, photometric="rgb", compression="jpeg", metadata=None)
    whole = path.read_bytes()
    start = whole.index(b"\xff\xda")
    path.write_bytes(whole[: start + 800] + bytes(700) + whole[start + 1500 :])
    refused(path, "Corrupt JPEG data")


@pytest.mark.parametrize(
    ("tag", "value", "word"),
    [
        ("StripByteCounts", 100, "100 bytes of pixels, expected 4,096"),
        ("PlanarConfiguration", 3, "unknown kind"),
        ("ExtraSamples", 9, "unknown kind"),
        ("Compression", 5, "damaged"),
    ],
)
def test_tiff_tags_that_cannot_be(tmp_path: Path, tag: str, value: int, word: str) -> None:
    path = tmp_path / "a.tif"
    pixels = make_pixels("uint8", 4, h=32, w=32)
    options = {"photometric": "rgb", "extrasamples": [2], "planarconfig": "contig"}
    tifffile.imwrite(path, pixels, metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[tag].overwrite(value)
    refused(path, word)


@pytest.mark.parametrize(("tag", "word"), [(259, "lacks the tag 259"), (262, "lacks the tag 262")])
def test_tiff_without_a_tag_that_decides(tmp_path: Path, tag: int, word: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_pixels("uint8", 1), metadata=None)
    entry = struct.pack("<HH", tag, 3)
    whole = path.read_bytes()
    assert whole.count(entry) == 1
    path.write_bytes(whole.replace(entry, struct.pack("<HH", 60_000, 3)))
    refused(path, word)
    path.write_bytes(whole.replace(entry, struct.pack("<HH", tag, 99)))  # of no known type
    refused(path, "can be read")


def test_tiff_strips_that_share_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 500), np.uint8)
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=1, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        start = min(tif.pages[0].dataoffsets)
        counts = [path.stat().st_size - start] * 40
        tif.pages[0].tags["StripOffsets"].overwrite([start] * 40)
        tif.pages[0].tags["StripByteCounts"].overwrite(counts)
    refused(path, "more than its pixels can take")


def test_tiff_tiles_far_larger_than_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tile = imagecodecs.zlib_encode(bytes(16 * 4096))
    options = {"dtype": "uint8", "tile": (16, 4096), "compression": "zlib", "metadata": None}
    for tiles in (4, 6):
        tifffile.imwrite(path, iter([tile] * tiles), shape=(16 * tiles, 64), **options)
        if tiles == 4:
            assert read_picture(path, max_pixels=16 * 4096).planes.shape == (1, 64, 64)
    refused(path, "393,216 samples", max_pixels=16 * 4096)


def test_16_bit_colour_is_written_with_its_metadata(tmp_path: Path) -> None:
    metadata = {"png_chunks": ((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0a cup"))}
    picture = from_pixels(make_pixels("uint16", 3), metadata | {"dpi": (300, 300)})
    write_picture(tmp_path / "a.png", picture)
    _, _, rows, info = png.Reader(bytes=(tmp_path / "a.png").read_bytes()).read()
    np.testing.assert_array_equal(np.array([*rows]).reshape(7, 5, 3), make_pixels("uint16", 3))
    assert info["gamma"] == 0.45455
    back = read_picture(tmp_path / "a.png").metadata
    assert back["png_chunks"] == metadata["png_chunks"]
    assert back["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_npy_header_of_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\0" + struct.pack("<I", 3_000_000_000))
        file.truncate(3_100_000_000)  # sparse: takes no space
    with little_memory():
        refused(path, "a header of 3,000,000,000 bytes")
