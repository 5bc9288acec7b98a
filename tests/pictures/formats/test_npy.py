"""NPY: orders, axes and kinds, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unconv.pictures.formats import (
    read_picture,
    write_picture,
)
from unconv.pictures.formats.picture import to_pixels

from .samples import H, W, make_pixels, refused


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


def test_npy_bomb_is_refused_undecoded(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(4_000_000_000)  # sparse: takes no space
    refused(tmp_path / "a.npy", "3,600,000,000")


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy", "Python objects")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint32", "complex128", "U3"])
def test_npy_kinds(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), dtype))
    refused(tmp_path / "a.npy", "convert it")


@pytest.mark.parametrize("shape", [(5,), (3, 8, 9), (4, 5, 2), (2, 3, 4, 3), ()])
def test_npy_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    refused(tmp_path / "a.npy", str(shape))


@pytest.mark.parametrize("shape", [(5, 8, 20), (1, 5, 8, 20)])
def test_npy_stack(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    refused(tmp_path / "a.npy", "stack of 5 planes", "unconv volume")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 3)])
def test_npy_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    refused(tmp_path / "a.npy")
