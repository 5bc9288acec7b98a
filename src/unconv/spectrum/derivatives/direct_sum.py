"""Small matrices whose direct sum is A, as functions of the weight.

    fourier     C(ω) of every stored frequency and group, of a circular operator
    matrices    A of every group, of a small one

Both are (F, g, r, c) with a number for each of the F: how often it stands in A.  Autograd and
torch.func go through them, for they are sums of taps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...convolve import grouped
from ...inverse.diagonal import dense, fourier
from ...inverse.request import Request
from ...numerics.precision import double_dtype
from ...operators.convolution import Convolution


def in_double(op: Convolution) -> Convolution:
    """The operator in double precision, whose weight autograd still follows, without the bias."""
    return op.without_bias(op.weight.to(double_dtype(op.dtype)))


def has_frequencies(op: Convolution) -> bool:
    """Whether a Fourier transform makes A a direct sum; no value is looked at."""
    return fourier.obstacle(op, Request()) is None


def has_matrices(op: Convolution, limit: int) -> bool:
    """Whether min(m, n) of a group is within a limit."""
    return min(op.shape) // op.geometry.groups <= limit


def bytes_of_svds(op: Convolution) -> int:
    """Bytes of the SVDs of all blocks, and of their change under a derivative."""
    rung = fourier if has_frequencies(op) else dense
    return 2 * rung.complete_memory(op)


def blocks_of(op: Convolution) -> tuple[Tensor, Tensor]:
    """(F, g, r, c) and (F,), of the frequencies or of the groups of one kernel."""
    if has_frequencies(op):
        return _frequencies(op), fourier.torus_of(op).multiplicity(op.device)
    return _matrices(op), torch.ones(1, dtype=torch.long, device=op.device)


def taps_of(op: Convolution) -> Tensor:
    """The kernel (1, g, r, c, *k) of the convolution C, A = C or A = Cᴴ for a transposed operator.

    A transposed operator is A = Cᵀ = (conj C)ᴴ.
    """
    taps = op.taps.conj().resolve_conj() if op.transposed else op.taps
    return grouped(taps, op.geometry)


def _frequencies(op: Convolution) -> Tensor:
    blocks = fourier.torus_of(op).spectrum(taps_of(op), op.geometry)[:, 0]
    return blocks.mH if op.transposed else blocks


def _matrices(op: Convolution) -> Tensor:
    """A from its shorter side; the same unit vector in every group shows a column of each."""
    wide = op.shape[0] < op.shape[1]
    shape = op.range_shape if wide else op.domain_shape
    g = op.geometry.groups
    side = min(op.shape) // g
    e = torch.eye(side, dtype=op.dtype, device=op.device)
    e = e[:, None].expand(side, g, side).reshape(side, *shape)
    columns = (op._rmatvec(e) if wide else op._matvec(e)).flatten(1).unflatten(1, (g, -1))
    A = columns.permute(1, 2, 0)  # (g, long, side)
    return (A.mH if wide else A)[None]
