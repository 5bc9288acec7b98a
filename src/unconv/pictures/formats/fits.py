"""FITS, by astropy: one image of one plane or of three colours.

FITS counts rows from the bottom, as every viewer of it shows them, so they are turned on reading
and turned back on writing: an angle is that of the picture that one sees.  Integers of 8 and 16
bits, unsigned, are read as such; all other integers, scaled or not, become floats that hold them
exactly, and blank pixels NaN.  The header travels along, cards of the coordinates included.

Source: the FITS Standard 4.0 (2018), §4.4 and §5.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .checks import StackError, need, require_size
from .picture import Array, PictureError

_OURS = ("SIMPLE", "BITPIX", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK",
         "CHECKSUM", "DATASUM")  # fmt: skip  # cards that describe the stored numbers


def read(file: BinaryIO, max_pixels: int) -> tuple[Array, dict[str, Any]]:
    """The pixels as stored, (H, W) or (H, W, 3), the top row first, and the metadata."""
    fits = need("astropy.io.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it doubts cards, which are only copied
        with fits.open(file, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=True) as f:
            image = _only_image(file, f)
            header = image.header
            shape = image.shape
            require_size(file, shape[-1], shape[-2], max_pixels)
            pixels = _values(np.asarray(image.data), header)
    if pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    kept = header.copy()
    for card in _OURS:
        kept.remove(card, ignore_missing=True, remove_all=True)
    text = kept.tostring(sep="\n", endcard=False, padding=False)
    return np.ascontiguousarray(pixels[::-1]), {"fits": {"header": text}}


def read_volume(file: BinaryIO, most_bytes: int) -> Array | None:
    """The samples (D, H, W) of a cube, the top row first; None for what is a picture, or larger."""
    fits = need("astropy.io.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(file, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=True) as f:
            cubes = [hdu for hdu in f if hdu.is_image and hdu.header["NAXIS"] > 0]
            shape = tuple(n for n in cubes[0].shape if n > 1) if len(cubes) == 1 else ()
            if len(shape) != 3 or shape[0] == 3 or 8 * np.prod(shape, dtype=float) > most_bytes:
                return None
            stored = np.asarray(cubes[0].data).reshape(-1, shape[-1])
            values = _values(stored, cubes[0].header).reshape(shape)
    return np.ascontiguousarray(values[:, ::-1])


def _only_image(file: BinaryIO, found: Any) -> Any:
    """The one image of the file."""
    images = [hdu for hdu in found if hdu.is_image and hdu.header["NAXIS"] > 0]
    if not images:
        raise PictureError(f"{file.name} is a FITS file without an image; name one that has one")
    image = images[0]
    shape = tuple(n for n in image.shape if n > 1) if len(image.shape) > 2 else image.shape
    if len(image.shape) < 2:
        raise PictureError(
            f"{file.name} holds a row of {image.shape[0]} numbers, expected a picture"
        )
    if len(shape) > 3 or (len(shape) == 3 and shape[0] != 3):
        count = int(np.prod(shape[:-2]))
        raise StackError(file.name, f"{count} planes")
    if len(images) > 1:
        names = ", ".join(hdu.name or "unnamed" for hdu in images)
        raise PictureError(
            f"{file.name} holds {len(images)} images ({names}), expected one; save the one that is "
            "meant to its own file"
        )
    return image


def _values(stored: Array, header: Any) -> Array:
    """What the stored numbers mean: stored · BSCALE + BZERO, blanks NaN."""
    scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
    if stored.ndim > 2:
        stored = stored.reshape(stored.shape[-3:] if stored.shape[-3] == 3 else stored.shape[-2:])
    stored = stored.astype(stored.dtype.newbyteorder("="))
    blank = header.get("BLANK") if stored.dtype.kind != "f" else None
    missing = None if blank is None else stored == int(blank)
    if missing is None or not missing.any():
        if stored.dtype.kind == "f" or stored.dtype == np.uint8:
            if (scale, zero) == (1, 0):
                return stored
        elif stored.dtype == np.int16 and (scale, zero) == (1, 32768):
            return (stored.astype(np.int32) + 32768).astype(np.uint16)
    small = stored.dtype.itemsize <= 2 and (scale, zero) == (1, 0)
    values: Array = stored.astype(np.float32 if small else np.float64)
    if (scale, zero) != (1, 0):
        values = values * scale + zero
    if missing is not None:
        values[missing] = np.nan
    return values


def write(file: BinaryIO, pixels: Array, metadata: Mapping[str, Any]) -> None:
    """Write pixels (H, W) or (H, W, C) as they are, the bottom row first, and the header."""
    fits = need("astropy.io.fits")
    pixels = pixels[::-1]
    if pixels.ndim == 3:
        pixels = np.moveaxis(pixels, -1, 0)
    if pixels.dtype == np.float16:  # which FITS has not
        pixels = pixels.astype(np.float32)
    text = metadata.get("fits", {}).get("header", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header.fromstring(text, sep="\n") if text else None
        content = io.BytesIO()  # astropy asks a file for its name
        fits.PrimaryHDU(np.ascontiguousarray(pixels), header=header).writeto(content)
    file.write(content.getvalue())
