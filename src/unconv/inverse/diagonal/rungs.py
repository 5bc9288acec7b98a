"""The rungs that diagonalise A, and the first of them that serves."""

from __future__ import annotations

import math

from ...operators.convolution import Convolution
from ..request import Request
from . import cosine, dense, fourier, separable

RUNGS = {"fourier": fourier, "cosine": cosine, "separable": separable, "dense": dense}
"""The rungs that diagonalise A, in the order of the ladder."""


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
