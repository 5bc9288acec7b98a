"""One solve with its evidence: what `op.lstsq` and the one-call functions run."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..operator import ConvOperator
from .certificate import Certificate, certify
from .plan import factorize


class LstsqResult(NamedTuple):
    """A solution and the evidence for it.

    Attributes
    ----------
    solution : (N, *domain_shape)
    certificate : one entry an image
    """

    solution: Tensor
    certificate: Certificate


def solve(
    op: ConvOperator,
    y: Tensor,
    damp: float,
    rtol: float | None,
    atol: float,
    method: str,
    memory_limit: float,
    check_finite: bool,
) -> LstsqResult:
    """Factor in the precision of the data, solve, certify."""
    op = in_precision_of(op, y)
    inverse = factorize(op, damp, rtol, atol, method, memory_limit, check_finite)
    x = inverse(y)
    return LstsqResult(x, certify(op, inverse, x, y))


def in_precision_of(op: ConvOperator, y: Tensor) -> ConvOperator:
    """`op` with a weight as precise as the result; a real weight stays real beside complex data."""
    dtype = torch.promote_types(op.dtype, y.dtype)
    dtype = dtype if op.dtype.is_complex else dtype.to_real()
    return op if dtype == op.dtype else op.with_weight(op.weight.to(dtype))
