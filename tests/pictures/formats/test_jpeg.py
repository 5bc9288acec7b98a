"""JPEG: what a second writing changes, and what is refused."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import (
    Picture,
    read_picture,
    write_picture,
)

from .samples import refused

Image = pytest.importorskip("PIL.Image")
png = pytest.importorskip("png")
tifffile = pytest.importorskip("tifffile")


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


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "CMYK")
