"""C and Cᵀ of real tensors by torch's own convolutions, in slabs where those would be slow.

In float64 on a CPU torch builds the im2col matrix, k^nd copies of the image and of all images of a
batch at once: images go one by one, large ones in slabs of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


def correlate_real(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """C x: (N, c_in, *n) -> (N, c_out, *m)."""
    if weight.ndim > x.ndim:  # per-sample kernels, as groups of one large convolution
        y = _by_rows(x.flatten(0, 1)[None], weight.flatten(0, 1), geometry, len(x))
        return y.reshape(geometry.batch_of_outputs(len(x)))
    if x.dtype == torch.float64 and x.shape[0] > 1 and x.is_cpu:  # one im2col matrix at a time
        return torch.cat([_by_rows(sample, weight, geometry, 1) for sample in x.split(1)])
    return _by_rows(x, weight, geometry, 1)


def _by_rows(x: Tensor, weight: Tensor, geometry: Geometry, samples: int) -> Tensor:
    """C x in slabs of output rows, of as many `samples` as lie side by side in the channels."""
    slabs, groups = _slabs(x, weight, geometry), geometry.groups * samples
    if len(slabs) == 1:
        return _direct(x, weight, geometry, groups, slabs[0])
    return torch.cat([_direct(x, weight, geometry, groups, rows) for rows in slabs], 2)


class _DirectCall(NamedTuple):
    """How torch's own convolution gives output rows [start, stop) of the first axis."""

    run: Callable[..., Tensor]  # F.conv*d
    rows: tuple[int, int] | None  # (first, count) of the first axis that are read; None for all
    margins: list[int] | None  # what torch's symmetric padding cannot do, for F.pad
    padding: list[int]
    stride: list[int]
    dilation: list[int]
    cut: list[tuple[int, int]]  # (dim, outputs) where torch finds more than there are


@lru_cache(maxsize=1024)
def _direct_call(geometry: Geometry, start: int, stop: int) -> _DirectCall:
    axes = geometry.axes
    first = axes[0]
    low = start * first.stride - first.before
    high = (stop - 1) * first.stride - first.before + first.extent
    begin = min(max(low, 0), first.n)
    end = min(max(high, begin), first.n)
    front = min(max(-low, 0), high - low)  # a slab may lie in the padding altogether
    margins = [(front, high - low - front - (end - begin))]
    margins += [(a.before, max(a.after - a.tail, 0)) for a in axes[1:]]
    padding = [min(m) for m in margins]
    rest = [(m[0] - p, m[1] - p) for m, p in zip(margins, padding, strict=True)]
    found = [
        (a.n + sum(m) - a.extent) // a.stride + 1
        for a, m in zip(axes[1:], margins[1:], strict=True)
    ]
    return _DirectCall(
        _CONV[geometry.nd],
        (begin, end - begin) if (begin, end) != (0, first.n) else None,
        [p for pair in reversed(rest) for p in pair] if any(map(any, rest)) else None,
        padding,
        [a.stride for a in axes],
        [a.dilation for a in axes],
        # `tail` may hide whole outputs
        [(3 + i, a.m) for i, a in enumerate(axes[1:]) if found[i] != a.m],
    )


def _direct(
    x: Tensor, weight: Tensor, geometry: Geometry, groups: int, rows: tuple[int, int]
) -> Tensor:
    call = _direct_call(geometry, *rows)
    if call.rows is not None:
        x = x.narrow(2, *call.rows)
    if call.margins is not None:
        x = F.pad(x, call.margins)
    y = call.run(x, weight, None, call.stride, call.padding, call.dilation, groups)
    for dim, m in call.cut:
        y = y.narrow(dim, 0, m)
    return y


def _slabs(x: Tensor, weight: Tensor, geometry: Geometry) -> list[tuple[int, int]]:
    """Ranges of output rows whose im2col matrices are small enough."""
    m = geometry.axes[0].m
    if x.dtype != torch.float64 or not x.is_cpu:
        return [(0, m)]
    im2col = x.element_size() * _im2col_entries(geometry)
    if im2col <= memory.LARGEST_KEPT:
        return [(0, m)]
    rows = max(1, -(-m // round(im2col / memory.SLAB_BYTES)))
    return [(i, min(i + rows, m)) for i in range(0, m, rows)]


@lru_cache(maxsize=1024)
def _im2col_entries(geometry: Geometry) -> int:
    """Numbers in the im2col matrix of one sample and one group."""
    columns = geometry.c_in // geometry.groups * math.prod(a.k for a in geometry.axes)
    return columns * math.prod(a.m for a in geometry.axes)


class _TransposeCall(NamedTuple):
    """How torch's transposed convolution gives Cᵀ on a symmetrically padded input."""

    run: Callable[..., Tensor]  # F.conv_transpose*d
    size: list[int]  # spatial size of that input
    padding: list[int]
    output_padding: list[int]
    stride: list[int]
    dilation: list[int]
    cut: list[tuple[int, int, int]]  # (dim, start, length) of the domain where it is larger


@lru_cache(maxsize=1024)
def _transpose_call(geometry: Geometry) -> _TransposeCall:
    axes = geometry.axes
    padding = [min(a.before, a.after) for a in axes]
    size = [a.padded - 2 * p for a, p in zip(axes, padding, strict=True)]
    return _TransposeCall(
        _CONV_TRANSPOSE[geometry.nd],
        size,
        padding,
        [a.tail for a in axes],
        [a.stride for a in axes],
        [a.dilation for a in axes],
        [(2 + i, a.before - padding[i], a.n) for i, a in enumerate(axes) if size[i] != a.n],
    )


def transpose_real(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y by torch's transposed convolution, or by its gradient kernel where that is faster."""
    if weight.ndim > y.ndim:  # per-sample kernels, as groups of one large convolution
        x = _transpose(y.flatten(0, 1)[None], weight.flatten(0, 1), geometry, len(y))
        return x.reshape(geometry.batch_of_inputs(len(y)))
    return _transpose(y, weight, geometry, 1)


def _transpose(y: Tensor, weight: Tensor, geometry: Geometry, samples: int) -> Tensor:
    """Cᵀ y, of as many `samples` as lie side by side in the channels."""
    call, groups = _transpose_call(geometry), geometry.groups * samples
    if choice.gradient_is_fastest(geometry, y.dtype, y.device.type):
        x = _by_gradient(y, weight, call, groups)
    else:
        x = call.run(
            y, weight, None, call.stride, call.padding, call.output_padding, groups, call.dilation
        )
    for dim, start, length in call.cut:
        x = x.narrow(dim, start, length)
    return x


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
