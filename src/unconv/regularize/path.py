"""Damped solutions for many damps: one factorisation where a rung diagonalises A.

    x(damp) = Σ σᵢ/(σᵢ² + damp²) ⟨uᵢ, y⟩ vᵢ

The coefficients ⟨uᵢ, y⟩ are computed once; each damp costs what leads back from them.  Elsewhere
every damp is a solve of its own.

Source: Hansen, "Rank-Deficient and Discrete Ill-Posed Problems", SIAM 1998, §4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..inverse import Options, cosine, fourier, positive_damp
from ..inverse.small_blocks import decomposed
from ..inverse.solve import in_precision_of
from ..linear_operator import DEFAULT_MEMORY_LIMIT, check_all_finite
from ..operator import ConvOperator
from ..torus import multiply


def tikhonov_path(
    op: ConvOperator,
    y: Tensor,
    damps: Sequence[float],
    *,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Iterator[Tensor]:
    """argmin ‖Ax − y‖² + damp²‖x‖² for one damp after the other, in their order.

    Parameters
    ----------
    y : (N, *range_shape)
    damps : numbers > 0
    memory_limit : bytes that a factorisation may take

    Yields
    ------
    (N, *domain_shape), one for each damp; without gradients

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(1, 1, 3, 3), (8, 8), padding=1, padding_mode="circular")
    >>> y = torch.randn(1, 1, 8, 8)
    >>> sizes = [float(x.norm()) for x in tikhonov_path(A, y, [0.01, 0.1, 1.0])]
    >>> sizes == sorted(sizes, reverse=True)
    True
    """
    op._check(y, op.range_shape)
    check_all_finite("the data", y)
    check_all_finite("weight", op.weight.detach())
    asked = [positive_damp(damp) for damp in damps]
    op, y = in_precision_of(op, y), y.detach()
    rung = next((m for m in (fourier, cosine) if _serves(m, op, memory_limit)), None)
    if rung is None or (y.is_complex() and not op.dtype.is_complex):
        return (op.tikhonov(d, memory_limit=memory_limit)(y).detach() for d in asked)
    return _by_blocks(rung, op, y, asked)


def _serves(rung: Any, op: ConvOperator, memory_limit: float) -> bool:
    return rung.obstacle(op, Options()) is None and 2 * rung.memory(op, Options()) <= memory_limit


def _by_blocks(rung: Any, op: ConvOperator, y: Tensor, damps: list[float]) -> Iterator[Tensor]:
    with torch.no_grad():
        blocks, scale = rung.blocks_of(op)
        U, S, V = decomposed(blocks)
        if op.transposed:  # the blocks are those of the convolution, A its adjoint
            U, V = V, U
        S = S * scale[:, None, None]
        wide = torch.complex128 if op.dtype.is_complex else torch.float64
        data = rung.analyse(op, y.to(wide), fine=op.transposed)
        coefficients = multiply(U.mH, data.to(U.dtype))
    result = torch.promote_types(op.dtype, y.dtype)
    for damp in damps:
        with torch.no_grad():
            gains = 1 / (S + damp * (damp / S))  # 1/(0 + inf) = 0
            X = multiply(V * gains[..., None, :], coefficients)
            x = rung.synthesise(op, X, fine=not op.transposed)
        yield x.to(result)
