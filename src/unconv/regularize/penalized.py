"""The inverses of `penalty.py`: a stack that is factored, and one that is iterated."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..inverse import (
    InverseOperator,
    LstsqResult,
    Request,
    factorize,
)
from ..inverse.autograd import look
from ..inverse.certificate import Certificate, certify
from ..inverse.facts import CannotServeError, Effort
from ..inverse.plan import check_damp
from ..numerics.checks import check_all_finite
from ..numerics.iteration import norms, ratio
from ..numerics.plain_values import Values, with_values
from ..numerics.precision import result_dtype
from ..operators.convolution import Convolution
from ..operators.images import in_layout_of
from .by_lsmr import StackIteration
from .natural_edges.inverse import StackCompletion
from .penalty import Penalty, penalty_operator, stacked
from .stack import Channels, Layout
from .stack_inverse import StackInverse, differentiate_as_a_stack


def penalized(
    op: Convolution,
    penalty: Penalty,
    request: Request,
) -> PenalizedInverse:
    """The operator y ↦ argmin ‖Ax − y‖² + damp²‖Lx‖², factored once.

    Parameters
    ----------
    penalty : what `penalty_operator` takes for L
    request : its damp > 0 is the weight of the penalty

    Raises
    ------
    ValueError
        If damp = 0, or the method that was asked for cannot serve the stack [A; damp·L].
    NotImplementedError
        Under `torch.func.vmap` over a weight.
    """
    if not request.damp:
        raise ValueError("damp=0 leaves the penalty without effect; give damp > 0, or no penalty.")
    check_damp(request.live_damp, op)
    L = penalty_operator(op, penalty)

    def build(values: Values) -> PenalizedInverse:
        if any(values.mapped):
            raise NotImplementedError(
                "vmap over the weight of a penalised problem is not supported."
            )
        A, B = (o.with_weight(w) for o, w in zip((op, L), values.tensors, strict=True))
        if request.check_finite:
            check_all_finite("weight", A.weight)
            check_all_finite("the penalty", B.weight)
        return _factored(A, B, request)

    inverse = with_values(build, op.weight, L.weight)
    damp = inverse.inner.params[-1] if request.live_damp is None else request.live_damp
    inverse.depends_on(op.weight, L.weight, damp)
    inverse.inner.depends_on(op.weight, L.weight, damp)
    return inverse


def _factored(op: Convolution, L: Convolution, request: Request) -> PenalizedInverse:
    method = request.method
    found = None if method == "completion" else stacked(op, L, request.damp, request.memory_limit)
    if method == "krylov" or (found is None and method in ("auto", "completion")):
        alone = _without_a_grid(op, L, request)
        return PenalizedInverse(op, L, None, alone, alone.layout, request)
    if found is None:
        raise ValueError(
            f"method={method!r} cannot serve this operator with this penalty: they share no grid, "
            "or their stack does not fit memory_limit; use 'auto' or 'krylov'."
        )
    stack, channels = found
    inner = factorize(stack, request.undamped())
    layout = Channels(channels, stack.range_shape[0])
    differentiate_as_a_stack(inner, op, L, layout, stack.shape, request.damp)
    return PenalizedInverse(op, L, stack, inner, layout, request)


def _without_a_grid(op: Convolution, L: Convolution, request: Request) -> StackInverse:
    """By completion where that serves, else by LSMR."""
    if request.method == "krylov":
        return StackIteration(op, L, request)
    try:
        return StackCompletion(op, L, request)
    except CannotServeError as why:
        if request.method == "auto":
            return StackIteration(op, L, request)
        raise ValueError(
            f"method='completion' cannot serve this penalised problem: {why}; use 'auto'."
        ) from None


class PenalizedInverse(InverseOperator):
    """y ↦ [A; damp·L]⁺ [y; 0], the solution of a penalised problem by an inverse of its stack."""

    keeps_double = True

    def __init__(
        self,
        op: Convolution,
        L: Convolution,
        stack: Convolution | None,
        inner: InverseOperator,
        layout: Layout,
        request: Request,
    ) -> None:
        super().__init__(op, request, inner.summary)
        self.inner, self.method, self.layout = inner, inner.method, layout
        self.iterates, self.rows_of_L = inner.iterates, L.range_shape
        self._stack = (stack,)  # a tuple: evidence only, not a part of the module

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.inner.device

    def _apply_to(self, v: Tensor, *, adjoint: bool = False) -> Tensor:
        # Here an index is that of the data; compiled code, which has no values, checks the stack.
        if self.check_finite and not torch.compiler.is_compiling():
            check_all_finite("the data", v)
        if adjoint:
            return self.layout.split(self.inner._apply_to(v, adjoint=True))[0]
        return self.inner._apply_to(self.with_zeros(v))

    def _solution(self, y: Tensor) -> tuple[Tensor, Effort]:
        if self.check_finite:
            check_all_finite("the data", y)
        return self.inner._solution(self.with_zeros(y))

    def bound_to(self, *params: Tensor) -> PenalizedInverse:
        """The operator for other tensors of equal values; its inverse of the stack is bound too."""
        other = super().bound_to(*params)
        assert isinstance(other, PenalizedInverse)
        other.inner = self.inner.bound_to(*params)
        return other

    def with_zeros(self, y: Tensor) -> Tensor:
        """(N, *range_shape) -> [y; 0], data of the stack."""
        return self.layout.join(y, y.new_zeros(len(y), *self.rows_of_L))

    def certify(self, x: Tensor, y: Tensor, effort: Effort, tol: float | None) -> Certificate:
        """Evidence for x (N, *domain_shape) as the solution of the stack for [y; 0].

        The residual alone is that of Ax − y, relative to y.
        """
        if isinstance(self.inner, StackInverse):
            return self.inner.certify(x, y, effort, tol)
        (stack,), result = self._stack, torch.promote_types(self.dtype, y.dtype)
        assert stack is not None
        evidence = certify(stack, self.inner, x, self.with_zeros(y), effort, tol, result)
        y = y.to(x.dtype)
        r = self.layout.split(stack(x))[0] - y
        residual = ratio(norms(r.flatten(1)), norms(y.flatten(1)))[:, 0]
        return replace(evidence, damp=self.damp, residual=residual)


def solve_penalized(
    op: Convolution,
    y: Tensor,
    penalty: Penalty,
    request: Request,
) -> LstsqResult:
    """argmin ‖Ax − y‖² + damp²‖Lx‖² with its certificate.

    y (N, *range_shape) -> x (N, *domain_shape) in the dtype that A and y have together.
    """
    inverse = penalized(op, penalty, request)
    tol = request.tol if request.tol_is_asked else None
    x, effort = inverse.solution(y)
    found: list[Certificate] = []

    def judge(_: InverseOperator, x: Tensor, y: Tensor, effort: Effort) -> None:
        found.append(inverse.certify(x, y, effort, tol))

    look(inverse, x, op._masked(y), effort, judge)
    x = x.to(result_dtype(op.dtype, y.dtype, y.device.type))
    return LstsqResult(in_layout_of(x, y), found[0])
