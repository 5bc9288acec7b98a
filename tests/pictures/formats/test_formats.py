"""Pictures: what goes in comes out, bit for bit, and everything doubtful is refused."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures import formats as images
from unconv.pictures.formats import (
    Picture,
    PictureError,
    check_writable,
    files,
    read_picture,
    write_picture,
)
from unconv.pictures.formats.picture import from_pixels, to_pixels

Image = pytest.importorskip("PIL.Image")
ImageCms = pytest.importorskip("PIL.ImageCms")
PngImagePlugin = pytest.importorskip("PIL.PngImagePlugin")
png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("simplejpeg")

H, W = 7, 5
INTEGERS = ["uint8", "uint16"]
FLOATS = ["float16", "float32", "float64"]
CASES = [
    *[(".png", d, c) for d in INTEGERS for c in (1, 2, 3, 4)],
    *[(s, d, c) for s in (".tif", ".tiff") for d in INTEGERS + FLOATS for c in (1, 2, 3, 4)],
    *[(".npy", d, c) for d in INTEGERS + FLOATS for c in (1, 3, 4)],
]


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


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bytes(width: int, height: int, depth: int, colour: int, raw: bytes, *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()  # sees what zlib, imagecodecs and NumPy hand out
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".unconv-")]


# Round trips


@pytest.mark.parametrize(("suffix", "dtype", "channels"), CASES)
def test_lossless_round_trip(tmp_path: Path, suffix: str, dtype: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    picture = make_picture(dtype, channels)
    write_picture(path, picture)
    back = read_picture(path)
    same(picture, back)
    write_picture(path, back)
    same(picture, read_picture(path))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("suffix", "dtype", "channels"), CASES)
@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 6), (6, 1), (3, 4)])
def test_thin_pictures(
    tmp_path: Path, suffix: str, dtype: str, channels: int, h: int, w: int
) -> None:
    picture = make_picture(dtype, channels, h=h, w=w)
    write_picture(tmp_path / f"a{suffix}", picture)
    same(picture, read_picture(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_twice_drifts_little(tmp_path: Path, suffix: str, channels: int) -> None:
    ramp = np.linspace(0, 1, 32)[:, None] * np.linspace(0, 1, 48)
    picture = Picture(np.stack([ramp] * channels), dtype=np.dtype("uint8"))
    write_picture(tmp_path / f"a{suffix}", picture)
    back = read_picture(tmp_path / f"a{suffix}")
    assert back.planes.shape == (channels, 32, 48)
    assert back.dtype == np.uint8
    assert np.abs(back.planes - picture.planes).max() < 5 / 255


def test_jpeg_keeps_quantisation_and_subsampling(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jpg", tmp_path / "b.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(first, quality=61, subsampling=1, progressive=True, comment=b"hi")
    write_picture(second, read_picture(first))
    with Image.open(first) as a, Image.open(second) as b:
        assert a.quantization == b.quantization
        assert importlib.import_module("PIL.JpegImagePlugin").get_sampling(b) == 1
        assert b.info["progressive"]
        assert b.info["comment"] == b"hi"


def test_a_photograph(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    astronaut = data.astronaut()
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.planes, np.moveaxis(astronaut, -1, 0) / 255)
    write_picture(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), astronaut)


# Reading what others wrote


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


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["|u1", ">u2", ">f4", "<f8"])
def test_npy_orders(tmp_path: Path, order: Any, dtype: str) -> None:
    pixels = make_pixels(np.dtype(dtype).newbyteorder("=").name, 3).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", pixels)
    picture = read_picture(tmp_path / "a.npy")
    assert picture.dtype.isnative
    np.testing.assert_array_equal(to_pixels(picture, picture.dtype), pixels)


def test_npy_keeps_its_channel_axis(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((H, W, 1)))
    write_picture(tmp_path / "b.npy", read_picture(tmp_path / "a.npy"))
    assert np.load(tmp_path / "b.npy").shape == (H, W, 1)


def test_content_decides_the_format(tmp_path: Path) -> None:
    picture = make_picture("uint16", 3)
    write_picture(tmp_path / "a.png", picture)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    same(picture, read_picture(tmp_path / "a.jpg"))


# Metadata


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
        assert a.info["exif"] == b.info["exif"]


def test_jpeg_metadata(tmp_path: Path) -> None:
    first = source(tmp_path, ".jpg", "uint8")
    write_picture(tmp_path / "b.jpg", read_picture(first))
    with Image.open(first) as a, Image.open(tmp_path / "b.jpg") as b:
        assert a.info["exif"] == b.info["exif"]
        assert a.info["icc_profile"] == b.info["icc_profile"]
        assert a.info["dpi"] == b.info["dpi"] == (300, 300)
        assert b.size == (W, H), "the orientation tag is kept, and the pixels are not turned"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_metadata(tmp_path: Path, dtype: str) -> None:
    first = source(tmp_path, ".tif", dtype)
    write_picture(tmp_path / "b.tif", read_picture(first))
    with tifffile.TiffFile(first) as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        old, new = a.pages[0].tags, b.pages[0].tags
        for tag in (270, 274, 305, 306, 315, 34675):
            assert old[tag].value == new[tag].value
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
    assert exif[274] == 6
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


# Refusals when reading


def refused(path: Path, *words: str, **kwargs: Any) -> None:
    with pytest.raises(PictureError) as info:
        read_picture(path, **kwargs)
    message = str(info.value)
    assert path.name in message
    assert "\n" not in message
    for word in words:
        assert word in message


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


def test_npy_bomb_is_refused_undecoded(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(4_000_000_000)  # sparse: takes no space
    refused(tmp_path / "a.npy", "3,600,000,000")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
def test_max_pixels_is_the_largest_allowed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture("uint8", 3))
    assert read_picture(path, max_pixels=H * W).planes.shape == (3, H, W)
    refused(path, f"{W} x {H}", "max_pixels=34", max_pixels=H * W - 1)


def test_large_pictures_are_not_left_to_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "a.png", make_picture("uint8", 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "a.png").planes.shape == (3, H, W)


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy", "Python objects")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_truncated_files(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture(dtype, 3, h=64, w=64))
    whole = path.read_bytes()
    for keep in (9, 20, 100, len(whole) // 4, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:keep])
        refused(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
def test_damaged_files_never_leak_another_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, make_picture("uint8", 3, h=16, w=16))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = whole.copy()
        broken[rng.integers(8, min(len(whole), 400), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(PictureError):  # some damage is only to the pixels
                planes = read_picture(path, max_pixels=10_000).planes
                assert 0 < planes.shape[1] * planes.shape[2] <= 10_000


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


def test_text_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello, this is text")
    refused(tmp_path / "a.png", "not a PNG, JPEG, TIFF or NPY")


def test_missing_empty_and_directory(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "cannot be opened")
    refused(tmp_path, "cannot be opened")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "begins with b''")


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "CMYK")


def test_animated_png(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.png", "3 frames")


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
    refused(tmp_path / "a.tif", "6 pages")


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
            {"photometric": "rgb", "planarconfig": "contig", "extrasamples": [0, 0]},
            "5 channels",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tiff_kinds(tmp_path: Path, pixels: np.ndarray, options: dict[str, Any], word: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    refused(tmp_path / "a.tif", word, "convert it")


STREAMS = ["lzw", "zlib", "packbits", "lzma", "zstd"]


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


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint32", "complex128", "U3"])
def test_npy_kinds(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), dtype))
    refused(tmp_path / "a.npy", "convert it")


@pytest.mark.parametrize("shape", [(5,), (3, 8, 9), (4, 5, 2), (2, 3, 4, 3), ()])
def test_npy_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    refused(tmp_path / "a.npy", str(shape))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 3)])
def test_npy_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    refused(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_not_finite(tmp_path: Path, value: float, suffix: str) -> None:
    pixels = np.zeros((4, 5), np.float32)
    pixels[2, 3] = pixels[3, 0] = value
    path = tmp_path / f"a{suffix}"
    np.save(path, pixels) if suffix == ".npy" else tifffile.imwrite(path, pixels)
    refused(path, "2 pixel values", "row 2, column 3")


# Writing


def test_integers_are_clipped_and_rounded_never_wrapped(tmp_path: Path) -> None:
    planes = np.array([[[-3.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0001, 1e300]]])
    for suffix in (".png", ".tif", ".npy"):
        write_picture(tmp_path / f"a{suffix}", Picture(planes, dtype=np.dtype("uint8")))
        stored = to_pixels(read_picture(tmp_path / f"a{suffix}"), np.dtype("uint8"))
        assert stored.tolist() == [[0, 0, 1, 255, 255, 255]]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_float_into_png(tmp_path: Path, dtype: str, channels: int) -> None:
    picture = make_picture(dtype, channels)
    write_picture(tmp_path / "a.png", picture)
    back = read_picture(tmp_path / "a.png")
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back.planes * 65535, np.rint(picture.planes.clip(0, 1) * 65535))
    if picture.alpha is not None:
        assert back.alpha is not None
        expected = np.rint(picture.alpha.astype(float).clip(0, 1) * 65535)
        np.testing.assert_array_equal(back.alpha, expected)


@pytest.mark.parametrize("dtype", ["uint16", *FLOATS])
def test_deep_into_jpeg_is_8_bit(tmp_path: Path, dtype: str) -> None:
    write_picture(tmp_path / "a.jpg", Picture(np.full((3, 16, 16), 0.4), dtype=np.dtype(dtype)))
    back = read_picture(tmp_path / "a.jpg")
    assert back.dtype == np.uint8
    np.testing.assert_allclose(back.planes, 0.4, atol=2 / 255)


def test_alpha_of_another_dtype_is_converted(tmp_path: Path) -> None:
    alpha = np.array([[0, 128, 255]], np.uint8)
    write_picture(tmp_path / "a.png", Picture(np.zeros((3, 1, 3)), alpha, np.dtype("uint16")))
    back = read_picture(tmp_path / "a.png").alpha
    assert back is not None
    assert back.tolist() == [[0, 128 * 257, 65535]]


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_into_jpeg(tmp_path: Path, channels: int) -> None:
    with pytest.raises(PictureError, match=r"no alpha.*\.png"):
        write_picture(tmp_path / "a.jpg", make_picture("uint8", channels))
    assert list(tmp_path.iterdir()) == []


def test_grey_with_alpha_into_npy(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="1, 3 or 4 channels"):
        write_picture(tmp_path / "a.npy", make_picture("uint8", 2))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nan_is_not_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    planes = np.zeros((3, 4, 5))
    planes[1, 2, 3] = np.nan
    with pytest.raises(PictureError, match="row 2, column 3, channel 1"):
        write_picture(tmp_path / f"a{suffix}", Picture(planes, dtype=np.dtype(dtype)))


def test_float16_overflow(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="does not fit float16"):
        write_picture(tmp_path / "a.tif", Picture(np.full((1, 2, 2), 1e6), dtype=np.dtype("f2")))


def test_replace_keeps_the_rest() -> None:
    picture = make_picture("uint16", 4)
    other = picture.replace(1 - picture.planes)
    assert other.alpha is picture.alpha
    assert other.dtype == picture.dtype
    assert other.metadata is picture.metadata
    with pytest.raises(PictureError, match="alpha"):
        picture.replace(picture.planes[:, 1:])


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (1, 0, 5), (1, 1, 4, 5)])
def test_bad_planes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match="planes must be"):
        Picture(np.zeros(shape))


def test_bad_dtypes() -> None:
    with pytest.raises(PictureError, match="int32"):
        Picture(np.zeros((1, 2, 2)), dtype=np.dtype("int32"))
    with pytest.raises(PictureError, match="alpha is bool"):
        Picture(np.zeros((1, 2, 2)), alpha=np.zeros((2, 2), bool))


# Atomicity


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npy"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["encode", "replace"])
def test_failure_leaves_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    error: BaseException,
    where: str,
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def encode(file: Any, *_: Any) -> None:
        file.write(b"half a picture")
        raise error

    def fail(*_: Any) -> None:
        raise error

    if where == "encode":
        kind = files._SUFFIXES[suffix]
        monkeypatch.setitem(files._FORMATS, kind, files._FORMATS[kind]._replace(write=encode))
    else:
        monkeypatch.setattr(os, "replace", fail)
    expected = PictureError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_picture(path, make_picture("uint8", 3))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_permissions(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    old = os.umask(0o027)
    try:
        write_picture(path, make_picture("uint8", 1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o664)
        write_picture(path, make_picture("uint8", 1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o664
    finally:
        os.umask(old)


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.png").symlink_to(tmp_path / "there" / "b.png")
    write_picture(tmp_path / "a.png", make_picture("uint8", 1))
    assert (tmp_path / "a.png").is_symlink()
    same(make_picture("uint8", 1), read_picture(tmp_path / "there" / "b.png"))


def test_check_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in files._SUFFIXES:
        check_writable(tmp_path / f"a{suffix}")
        check_writable(str(tmp_path / f"a{suffix.upper()}"))
    with pytest.raises(PictureError, match=r"'\.gif'.*\.png"):
        check_writable(tmp_path / "a.gif")
    with pytest.raises(PictureError, match="unknown extension ''"):
        check_writable(tmp_path / "a")
    with pytest.raises(PictureError, match="does not exist; create it"):
        check_writable(tmp_path / "none" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="is a directory"):
        check_writable(tmp_path / "folder.png")
    existing = tmp_path / "b.png"
    existing.touch()
    # root may write anywhere, so the answer of os.access is given here
    monkeypatch.setattr(os, "access", lambda p, _: Path(p) != existing)
    with pytest.raises(PictureError, match="read-only"):
        check_writable(existing)
    monkeypatch.setattr(os, "access", lambda p, _: Path(p) != tmp_path)
    with pytest.raises(PictureError, match="not writable"):
        check_writable(tmp_path / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "folder.png"]


# Packages


@pytest.mark.parametrize(
    ("suffix", "package"), [(".png", "pillow"), (".jpg", "pillow"), (".tif", "tifffile")]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    write_picture(tmp_path / f"a{suffix}", make_picture("uint8", 3))

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(PictureError, match=rf"{package}; pip install 'unconv\[cli\]'"):
        read_picture(tmp_path / f"a{suffix}")


def test_import_needs_only_numpy() -> None:
    code = (
        "import sys, importlib.util as u\n"
        f"path = {images.__file__!r}\n"
        "where = {'submodule_search_locations': [path.removesuffix('__init__.py')]}\n"
        "spec = u.spec_from_file_location('images', path, **where)\n"
        "m = sys.modules['images'] = u.module_from_spec(spec)\n"
        "spec.loader.exec_module(m)\n"
        "assert not {'PIL', 'tifffile', 'png', 'torch'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
