"""Psfs and other kernels in files: pictures, FITS, MATLAB's MAT, and numbers as text.

Of three axes in NPY and FITS, and in TIFF with the pitch of the voxels.  SciPy reads MAT (up to
version 7.2; 7.3 is HDF5), NumPy text.  Unlike those of a picture, values are those of the file,
integers too.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import fits, stacks
from .atomic import replacing
from .checks import StackError, require_finite
from .files import check_replaceable, read_picture, write_picture
from .picture import Picture, PictureError

_TEXT, _MAT = (".csv", ".txt", ".tsv", ".dat"), (".mat",)
_LARGEST_FILE = 2**28  # bytes; a psf of 1,000 × 1,000 has 8 MB, as text 25


def read_kernel(path: str | os.PathLike[str]) -> npt.NDArray[np.float64]:
    """Read a psf, (h, w) or (d, h, w), as its file has it; the centre is the sample n//2 of each.

    PNG, JPEG, TIFF, NPY and FITS by content; .mat with one 2-D array; .csv, .txt, .tsv and .dat
    with one row a line, separated by commas, semicolons, tabs or spaces.  Of three axes are NPY of
    (d, h, w), unless w is 1, 3 or 4, which are colours, FITS of (d, h, w), unless d is 3, and TIFF
    of a plane a page.

    Raises:
        PictureError: the file is missing, damaged, of an unsupported kind, or holds no or more than
            one array, or NaN.
        ValueError: it is a picture in colours.

    Example:
        >>> read_kernel("psf.csv").shape  # doctest: +SKIP
        (31, 31)
    """
    return read_kernel_and_voxel(path)[0]


def read_kernel_and_voxel(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float64], tuple[float, ...] | None]:
    """Read a psf as `read_kernel` does, with the pitch along z, y and x in µm that its file tells.

    The pitch is None for a psf of two axes, and where the file does not tell it.

    Raises:
        PictureError, ValueError: as `read_kernel` raises them.

    Example:
        >>> read_kernel_and_voxel("microscope.tif")[1]  # doctest: +SKIP
        (0.2, 0.08, 0.08)
    """
    path = Path(path)
    voxel = None
    try:
        if path.suffix.lower() in (*_TEXT, *_MAT) and path.stat().st_size > _LARGEST_FILE:
            raise PictureError(f"{path} has more than {_LARGEST_FILE:,} bytes; crop the psf")
        if path.suffix.lower() in _TEXT:
            values = _from_text(path)
        elif path.suffix.lower() in _MAT:
            values = _from_mat(path)
        elif (volume := _volume(path)) is not None:
            values, voxel = volume
        else:
            values = _from_picture(path)
    except OSError as exc:
        raise PictureError(
            f"{path} cannot be opened ({exc.strerror or exc}); check the name and the permissions"
        ) from exc
    remedy = "crop the psf to what was measured, or set them to its background"
    require_finite(values.reshape(-1, values.shape[-1]), str(path), remedy)
    return values, voxel


def _volume(
    path: Path,
) -> tuple[npt.NDArray[np.float64], tuple[float, ...] | None] | None:
    """The samples and the pitch of a volume, None for what is a picture, or for read_picture."""
    try:
        if stacks.is_stack(path):
            return stacks.read(path)
        with path.open("rb") as file:
            first = file.read(9)
            if first == b"SIMPLE  =":
                file.seek(0)
                return _of_cube(fits.read_volume(file, _LARGEST_FILE))
            if not first.startswith(b"\x93NUMPY"):
                return None
        if path.stat().st_size > _LARGEST_FILE:
            return None
        values = np.load(path, mmap_mode="r")
        if values.ndim != 3 or values.shape[2] in (1, 3, 4) or values.dtype.kind not in "uif":
            return None
        return values.astype(np.float64), None
    except (PictureError, OSError):
        raise
    except Exception:  # damaged: read_picture says how
        return None


def _of_cube(values: Any) -> tuple[npt.NDArray[np.float64], None] | None:
    """A cube of FITS, whose rows have been turned: an even number of them has another middle."""
    if values is None:
        return None
    even = values.shape[1] % 2 == 0
    return np.pad(values.astype(np.float64), ((0, 0), (int(even), 0), (0, 0))), None


def _from_picture(path: Path) -> npt.NDArray[np.float64]:
    try:
        picture = read_picture(path)
    except StackError as error:
        raise PictureError(
            f"{path} is a stack of {error.planes}, expected one psf; save it as (h, w), or as "
            "(d, h, w) in NPY, FITS or a TIFF of a grey plane a page"
        ) from error
    planes = picture.planes
    if len(planes) != 1 and not all(np.array_equal(p, planes[0], equal_nan=True) for p in planes):
        raise ValueError(f"psf '{path}' has colours; a psf is a grey picture, convert it first.")
    plane = planes[0]
    if "fits" in picture.metadata and len(plane) % 2 == 0:
        # Its rows have been turned, and the middle of an even number of them is another one.
        plane = np.pad(plane, ((1, 0), (0, 0)))
    full = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
    return plane * full


def _from_text(path: Path) -> npt.NDArray[np.float64]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.split("#")[0].strip()]
        sample = "\n".join(lines[:20])
        delimiter = next((d for d in (";", ",", "\t") if d in sample), None)
        if delimiter == ";" and "," in sample:  # as spreadsheets write where the comma is decimal
            text = text.replace(",", ".")
        if not lines:
            raise PictureError(f"{path} holds no numbers; write one row of the psf a line")
        values = np.loadtxt(io.StringIO(text), delimiter=delimiter, ndmin=2)
    except PictureError:
        raise
    except ValueError as exc:
        raise PictureError(
            f"{path} is no table of numbers ({' '.join(str(exc).split())[:150]}); write one row of "
            "the psf a line, without names"
        ) from exc
    return values


def _from_mat(path: Path) -> npt.NDArray[np.float64]:
    from scipy.io import loadmat, whosmat

    try:
        names = [name for name, shape, _ in whosmat(path) if len(shape) == 2 and min(shape) > 0]
        found: dict[str, Any] = loadmat(path, variable_names=names)
    except NotImplementedError as exc:
        raise PictureError(f"{path} is of MATLAB's version 7.3; save it with -v7") from exc
    except OSError:
        raise
    except Exception as exc:  # a damaged file makes it raise nearly anything
        raise PictureError(
            f"{path} is damaged or no MAT file ({' '.join(str(exc).split())[:150]}); save it again"
        ) from exc
    arrays = {k: v for k, v in found.items() if isinstance(v, np.ndarray) and v.dtype.kind in "uif"}
    if len(arrays) != 1:
        listed = ", ".join(sorted(arrays)) or "none"
        raise PictureError(
            f"{path} holds {len(arrays)} arrays of numbers in two dimensions ({listed}), expected "
            "one; save the psf alone"
        )
    (values,) = arrays.values()
    return values.astype(np.float64)


_WRITTEN = (".npy", ".fits", ".fit", ".fts", ".tif", ".tiff", ".csv", ".txt")
_VOLUMES = (".npy", ".tif", ".tiff")


def check_kernel_writable(path: str | os.PathLike[str], *, axes: int = 2) -> None:
    """Raise PictureError if `write_kernel` is bound to fail; cheap, touches nothing.

    Args:
        path: .npy, .fits, .fit, .fts, .tif, .tiff, .csv or .txt; of three axes .npy, .tif or .tiff
        axes: of the kernel

    Raises:
        PictureError: another ending, or a place where nothing can be written.

    Example:
        >>> check_kernel_writable("kernel.csv")
    """
    path = Path(path)
    known = _WRITTEN if axes == 2 else _VOLUMES
    if path.suffix.lower() not in known:
        what = "a kernel" if axes == 2 else "a kernel of three axes"
        raise PictureError(
            f"{path}: {what} is written to {' '.join(known)}, which hold its numbers as they are"
        )
    check_replaceable(path)


def write_kernel(
    path: str | os.PathLike[str],
    values: npt.NDArray[np.float64],
    voxel_um: tuple[float, ...] | None = None,
) -> None:
    """Write a kernel as float64 numbers, in the format of the extension, atomically.

    `read_kernel` reads back what was written, to the bit.

    Args:
        path: .npy, .fits, .fit, .fts, .tif, .tiff, .csv or .txt; of three axes .npy, .tif or .tiff
        values: (h, w) or (d, h, w), finite
        voxel_um: pitch along z, y and x in µm, which a TIFF of three axes holds

    Raises:
        PictureError: another ending, or a file that cannot be written.

    Example:
        >>> write_kernel("kernel.fits", np.eye(3))  # doctest: +SKIP
    """
    path = Path(path)
    check_kernel_writable(path, axes=values.ndim)
    if path.suffix.lower() in _TEXT:
        with replacing(path) as file:
            delimiter = "," if path.suffix.lower() == ".csv" else " "
            np.savetxt(file, values, fmt="%.17g", delimiter=delimiter)
    elif path.suffix.lower() == ".npy":
        with replacing(path) as file:
            np.save(file, values)
    elif values.ndim == 3:
        with replacing(path) as file:
            stacks.write(file, values, voxel_um)
    else:
        write_picture(path, Picture(values[None], dtype=np.dtype(np.float64)))
