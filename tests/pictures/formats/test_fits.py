"""FITS: numbers, rows, headers, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import PictureError, read_picture, write_picture

from .samples import make_picture, make_pixels, refused, same

fits = pytest.importorskip("astropy.io.fits")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_round_trip(tmp_path: Path, dtype: str, channels: int) -> None:
    picture = make_picture(dtype, channels)
    write_picture(tmp_path / "a.fits", picture)
    same(read_picture(tmp_path / "a.fits"), picture)
    with fits.open(tmp_path / "a.fits") as f:
        stored = f[0].data
    expected = make_pixels(dtype, channels)[::-1]  # the first row of FITS is the lowest
    expected = expected if channels == 1 else np.moveaxis(expected, -1, 0)
    np.testing.assert_array_equal(stored, expected)


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    picture = make_picture("float16", 1)
    write_picture(tmp_path / "a.fits", picture)
    back = read_picture(tmp_path / "a.fits")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.planes, picture.planes)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", ">i2"])
def test_signed_integers_are_floats(tmp_path: Path, dtype: str) -> None:
    counts = np.array([[-5, 7], [120, 32_000]], dtype)
    fits.PrimaryHDU(counts).writeto(tmp_path / "a.fits")
    picture = read_picture(tmp_path / "a.fits")
    assert picture.dtype.kind == "f"
    np.testing.assert_array_equal(picture.planes[0], counts[::-1])


def test_scaled_and_blank(tmp_path: Path) -> None:
    image = fits.PrimaryHDU(np.array([[1, 2], [3, -1]], np.int16))
    image.header["BSCALE"], image.header["BZERO"], image.header["BLANK"] = 0.5, 10.0, -1
    image.header["OBJECT"] = "M 31"
    (tmp_path / "a.fits").write_bytes(b"")
    image.writeto(tmp_path / "a.fits", overwrite=True, output_verify="ignore")
    with fits.open(tmp_path / "a.fits") as f:
        theirs = f[0].data.copy()
    picture = read_picture(tmp_path / "a.fits")
    np.testing.assert_array_equal(picture.planes[0], theirs[::-1])
    assert np.isnan(picture.planes).sum() == np.isnan(theirs).sum()
    write_picture(tmp_path / "b.fits", picture)
    same(read_picture(tmp_path / "b.fits"), picture)
    assert fits.getheader(tmp_path / "b.fits")["OBJECT"] == "M 31"


def test_the_header_travels(tmp_path: Path) -> None:
    header = fits.Header({"CTYPE1": "RA---TAN", "CRPIX1": 3.5, "EXPTIME": 30.0})
    header["HISTORY"] = "first"
    header["HISTORY"] = "second"
    image = fits.ImageHDU(np.zeros((4, 5), np.float32), header=header, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits")
    write_picture(tmp_path / "b.fits", read_picture(tmp_path / "a.fits"))
    found = fits.getheader(tmp_path / "b.fits")
    assert [*found["HISTORY"]] == ["first", "second"]
    assert (found["CTYPE1"], found["CRPIX1"], found["EXPTIME"]) == ("RA---TAN", 3.5, 30.0)
    assert (found["NAXIS"], found["NAXIS1"], found["NAXIS2"]) == (2, 5, 4)


def test_axes_of_one_are_none(tmp_path: Path) -> None:
    values = np.arange(20.0).reshape(1, 1, 4, 5)
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    picture = read_picture(tmp_path / "a.fits")
    np.testing.assert_array_equal(picture.planes[0], values[0, 0, ::-1])
    write_picture(tmp_path / "b.fits", picture)
    assert fits.getheader(tmp_path / "b.fits")["NAXIS"] == 2


def test_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"

    def write(*images: object) -> None:
        fits.HDUList([*images]).writeto(path, overwrite=True)

    write(fits.PrimaryHDU(np.zeros((7, 4, 5))))
    refused(path, "stack of 7 planes", "unconv volume", "one plane at a time")
    write(fits.PrimaryHDU())
    refused(path, "without an image")
    write(fits.PrimaryHDU(np.zeros(9)))
    refused(path, "a row of 9 numbers")
    write(fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((4, 5)), name=n) for n in ("SCI", "ERR")))
    refused(path, "2 images (SCI, ERR)")
    write(fits.PrimaryHDU(np.zeros((40, 50))))
    refused(path, "2,000 pixels", max_pixels=1999)
    path.write_bytes(path.read_bytes()[:5000])
    refused(path, "damaged, cut short")
    path.write_bytes(b"SIMPLE  = not really")
    refused(path, "damaged")


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_read_as_astropy_reads_it(tmp_path: Path, seed: int, capfd) -> None:
    """Cut anywhere, bytes changed, mostly in the header: a sentence, or what is there."""
    rng = np.random.default_rng(seed)
    path, stored = tmp_path / "a.fits", rng.normal(size=(24, 31)).astype(np.float32)
    fits.PrimaryHDU(stored, header=fits.Header({"OBJECT": "M 31"})).writeto(path)
    whole = path.read_bytes()
    sentences = []
    for turn in range(60):
        broken = bytearray(whole)
        if turn % 3 == 0:
            del broken[int(rng.integers(len(whole))) :]
        for at in rng.integers(0, 700 if turn % 2 else len(broken) or 1, 3):
            if at < len(broken):
                broken[at] = int(rng.choice([*b" 019=T-'", 255]))
        path.write_bytes(broken)
        try:
            found = read_picture(path, max_pixels=100_000)
        except PictureError as error:
            sentences.append(str(error))
            continue
        finally:
            assert capfd.readouterr() == ("", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as f:
                theirs = np.asarray(next(hdu.data for hdu in f if hdu.data is not None))
        np.testing.assert_array_equal(found.planes[0], np.squeeze(theirs)[::-1])
    assert 15 < len(sentences) < 60
    assert all(str(path) in said and "\n" not in said for said in sentences)
