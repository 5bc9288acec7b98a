"""C and Cᵀ of real tensors by torch's own convolutions, in slabs where those would be slow.

In float64 on a CPU torch builds the im2col matrix, k^nd copies of the image and of all images of a
batch at once: images go one by one, large ones in slabs of rows.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid.geometry import Geometry
from ..numerics import memory
from . import choice

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _fold_samples(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, int]:
    """Per-sample kernels as groups of one large convolution."""
    if weight.ndim == geometry.nd + 2:
        return x, weight, geometry.groups
    N = x.shape[0]
    return x.flatten(0, 1)[None], weight.flatten(0, 1), geometry.groups * N


def correlate_real(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """C x: (N, c_in, *n) -> (N, c_out, *m)."""
    N = x.shape[0]
    x, weight, groups = _fold_samples(x, weight, geometry)
    slabs = _slabs(x, weight, geometry)
    out = [
        torch.cat([_direct(sample, weight, geometry, groups, rows) for rows in slabs], 2)
        if len(slabs) > 1
        else _direct(sample, weight, geometry, groups, slabs[0])
        for sample in (x.split(1) if _one_by_one(x) else [x])
    ]
    y = torch.cat(out) if len(out) > 1 else out[0]
    return y.reshape(geometry.batch_of_outputs(N))


class _DirectCall(NamedTuple):
    """How torch's own convolution gives output rows [start, stop) of the first axis."""

    rows: tuple[int, int]  # samples of the first axis that are read
    margins: list[int]  # what torch's symmetric padding cannot do, for F.pad
    padding: list[int]
    stride: list[int]
    dilation: list[int]


@lru_cache(maxsize=1024)
def _direct_call(geometry: Geometry, start: int, stop: int) -> _DirectCall:
    first = geometry.axes[0]
    low = start * first.stride - first.before
    high = (stop - 1) * first.stride - first.before + first.extent
    begin = min(max(low, 0), first.n)
    end = min(max(high, begin), first.n)
    front = min(max(-low, 0), high - low)  # a slab may lie in the padding altogether
    margins = [(front, high - low - front - (end - begin))]
    margins += [(a.before, max(a.after - a.tail, 0)) for a in geometry.axes[1:]]
    padding = [min(m) for m in margins]
    rest = [(m[0] - p, m[1] - p) for m, p in zip(margins, padding, strict=True)]
    return _DirectCall(
        (begin, end - begin),
        [p for pair in reversed(rest) for p in pair],
        padding,
        [a.stride for a in geometry.axes],
        [a.dilation for a in geometry.axes],
    )


def _direct(
    x: Tensor, weight: Tensor, geometry: Geometry, groups: int, rows: tuple[int, int]
) -> Tensor:
    call = _direct_call(geometry, *rows)
    if call.rows != (0, x.shape[2]):
        x = x.narrow(2, *call.rows)
    if any(call.margins):
        x = F.pad(x, call.margins)
    y = _CONV[geometry.nd](x, weight, None, call.stride, call.padding, call.dilation, groups)
    for dim, axis in enumerate(geometry.axes[1:], start=3):  # `tail` may hide whole outputs
        if y.shape[dim] != axis.m:
            y = y.narrow(dim, 0, axis.m)
    return y


def _slabs(x: Tensor, weight: Tensor, geometry: Geometry) -> list[tuple[int, int]]:
    """Ranges of output rows whose im2col matrices are small enough."""
    m = geometry.axes[0].m
    if x.device.type != "cpu" or x.dtype != torch.float64:
        return [(0, m)]
    outputs = math.prod(a.m for a in geometry.axes)
    im2col = x.element_size() * math.prod(weight.shape[1:]) * outputs
    if im2col <= memory.LARGEST_KEPT:
        return [(0, m)]
    rows = max(1, -(-m // round(im2col / memory.SLAB_BYTES)))
    return [(i, min(i + rows, m)) for i in range(0, m, rows)]


def _one_by_one(x: Tensor) -> bool:
    """Whether torch would build one im2col matrix for the whole batch."""
    return x.device.type == "cpu" and x.dtype == torch.float64 and x.shape[0] > 1


class _TransposeCall(NamedTuple):
    """How torch's transposed convolution gives Cᵀ on a symmetrically padded input."""

    size: list[int]  # spatial size of that input
    padding: list[int]
    output_padding: list[int]
    stride: list[int]
    dilation: list[int]


@lru_cache(maxsize=1024)
def _transpose_call(geometry: Geometry) -> _TransposeCall:
    axes = geometry.axes
    padding = [min(a.before, a.after) for a in axes]
    size = [a.padded - 2 * p for a, p in zip(axes, padding, strict=True)]
    return _TransposeCall(
        size,
        padding,
        [a.tail for a in axes],
        [a.stride for a in axes],
        [a.dilation for a in axes],
    )


def transpose_real(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y by torch's transposed convolution, or by its gradient kernel where that is faster."""
    shape = geometry.batch_of_inputs(len(y))
    call = _transpose_call(geometry)
    y, weight, groups = _fold_samples(y, weight, geometry)
    if choice.gradient_is_fastest(geometry, y.dtype, y.device.type):
        x = _by_gradient(y, weight, call, groups)
    else:
        x = _CONV_TRANSPOSE[geometry.nd](
            y,
            weight,
            None,
            call.stride,
            call.padding,
            call.output_padding,
            groups,
            call.dilation,
        )
    for dim, (axis, p) in enumerate(zip(geometry.axes, call.padding, strict=True), start=2):
        if x.shape[dim] != axis.n:
            x = x.narrow(dim, axis.before - p, axis.n)
    return x.reshape(shape)


def _by_gradient(y: Tensor, weight: Tensor, call: _TransposeCall, groups: int) -> Tensor:
    """The gradient kernel, up to three times faster in float64 on a CPU.

    It wants an input that it never reads: y's own memory serves where it suffices, for the expanded
    scalar of `torch.nn.grad` would be copied to full size, and new memory pushes the result out of
    the allocator's warm pages.
    """
    size = (len(y), weight.shape[1] * groups, *call.size)
    count = math.prod(size)
    if y.numel() >= count and y.is_contiguous():
        unread = y.detach().reshape(-1)[:count].view(size)
    else:
        unread = y.new_empty(size)
    return torch.ops.aten.convolution_backward(
        y,
        unread,
        weight,
        None,
        call.stride,
        call.padding,
        call.dilation,
        False,
        [0] * len(call.size),
        groups,
        [True, False, False],
    )[0]
