"""Groups with one kernel between them, as of all colours of a picture: factored once.

With G equal groups A = I_G ⊗ A₁, so that A⁺ = I_G ⊗ A₁⁺ and every singular value of A₁ counts G
times.  A₁ alone is factored, and the groups of an image are G images to it: 1/G of the set-up and
of its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..numerics.progress import Progress
from ..operators.convolution import Convolution
from .facts import Effort, Plan, SpectrumSummary
from .operator import InverseOperator
from .request import Request


def one_group(op: Convolution) -> Convolution | None:
    """A₁, if all groups of `op` have one kernel and were observed alike; None otherwise."""
    count = op.geometry.groups
    if count == 1 or op.batch_size is not None or op.weight.is_meta:
        return None
    each = op.weight.unflatten(0, (count, -1))
    if not bool((each == each[:1]).all()):  # not for NaN, which is refused further on
        return None
    seen = None if op.seen is None or len(op.seen) == 1 else op.seen.unflatten(0, (count, -1))
    if seen is not None and not bool((seen == seen[:1]).all()):
        return None
    one = op.with_kernels(each[:1], groups_apart=True).of_sample(0)
    if op.seen is None:
        return one
    return one.observed(op.seen[0] if seen is None else seen[0])


def for_one_group(op: Convolution, request: Request) -> Request:
    """What is asked of A₁ in the place of A: G times as many images."""
    return replace(request, expected_solves=request.expected_solves * op.geometry.groups)


def plan_of_all(op: Convolution, request: Request, plan: Plan) -> Plan:
    """The plan of A, from that of A₁."""
    count = op.geometry.groups
    return replace(
        plan,
        reason=f"{plan.reason}; its {count} equal groups are factored once",
        apply_operations=count * plan.apply_operations,
        expected_solves=request.expected_solves,
    )


class SharedGroups(InverseOperator):
    """A⁺ or the damped inverse of A = I_G ⊗ A₁, by that of A₁."""

    one: InverseOperator

    def __init__(self, op: Convolution, request: Request, one: InverseOperator) -> None:
        count = op.geometry.groups
        super().__init__(op, request, _summary_of_all(one.summary, count))
        self.one, self.count, self.method = one, count, one.method
        self.keeps_double, self.iterates = one.keeps_double, one.iterates
        self.tol, self.backward_stable = one.tol, one.backward_stable
        self.made_by(None if one.plan is None else plan_of_all(op, request, one.plan))

    def watched_by(self, progress: Progress | None) -> SharedGroups:
        """An inverse with this factor, of which that of A₁ tells another function of its steps."""
        other = super().watched_by(progress)
        assert isinstance(other, SharedGroups)
        other.one = self.one.watched_by(progress)
        return other

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.one.device

    def advice(self, effort: Effort) -> str | None:
        """What an iteration has to say of images that fell short, else None."""
        return self.one.advice(effort)

    def _data_dtype(self, data: torch.dtype) -> torch.dtype:
        return self.one._data_dtype(data)

    def _apart(self, v: Tensor) -> Tensor:
        """(N, G·c, *sizes) -> (N·G, c, *sizes)."""
        return v.reshape(len(v) * self.count, -1, *v.shape[2:])

    def _together(self, v: Tensor) -> Tensor:
        return v.reshape(len(v) // self.count, -1, *v.shape[2:])

    def _solve(self, y: Tensor) -> Tensor:
        return self._together(self.one._solve(self._apart(y)))

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._together(self.one._solve_adjoint(self._apart(x)))

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        x, effort = self.one._solve_recorded(self._apart(y))
        return self._together(x), self._of_images(effort)

    def _of_images(self, effort: Effort) -> Effort:
        """The worst group of each image: errors relative to each part bound that of the whole."""

        def worst(values: Tensor | None, reduce: Callable[[Tensor, int], Tensor]) -> Tensor | None:
            return None if values is None else reduce(values.reshape(-1, self.count), 1)

        return Effort(
            worst(effort.iterations, torch.amax),
            worst(effort.refinements, torch.amax),
            None if effort.residual is None else self._together(effort.residual),
            worst(effort.evidence, torch.amax),
            worst(effort.met, torch.all),
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InverseOperator:
        """`.to`, `.double`, …: the factor is all in the inverse of one group."""
        super()._apply(fn, recurse)
        self.one._apply(fn, recurse)
        return self


def _summary_of_all(found: SpectrumSummary, count: int) -> SpectrumSummary:
    rank = None if found.rank is None else count * found.rank
    return replace(found, rank=rank, dropped=count * found.dropped)
