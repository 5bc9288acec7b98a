"""Inputs in files of one array: NPY, FITS; and which file or folder is of which format."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...numerics.checks import shown
from ...pictures.formats.pitch import unit_name
from ..errors import VolumeError, need
from .arrays import array_source
from .frame import Frame, check_axes
from .source import Source, file_identity, make_source, reason_of
from .tiff import tiff_source
from .zarrs import zarr_source

FITS_SUFFIXES = (".fits", ".fit", ".fts")
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
_FITS_AXES = {"FREQ": "c", "WAVE": "c", "AWAV": "c", "VELO": "c", "VRAD": "c", "VOPT": "c",
              "ENER": "c", "STOKES": "c", "TIME": "t"}  # fmt: skip  # the first letters of CTYPE


def open_source(
    given: Any, axes: str | None = None, voxel: Sequence[float] | None = None
) -> Source:
    """An input, to be read by regions.

    Parameters
    ----------
    given : a path to NPY, TIFF, OME-TIFF, FITS, Zarr or ome-zarr (whose level 0 is read), or a
        `numpy.ndarray`, `zarr.Array` or `dask.array.Array`
    axes : a letter for each axis in the order of the file, t, c, z, y or x; by default what the
        file says, and zyx or yx where it says nothing
    voxel : its size along z, y, x (or y, x), in the unit of the file or any other

    Raises
    ------
    VolumeError : there is nothing to read, or it is not clear what its axes are
    """
    if not isinstance(given, str | Path):
        return array_source(given, axes, voxel)
    path = Path(given)
    if not path.exists():
        raise VolumeError(f"there is no {path}; name a file, or a folder that is a Zarr.")
    name, read = _format(path)
    try:
        return read(path, axes, voxel)
    except VolumeError:
        raise
    except Exception as exc:  # a damaged file makes a reader raise nearly anything
        raise VolumeError(
            f"{path} is no whole {name} ({reason_of(exc)}); get a fresh copy of it."
        ) from exc


def _format(path: Path) -> tuple[str, Callable[[Path, str | None, Sequence[float] | None], Source]]:
    """Its name, and what reads it."""
    if path.is_dir():
        return "Zarr", zarr_source
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return "NPY", npy_source
    if suffix in TIFF_SUFFIXES:
        return "TIFF", tiff_source
    if suffix in FITS_SUFFIXES:
        return "FITS", fits_source
    raise VolumeError(
        f"{shown(path.name)} is of no format that is read by regions; use Zarr, ome-zarr, TIFF, "
        "NPY or FITS (.fits)."
    )


def npy_source(path: Path, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """A file of NumPy's, mapped."""
    opened = functools.partial(_map_npy, path)
    array = opened()
    frame = check_axes(str(path), array.shape, None, axes, voxel)
    return make_source(str(path), array, frame, opened, file_identity(path), path=path)


def _map_npy(path: Path) -> Any:
    return np.lib.format.open_memmap(path, mode="r")  # which cannot unpickle


def fits_source(path: Path, axes: str | None, voxel: Sequence[float] | None) -> Source:
    """The first image of a FITS file, with the rows in the order in which they are stored."""
    header, start = _fits_image(path)
    shape = tuple(header[f"NAXIS{i}"] for i in range(header["NAXIS"], 0, -1))
    end = start + abs(header["BITPIX"]) // 8 * math.prod(shape)
    if path.stat().st_size < end:
        raise VolumeError(
            f"{path} has {path.stat().st_size:,} bytes where its header promises {end:,}; it is "
            "cut short: get a fresh copy of it."
        )
    opened = functools.partial(
        FitsMap, path, start, shape, header["BITPIX"], float(header.get("BSCALE", 1)),
        float(header.get("BZERO", 0)), header.get("BLANK"),
    )  # fmt: skip
    frame = check_axes(str(path), shape, _fits_frame(header), axes, voxel)
    return make_source(str(path), opened(), frame, opened, file_identity(path), path=path)


def _fits_image(path: Path) -> tuple[Any, int]:
    """The header of the first image, and the byte where its samples begin."""
    fits = need("astropy.io.fits")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file that is cut short is found by its size
        with fits.open(file, disable_image_compression=True) as found:
            for hdu in found:
                if hdu.is_image and hdu.header["NAXIS"] > 1:
                    return hdu.header, hdu.fileinfo()["datLoc"]
    raise VolumeError(
        f"{path} is a FITS file without an image of two axes or more that is not compressed; save "
        "the image that is meant to its own file."
    )


class FitsMap:
    """The samples of an image of FITS, mapped, and scaled as they are read.

    Source: the FITS Standard 4.0 (2018), §4.4.2.5 and §5.
    """

    def __init__(
        self, path: Path, start: int, shape: tuple[int, ...], bits: int, scale: float, zero: float,
        blank: int | None,
    ) -> None:  # fmt: skip
        stored = np.dtype(f">{'f' if bits < 0 else 'i' if bits > 8 else 'u'}{abs(bits) // 8}")
        self._stored = np.memmap(path, stored, "r", start, shape)
        self._scale, self._zero, self._blank = scale, zero, blank if bits > 0 else None
        self.shape = shape
        self.dtype = stored.newbyteorder("=")
        if (bits, scale, zero) == (16, 1, 32768) and blank is None:
            self.dtype = np.dtype(np.uint16)
        elif (scale, zero) != (1, 0) or self._blank is not None:
            self.dtype = np.dtype(np.float32 if abs(bits) <= 16 else np.float64)

    def __getitem__(self, region: Any) -> Any:
        stored = self._stored[region]
        if self.dtype == stored.dtype.newbyteorder("="):
            return stored.astype(self.dtype)
        if self.dtype == np.uint16:
            return (stored.astype(np.int32) + 32768).astype(np.uint16)
        values = (stored.astype(np.float64) * self._scale + self._zero).astype(self.dtype)
        if self._blank is not None:
            values[stored == self._blank] = np.nan
        return values


def _fits_frame(header: Any) -> Frame | None:
    count = header["NAXIS"]
    types = [str(header.get(f"CTYPE{i}", "")).upper() for i in range(count, 2, -1)]
    letters = ["yx"]
    for kind in reversed(types):
        letters.insert(0, next((a for key, a in _FITS_AXES.items() if kind.startswith(key)), "z"))
    axes = "".join(letters)
    voxel, units = {}, {}
    for number, axis in enumerate(reversed(axes), 1):
        step = header.get(f"CDELT{number}")
        if axis in "zyx" and isinstance(step, int | float) and step != 0:
            voxel[axis] = abs(float(step))
            if unit := str(header.get(f"CUNIT{number}", "")):
                units[axis] = unit_name(unit)
    return Frame(axes, voxel, units) if len(axes) == len({*axes}) == count else None
