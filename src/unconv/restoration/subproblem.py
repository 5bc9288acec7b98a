"""A part of large data, with its own surroundings unknown, on which a strength is chosen.

The rim of a volume is much of it: of 2¹⁶ voxels so little is left within its unknown surroundings
that the strength for bars in the dark came out at a quarter of the best, 0.9 dB.
"""

from __future__ import annotations

import math

from torch import Tensor

from ..operators.convolution import Convolution
from ..varying.blur import VaryingBlur
from .varying_grid import Blur, convolution_of

_MOST = {1: 2**16, 2: 2**16, 3: 2**18}  # data of one channel by the number of axes: 256², 64³


def part_of(op: Blur, y: Tensor) -> tuple[Blur, tuple[slice, ...]] | None:
    """An operator that pads nothing, and where in y the data are that it explains; None for all.

    Parameters
    ----------
    op : one kernel
    y : (1, c_out, *m)
    """
    convolution = convolution_of(op)
    axes = convolution.geometry.axes
    if convolution.transposed or y[0, 0].numel() <= _MOST[len(axes)]:
        return None
    inner = []  # first and last + 1 of the outputs that read no padding
    for a in axes:
        first = -(-a.before // a.stride)
        last = (a.n + a.before - a.extent) // a.stride
        inner.append((first, min(last + 1, a.m)))
    side = math.ceil(_MOST[len(axes)] ** (1 / len(axes)))
    if any(last - first < min(side, 2) for first, last in inner):
        return None
    places, sizes = [], []
    for a, (first, last) in zip(axes, inner, strict=True):
        m = min(last - first, side)
        start = (first + last - m) // 2
        places.append(slice(start, start + m))
        sizes.append((m - 1) * a.stride + a.extent)
    where = (slice(None), *places)
    if isinstance(op, VaryingBlur):
        if op.seen is not None and not bool(op.seen[where].any()):
            return None
        inside = op.part([p.start for p in places], [p.stop - p.start for p in places])
        return inside, (slice(None), *where)
    part = Convolution(
        op.taps.detach(),
        sizes,
        stride=tuple(a.stride for a in axes),
        dilation=tuple(a.dilation for a in axes),
        groups=op.geometry.groups,
    )
    if op.seen is not None:
        seen = op.seen[where]
        if not bool(seen.any()):
            return None
        part = part.observed(seen)
    return part, (slice(None), *where)
