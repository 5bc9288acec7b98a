"""W: the gradient of a convolution in its kernel.

    Re⟨g, C(w) x⟩ = Re⟨W(x, g), w⟩,      W(x, g)[t] = Σ_i g[i] · conj(x[s·i + d·t − p])

torch's own takes an im2col matrix in float64, k^nd copies of the image.  Here both images lie flat
on one padded grid, on which every tap is a shift of the same memory: each tap is a product of
matrices (c_out × samples)·(samples × c_in) without a copy.  Of small images, where a call takes
longer than a product, all taps are one product.  Many taps belong to the FFT: W(ω) = G(ω) X(ω)ᴴ,
of which the taps are kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..grid.geometry import Geometry
from ..numerics import memory
from ..numerics.precision import ieee_arithmetic
from . import choice
from .by_fft import engine_torus

_Where = tuple[Any, ...]
_TOGETHER = 2**17  # numbers in all copies of an image, up to which they take less than more calls


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


# --- products of matrices
def _by_taps(x: Tensor, g: Tensor, geometry: Geometry, per_sample: bool) -> Tensor:
    groups, taps = geometry.groups, [a.k for a in geometry.axes]
    phases = list(_phases(geometry))
    sizes = [max(phase.sizes[a] for phase in phases) for a in range(geometry.nd)]
    steps = [math.prod(sizes[a + 1 :]) for a in range(geometry.nd)]
    G = _flat(_grid(g, sizes), groups, per_sample)  # (B·g, c_out/g, samples)
    W = G.new_empty(*G.shape[:2], geometry.c_in // groups, *taps)
    for phase in phases:
        X = _flat(_phase_of(x, phase, sizes, geometry), groups, per_sample).conj()
        if X.numel() * math.prod(taps) <= _TOGETHER:
            where: _Where = (..., *(slice(t[0], t[-1] + 1, t.step) for t in phase.taps))
            W[where] = _at_once(G, X, phase, steps)
            continue
        each = itertools.product(*phase.taps), itertools.product(*phase.places)
        for t, place in zip(*each, strict=True):
            shift = sum(p * step for p, step in zip(place, steps, strict=True))
            length = G.shape[-1] - shift  # what is cut off G is zero
            where = (..., *t)
            W[where] = G[..., :length] @ X[..., shift:].mT
    shape = geometry.c_out, geometry.c_in // groups, *taps
    return W.reshape(len(x), *shape) if per_sample else W.reshape(shape)


class _Phase(NamedTuple):
    """The taps that read the same samples x[s·j + r] of every axis."""

    start: tuple[int, ...]  # r of the padded samples, so that a tap reads j = i + place
    sizes: tuple[int, ...]  # samples of the phase that are read
    taps: tuple[range, ...]  # of each axis
    places: tuple[range, ...]


def _phases(geometry: Geometry) -> Iterator[_Phase]:
    axes = []
    for a in geometry.axes:
        common = math.gcd(a.dilation, a.stride)
        turn, each = a.stride // common, a.dilation // common  # taps from one to the next of r
        found = []
        for first in range(min(turn, a.k)):
            taps = range(first, a.k, turn)
            place, start = divmod(first * a.dilation, a.stride)
            places = range(place, place + len(taps) * each, each)
            found.append((start, a.m + places[-1], taps, places))
        axes.append(found)
    for phase in itertools.product(*axes):
        yield _Phase(*zip(*phase, strict=True))


def _at_once(G: Tensor, X: Tensor, phase: _Phase, steps: list[int]) -> Tensor:
    """One product with a copy of X for every tap, (B·g, c_out/g, c_in/g, *taps of the phase)."""
    B, c, samples = X.shape
    first, last = (sum(p[i] * s for p, s in zip(phase.places, steps, strict=True)) for i in (0, -1))
    strides = [p.step * s for p, s in zip(phase.places, steps, strict=True)]
    length = samples - last  # what is cut off G is zero
    shape = [len(p) for p in phase.places]
    copies = X.as_strided(
        (B, c, *shape, length), (c * samples, samples, *strides, 1), X.storage_offset() + first
    )
    return (G[..., :length] @ copies.reshape(B, -1, length).mT).unflatten(-1, (c, *shape))


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
    X = torus.transform(torus.to_phases(x)).conj_physical_().unflatten(1, (geometry.groups, 1, -1))
    G = torus.transform(g).unflatten(1, (geometry.groups, -1, 1))
    if per_sample:
        blocks = G * X
    else:
        blocks = G[:1] * X[:1]
        for n in range(1, len(x)):
            blocks[0].addcmul_(G[n], X[n])
    W = torus.taps(blocks.flatten(0, 2), geometry)
    taps = (geometry.c_out, geometry.c_in // geometry.groups, *(a.k for a in geometry.axes))
    return W.reshape(len(x), *taps) if per_sample else W.reshape(taps)
