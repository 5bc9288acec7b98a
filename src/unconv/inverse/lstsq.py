"""One solve with its evidence: what `op.lstsq` and the one-call functions run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..numerics.precision import result_dtype
from ..operators.convolution import Convolution
from ..operators.images import in_layout_of
from .certificate import Certificate, certified
from .operator import InverseOperator
from .plan import factorize
from .request import Request
from .trust import warn_if_short

_Op = TypeVar("_Op", bound=Convolution)


class LstsqResult(NamedTuple):
    """A solution and the evidence for it.

    Attributes
    ----------
    solution : (N, *domain_shape), without N where y was one image alone
    certificate : one entry per image
    """

    solution: Tensor
    certificate: Certificate


def solve(
    op: Convolution,
    y: Tensor,
    request: Request,
    factor: Callable[[Convolution, Request], InverseOperator] | None = None,
) -> LstsqResult:
    """Factor in the precision of the data, or have it done by `factor`, solve, certify."""
    op = in_precision_of(op, y)
    inverse = factor(op, request) if factor else factorize(op, request, judged=True)
    tol = request.tol if request.tol_is_asked else None
    x, effort = inverse.solution(y)
    certificate = certified(inverse, x, op._masked(y), effort, tol, warn_if_short)
    x = x.to(result_dtype(op.dtype, y.dtype, y.device.type))
    return LstsqResult(in_layout_of(x, y), certificate)


def in_precision_of(op: _Op, y: Tensor) -> _Op:
    """`op` with a weight as precise as the result; a real weight stays real beside complex data."""
    dtype = torch.promote_types(op.dtype, y.dtype)
    dtype = dtype if op.dtype.is_complex else dtype.to_real()
    return op if dtype == op.dtype else op.with_weight(op.weight.to(dtype))
