"""C and Cᵀ on the smallest fast periodic grid: transform, block product, inverse transform."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ..grid.geometry import Geometry
from ..grid.torus import Torus, multiply
from ..numerics import memory
from .complex_parts import from_real_parts


@lru_cache(maxsize=1024)
def engine_torus(geometry: Geometry, real: bool) -> Torus:
    """The cheapest periodic grid on which nothing wraps onto an output."""
    from scipy.fft import next_fast_len  # 0.07 s, for whoever takes the FFT

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


def correlate_fft(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """C x, real or complex: (N, c_in, *n) -> (N, c_out, *m)."""
    if x.is_complex() and not weight.is_complex():
        return from_real_parts(correlate_fft, x, weight, geometry)
    torus = engine_torus(geometry, real=not weight.is_complex())

    def part(x: Tensor, weight: Tensor) -> Tensor:
        blocks = torus.spectrum(weight, geometry)
        y = torus.inverse_transform(multiply(blocks, torus.transform(torus.to_phases(x))))
        for dim, axis in enumerate(geometry.axes, start=2):
            y = y.narrow(dim, 0, axis.m)
        return y.contiguous()

    return _by_groups(part, x, grouped(weight, geometry), torus)


def transpose_fft(y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Cᵀ y, real or complex: (N, c_out, *m) -> (N, c_in, *n)."""
    if y.is_complex() and not weight.is_complex():
        return from_real_parts(transpose_fft, y, weight, geometry)
    torus = engine_torus(geometry, real=not weight.is_complex())

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
    count = max(1, int(memory.SLAB_BYTES // max(1, bytes_a_group)))
    if count >= g:
        return part(x, weight)
    pairs = zip(x.split(x.shape[1] // g * count, 1), weight.split(count, 1), strict=True)
    return torch.cat([part(channels, kernels) for channels, kernels in pairs], 1)
