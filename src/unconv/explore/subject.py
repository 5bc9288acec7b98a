"""The picture that is explored, and its pixels as a browser can show them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..parameter_choice.noise_models import JpegRounding
from ..pictures.bad_pixels import filled
from ..pictures.light import linear_from_srgb, srgb_from_linear

_OVERVIEW = 1024  # pixels along the longer side
_DARKEST, _BRIGHTEST = 0.002, 0.998  # quantiles of float pixels that are black and white


@dataclass(frozen=True)
class Subject:
    """A picture.

    Attributes
    ----------
    name : of its file
    planes : (C, H, W) float64 as stored; NaN where nothing was seen
    jpeg : the rounding of the file, if it was a JPEG
    is_integer : whether white is 1; else black and white are read from the pixels
    """

    name: str
    planes: Tensor
    jpeg: Sequence[JpegRounding] | None
    is_integer: bool

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.planes.shape[1], self.planes.shape[2]

    @cached_property
    def seen(self) -> Tensor:
        """(H, W) bool, where a pixel was seen."""
        return self.planes.isfinite().all(0)

    @cached_property
    def complete(self) -> Tensor:
        """(C, H, W), with something where nothing was seen."""
        return self.planes if bool(self.seen.all()) else filled(self.planes, self.seen)

    @cached_property
    def range(self) -> tuple[float, float]:
        """The values that are shown black and white."""
        if self.is_integer:
            return 0.0, 1.0
        values = self.planes[self.planes.isfinite()]
        some = values[:: max(1, len(values) // 100_000)]
        low, high = (float(some.quantile(q)) for q in (_DARKEST, _BRIGHTEST))
        return low, high if high > low else low + 1.0

    def picture_uri(self, planes: Tensor) -> str:
        """Planes (C, h, w) in the unit of this picture as a PNG in a data URI."""
        return _uri(self._pixels(planes), shrunk=False)

    @cached_property
    def overview_uri(self) -> str:
        """All of the picture, made small enough to be shown at once."""
        step = max(1, max(self.size) // (2 * _OVERVIEW))
        return _uri(self._pixels(self.complete[:, ::step, ::step]), shrunk=True)

    def _pixels(self, planes: Tensor) -> np.ndarray:
        low, high = self.range
        shown = planes[:3] if len(planes) >= 3 else planes[:1]
        shown = ((shown.nan_to_num() - low) / (high - low)).clamp(0, 1)
        pixels: np.ndarray = (shown.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def in_light(planes: Tensor, light: str) -> Tensor:
    """Stored values in the light that was blurred; 'auto' shows what is as stored."""
    return linear_from_srgb(planes) if light == "linear" else planes


def as_stored(planes: Tensor, light: str) -> Tensor:
    """The inverse of `in_light`."""
    return srgb_from_linear(planes) if light == "linear" else planes


def _uri(pixels: np.ndarray, *, shrunk: bool) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if shrunk:
        image.thumbnail((_OVERVIEW, _OVERVIEW), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
