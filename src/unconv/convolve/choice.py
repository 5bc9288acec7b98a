"""Which engine is cheapest for a shape: integers and dtypes in, yes or no out.

The constants were fitted to two cores; only their ratios matter.  `benchmarks/bench_adjoint.py`
holds every choice against its alternatives.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from ..grid.geometry import Geometry
from ..numerics.memory import LARGEST_KEPT
from .by_fft import engine_torus

# Products a nanosecond on two cores, (is float64, nd): with one channel a group, and at most.
_DIRECT_RATES = {
    (False, 1): (3.5, 150.0),
    (False, 2): (12.0, 200.0),
    (False, 3): (3.5, 14.0),
    (True, 1): (3.5, 32.0),
    (True, 2): (6.5, 35.0),
    (True, 3): (2.2, 28.0),
}

# Products of a float32 transposed convolution up to which a flipped copy of the kernel costs more
# than the slower kernel of torch: 9,216 take 10.0 µs against 11.8, 36,864 take 28 against 15.
_FEW_PRODUCTS = 8_000


def channels_a_group(geometry: Geometry) -> int:
    """The smaller number of channels that a group reads or writes."""
    return min(geometry.c_in, geometry.c_out) // geometry.groups


def is_depthwise(geometry: Geometry) -> bool:
    """Whether every channel has a kernel of its own."""
    return geometry.groups > 1 and geometry.c_in == geometry.c_out == geometry.groups


def _products(geometry: Geometry) -> int:
    """Real multiplications of one sample."""
    pairs = geometry.c_in * geometry.c_out // geometry.groups
    return pairs * math.prod(a.k * a.m for a in geometry.axes)


@lru_cache(maxsize=1024)
def is_large_depthwise(geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch leaves a depthwise forward convolution unvectorised, 20 times slower."""
    taps = math.prod(a.k for a in geometry.axes)
    single = device_type == "cpu" and dtype == torch.float32
    return single and is_depthwise(geometry) and taps > 81


@lru_cache(maxsize=1024)
def backward_is_fastest(geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch's transposed kernels beat a correlation with the turned weight."""
    if device_type != "cpu":
        return True
    taps = math.prod(a.k for a in geometry.axes)
    if dtype.to_real() != torch.float64:
        # One tap is a matrix product, up to four times slower as a transposed convolution than as a
        # convolution; with fewer pixels than channels the turned copy costs more than that.
        product = taps == 1 and math.prod(a.m for a in geometry.axes) >= geometry.c_in
        wide = geometry.groups == 1 and channels_a_group(geometry) >= 16 and not product
        return wide or is_depthwise(geometry) or _products(geometry) <= _FEW_PRODUCTS
    # float64: the gradient kernel holds one im2col matrix per sample and wins while that is small;
    # one tap or one channel leave it nothing to win.
    columns = taps * geometry.c_in // geometry.groups
    im2col = 8 * columns * math.prod(a.m for a in geometry.axes)
    return im2col < LARGEST_KEPT and taps > 1 and max(geometry.c_in, geometry.c_out) > 1


@lru_cache(maxsize=1024)
def gradient_is_fastest(geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch's gradient kernel beats its transposed convolution."""
    if device_type != "cpu" or any(a.tail >= a.stride for a in geometry.axes):
        return False  # the kernel insists on every output that its input size allows
    if dtype == torch.float64:
        return geometry.nd < 3
    # The kernel wants an input that it never reads: with a stride y is too small to lend its
    # memory, and new memory costs up to twice what the kernel itself takes.
    return is_depthwise(geometry) and all(a.stride == 1 for a in geometry.axes)


@lru_cache(maxsize=1024)
def fft_is_cheaper(N: int, geometry: Geometry, dtype: torch.dtype, device_type: str) -> bool:
    """Compare predicted times in nanoseconds; only the ratio of the constants matters."""
    torus = engine_torus(geometry, real=True)
    c, pairs = channels_a_group(geometry), geometry.c_in * geometry.c_out // geometry.groups
    double = dtype.to_real() == torch.float64
    rate, ceiling = _DIRECT_RATES[double, geometry.nd]
    rate = min(rate * c, ceiling)
    if is_depthwise(geometry) and not double:
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
    if entries * dtype.itemsize > LARGEST_KEPT:
        mixing *= 2.5
    return (1.8 if double else 1.2) * (transforms + mixing) + 3e5 < direct


@lru_cache(maxsize=1024)
def many_taps(geometry: Geometry, device_type: str) -> bool:
    """Whether the FFT gives the gradient in the weight sooner than one product a tap."""
    taps = math.prod(a.k for a in geometry.axes)
    c, pairs = channels_a_group(geometry), geometry.c_in * geometry.c_out // geometry.groups
    rate = min(1.5 * c, 20.0) * (4 if device_type != "cpu" else 1)
    direct = pairs * taps * math.prod(a.m for a in geometry.axes) / rate
    torus = engine_torus(geometry, real=True)
    points = math.prod(torus.coarse)
    images = geometry.c_in * torus.phases + geometry.c_out + pairs * torus.phases
    return images * points * math.log2(points + 1) * 0.2 + pairs * torus.phases * points < direct
