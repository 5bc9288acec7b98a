"""A and Aᵀ on boxes of a scene in single precision, whose spectra are kept for the latest boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...grid.fft import fast_size
from ..tiling.blur import Blur

# A row of tiles has three shapes, and more would be arrays that nobody has predicted.
_KEPT = 3


def blur_of(psf: Tensor, shape: Sequence[int]) -> Blur:
    """A on a box of a shape, no axis less than the psf's; float32."""
    return _blur(psf.double().numpy().tobytes(), tuple(psf.shape), tuple(map(fast_size, shape)))


@lru_cache(_KEPT)
def _blur(psf: bytes, k: tuple[int, ...], sizes: tuple[int, ...]) -> Blur:
    taps = torch.frombuffer(bytearray(psf), dtype=torch.float64).view(k)
    return Blur(taps, sizes, torch.float32)
