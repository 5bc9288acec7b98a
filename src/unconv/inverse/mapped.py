"""Inverses under `torch.func.vmap` over the weight or damp.

Over the weight: one kernel per sample, solved as one batch.  Over damp, or over both: an inverse
for each slice, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from .derivative import ConvModel, LeastSquares
from .facts import Effort, SpectrumSummary
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
            "this inverse was made inside torch.func.vmap over its weight or damp and cannot leave "
            "it; make it from a weight with a batch axis (one kernel per sample) instead, or one "
            "for each damp."
        )


class AtEachDamp(MappedInverse):
    """What one slice of a map over damp sees; `slices` holds an inverse for each."""

    def __init__(
        self, op: Convolution, request: Request, slices: Sequence[InverseOperator]
    ) -> None:
        super().__init__(op, slices[0])
        self.slices = tuple(slices)
        self.damp, self.summary = request.damp, _worst(request, slices)
        self.keeps_double = any(i.keeps_double for i in slices)
        self.iterates = any(i.iterates for i in slices)
        self.derivative = LeastSquares(ConvModel(op), op.shape, request, self.summary)


def _worst(request: Request, slices: Sequence[InverseOperator]) -> SpectrumSummary:
    """What is known of the hardest slice, whose damp is the least."""
    facts = [i.summary for i in slices]
    norm = torch.stack([f.norm.max() for f in facts]).max()[None]
    floor = float(torch.stack([f.floor.min() for f in facts]).min())
    above_zero = torch.stack([f.above_zero.min() for f in facts]).min()[None]
    # least σ over largest damp, which is what this bound is held against
    spread = request.damp / max(request.damps)
    return replace(SpectrumSummary.damped(norm, floor), above_zero=above_zero * spread)


def factor_each_damp(
    op: Convolution,
    request: Request,
    mapped_weight: bool,
    factor: Callable[[Convolution, Request], InverseOperator],
) -> InverseOperator:
    """An inverse for each damp of the request.

    op : if mapped_weight, of one slice, but for its weight, which has the mapped axis in front
    """
    weights = op.weight if mapped_weight else op.weight.expand(len(request.damps), *op.weight.shape)
    slices = [
        factor(op.with_weight(w), replace(request, damp=damp, damps=(), live_damp=None))
        for w, damp in zip(weights, request.damps, strict=True)
    ]
    return AtEachDamp(op.with_weight(weights[0]), request, slices)


def factor_mapped(
    op: Convolution, factor: Callable[[Convolution], InverseOperator]
) -> InverseOperator:
    """The inverses of all slices.

    op : of one slice, but for its weight, which has the mapped axis in front
    """
    if op.batch_size is not None:
        raise NotImplementedError(
            "vmap over the weight of an operator with one kernel per sample is not supported; put "
            "both axes into one batch."
        )
    each = factor(op.with_kernels(op.weight))
    return MappedInverse(op.with_weight(op.weight[0]), each)
