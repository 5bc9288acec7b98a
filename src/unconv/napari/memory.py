"""What memory the deconvolution of one volume takes, known from its sizes before any work.

A number of bytes for each sample of the grid of the FFTs, whose axes are those of the scene that
the volume shows a part of, size + psf − 1, and a fast size.  The numbers are peaks that were
measured, the choice of the strength included, on volumes of 0.3 and 0.8 million voxels (float64).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..grid.fft import fast_size
from ..operators.linear_operator import MemoryLimitError, gigabytes

_BYTES = {"tv": 450, "sparse": 480, "hessian": 640, "dct": 410, "richardson-lucy": 220}
"""A sample of the grid, by method."""

_AT_ONCE = ("richardson-lucy",)
"""Methods that have all channels in work at once."""


def memory_needed(size: Sequence[int], psf: Sequence[int], method: str, channels: int = 1) -> int:
    """Bytes at the peak, for channels of that size one after the other, or all at once."""
    grid = math.prod(fast_size(n + k - 1) for n, k in zip(size, psf, strict=True))
    return _BYTES[method] * grid * (channels if method in _AT_ONCE else 1)


def check_memory(need: int, limit: float, size: Sequence[int], method: str) -> None:
    """Refuse what will not fit, before any work."""
    if need > limit:
        raise MemoryLimitError(
            f"{method} takes {gigabytes(need)} for {' x '.join(map(str, size))} samples, the "
            f"memory limit is {gigabytes(limit)}; crop the image, or raise the limit."
        )
