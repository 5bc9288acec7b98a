"""Kinds of files: each is restored as the library restores its pixels, and written as what it was.

Every file is written by another package than ours reads it with, or as that package writes it; what
cannot be held is one sentence, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

import unconv.pictures.restoration as library
from unconv import psf
from unconv.pictures.formats import read_picture

from .commands import fail, pixels, run, succeed

Image = pytest.importorskip("PIL.Image")
ImageCms = pytest.importorskip("PIL.ImageCms")
tifffile = pytest.importorskip("tifffile")

H, W = 26, 20
GREY, RGB = pixels(1, H, W), pixels(3, H, W)
GREY8, RGB8 = (np.rint(255 * p).astype(np.uint8) for p in (GREY, RGB))
GREY16, RGB16 = (np.rint(65535 * p).astype(np.uint16) for p in (GREY, RGB))
ALPHA8 = np.full((H, W), 200, np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def last(planes: np.ndarray) -> np.ndarray:
    return np.moveaxis(planes, 0, -1)


class Kind(NamedTuple):
    """A file, its planes (C, H, W) in [0, 1] as they are seen, and what must be true of the new."""

    name: str
    write: Callable[[Path], Any]
    planes: np.ndarray
    still: Callable[[Path], bool] = lambda path: True


def pillow(array: np.ndarray, **options: Any) -> Callable[[Path], Any]:
    return lambda path: Image.fromarray(array).save(path, **options)


def tiff(array: np.ndarray, **options: Any) -> Callable[[Path], Any]:
    options = {"metadata": None, "photometric": "minisblack"} | options
    return lambda path: tifffile.imwrite(path, array, **options)


def page(path: Path) -> Any:
    with tifffile.TiffFile(path) as tif:
        return tif.pages[0]


def mode(wanted: str) -> Callable[[Path], bool]:
    def still(path: Path) -> bool:
        with Image.open(path) as image:
            return image.mode == wanted

    return still


def palette(path: Path) -> None:
    image = Image.fromarray(np.arange(H * W).reshape(H, W).astype(np.uint8) % 4, "P")
    image.putpalette([0, 0, 0, 51, 51, 51, 153, 102, 0, 204, 255, 102])
    image.save(path)


PALETTE = np.array([[0, 0, 0], [51, 51, 51], [153, 102, 0], [204, 255, 102]]) / 255
PALETTE_PLANES = np.moveaxis(PALETTE[np.arange(H * W).reshape(H, W) % 4], -1, 0)


def exif(orientation: int) -> Any:
    found = Image.Exif()
    found[274], found[271] = orientation, "maker"
    return found


STORED = {  # how a camera that is held so stores what is seen
    1: RGB8, 2: RGB8[..., ::-1], 3: RGB8[..., ::-1, ::-1], 4: RGB8[:, ::-1],
    5: RGB8.transpose(0, 2, 1), 6: np.rot90(RGB8, 1, (1, 2)),
    7: RGB8[:, ::-1, ::-1].transpose(0, 2, 1), 8: np.rot90(RGB8, -1, (1, 2)),
}  # fmt: skip


def is_upright(path: Path) -> bool:
    with Image.open(path) as image:
        found = image.getexif()
        return found[274] == 1 and found[271] == "maker" and image.size == (W, H)


def fits(path: Path) -> None:
    from astropy.io import fits as astropy_fits

    header = astropy_fits.Header({"OBJECT": "M 31"})
    rows = GREY[0, ::-1].astype(np.float32)
    astropy_fits.PrimaryHDU(rows, header=header).writeto(path)


def is_m31(path: Path) -> bool:
    from astropy.io import fits as astropy_fits

    return astropy_fits.getheader(path)["OBJECT"] == "M 31"


def with_icc(path: Path) -> bool:
    with Image.open(path) as image:
        return image.info["icc_profile"] == ICC


KINDS = {
    "PNG of 8 bits": Kind("a.png", pillow(GREY8[0]), GREY8 / 255, mode("L")),
    "PNG of 16 bits": Kind("a.png", pillow(GREY16[0]), GREY16 / 65535, mode("I;16")),
    "PNG in colours": Kind("a.png", pillow(last(RGB8)), RGB8 / 255, mode("RGB")),
    "PNG with alpha": Kind(
        "a.png", pillow(np.dstack([last(RGB8), ALPHA8])), RGB8 / 255, mode("RGBA")
    ),
    "PNG, grey with alpha": Kind(
        "a.png", pillow(np.dstack([GREY8[0], ALPHA8])), GREY8 / 255, mode("LA")
    ),
    "PNG of a palette": Kind("a.png", palette, PALETTE_PLANES, mode("RGB")),
    "PNG with ICC": Kind("a.png", pillow(last(RGB8), icc_profile=ICC), RGB8 / 255, with_icc),
    **{
        f"PNG turned as {k}": Kind(
            "a.png", pillow(np.ascontiguousarray(last(STORED[k])), exif=exif(k)), RGB8 / 255,
            is_upright,
        )
        for k in STORED
    },
    "TIFF of 8 bits": Kind("a.tif", tiff(GREY8[0]), GREY8 / 255),
    "TIFF of 16 bits": Kind("a.tif", tiff(GREY16[0]), GREY16 / 65535),
    "TIFF of floats": Kind("a.tif", tiff(GREY[0].astype(np.float32)), GREY),
    "TIFF of doubles in counts": Kind("a.tif", tiff(4000 * GREY[0]), 4000 * GREY),
    "TIFF in colours": Kind("a.tif", tiff(last(RGB16), photometric="rgb"), RGB16 / 65535),
    "TIFF, planar": Kind(
        "a.tif", tiff(RGB8, photometric="rgb", planarconfig="separate"), RGB8 / 255,
        lambda path: page(path).planarconfig == 2,
    ),
    "TIFF of two channels, planar": Kind(
        "a.tif", tiff(RGB16[:2], planarconfig="separate", extrasamples=[0]), RGB16[:2] / 65535,
        lambda path: page(path).extrasamples == (0,),
    ),
    "TIFF with alpha": Kind(
        "a.tif",
        tiff(np.dstack([last(RGB8), ALPHA8]), photometric="rgb", extrasamples=["unassalpha"]),
        RGB8 / 255,
        lambda path: page(path).extrasamples == (2,),
    ),
    "TIFF in tiles": Kind("a.tif", tiff(GREY8[0], tile=(16, 16)), GREY8 / 255),
    "TIFF, deflated": Kind(
        "a.tif", tiff(GREY16[0], compression="zlib", predictor=True), GREY16 / 65535,
        lambda path: page(path).compression == 8,
    ),
    "BigTIFF, big-endian": Kind(
        "a.tif", tiff(GREY16[0], bigtiff=True, byteorder=">"), GREY16 / 65535
    ),
    "TIFF with ICC": Kind(
        "a.tif", tiff(last(RGB8), photometric="rgb", iccprofile=ICC), RGB8 / 255,
        with_icc,
    ),
    "TIFF turned as 6": Kind(
        "a.tif",
        tiff(last(STORED[6]), photometric="rgb", extratags=[(274, "H", 1, 6, True)]),
        RGB8 / 255,
        lambda path: page(path).tags[274].value == 1,
    ),
    "NPY": Kind("a.npy", lambda path: np.save(path, last(RGB)), RGB),
    "FITS": Kind("a.fits", fits, GREY.astype(np.float32), is_m31),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_restored_and_written_as_what_it_was(tmp_path: Path, kind: str):
    name, write, planes, still = KINDS[kind]
    if name.endswith("fits"):
        pytest.importorskip("astropy")
    source, target = tmp_path / name, tmp_path / f"out-{name}"
    write(source)
    options = "--psf", "disk:1.5", "--damp", 0.1
    result = run("deblur", source, "-o", target, *options)
    assert result.exit_code == 0, result.output
    y = torch.from_numpy(planes.astype(float))
    sharp = library.deblur(y, psf.disk(1.5), damp=0.1).planes
    before, after = read_picture(source), read_picture(target)
    assert after.dtype == before.dtype
    step = 1 / np.iinfo(after.dtype).max if after.dtype.kind == "u" else 1e-6 * planes.max()
    clipped = sharp.numpy().clip(0, 1) if after.dtype.kind == "u" else sharp.numpy()
    assert np.abs(after.planes - clipped).max() <= 0.501 * step
    assert not np.array_equal(after.planes, before.planes)
    np.testing.assert_array_equal(before.alpha, after.alpha)
    assert still(target)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_of_a_telephone(tmp_path: Path, orientation: int):
    """An angle is that of the picture that one sees."""
    scene = np.kron(RGB8, np.ones((1, 2, 2), np.uint8))  # JPEG is kinder to larger pictures
    stored = np.kron(STORED[orientation], np.ones((1, 2, 2), np.uint8))
    Image.fromarray(np.ascontiguousarray(last(stored))).save(
        tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif(orientation)
    )
    options = "--psf", "motion:5,20", "--damp", 0.1
    facts = succeed("deblur", tmp_path / "a.jpg", "-o", tmp_path / "b.jpg", *options)
    assert facts["size"] == [2 * W, 2 * H, 3]
    expected = library.deblur(torch.from_numpy(scene / 255), psf.motion(5, 20), damp=0.1).planes
    found = read_picture(tmp_path / "b.jpg")
    assert np.abs(found.planes - expected.numpy().clip(0, 1)).mean() < 0.03
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[274] == 1
        assert image.size == (2 * W, 2 * H)


REFUSED: dict[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "TIFF of many pages": ("a.tif", tiff(np.zeros((5, H, W), np.uint8)), ("stack", "5 pages")),
    "TIFF in CMYK": (
        "a.tif", tiff(np.zeros((H, W, 4), np.uint8), photometric="separated"), ("SEPARATED",),
    ),
    "TIFF of signed integers": ("a.tif", tiff(np.zeros((H, W), np.int32)), ("int32",)),
    "JPEG in CMYK": (
        "a.jpg", lambda path: Image.new("CMYK", (W, H)).save(path), ("CMYK", "convert it to RGB"),
    ),
    "NPY of five channels": ("a.npy", lambda p: np.save(p, np.zeros((H, W, 5))), ("(26, 20, 5)",)),
    "NPY of complex numbers": ("a.npy", lambda p: np.save(p, np.zeros((H, W)) * 1j), ("complex",)),
    "GIF": ("a.gif", lambda path: Image.new("L", (W, H)).save(path), ("not a PNG", "convert")),
    "text": ("a.png", lambda path: path.write_text("hello"), ("not a PNG", "FITS")),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_sentence(tmp_path: Path, kind: str):
    name, write, says = REFUSED[kind]
    write(tmp_path / name)
    arguments = tmp_path / name, "-o", tmp_path / "out.tif", "--psf", "disk:1"
    fail(tmp_path, 3, "deblur", *arguments, says=(name, *says))


def test_fits_of_many_planes(tmp_path: Path):
    astropy_fits = pytest.importorskip("astropy.io.fits")
    astropy_fits.PrimaryHDU(np.zeros((7, H, W))).writeto(tmp_path / "a.fits")
    arguments = tmp_path / "a.fits", "-o", tmp_path / "out.tif", "--psf", "disk:1"
    fail(
        tmp_path,
        3,
        "deblur",
        *arguments,
        says=("stack of 7 planes", "unconv volume", "one plane at a time"),
    )


def test_counts_do_not_fit_png(tmp_path: Path):
    """They saturated without a word."""
    tifffile.imwrite(tmp_path / "a.tif", (4000 * GREY[0]).astype(np.float32), metadata=None)
    for name in ("out.png", "out.jpg"):
        arguments = tmp_path / "a.tif", "-o", tmp_path / name, "--psf", "disk:1"
        fail(tmp_path, 3, "deblur", *arguments, says=("holds 0 to 1", "write .tif"))


def test_channels_that_are_no_alpha_are_told(tmp_path: Path):
    tiff(RGB16[:2], planarconfig="separate", extrasamples=[0])(tmp_path / "a.tif")
    options = "-o", tmp_path / "b.tif", "--psf", "disk:1"
    result = run("deblur", tmp_path / "a.tif", *options)
    assert result.exit_code == 0
    assert "note: of its 2 channels the file calls none alpha" in result.stderr
