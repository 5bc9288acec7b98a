"""[A; damp·L]⁺ where the two share no grid of outputs: what every way of solving it has.

An error is bounded by the gradient over a lower bound of the stack's smallest singular value,

    ‖x − x*‖ ≤ ‖[A; damp·L]ᴴ(y − [A; damp·L] x)‖/μ,     μ ≤ λ_min(AᴴA + damp²LᴴL),

where a way proves such a μ.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request
from ..inverse.certificate import Certificate
from ..inverse.derivative import LeastSquares
from ..inverse.facts import Effort, SpectrumSummary
from ..numerics.iteration import norms, ratio
from ..numerics.precision import double_dtype
from ..operators.convolution import Convolution
from .stack import Flat, Layout, Stack, StackModel

_EPS = torch.finfo(torch.float64).eps


def differentiate_as_a_stack(
    inner: InverseOperator,
    op: Convolution,
    L: Convolution,
    layout: Layout,
    shape: tuple[int, int],
    damp: float,
) -> None:
    """Give an inverse of the stack [A; damp·L] its gradients in both weights and in damp."""
    model = StackModel(op, L, layout)
    derivative = LeastSquares(model, shape, Request(), inner.summary)
    value = torch.tensor(damp, dtype=torch.float64, device=op.device)
    inner.depends_on(op.weight, L.weight, value, derivative=derivative)


class StackInverse(InverseOperator):
    """y ↦ [A; damp·L]⁺ y for flat y, in double precision; subclasses solve.

    Parameters
    ----------
    norm : (1,) of the size of the stack's σ_max
    floor : √μ, 0 where nothing is proven
    """

    keeps_double = True
    iterates = True

    def __init__(
        self, op: Convolution, L: Convolution, request: Request, norm: Tensor, floor: float
    ) -> None:
        self.layout = Flat(op, L)
        super().__init__(op, request, SpectrumSummary.damped(norm, 0.0))
        self.A, self.L, self.floor = op.in_double(), L.in_double(), floor
        self.tol = request.tol
        self.domain_shape = (op.shape[0] + L.shape[0],)
        differentiate_as_a_stack(
            self, op, L, self.layout, (self.domain_shape[0], op.shape[1]), request.damp
        )

    @abstractmethod
    def advice(self, effort: Effort) -> str | None:
        """What is to be said where images fell short of what was asked for."""

    @property
    def device(self) -> torch.device:
        """Device of both operators."""
        return self.A.device

    def _zero_exactly_(self, x: Tensor, y: Tensor) -> None:
        super()._zero_exactly_(x, self.layout.split(y)[0])

    @property
    def stack(self) -> Stack:
        """[A; damp·L] in double precision."""
        return Stack(self.A, self.L, self.damp, self.layout)

    def certify(self, x: Tensor, y: Tensor, effort: Effort, tol: float | None) -> Certificate:
        """Evidence for x (N, *domain_shape) as the solution for data y of A alone."""
        double = double_dtype(torch.promote_types(self.A.dtype, y.dtype))
        x, y = x.to(double), y.to(double)
        stack = self.stack
        r = self.layout.join(y, y.new_zeros(len(y), *self.L.range_shape)) - stack.matvec(x)
        g, norm = norms(stack.rmatvec(r).flatten(1))[:, 0], self.summary.norm
        size, of_x = norms(y.flatten(1))[:, 0], norms(x.flatten(1))[:, 0]
        largest = norm * of_x + size  # times the norm, what a gradient may be
        bound = torch.full_like(g, math.inf)
        if self.floor:
            error = (g / self.floor + _EPS * (norm / self.floor) * largest) / self.floor
            bound = torch.where(error < of_x, error / (of_x - error), math.inf)
        bound = torch.where(size == 0, 0.0, bound)
        allowed = torch.full_like(bound, self.tol if self.floor or tol is not None else 0.0)
        converged = (size == 0) | (bound <= allowed)
        return Certificate(
            method=self.method,
            rank=None,
            rank_how=self.summary.rank_how,
            gap=torch.full_like(bound, math.inf),
            damp=self.damp,
            residual=ratio(norms(r[:, : self.A.shape[0]])[:, 0], size),
            optimality=ratio(ratio(g, norm.expand_as(g)), largest),
            error_bound=bound,
            tolerance=allowed,
            tolerance_how=f"tol={self.tol:g}" if self.floor else "nothing bounds the error",
            iterations=effort.iterations,
            refinements=torch.zeros(len(x), dtype=torch.long),
            dropped=torch.zeros(len(x), dtype=torch.long),
            converged=converged,
            advice=self.advice(effort) or self._said(bound),
        )

    def _said(self, bound: Tensor) -> str:
        if self.floor:
            return (
                f"error_bound {float(bound.amax()) if len(bound) else 0.0:.1e}, proven from tiles"
            )
        optimal = "optimal to round-off, but no bound of the error of this penalty is known"
        if self.A.seen is not None:
            return f"{optimal} where outputs were not observed"
        return (
            f"{optimal}; padding that L shares, such as 'zeros', has a direct method with a bound"
        )
