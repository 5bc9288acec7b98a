"""W: the gradient of a convolution in its kernel.

    Re⟨g, C(w) x⟩ = Re⟨W(x, g), w⟩,      W(x, g)[t] = Σ_i g[i] · conj(x[s·i + d·t − p])

torch's own takes an im2col matrix in float64, k^nd copies of the image.  Here both images lie flat
on one padded grid, on which every tap is a shift of the same memory: each tap is a product of
matrices (c_out × samples)·(samples × c_in) without a copy.  Many taps belong to the FFT:
W(ω) = G(ω) X(ω)ᴴ, of which the taps are kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..grid.geometry import Geometry
from ..numerics import memory
from ..numerics.precision import ieee_arithmetic
from . import choice
from .by_fft import engine_torus


def kernel_gradient(x: Tensor, g: Tensor, geometry: Geometry, *, per_sample: bool) -> Tensor:
    """W(x, g) for zero-padded axes, outside autograd.

    Parameters
    ----------
    x : (N, c_in, *n)
    g : (N, c_out, *m), of the dtype of x
    per_sample
        One gradient a sample, not their sum.

    Returns
    -------
    (c_out, c_in/groups, *k), or (N, c_out, c_in/groups, *k), of the dtype of x.
    """
    if not len(x):
        shape = geometry.c_out, geometry.c_in // geometry.groups, *(a.k for a in geometry.axes)
        return x.new_zeros((0, *shape) if per_sample else shape)
    with ieee_arithmetic(x.device.type, x.dtype):
        engine = _by_fft if choice.many_taps(geometry, x.device.type) else _by_taps
        size = max(x[:1].numel(), g[:1].numel()) * x.element_size()
        parts = [(0, len(x))]
        if x.device.type == "cpu" and not per_sample:  # what leaves the cache costs twice as much
            step = max(1, memory.SLAB_BYTES // size)
            parts = [(i, i + step) for i in range(0, len(x), step)]
        first, *rest = (engine(x[i:j], g[i:j], geometry, per_sample) for i, j in parts)
        return sum(rest, start=first)


# --- a product of matrices a tap
def _by_taps(x: Tensor, g: Tensor, geometry: Geometry, per_sample: bool) -> Tensor:
    groups, taps = geometry.groups, [a.k for a in geometry.axes]
    phases = list(_phases(geometry))
    sizes = [max(phase.sizes[a] for phase in phases) for a in range(geometry.nd)]
    steps = [math.prod(sizes[a + 1 :]) for a in range(geometry.nd)]
    G = _flat(_grid(g, sizes), groups, per_sample)  # (B·g, c_out/g, samples)
    W = G.new_empty(*taps, len(G), geometry.c_out // groups, geometry.c_in // groups)
    for phase in phases:
        X = _flat(_phase_of(x, phase, sizes, geometry), groups, per_sample).conj()
        for t, place in phase.taps:
            shift = sum(p * step for p, step in zip(place, steps, strict=True))
            length = G.shape[-1] - shift  # what is cut off G is zero
            W[t] = G[..., :length] @ X[..., shift:].mT
    W = W.movedim(tuple(range(geometry.nd)), tuple(range(-geometry.nd, 0)))
    shape = geometry.c_out, geometry.c_in // groups, *taps
    return W.reshape(len(x), *shape) if per_sample else W.reshape(shape)


class _Phase(NamedTuple):
    """The taps that read the same samples x[s·j + r] of every axis."""

    start: tuple[int, ...]  # r of the padded samples, so that a tap reads j = i + place
    sizes: tuple[int, ...]  # samples of the phase that are read
    taps: list[tuple[tuple[int, ...], tuple[int, ...]]]  # (t, place)


def _phases(geometry: Geometry) -> Iterator[_Phase]:
    found: dict[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    axes = geometry.axes
    for t in itertools.product(*(range(a.k) for a in axes)):
        offsets = [t[i] * a.dilation for i, a in enumerate(axes)]
        pairs = [divmod(o, a.stride) for o, a in zip(offsets, axes, strict=True)]
        place, start = tuple(p for p, _ in pairs), tuple(r for _, r in pairs)
        found.setdefault(start, []).append((t, place))
    for start, taps in found.items():
        reach = [max(place[a] for _, place in taps) for a in range(geometry.nd)]
        yield _Phase(start, tuple(a.m + r for a, r in zip(axes, reach, strict=True)), taps)


def _phase_of(x: Tensor, phase: _Phase, sizes: list[int], geometry: Geometry) -> Tensor:
    """(N, c_in, *sizes): the padded samples start, start + s, … of every axis, then zeros."""
    source, target = [], []
    for axis, start, size in zip(geometry.axes, phase.start, phase.sizes, strict=True):
        first, s = start - axis.before, axis.stride  # sample j of the phase is x[first + s·j]
        low = min(max(0, -(first // s)), size)
        high = max(low, min(size, (axis.n - 1 - first) // s + 1))
        target.append(slice(low, high))
        source.append(slice(first + low * s, max(0, first + (high - 1) * s + 1), s))
    grid = x.new_zeros(*x.shape[:2], *sizes)
    every = slice(None), slice(None)
    if all(part.stop > part.start for part in target):
        grid[(*every, *target)] = x[(*every, *source)]
    return grid


def _grid(v: Tensor, sizes: list[int]) -> Tensor:
    """v in the first corner of a larger grid, zeros elsewhere."""
    behind = [size - n for size, n in zip(sizes, v.shape[2:], strict=True)]
    if not any(behind):
        return v
    return torch.nn.functional.pad(v, [p for b in reversed(behind) for p in (0, b)])


def _flat(v: Tensor, groups: int, per_sample: bool) -> Tensor:
    """(N, g·c, *sizes) -> (N·g, c, samples), or (g, c, N·samples) where samples are summed."""
    v = v.flatten(2).unflatten(1, (groups, -1))
    if per_sample:
        return v.flatten(0, 1).contiguous()
    return v.permute(1, 2, 0, 3).flatten(2).contiguous()


# --- by the FFT
def _by_fft(x: Tensor, g: Tensor, geometry: Geometry, per_sample: bool) -> Tensor:
    torus = engine_torus(geometry, real=not x.is_complex())
    shape = torus.spectrum_shape
    X = torus.transform(torus.to_phases(x)).unflatten(1, (geometry.groups, 1, -1))
    G = torus.transform(g).unflatten(1, (geometry.groups, -1, 1))
    C = X.new_zeros(len(x) if per_sample else 1, *G.shape[1:3], X.shape[3], *shape)
    for n in range(len(x)):
        C[n if per_sample else 0] += G[n] * X[n].conj()
    blocks = torus.inverse_transform(C.flatten(0, 2)).unflatten(1, (-1, *torus.stride))
    W = _taps_of(blocks, geometry, torus.coarse)
    taps = (geometry.c_out, geometry.c_in // geometry.groups, *(a.k for a in geometry.axes))
    return W.reshape(len(x), *taps) if per_sample else W.reshape(taps)


def _taps_of(blocks: Tensor, geometry: Geometry, coarse: tuple[int, ...]) -> Tensor:
    """(rows, c, *stride, *coarse) -> (rows, c, *k): the sample of every tap, axis by axis.

    Tap t reads x_r[i + q] with d·t − p = s·q + r, which is sample −q of the circular correlation.
    """
    nd = geometry.nd
    order = [d for a in range(nd) for d in (2 + a, 2 + nd + a)]
    lines = blocks.permute(0, 1, *order)
    pairs = list(zip(geometry.axes, coarse, strict=True))
    lines = lines.reshape(*lines.shape[:2], *(axis.stride * M for axis, M in pairs))
    for dim, (axis, M) in enumerate(pairs, start=2):
        offset = torch.arange(axis.k, device=blocks.device) * axis.dilation - axis.before
        place = torch.div(offset, axis.stride, rounding_mode="floor")
        index = (offset - axis.stride * place) * M + (-place) % M
        lines = lines.index_select(dim, index)
    return lines
