"""The rungs that diagonalise A (a rung is one way to invert it), and the first that serves."""

from __future__ import annotations

import math

from torch import Tensor

from ...convolve.bounds import kernel_bound
from ...operators.convolution import Convolution
from ..request import Request
from . import cosine, dense, fourier, separable
from .protocol import DiagonalRung

RUNGS: dict[str, DiagonalRung] = {
    "fourier": fourier,
    "cosine": cosine,
    "separable": separable,
    "dense": dense,
}
"""All of them, in the order of the ladder."""


def diagonal_rung(op: Convolution, memory_limit: float = math.inf) -> str | None:
    """The first rung that diagonalises `op` within the memory limit, or None.

    Examples
    --------
    >>> import torch, unconv
    >>> diagonal_rung(unconv.ConvOperator(torch.randn(1, 1, 5, 5), (64, 64), padding=2)) is None
    True
    """
    for name, rung in RUNGS.items():
        if rung.obstacle(op, Request()) is None and rung.memory(op, Request()) <= memory_limit:
            return name
    return None


def values_error(rung: DiagonalRung, op: Convolution, norm: Tensor, eps: float) -> Tensor:
    """How far the singular values of a rung may be off, (B,), for σ_max = `norm` (B,).

    LAPACK's backward error in an arithmetic of this eps, and what the weight misses of the
    structure by which A is diagonal.
    """
    error = (16 + math.sqrt(rung.side(op))) * eps * norm
    missed = rung.departure(op)
    return error if missed is None else error + kernel_bound(missed, op.geometry)
