"""Volumes drawn at random, damage to them, and another reader of each format."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from astropy.io import fits

from .pictures import Array, Draw, any_damage, other_npy

_MOST = 40
"""Samples that are read along an axis: a damaged header may promise any number of them."""


def corner(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(0, min(n, _MOST)) for n in shape)


def _drawn(rng: Draw, kinds: Sequence[str]) -> Array:
    shape = rng.integers(2, 14, 3)
    return (250 * rng.random(shape)).astype(str(rng.choice(kinds)))


def draw_npy(rng: Draw) -> bytes:
    file = io.BytesIO()
    np.save(file, _drawn(rng, ["u1", "<u2", ">u2", "<f4", ">f8"]))
    return file.getvalue()


def draw_tiff(rng: Draw) -> bytes:
    values, file = _drawn(rng, ["u1", "u2", "f4"]), io.BytesIO()
    told = {"axes": "ZYX", "spacing": 0.3}
    ways: list[dict[str, Any]] = [
        {"imagej": True, "metadata": told},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 0.3}},
        {"metadata": None},
    ]
    options = ways[rng.integers(3)]
    if not options.get("imagej"):
        options["compression"] = str(rng.choice(["none", "zlib", "zstd"]))
        if rng.random() < 0.3:
            options["tile"] = (16, 16)
    tifffile.imwrite(file, values, photometric="minisblack", **options)
    return file.getvalue()


def draw_fits(rng: Draw) -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(_drawn(rng, [">i2", ">i4", ">f4", ">f8", "u2"])).writeto(file)
    return file.getvalue()


def write_zarr(rng: Draw, path: Path) -> None:
    values = _drawn(rng, ["u1", "u2", "f4"])
    version = int(rng.choice([2, 3]))
    options: dict[str, Any] = {"chunks": (8, 8, 8), "zarr_format": version}
    if rng.random() < 0.3:
        options["compressors"] = None
    if version == 3 and rng.random() < 0.3:
        options["shards"] = (16, 16, 16)
    zarr.create_array(store=str(path), data=values, **options)


def damage_zarr(rng: Draw, path: Path) -> None:
    """One of its files is damaged or taken away, in every third case one that describes it."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    told = [p for p in files if p.name in ("zarr.json", ".zarray")]
    among = told if rng.random() < 1 / 3 else files
    file = among[rng.integers(len(among))]
    if rng.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(any_damage(rng, file.read_bytes()))


def other_npy_volume(path: Path) -> Array:
    values = other_npy(path.read_bytes())
    return values[corner(values.shape)]


def other_tiff(path: Path) -> Array:
    values = np.asarray(tifffile.imread(path))
    return values[corner(values.shape)]


def other_fits(path: Path) -> Array:
    with fits.open(path, memmap=False, disable_image_compression=True) as file:
        values = next(hdu for hdu in file if hdu.is_image and hdu.header["NAXIS"] > 1).data
        return values[corner(values.shape)]


def other_zarr(path: Path) -> Array:
    array = zarr.open_array(str(path), mode="r")
    return np.asarray(array[corner(array.shape)])
