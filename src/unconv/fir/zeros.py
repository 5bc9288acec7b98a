"""Where F(ω) loses rank on the unit torus, and on how large a set.

A polynomial of degree s cannot tell points that are closer than 1/s: where a zero of F is that
near, 1 − F G stays near 1.  That is a part s^(−codim) of the torus around zeros that form a set of
that codimension, so that the residual cannot fall faster than size^(−codim/2).  At a simple zero
the codimension is the rank of (Re ∇F, Im ∇F): 1 for symmetric kernels, whose F is real but for a
phase, and as a rule 2 for others in two dimensions or more.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..inspection import Transfer, transfer_function
from ..inspection.response import Response

_SHALLOW = 1e-6  # of the largest slope that the taps allow: the zero is not simple

Frequency = tuple[float, ...]


def transfer_of(kernel: Tensor) -> Transfer:  # (c_out, c_in, *k)
    """|F(ω)|, its minimum and its zeros."""
    op = ConvOperator(kernel, kernel.shape[2:])
    found = transfer_function(op)
    if not kernel.is_complex():
        return found
    # Of ω and −ω, which are alike for real kernels, the inspection names one.
    response = Response(op)
    zeros = tuple(_lower(response, zero) for zero in found.zeros)
    return dataclasses.replace(found, at=_lower(response, found.at), zeros=zeros)


def codimension(kernel: Tensor, zeros: tuple[Frequency, ...]) -> int:
    """Codimension of the largest set of zeros that these belong to; that of a point if in doubt."""
    nd = kernel.ndim - 2
    if kernel.shape[0] != kernel.shape[1]:
        return nd
    response = Response(ConvOperator(kernel, kernel.shape[2:]))
    at = torch.tensor(zeros, dtype=torch.float64)
    group = torch.zeros(len(at), dtype=torch.long)
    U, _, Vh = response.svd(at, group)
    _, slopes = response.blocks(at, group)
    g = torch.einsum("qr,qarc,qc->qa", U[:, :, -1].conj(), slopes, Vh[:, -1].conj())
    J = torch.stack([g.real, g.imag], 1)  # (q, 2, nd)
    steepest = 2 * torch.pi * max(kernel.shape[2:]) * float(kernel.abs().sum())
    ranks = (torch.linalg.svdvals(J) > _SHALLOW * steepest).sum(1)
    return min((rank for rank in ranks.tolist() if rank), default=nd)


def _lower(response: Response, at: Frequency) -> Frequency:
    """The one of ω and −ω with the smaller |F|: under a complex kernel they differ."""
    both = torch.tensor([at, [-v for v in at]], dtype=torch.float64)
    _, S, _ = response.svd(both, torch.zeros(2, dtype=torch.long))
    return tuple(both[S[:, -1].argmin()].tolist())
