"""The arithmetic of C and Cᵀ: one map, several engines, the cheapest taken by shape.

Which of torch's convolutions is fastest depends on shape, dtype and backend by up to 30 times:
float32 on a CPU is blocked by 16 channels, float64 builds the im2col matrix (k^nd copies of the
image), depthwise kernels are fast only backwards, large kernels belong to the FFT.  The ladder of
`choice.py`, in order:

1. anything but a CPU: `direct`, except kernels that the cost model gives to `fft`;
2. the cost model finds the FFT cheaper: `fft`;
3. depthwise, float32, more than 81 taps, stride 1: `backward` (the gradient kernel is vectorised);
4. otherwise `direct`, in slabs whose im2col matrix fits the allocator's cache.

The transposed map at stride 1 is again a correlation, with the flipped, channel-swapped kernel, and
climbs the same ladder; where torch's transposed convolution or its gradient kernel is at least as
fast (float32 from 16 channels on but for a single tap, depthwise, stride > 1) that is taken.
`benchmarks/bench_adjoint.py` shows both against every alternative.

Everything here is differentiable torch code, in forward and reverse mode.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..grid.geometry import Geometry
from ..numerics.precision import ieee_arithmetic, working_pair
from . import choice
from .by_fft import correlate_fft, grouped, transpose_fft
from .complex_parts import Engine, from_real_parts
from .direct import correlate_real, transpose_real
from .kernel_gradient import kernel_gradient
from .turned import turned_geometry, turned_weight

__all__ = ["correlate", "correlate_transpose", "grouped", "kernel_gradient"]


def correlate(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """C x for zero-padded axes: `F.conv*d` with any (before, after) padding.

    Parameters
    ----------
    x : (N, c_in, *n)
    weight : (c_out, c_in/g, *k), or (N, c_out, c_in/g, *k) with one kernel per sample

    Returns
    -------
    (N, c_out, *m) of dtype `torch.result_type(weight, x)`.
    """
    return _compute(_correlate_direct, correlate_fft, x, weight, geometry)


def correlate_transpose(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y, the transpose (no conjugate) of `correlate` for the same weight and geometry.

    y : (N, c_out, *m) -> (N, c_in, *n)
    """
    if not choice.backward_is_fastest(geometry, torch.result_type(weight, y), y.device.type):
        turned = turned_geometry(geometry)
        if turned is not None:
            return correlate(y, turned_weight(weight, geometry), turned)
    return _compute(transpose_real, transpose_fft, y, weight, geometry)


def _compute(direct: Engine, fft: Engine, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Dtypes around the engines: half precisions in float32, complex numbers from real parts."""
    x, weight, dtype = working_pair(x, weight)
    device_type = "cpu" if x.is_cpu else x.device.type
    by_fft = choice.fft_is_cheaper(x.shape[0], geometry, weight.dtype, device_type)
    with ieee_arithmetic(device_type, dtype):
        if by_fft:
            y = fft(x, weight, geometry)
        elif dtype.is_complex:
            y = from_real_parts(direct, x, weight, geometry)
        else:
            y = direct(x, weight, geometry)
    return y if y.dtype == dtype else y.to(dtype)


def _correlate_direct(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if choice.is_large_depthwise(geometry, x.dtype, x.device.type):
        turned = turned_geometry(geometry)
        if turned is not None:
            return transpose_real(x, turned_weight(weight, geometry), turned)
    return correlate_real(x, weight, geometry)
