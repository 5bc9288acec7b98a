"""Which format a file is, and what all formats share when it is read or written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from . import (
    fits,
    jpeg,
    npy,
    png,
    tiff,
)
from .atomic import replacing, require_regular
from .checks import require_finite
from .orientation import upright
from .picture import (
    Array,
    Picture,
    PictureError,
    from_pixels,
    to_pixels,
)

PathLike = str | os.PathLike[str]


class _Format(NamedTuple):
    magic: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    read: Callable[[BinaryIO, int], tuple[Array, dict[str, Any]]]  # file, max_pixels
    write: Callable[[BinaryIO, Array, Mapping[str, Any]], None]  # file, pixels, metadata


# Restored lights may go that far out of range, and so many of them; more are in another unit.
_MOST_BEYOND, _BEYOND = 0.01, 0.5
_FORMATS = {
    "PNG": _Format((b"\x89PNG\r\n\x1a\n",), (".png",), png.read, png.write),
    "JPEG": _Format((b"\xff\xd8\xff",), (".jpg", ".jpeg"), jpeg.read, jpeg.write),
    "TIFF": _Format(tiff.MAGIC, (".tif", ".tiff"), tiff.read, tiff.write),
    "NPY": _Format((b"\x93NUMPY",), (".npy",), npy.read, npy.write),
    "FITS": _Format((b"SIMPLE  =",), (".fits", ".fit", ".fts"), fits.read, fits.write),
}
_SUFFIXES = {suffix: kind for kind, form in _FORMATS.items() for suffix in form.suffixes}


def read_picture(path: PathLike, *, max_pixels: int = 100_000_000) -> Picture:
    """Read a PNG, JPEG, TIFF, NPY or FITS file; its content decides which, not its name.

    PNG: 1 to 16 bits, grey, RGB, palette (expanded), alpha, `tRNS` (becomes alpha).  JPEG: grey,
    RGB.  TIFF: one page of uint8, uint16 or float, grey or RGB, with further channels (planes of
    the picture, unless the file calls them alpha), uncompressed or in LZW, deflate, PackBits, LZMA,
    zstd or JPEG.  NPY: (H, W) or (H, W, 1 | 3 | 4), uint8, uint16 or float; never unpickled.
    FITS: one image of one plane or of three, integers or floats.

    What was stored sideways, as by telephones, comes upright.  NaN and infinities are read as they
    are: pixels that were not seen.

    Args:
        path: the file.
        max_pixels: largest H * W to decode; checked on the header, and compressed streams are
            held to it: against decompression bombs.

    Returns:
        Picture with planes float64 (C, H, W).

    Raises:
        PictureError: the file is missing, too large, damaged or of an unsupported kind; or the
            package that reads it is not installed.

    Example:
        >>> picture = read_picture("blurred.png")  # doctest: +SKIP
        >>> picture.planes.shape, picture.dtype  # doctest: +SKIP
        ((3, 1080, 1920), dtype('uint16'))
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
            file.seek(0)
            form = next((form for form in _FORMATS.values() if head.startswith(form.magic)), None)
            if form is None:
                raise PictureError(
                    f"{path} is not a PNG, JPEG, TIFF, NPY or FITS file (it begins with "
                    f"{head[:8]!r}); convert it to one of these"
                )
            pixels, metadata = form.read(file, max_pixels)
            has_alpha = metadata.pop("has_alpha", None)
            pixels, metadata = upright(pixels, metadata)
    except PictureError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as exc:
        raise PictureError(
            f"{path} cannot be opened ({exc.strerror}); check the name and the permissions"
        ) from exc
    except Exception as exc:  # a damaged file makes a decoder raise nearly anything
        raise PictureError(
            f"{path} is damaged, cut short or of an unsupported kind ({_brief(exc)}); "
            "get a fresh copy or save it again from another program"
        ) from exc
    return from_pixels(pixels, metadata, has_alpha)


def check_writable(path: PathLike) -> None:
    """Raise PictureError if `write_picture(path, ...)` is bound to fail; cheap, touches nothing.

    A command calls this before it computes.

    Raises:
        PictureError: the extension is unknown, the directory is missing or cannot be written, or
            the target is a directory, pipe or device, or read-only.

    Example:
        >>> check_writable("result.png")
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        known = " ".join(_SUFFIXES)
        folder = "" if path.suffix else ", or create the directory to write into it"
        raise PictureError(f"{path}: unknown extension {path.suffix!r}; use one of {known}{folder}")
    check_replaceable(path)


def check_replaceable(path: Path) -> None:
    """Raise PictureError if a file of any kind cannot be written at `path`; touches nothing."""
    target = Path(os.path.realpath(path))  # a link is written through, as by open()
    try:
        exists = target.exists()
    except OSError as exc:
        raise PictureError(
            f"{path} cannot be written ({_brief(exc)}); choose another name"
        ) from exc
    if target.is_dir():
        raise PictureError(f"{path} is a directory; give the name of a file")
    require_regular(path)
    if not target.parent.is_dir():
        raise PictureError(f"{path}: the directory {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PictureError(
            f"{path}: the directory {target.parent} is not writable; choose another place"
        )
    if exists and not os.access(target, os.W_OK):
        raise PictureError(f"{path} is read-only; choose another name or change its permissions")


def write_picture(path: PathLike, picture: Picture) -> None:
    """Write a picture in the format of the extension, atomically.

    Integer pixels are clipped to [0, 1], scaled and rounded to nearest.  Float pixels are written
    as they are to TIFF, NPY and FITS.  PNG holds 8 or 16 bits: float pixels are clipped to [0, 1]
    and written in 16.  JPEG holds 8: anything deeper is clipped and rounded to 8; a picture that
    was a JPEG keeps its quantisation tables and subsampling, any other gets quality 95, not
    subsampled.  Float pixels of which more than 1 % lie beyond [−½, 1½] are in another unit, and
    refused by both.  A TIFF that was compressed is written deflated, without loss, and any other
    uncompressed.

    The picture is encoded in memory and stored beside the target, whose place it takes when all of
    it is on the disk; on any failure the target is untouched.  An existing file keeps its mode.

    Args:
        path: .png, .jpg, .jpeg, .tif, .tiff, .npy, .fits, .fit or .fts
        picture: the picture, finite.

    Raises:
        PictureError: as `check_suitable` and `check_writable`; or NaN or infinite planes where the
            format or dtype has none, values beyond a float dtype's range, a failing encoder or
            disk.

    Example:
        >>> picture = read_picture("blurred.png")  # doctest: +SKIP
        >>> write_picture("sharp.tif", picture.replace(1 - picture.planes))  # doctest: +SKIP
    """
    path = Path(path)
    check_writable(path)
    check_suitable(path, picture)
    kind = _SUFFIXES[path.suffix.lower()]
    dtype = picture.dtype
    if kind == "JPEG":
        dtype = np.dtype(np.uint8)
    elif kind == "PNG" and dtype != np.uint8:
        dtype = np.dtype(np.uint16)
    if dtype.kind == "u":
        require_finite(
            np.moveaxis(picture.planes, 0, -1),
            str(path),
            "integers cannot hold them: make its dtype float32",
        )
    pixels = to_pixels(picture, dtype)
    metadata = {**picture.metadata, "has_alpha": picture.alpha is not None}
    try:
        with replacing(path) as file:
            _FORMATS[kind].write(file, pixels, metadata)
    except PictureError:
        raise
    except Exception as exc:  # encoders fail in many ways
        raise PictureError(
            f"{path} could not be written as {kind} ({_brief(exc)}); write another format"
        ) from exc


def check_suitable(path: PathLike, picture: Picture) -> None:
    """Raise PictureError if the format of `path` cannot hold such a picture; writes nothing.

    A command calls this before it computes: what is restored has the channels, the alpha and about
    the range of what was read.

    Raises:
        PictureError: alpha into JPEG or FITS, or with grey into NPY; a number of channels that the
            format has not; a float picture in another unit than white = 1 into PNG or JPEG.

    Example:
        >>> check_suitable("a.png", Picture(np.full((1, 4, 4), 0.5)))
    """
    kind = _SUFFIXES[Path(path).suffix.lower()]
    channels, alpha = len(picture.planes), picture.alpha is not None
    if alpha and kind in ("JPEG", "FITS"):
        raise PictureError(f"{path}: {kind} has no alpha channel; write .png or .tif")
    if alpha and kind == "NPY" and channels != 3:
        raise PictureError(f"{path}: NPY pictures have 1, 3 or 4 channels; write .png or .tif")
    if channels not in (1, 3) and kind != "TIFF":
        raise PictureError(f"{path}: {kind} does not hold {channels} channels; write .tif")
    if kind in ("PNG", "JPEG") and picture.dtype.kind == "f":
        seen = picture.planes[np.isfinite(picture.planes)]
        if np.mean((seen < -_BEYOND) | (seen > 1 + _BEYOND)) > _MOST_BEYOND:
            raise PictureError(
                f"{path}: the picture goes from {seen.min():.4g} to {seen.max():.4g}, and {kind} "
                "holds 0 to 1; write .tif, .npy or .fits, or divide it by its white first"
            )


def _brief(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200].rstrip(" .") or type(exc).__name__
