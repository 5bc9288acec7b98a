"""A few singular vectors, of an operator that something diagonalises.

A vector is Q c for a c with one entry.  A real operator meets ω and −ω in pairs: u e^{iωx} has the
same σ as its conjugate, and √2·Re and √2·Im of it are two orthonormal real vectors.  Where nothing
diagonalises A, Lanczos finds vectors (extremes.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.boundary.deflation import Triples
from ..inverse.diagonal.protocol import UNMATCHED, Basis, DiagonalRung, Few
from ..operators.convolution import Convolution


def exact_triples(rung: DiagonalRung, op: Convolution, k: int, largest: bool) -> Triples:
    """The k largest or smallest triples of one kernel, σ descending.

    Where one axis is tall and another one wide, some σ = 0 have vectors on the shorter side of A
    alone; those of the longer side are zero.
    """
    found = rung.diagonalise(op, few=Few(k, largest))
    if int(found.counts.sum()) < min(op.shape):
        found = rung.diagonalise(op, complete=True)
    sides, tall = (found.data, found.domain), op.shape[0] >= op.shape[1]
    short, long = sides[tall], sides[not tall]
    sigma = short.sigma[0]
    chosen = _outermost(sigma.clamp(min=0), short.counts, k, largest)
    c = _coefficients(op, short, chosen)
    of_long = c.new_zeros(k, len(long.counts))  # the n-th that has a σ belongs to the n-th
    of_long[:, long.sigma[0] != UNMATCHED] = c[:, sigma != UNMATCHED]
    vectors = short.synthesise(c), long.synthesise(of_long)
    return Triples(vectors[tall], sigma[chosen].clamp(min=0), vectors[not tall])


def _outermost(S: Tensor, counts: Tensor, k: int, largest: bool) -> Tensor:
    """Entries of the k largest or smallest values (K,), descending, as often as they count."""
    entries = torch.arange(len(S), device=S.device).repeat_interleave(counts)
    order = S[entries].sort(descending=True, stable=True).indices
    return entries[order[:k] if largest else order[len(order) - k :]]


def _coefficients(op: Convolution, basis: Basis, index: Tensor) -> Tensor:
    """(k, K) of the vectors of entries, of unit length; of the second copy of a pair i times it."""
    c = torch.zeros(len(index), len(basis.counts), dtype=basis.dtype, device=index.device)
    size = basis.counts[index].double().rsqrt().to(c.dtype)
    if c.is_complex() and not op.dtype.is_complex:
        size[1:] *= torch.where(index[1:] == index[:-1], 1j, 1.0)
    c[torch.arange(len(index), device=index.device), index] = size
    return c
