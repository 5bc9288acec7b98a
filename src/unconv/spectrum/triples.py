"""A few singular vectors, of an operator that something diagonalises.

    fourier, cosine   a vector of one frequency's block, spread over space by that frequency's wave
    separable         a product of vectors along the channels and the axes
    dense             a column of LAPACK's
    otherwise         Lanczos (extremes.py)

A real operator meets ω and −ω in pairs: u e^{iωx} has the same σ as its conjugate, and
√2·Re and √2·Im of it are two orthonormal real vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.boundary.deflation import Triples
from ..inverse.diagonal.protocol import Basis, DiagonalRung
from ..operators.convolution import Convolution


def exact_triples(rung: DiagonalRung, op: Convolution, k: int, largest: bool) -> Triples:
    """The k largest or smallest triples of one kernel, σ descending.

    Where one axis is tall and another one wide, some σ = 0 have vectors on the shorter side of A
    alone; those of the longer side are zero.
    """
    found = rung.diagonalise(op, few=True)
    if int(found.counts.sum()) < min(op.shape):
        found = rung.diagonalise(op, complete=True)
    sides, tall = (found.data, found.domain), op.shape[0] >= op.shape[1]
    short, long = (sides[tall], sides[not tall])
    sigma = short.sigma[0]
    chosen, second = _outermost(sigma.clamp(min=0), short.counts, k, largest)
    matched = sigma[chosen] >= 0
    partner = (sigma >= 0).cumsum(0)[chosen] - 1  # the n-th on one side and on the other
    beyond = (long.sigma[0] >= 0).nonzero()[:, 0]
    of_short = _real_vectors(op, short, chosen, second)
    of_long = _real_vectors(op, long, beyond[partner.clamp(min=0)], second)
    of_long = of_long * matched.reshape(-1, *[1] * (of_long.ndim - 1))
    U, V = (of_long, of_short) if tall else (of_short, of_long)
    return Triples(U, sigma[chosen].clamp(min=0), V)


def _outermost(S: Tensor, counts: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Entries of the k largest or smallest values (K,), descending, and which are second copies."""
    entries = torch.arange(len(S), device=S.device).repeat_interleave(counts)
    order = S[entries].sort(descending=True, stable=True).indices
    chosen = entries[order[:k] if largest else order[len(order) - k :]]
    second = torch.cat([chosen.new_zeros(1, dtype=torch.bool), chosen[1:] == chosen[:-1]])
    return chosen, second


def _real_vectors(op: Convolution, basis: Basis, index: Tensor, second: Tensor) -> Tensor:
    """Vectors of entries, real ones of a real operator: the second copy is the imaginary part."""
    w = basis.vectors(index)
    if not w.is_complex() or op.dtype.is_complex:
        return w
    shape = (-1, *[1] * (w.ndim - 1))
    size = basis.counts[index].double().sqrt().reshape(shape)
    return size * torch.where(second.reshape(shape), w.imag, w.real)
