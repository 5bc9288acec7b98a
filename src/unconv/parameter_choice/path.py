"""Damped solutions for many damps: one factorisation where a method of `pinv` diagonalises A.

    x(damp) = Σ σᵢ/(σᵢ² + damp²) ⟨uᵢ, y⟩ vᵢ

The singular vectors are computed once (filters.py), each damp costs a product of them.  Elsewhere
every damp is a factorisation of its own.

Source: Hansen, "Rank-Deficient and Discrete Ill-Posed Problems", SIAM 1998, §4.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from torch import Tensor

from ..inverse import Request, factorize, positive_damp, request_of
from ..inverse.diagonal.rungs import diagonal_rung
from ..inverse.lstsq import in_precision_of
from ..numerics.checks import (
    check_all_finite,
    check_kind,
    check_memory_limit,
    shown,
)
from ..numerics.compiled import outside_graphs
from ..operators.convolution import Convolution
from ..operators.linear_operator import DEFAULT_MEMORY_LIMIT, EXPECTED_SOLVES
from ..regularize.filters import prepared


@outside_graphs
def tikhonov_path(
    op: Convolution,
    y: Tensor,
    damps: Sequence[float],
    *,
    memory_limit: float = DEFAULT_MEMORY_LIMIT,
) -> Iterator[Tensor]:
    """argmin ‖Ax − y‖² + damp²‖x‖² for one damp after the other, in their order.

    Parameters
    ----------
    op : any operator
    y : (N, *range_shape)
    damps : numbers > 0
    memory_limit : bytes that a factorisation may take

    Yields
    ------
    (N, *domain_shape), one for each damp; without gradients

    Raises
    ------
    ValueError, TypeError
        If y does not fit the operator, holds NaN or infinity, or a damp is not positive.
    MemoryLimitError
        If no method fits memory_limit.

    Examples
    --------
    >>> import torch, unconv
    >>> A = unconv.ConvOperator(torch.randn(1, 1, 3, 3), (8, 8), padding=1, padding_mode="circular")
    >>> y = torch.randn(1, 1, 8, 8)
    >>> sizes = [float(x.norm()) for x in tikhonov_path(A, y, [0.01, 0.1, 1.0])]
    >>> sizes == sorted(sizes, reverse=True)
    True
    """
    check_kind("op", op, Convolution, "build one from the weight")
    op._check(y, op.range_shape)
    memory_limit = check_memory_limit(memory_limit)
    if not isinstance(damps, Iterable) or isinstance(damps, str | bytes | Tensor):
        raise TypeError(f"damps={shown(damps)} must be several numbers, such as [0.01, 0.1].")
    check_all_finite("the data", y)
    check_all_finite("weight", op.weight.detach())
    asked = [positive_damp(damp) for damp in damps]
    op, y = in_precision_of(op, y), y.detach()
    name = diagonal_rung(op, memory_limit / 2)  # the SVDs beside what the factor takes
    if name is None:
        return (_solved(op, y, d, memory_limit) for d in asked)
    build = prepared(op, name, Request(check_finite=False))
    return (build(partial(_gain, damp=d))(y).detach() for d in asked)


def _solved(op: Convolution, y: Tensor, damp: float, memory_limit: float) -> Tensor:
    request = request_of(damp, None, 0.0, memory_limit, EXPECTED_SOLVES)
    return factorize(op, request)(y).detach()


def _gain(sigma: Tensor, damp: float) -> Tensor:
    """σ/(σ² + damp²), 0 for σ = 0; no square alone, for it may underflow."""
    return 1 / (sigma + damp * (damp / sigma))
