"""LSMR for operators that are no convolution of their own: stacks and products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.facts import Effort, warn_of_accuracy
from ..inverse.request import Request
from ..numerics.iteration import iterate
from ..numerics.linear_map import Adjoint, LinearMap
from ..numerics.lsmr import Lsmr, largest_singular_value
from ..numerics.progress import Progress, watch_of
from ..operators.convolution import Convolution
from .stack import Flat, Stack
from .stack_inverse import StackInverse

# Where LSMR has not settled by then, the penalty is too weak for what A loses, and the advice to
# raise it is worth more than the wait.  `maxiter` overrides it.
_MOST_STACK_STEPS = 5_000


def by_lsmr(
    A: LinearMap,
    y: Tensor,
    norm: Tensor,
    damp: float,
    tol: float,
    maxiter: int,
    progress: Progress | None = None,
) -> tuple[Tensor, Effort]:
    """argmin ‖Ax − y‖² + damp²‖x‖² by LSMR, image by image.

    Parameters
    ----------
    A : a linear map with its adjoint, in double precision
    y : (N, *range_shape) in double precision
    norm : (1,) lower bound of σ_max, the unit in which residuals of the normal equations are judged
    damp : damp > 0 stops where the relative error is proven to be tol, damp = 0 at round-off
    tol : relative error of x that is asked for
    maxiter : steps after which the best x so far is returned, with a warning
    progress : who is told of the steps

    Returns
    -------
    x (N, *domain_shape) in double precision, and the iterations that each image took
    """
    full = norm.to(y.device).reshape(1, 1).expand(len(y), 1)
    watch = watch_of(progress, "krylov", len(y))
    if watch is not None:
        watch.begin(len(y))
    ended = iterate(Lsmr(A, y, full, torch.full_like(full, damp)), tol, maxiter, watch)
    if watch is not None:
        watch.end()
    effort = Effort(iterations=ended.iterations, evidence=ended.evidence, met=ended.met)
    advice = advice_of(effort, damp, tol)
    if advice is not None:
        warn_of_accuracy(advice)
    return ended.x.reshape(len(y), *A.domain_shape), effort


def advice_of(effort: Effort, damp: float, tol: float) -> str | None:
    """What is to be said where images fell short of `tol`, or of round-off without damping."""
    if effort.iterated is None:  # no image
        return None
    iterations, evidence, met = effort.iterated
    if met.all():
        return None
    worst = float(evidence.max())
    what = (
        f"error_bound {worst:.1e}, above tol={tol:g}"
        if damp
        else f"optimality {worst:.1e}, which is above round-off"
    )
    return (
        f"stopped after {int(iterations.max()):,} iterations with {what}: regularise more, "
        "or raise maxiter"
    )


class StackIteration(StackInverse):
    """[A; damp·L]⁺ by LSMR, which starts anew for every right-hand side and factors nothing."""

    method = "krylov"

    def __init__(self, op: Convolution, L: Convolution, request: Request) -> None:
        A, B = op.in_double(), L.in_double()
        norm = largest_singular_value(Stack(A, B, request.damp, Flat(A, B)), 1, A.weight)
        super().__init__(op, L, request, norm, 0.0)
        self.maxiter = request.maxiter or _MOST_STACK_STEPS

    def _solve(self, y: Tensor) -> Tensor:
        return self._solve_recorded(y)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._iterated(self.stack, y)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._iterated(Adjoint(self.stack), x)[0]

    def advice(self, effort: Effort) -> str | None:
        """What the iteration has to say where it did not come to round-off."""
        return advice_of(effort, 0.0, 1.0)

    def _iterated(self, stack: LinearMap, right: Tensor) -> tuple[Tensor, Effort]:
        return by_lsmr(stack, right, self.summary.norm, 0.0, 1.0, self.maxiter, self.progress)
