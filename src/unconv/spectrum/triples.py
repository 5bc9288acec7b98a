"""A few singular vectors, from the structure that makes the values cheap.

    fourier, cosine   a vector of one frequency's block, spread over space by that frequency's wave
    separable         a product of vectors along the channels and the axes
    dense             a column of LAPACK's
    otherwise         Lanczos (extremes.py)

A real operator meets ω and −ω in pairs: u e^{iωx} has the same σ as its conjugate, and
√2·Re and √2·Im of it are two orthonormal real vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..convolve import grouped
from ..inverse.boundary.deflation import Triples
from ..inverse.diagonal import dense, separable
from ..inverse.diagonal.outer_product import axis_matrix, nearest_outer_product
from ..numerics.threads import singular_values
from ..operators.convolution import Convolution


class Factor(NamedTuple):
    """A = U diag(S) Vᴴ with a complete V: (g or 1, m, n), (g or 1, n), (g or 1, n, n)."""

    U: Tensor
    S: Tensor
    V: Tensor


def exact_triples(rung: Any, op: Convolution, k: int, largest: bool) -> Triples:
    """k triples of one kernel on one of the rungs that know all values; σ descending."""
    if rung is separable:
        return _separable_triples(op, k, largest)
    if rung is dense:
        return _dense_triples(op, k, largest)
    return _block_triples(rung, op, k, largest)


def _outermost(S: Tensor, k: int, largest: bool) -> Tensor:
    """Flat indices of the k largest or smallest entries, values descending."""
    order = S.flatten().sort(descending=True, stable=True).indices
    return order[:k] if largest else order[len(order) - k :]


# --- blocks of frequencies
def _block_triples(rung: Any, op: Convolution, k: int, largest: bool) -> Triples:
    blocks, scale = rung.blocks_of(op)  # (F, 1, g, r, c)
    F, _, g, r, c = blocks.shape
    p, counts = min(r, c), rung.multiplicity(op)
    S = singular_values(blocks.reshape(-1, r, c)).reshape(F, g * p)
    entries = torch.arange(F * g * p, device=S.device).repeat_interleave(
        counts.repeat_interleave(g * p)
    )
    chosen = entries[_outermost(S.flatten()[entries], k, largest)]
    # The second copy of an entry is the imaginary part of the same wave.
    second = torch.cat([chosen.new_zeros(1, dtype=torch.bool), chosen[1:] == chosen[:-1]])
    f, group, i = chosen // (g * p), chosen // p % g, chosen % p
    alone = (counts[f] == 1) & (not op.dtype.is_complex)  # its own conjugate: a real block
    u, v = _vectors(blocks[f, 0, group], i, alone)
    parts = []
    for w, fine in ((u, False), (v, True)):
        w = rung.fields(op, f, w, fine=fine)
        if w.is_complex() and not op.dtype.is_complex:
            size = (2.0 - alone.double()).sqrt().reshape(-1, *[1] * (w.ndim - 1))
            w = size * torch.where(second.reshape(size.shape), w.imag, w.real)
        parts.append(_in_group(w, group, g))
    if op.transposed:  # A = (conj C)ᴴ
        parts.reverse()
    return Triples(parts[0], S.flatten()[chosen] * scale, parts[1])


def _vectors(blocks: Tensor, i: Tensor, alone: Tensor) -> tuple[Tensor, Tensor]:
    """The i-th left and right singular vectors, (q, r) and (q, c); real ones of real blocks."""
    q = torch.arange(len(blocks), device=blocks.device)
    U, _, Vh = torch.linalg.svd(blocks, full_matrices=False)
    if bool(alone.any()) and blocks.is_complex():
        Ur, _, Vr = torch.linalg.svd(blocks[alone].real, full_matrices=False)
        U[alone], Vh[alone] = Ur.to(U.dtype), Vr.to(U.dtype)
    return U[q, :, i], Vh[q, i].conj().resolve_conj()


def _in_group(w: Tensor, group: Tensor, g: int) -> Tensor:
    """(q, c, ...) -> (q, g·c, ...), zero in the other groups."""
    whole = w.new_zeros(len(w), g, *w.shape[1:])
    whole[torch.arange(len(w), device=w.device), group] = w
    return whole.flatten(1, 2)


# --- products of axes
def _separable_triples(op: Convolution, k: int, largest: bool) -> Triples:
    """k triples of an outer product; vectors of the longer side are zero where σ = 0."""
    found = nearest_outer_product(grouped(op.taps.detach(), op.geometry))
    matrices = [found.channels[0]]
    for axis, kernel in zip(op.geometry.axes, found.kernels, strict=True):
        matrices.append(axis_matrix(axis, kernel)[0])
    if op.transposed:
        matrices = [A.mT for A in matrices]
    tall = op.shape[0] >= op.shape[1]
    factors = [_complete(A if tall else A.mH) for A in matrices]
    S = factors[0].S
    for factor in factors[1:]:
        S = torch.einsum("g...,gr->g...r", S, factor.S.expand(len(S), -1))
    chosen = _outermost(S, k, largest)
    group, *index = torch.unravel_index(chosen, S.shape)
    U = _product([f.U for f in factors], group, index, op.geometry.groups)
    V = _product([f.V for f in factors], group, index, op.geometry.groups)
    if not tall:
        U, V = V, U
    return Triples(U, S.flatten()[chosen] * found.scale, V)


def _complete(A: Tensor) -> Factor:  # (g or 1, m, n)
    m, n = A.shape[1:]
    U, S, Vh = torch.linalg.svd(A, full_matrices=m < n)
    short = n - S.shape[1]
    pad = torch.nn.functional.pad
    return Factor(pad(U, (0, short)), pad(S, (0, short)), Vh.mH)


def _product(bases: list[Tensor], group: Tensor, index: list[Tensor], g: int) -> Tensor:
    """Outer products of the chosen columns, (q, channels, n₁, n₂, …)."""
    out: Tensor | None = None
    for basis, i in zip(bases, index, strict=True):
        column = basis[group if len(basis) > 1 else torch.zeros_like(group), :, i]  # (q, n)
        out = column if out is None else out[..., None] * _last(column, out.ndim)
    assert out is not None
    return _in_group(out, group, g)


def _last(column: Tensor, ndim: int) -> Tensor:
    """Reshape (q, n) to (q, 1, …, n), to stand beside tensors of `ndim` axes."""
    return column.reshape(len(column), *[1] * (ndim - 1), -1)


# --- the matrix
def _dense_triples(op: Convolution, k: int, largest: bool) -> Triples:
    A = next(dense.matrices(op))  # (g, m/g, n/g)
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    chosen = _outermost(S, k, largest)
    group, i = chosen // S.shape[1], chosen % S.shape[1]
    shapes = [(len(A), s[0] // len(A), *s[1:]) for s in (op.range_shape, op.domain_shape)]
    u = U[group, :, i].reshape(-1, *shapes[0][1:])
    v = Vh[group, i].conj().resolve_conj().reshape(-1, *shapes[1][1:])
    return Triples(_in_group(u, group, len(A)), S.flatten()[chosen], _in_group(v, group, len(A)))
