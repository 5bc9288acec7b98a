"""The record of a picture and its error; pixels as stored, to and from planes and alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


class PictureError(ValueError):
    """A picture could not be read or written: what was expected, what came, and the remedy."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels for computing, and all that is needed to write them back.

    Args:
        planes: float64 (C, H, W), C = 1 (grey), 3 (RGB) or the channels of a TIFF.  Integer pixels
            are scaled to [0, 1] (uint8 / 255, uint16 / 65535), float pixels are as stored, NaN and
            infinities too.  The values are those of the file: no gamma is undone.  The first row
            is the top one as the picture is seen.
        alpha: (H, W) in the file's own dtype, or None.  Never filtered.
        dtype: how the pixels are stored: uint8, uint16, float16, float32 or float64.
        metadata: what travels along, only the keys that the file had.  Shared by the formats:
            ``exif`` (bytes), ``icc_profile`` (bytes), ``xmp`` (bytes), ``dpi`` ((x, y), pixels per
            inch).  For writing the same format again: ``png_chunks``, ``jpeg``, ``tiff``, ``npy``,
            ``fits``.  A picture that was stored sideways is upright here, and its EXIF
            orientation is 1.

    Raises:
        PictureError: shapes or dtypes are not as above.

    Example:
        >>> import numpy as np
        >>> picture = Picture(np.zeros((1, 4, 6)), dtype=np.dtype("uint8"))
        >>> picture.replace(picture.planes + 0.5).planes.mean()
        np.float64(0.5)
    """

    planes: Array  # (C, H, W)
    alpha: Array | None = None  # (H, W)
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float64))
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # object.__setattr__ is how a frozen dataclass normalises its own fields
        object.__setattr__(self, "planes", np.asarray(self.planes, dtype=np.float64))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        shape = self.planes.shape
        if len(shape) != 3 or 0 in shape:
            raise PictureError(
                f"planes must be (C, H, W), such as (1, H, W) or (3, H, W), not {shape}; move the "
                "axes"
            )
        if self.dtype.name not in DTYPES:
            raise PictureError(f"dtype={self.dtype} cannot be stored; use one of {DTYPES}")
        if self.alpha is None:
            return
        if self.alpha.shape != shape[1:]:
            raise PictureError(
                f"alpha {self.alpha.shape} and planes {shape[1:]} must have one size; "
                "crop or pad alpha too, or give alpha=None"
            )
        if self.alpha.dtype.name not in DTYPES:
            raise PictureError(f"alpha is {self.alpha.dtype}; convert it to one of {DTYPES}")

    def replace(self, planes: Array) -> Picture:
        """A picture with new planes (C, H, W) and this one's alpha, dtype and metadata."""
        return replace(self, planes=planes)


def from_pixels(
    pixels: Array, metadata: Mapping[str, Any], has_alpha: bool | None = None
) -> Picture:
    """The picture of pixels (H, W) or (H, W, C) as stored, the last being alpha or not.

    has_alpha : None where 2 and 4 channels mean alpha
    """
    dtype = pixels.dtype.newbyteorder("=")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    alpha = None
    if pixels.shape[2] in (2, 4) if has_alpha is None else has_alpha:
        pixels, alpha = pixels[..., :-1], pixels[..., -1].astype(dtype)
    planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0), dtype=np.float64)
    if dtype.kind == "u":
        planes /= np.iinfo(dtype).max
    return Picture(planes, alpha, dtype, metadata)


def to_pixels(picture: Picture, dtype: np.dtype[Any]) -> Array:
    """Pixels as `dtype` stores them: (H, W) or, with more channels, (H, W, C), alpha last."""
    planes = [_stored(plane, dtype) for plane in picture.planes]
    if picture.alpha is not None:
        alpha = picture.alpha
        if alpha.dtype != dtype:
            full = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
            alpha = _stored(alpha.astype(np.float64) / full, dtype)
        planes.append(alpha)
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def _stored(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "u":
        stored: Array = np.rint(np.clip(values, 0, 1) * np.iinfo(dtype).max).astype(dtype)
        return stored
    largest = np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max()
    if largest > np.finfo(dtype).max:
        raise PictureError(f"a value of {largest:g} does not fit {dtype}; use a wider dtype")
    return values.astype(dtype)
