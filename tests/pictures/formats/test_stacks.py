"""Volumes in TIFF and NPY: samples to the bit, voxels in micrometres, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unconv.pictures.formats import PictureError
from unconv.pictures.formats.kernels import read_kernel, read_kernel_and_voxel, write_kernel

tifffile = pytest.importorskip("tifffile")

VOLUME = np.random.default_rng(0).random((5, 6, 7))
VOXEL = (0.2, 0.08, 0.075)


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.npy"])
def test_a_volume_comes_back_to_the_bit(tmp_path: Path, name: str) -> None:
    write_kernel(tmp_path / name, VOLUME, VOXEL)
    values, voxel = read_kernel_and_voxel(tmp_path / name)
    assert np.array_equal(values, VOLUME)
    assert voxel == (None if name == "a.npy" else pytest.approx(VOXEL, rel=1e-12))


def test_others_see_axes_and_units(tmp_path: Path) -> None:
    write_kernel(tmp_path / "a.tif", VOLUME, VOXEL)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.series[0].axes == "ZYX"
        assert tif.asarray().dtype == np.float64
        assert 'PhysicalSizeZ="0.2" PhysicalSizeZUnit="µm"' in tif.ome_metadata
        x, y = tif.pages[0].get_resolution("MICROMETER")
        assert (1 / y, 1 / x) == pytest.approx(VOXEL[1:], rel=1e-6)


def test_a_pitch_that_nobody_told(tmp_path: Path) -> None:
    write_kernel(tmp_path / "a.tif", VOLUME)
    assert read_kernel_and_voxel(tmp_path / "a.tif")[1] is None
    write_kernel(tmp_path / "flat.tif", VOLUME[0])
    assert read_kernel_and_voxel(tmp_path / "flat.tif")[1] is None


@pytest.mark.parametrize(
    ("unit", "size"),
    [("um", 1.0), ("micron", 1.0), ("nm", 1e-3), ("mm", 1e3), ("inch", None), ("", None)],
)
def test_imagejs_stacks(tmp_path: Path, unit: str, size: float | None) -> None:
    values = (1000 * VOLUME).astype(np.uint16)
    told = {"spacing": 0.2, "unit": unit, "axes": "ZYX"}
    pitch = (1 / 0.075, 1 / 0.08)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, resolution=pitch, metadata=told)
    found, voxel = read_kernel_and_voxel(tmp_path / "a.tif")
    assert np.array_equal(found, values)
    expected = None if size is None else pytest.approx([size * v for v in VOXEL], rel=1e-5)
    assert (None if voxel is None else list(voxel)) == expected


@pytest.mark.parametrize("size", ["0.0", "-.1", "nan", "inf", "abc"])
def test_a_pitch_that_is_none(tmp_path: Path, size: str) -> None:
    write_kernel(tmp_path / "a.tif", VOLUME, VOXEL)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace(b'"0.2"', f'"{size}"'.encode()))
    assert read_kernel_and_voxel(tmp_path / "a.tif")[1] is None


def test_compressed_pages(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    values = VOLUME.astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", photometric="minisblack")
    assert np.array_equal(read_kernel(tmp_path / "a.tif"), values)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(VOLUME[0], photometric="minisblack")
        writer.write(VOLUME[0, :3], photometric="minisblack")
    with pytest.raises(PictureError, match="pages of several sizes or kinds; save one volume"):
        read_kernel(path)
    tifffile.imwrite(path, (9 * np.ones((4, 5, 6, 3))).astype(np.uint8), photometric="rgb")
    with pytest.raises(PictureError, match="not one grey plane each"):
        read_kernel(path)
    frames = np.ones((3, 2, 5, 6), np.float32)
    tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(PictureError, match="channels or frames"):
        read_kernel(path)
    nan = VOLUME.copy()
    nan[2, 3, 4] = np.nan
    np.save(tmp_path / "nan.npy", nan)
    with pytest.raises(PictureError, match="1 pixel values are NaN"):
        read_kernel(tmp_path / "nan.npy")


@pytest.mark.parametrize("keep", [4, 8, 100, 900, 2000])
def test_cut_short(tmp_path: Path, keep: int) -> None:
    write_kernel(tmp_path / "a.tif", VOLUME, VOXEL)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:keep])
    with pytest.raises(PictureError, match=r"a\.tif") as error:
        read_kernel(tmp_path / "a.tif")
    assert "\n" not in str(error.value)


def test_arrays_of_three_axes_that_are_no_volumes(tmp_path: Path) -> None:
    np.save(tmp_path / "colours.npy", np.stack([VOLUME[0], VOLUME[1], VOLUME[2]], -1))
    with pytest.raises(ValueError, match="has colours"):
        read_kernel(tmp_path / "colours.npy")
    np.save(tmp_path / "complex.npy", VOLUME + 1j)
    with pytest.raises(PictureError, match="complex"):
        read_kernel(tmp_path / "complex.npy")
    np.save(tmp_path / "four.npy", np.ones((2, 2, 2, 2)))
    with pytest.raises(PictureError, match="four"):
        read_kernel(tmp_path / "four.npy")
