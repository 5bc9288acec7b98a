"""Pictures in memory: what they may hold, and what becomes of it in another dtype or format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import (
    Picture,
    PictureError,
    read_picture,
    write_picture,
)
from unconv.pictures.formats.picture import to_pixels

from .samples import FLOATS, make_picture

png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_not_finite_is_not_seen_and_comes_as_it_is(
    tmp_path: Path, value: float, suffix: str
) -> None:
    pixels = np.zeros((4, 5), np.float32)
    pixels[2, 3] = pixels[3, 0] = value
    path = tmp_path / f"a{suffix}"
    np.save(path, pixels) if suffix == ".npy" else tifffile.imwrite(path, pixels)
    np.testing.assert_array_equal(read_picture(path).planes, pixels[None])
    write_picture(path, read_picture(path))
    np.testing.assert_array_equal(read_picture(path).planes, pixels[None])


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
    picture = picture.replace(picture.planes / 30)  # partly below zero
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


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_another_unit_is_not_clipped_without_a_word(tmp_path: Path, suffix: str) -> None:
    counts = Picture(np.linspace(80, 4000, 48).reshape(1, 6, 8), dtype=np.dtype("float32"))
    with pytest.raises(PictureError, match=r"from 80 to 4000, and .* holds 0 to 1; write \.tif"):
        write_picture(tmp_path / f"a{suffix}", counts)
    assert [*tmp_path.iterdir()] == []
    lights = np.full((1, 20, 20), 0.9)
    lights[0, 3, 3:6] = 3.0  # sharpened: clipped, as ever
    write_picture(tmp_path / f"a{suffix}", Picture(lights, dtype=np.dtype("float32")))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy", ".fits"])
def test_channels_that_a_format_has_not(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(PictureError, match=r"does not hold 2 channels; write .tif"):
        write_picture(tmp_path / f"a{suffix}", Picture(np.zeros((2, 6, 8))))


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", "uint8"), (".jpg", "uint8"), (".tif", "uint8"), (".npy", "uint8"),
     (".png", "float32"), (".jpg", "float32"), (".fits", "uint16")],
)  # fmt: skip
def test_nan_is_not_written_where_there_is_none(tmp_path: Path, suffix: str, dtype: str) -> None:
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


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (1, 0, 5), (1, 1, 4, 5)])
def test_bad_planes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match="planes must be"):
        Picture(np.zeros(shape))


def test_bad_dtypes() -> None:
    with pytest.raises(PictureError, match="int32"):
        Picture(np.zeros((1, 2, 2)), dtype=np.dtype("int32"))
    with pytest.raises(PictureError, match="alpha is bool"):
        Picture(np.zeros((1, 2, 2)), alpha=np.zeros((2, 2), bool))
