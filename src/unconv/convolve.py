"""The arithmetic of C and Cᵀ: one map, several engines, the cheapest taken by shape.

Which of torch's convolutions is fastest depends on shape, dtype and backend by up to 30 times:
float32 on a CPU is blocked by 16 channels, float64 builds the im2col matrix (k^nd copies of the
image), depthwise kernels are fast only backwards, large kernels belong to the FFT.  The ladder of
`choose_engine`, in order:

1. anything but a CPU: `direct`, except kernels that the cost model gives to `fft`;
2. the cost model finds the FFT cheaper: `fft`;
3. depthwise, float32, more than 81 taps, stride 1: `backward` (the gradient kernel is vectorised);
4. otherwise `direct`, in slabs whose im2col matrix fits the allocator's cache.

The transposed map at stride 1 is again a correlation, with the flipped, channel-swapped kernel, and
climbs the same ladder; where torch's gradient kernel is at least as fast (float32 from 16 channels
a group, depthwise, stride > 1) that is taken.  `benchmarks/bench_adjoint.py` shows both against
every alternative.

Everything here is differentiable torch code, in forward and reverse mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from .geometry import Axis, Geometry
from .precision import ieee_arithmetic, working_dtype
from .torus import Torus, multiply

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

# glibc returns blocks above 32 MiB to the system when they are freed, and faulting them in again
# costs more than the arithmetic (measured: 37 MB im2col, 6 ms of products, 18 ms of page faults).
# What would come near that is worked off in slabs of the size that measured best.
_LARGEST_KEPT = 24e6
_SLAB_BYTES = 6 * 2**20


def correlate(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """C x for zero-padded axes: `F.conv*d` with any (before, after) padding.

    Parameters
    ----------
    x : (N, c_in, *n)
    weight : (c_out, c_in/g, *k), or (N, c_out, c_in/g, *k) with one kernel a sample

    Returns
    -------
    (N, c_out, *m) of dtype `torch.result_type(weight, x)`.
    """
    return _compute(_correlate_real, _correlate_fft, x, weight, geometry)


def correlate_transpose(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y, the transpose (no conjugate) of `correlate` for the same weight and geometry.

    y : (N, c_out, *m) -> (N, c_in, *n)
    """
    if not _backward_is_fastest(geometry, torch.result_type(weight, y), y.device.type):
        turned = _turned_geometry(geometry)
        if turned is not None:
            return correlate(y, _turned_weight(weight, geometry), turned)
    return _compute(_transpose_real, _transpose_fft, y, weight, geometry)


# Products a nanosecond on two cores, (is float64, nd): with one channel a group, and at most.
_DIRECT_RATES = {
    (False, 1): (3.5, 150.0),
    (False, 2): (12.0, 200.0),
    (False, 3): (3.5, 14.0),
    (True, 1): (3.5, 32.0),
    (True, 2): (6.5, 35.0),
    (True, 3): (2.2, 28.0),
}

_RealEngine = Callable[[Tensor, Tensor, Geometry], Tensor]


def _compute(
    direct: _RealEngine, fft: _RealEngine, x: Tensor, weight: Tensor, geometry: Geometry
) -> Tensor:
    """Dtypes around the engines: half precisions in float32, complex numbers from real parts."""
    dtype = torch.result_type(weight, x)
    x, weight = (t.to(working_dtype(t.dtype, dtype)) for t in (x, weight))
    with ieee_arithmetic(x.device.type):
        if fft_is_cheaper(x.shape[0], geometry, weight.dtype, x.device.type):
            return fft(x, weight, geometry).to(dtype)
        return _from_real_parts(direct, x, weight, geometry).to(dtype)


def _from_real_parts(engine: _RealEngine, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A complex convolution as real ones: Re x and Im x as a batch, Re w and Im w in turn."""
    if not (x.is_complex() or weight.is_complex()):
        return engine(x, weight, geometry)
    N = x.shape[0]
    parts = torch.cat([x.real, x.imag]) if x.is_complex() else x

    def real_product(w: Tensor) -> Tensor:  # real w times x, as (N, c, *m)
        per_sample = w.ndim == geometry.nd + 3
        y = engine(parts, torch.cat([w, w]) if per_sample and x.is_complex() else w, geometry)
        return torch.complex(y[:N], y[N:]) if x.is_complex() else y

    if not weight.is_complex():
        return real_product(weight)
    real, imag = real_product(weight.real), real_product(weight.imag)
    if x.is_complex():
        return torch.complex(real.real - imag.imag, real.imag + imag.real)
    return torch.complex(real, imag)


# --- direct engines: real x and weight ------------------------------------------------------------


def _fold_samples(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, int]:
    """Per-sample kernels as groups of one large convolution."""
    if weight.ndim == geometry.nd + 2:
        return x, weight, geometry.groups
    N = x.shape[0]
    return x.flatten(0, 1)[None], weight.flatten(0, 1), geometry.groups * N


def _correlate_real(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if _is_large_depthwise(x, weight, geometry):
        turned = _turned_geometry(geometry)
        if turned is not None:
            return _transpose_real(x, _turned_weight(weight, geometry), turned)
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
    if im2col <= _LARGEST_KEPT:
        return [(0, m)]
    rows = max(1, -(-m // round(im2col / _SLAB_BYTES)))
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


def _transpose_real(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y by torch's transposed convolution, or by its gradient kernel where that is faster."""
    shape = geometry.batch_of_inputs(len(y))
    call = _transpose_call(geometry)
    y, weight, groups = _fold_samples(y, weight, geometry)
    if _gradient_is_fastest(geometry, y.dtype, y.device.type):
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


@lru_cache(maxsize=1024)
def _gradient_is_fastest(geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    if device_type != "cpu" or any(a.tail >= a.stride for a in geometry.axes):
        return False  # the kernel insists on every output that its input size allows
    return _is_depthwise(geometry) if dtype != torch.float64 else geometry.nd < 3


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


# --- the transposed map as a correlation ----------------------------------------------------------


@lru_cache(maxsize=1024)
def _turned_geometry(geometry: Geometry) -> Geometry | None:
    """Geometry of Cᵀ as a correlation; None where it is not one (stride, padding beyond full)."""
    axes = []
    for a in geometry.axes:
        before = a.extent - 1 - a.before
        after = a.n - a.m + a.before
        if a.stride != 1 or before < 0 or after < 0:
            return None
        axes.append(Axis(a.m, a.n, a.k, 1, a.dilation, before, after, "zeros"))
    return replace(geometry, axes=tuple(axes), c_in=geometry.c_out, c_out=geometry.c_in)


def _turned_weight(weight: Tensor, geometry: Geometry) -> Tensor:
    """The kernel of Cᵀ: taps flipped, channels of each group swapped."""
    nd, g = geometry.nd, geometry.groups
    channels = weight.ndim - nd - 2
    flipped = weight.flip(tuple(range(-nd, 0))).unflatten(channels, (g, -1))
    return flipped.transpose(channels + 1, channels + 2).flatten(channels, channels + 1)


def _channels_a_group(geometry: Geometry) -> int:
    return min(geometry.c_in, geometry.c_out) // geometry.groups


def _is_depthwise(geometry: Geometry) -> bool:
    return geometry.groups > 1 and geometry.c_in == geometry.c_out == geometry.groups


def _is_large_depthwise(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    taps = math.prod(a.k for a in geometry.axes)
    single = x.device.type == "cpu" and x.dtype == torch.float32
    return single and _is_depthwise(geometry) and taps > 81


@lru_cache(maxsize=1024)
def _backward_is_fastest(geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch's transposed kernels beat a correlation with the turned weight."""
    if device_type != "cpu":
        return True
    if dtype.to_real() != torch.float64:
        wide = geometry.groups == 1 and _channels_a_group(geometry) >= 16
        return wide or _is_depthwise(geometry)
    # float64: the gradient kernel holds one im2col matrix a sample and wins while that is small.
    taps = math.prod(a.k for a in geometry.axes) * geometry.c_in // geometry.groups
    im2col = 8 * taps * math.prod(a.m for a in geometry.axes)
    return im2col < _LARGEST_KEPT and _channels_a_group(geometry) * geometry.groups > 1


# --- FFT engine -----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _engine_torus(geometry: Geometry, real: bool) -> Torus:
    """The cheapest periodic grid on which nothing wraps onto an output."""
    coarse = []
    for a in geometry.axes:
        reach = max(0, (a.m - 1) * a.stride + a.extent - a.before - a.n)  # samples read behind n
        least = max(a.n + max(a.before, reach), a.m * a.stride)
        coarse.append(next_fast_len(-(-least // a.stride), real=True))
    return Torus(tuple(coarse), tuple(a.stride for a in geometry.axes), real)


def grouped(weight: Tensor, geometry: Geometry) -> Tensor:
    """The weight as (B, g, c_out/g, c_in/g, *k); B = 1 when the samples share it."""
    if weight.ndim == geometry.nd + 2:
        weight = weight[None]
    return weight.unflatten(1, (geometry.groups, -1))


def _correlate_fft(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if x.is_complex() and not weight.is_complex():
        return _from_real_parts(_correlate_fft, x, weight, geometry)
    torus = _engine_torus(geometry, real=not weight.is_complex())

    def part(x: Tensor, weight: Tensor) -> Tensor:
        blocks = torus.spectrum(weight, geometry)
        y = torus.inverse_transform(multiply(blocks, torus.transform(torus.to_phases(x))))
        for dim, axis in enumerate(geometry.axes, start=2):
            y = y.narrow(dim, 0, axis.m)
        return y.contiguous()

    return _by_groups(part, x, grouped(weight, geometry), torus)


def _transpose_fft(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if y.is_complex() and not weight.is_complex():
        return _from_real_parts(_transpose_fft, y, weight, geometry)
    torus = _engine_torus(geometry, real=not weight.is_complex())

    def part(y: Tensor, weight: Tensor) -> Tensor:
        blocks = torus.spectrum(weight, geometry)
        x = torus.inverse_transform(multiply(blocks, torus.transform(y), adjoint=True))
        x = torus.from_phases(x)
        for dim, axis in enumerate(geometry.axes, start=2):
            x = x.narrow(dim, 0, axis.n)
        return x.contiguous()

    return _by_groups(part, y, grouped(weight.conj().resolve_conj(), geometry), torus)


def _by_groups(
    part: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, torus: Torus
) -> Tensor:
    """Work off independent groups in slices that the allocator keeps."""
    g = weight.shape[1]
    bytes_a_group = math.prod(torus.fine) * x.element_size() * len(x) * x.shape[1] // g
    count = max(1, int(_SLAB_BYTES // max(1, bytes_a_group)))
    if count >= g:
        return part(x, weight)
    pairs = zip(x.split(x.shape[1] // g * count, 1), weight.split(count, 1), strict=True)
    return torch.cat([part(channels, kernels) for channels, kernels in pairs], 1)


@lru_cache(maxsize=1024)
def fft_is_cheaper(N: int, geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Compare predicted times in nanoseconds; only the ratio of the constants matters."""
    torus = _engine_torus(geometry, real=True)
    c, pairs = _channels_a_group(geometry), geometry.c_in * geometry.c_out // geometry.groups
    double = dtype.to_real() == torch.float64
    rate, ceiling = _DIRECT_RATES[double, geometry.nd]
    rate = min(rate * c, ceiling)
    if _is_depthwise(geometry) and not double:
        rate = 100.0
    if device_type != "cpu":
        rate *= 4  # an accelerator is worth more to dense products than to transforms
    taps = math.prod(a.k for a in geometry.axes)
    direct = 2 * N * pairs * taps * math.prod(a.m for a in geometry.axes) / rate
    points = math.prod(torus.coarse)
    images = geometry.c_in * torus.phases + geometry.c_out
    transforms = N * images * points * math.log2(points + 1) * 0.1
    entries = pairs * torus.phases * points  # of all blocks, half of them stored
    mixing = entries * (0.25 * (1 + min(geometry.axes[-1].k, 32) / 16) + 0.5 * N)
    if entries * dtype.itemsize > _LARGEST_KEPT:
        mixing *= 2.5
    return (1.8 if double else 1.2) * (transforms + mixing) + 3e5 < direct
