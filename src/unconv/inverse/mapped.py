"""Inverses under `torch.func.vmap` over the weight: one kernel a sample, solved as one batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from .facts import Effort
from .operator import InverseOperator
from .request import Request


class MappedInverse(InverseOperator):
    """What one slice of the map sees; `each` holds a factor for every slice.

    The rule for vmap of `apply_inverse` hands the slices to `each` together.
    """

    def __init__(self, op: Convolution, each: InverseOperator) -> None:
        request = Request(damp=each.damp, check_finite=each.check_finite)
        super().__init__(op, request, each.summary)
        self.each, self.method = each, each.method
        self.keeps_double, self.iterates = each.keeps_double, each.iterates
        self.derivative, self.plan = each.derivative.of(op), each.plan

    @property
    def device(self) -> torch.device:
        """Device of the factors."""
        return self.each.device

    def _refuse_stale_factor(self) -> None:
        """Slices of a map cannot be compared, and cannot be changed in place."""

    def evaluate(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """Refused: nothing is left of a map that has ended."""
        return self.evaluate_with_effort(v)[0]

    def evaluate_with_effort(self, y: Tensor) -> tuple[Tensor, Effort]:
        """Refused: nothing is left of a map that has ended."""
        raise RuntimeError(
            "this inverse was made inside torch.func.vmap over its weight and cannot leave it; "
            "make it from a weight with a batch axis (one kernel a sample) instead."
        )


def factor_mapped(
    op: Convolution, factor: Callable[[Convolution], InverseOperator]
) -> InverseOperator:
    """The inverses of all slices.

    op : of one slice, but for its weight, which has the mapped axis in front
    """
    if op.batch_size is not None:
        raise NotImplementedError(
            "vmap over the weight of an operator with one kernel a sample is not supported; put "
            "both axes into one batch."
        )
    each = factor(op.with_kernels(op.weight))
    return MappedInverse(op.with_weight(op.weight[0]), each)
