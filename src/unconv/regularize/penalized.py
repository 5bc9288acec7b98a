"""The inverses of `penalty.py`: a stack that is factored, and one that is iterated."""

from __future__ import annotations

import math
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
from ..inverse.derivative import LeastSquares
from ..inverse.facts import Effort, SpectrumSummary
from ..inverse.plan import check_damp
from ..numerics.checks import check_all_finite
from ..numerics.iteration import norms, ratio
from ..numerics.linear_map import Adjoint, LinearMap
from ..numerics.lsmr import largest_singular_value
from ..numerics.plain_values import Values, with_values
from ..numerics.precision import result_dtype
from ..operators.convolution import Convolution
from .by_lsmr import advice_of, by_lsmr
from .penalty import Penalty, penalty_operator, stacked
from .stack import (
    Channels,
    Flat,
    Layout,
    Stack,
    StackModel,
)

# Where LSMR has not settled by then, the penalty is too weak for what A loses, and the advice to
# raise it is worth more than the wait.  `maxiter` overrides it.
_MOST_STACK_STEPS = 5_000


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
    found = stacked(op, L, request.damp, request.memory_limit)
    if method == "krylov" or (found is None and method == "auto"):
        iteration = StackIteration(op, L, request)
        return PenalizedInverse(op, L, None, iteration, iteration.layout, request)
    if found is None:
        raise ValueError(
            f"method={method!r} cannot serve this operator with this penalty: they share no grid, "
            "or their stack does not fit memory_limit; use 'auto' or 'krylov'."
        )
    stack, channels = found
    inner = factorize(stack, request.undamped())
    layout = Channels(channels, stack.range_shape[0])
    _differentiate_as_a_stack(inner, op, L, layout, stack.shape, request.damp)
    return PenalizedInverse(op, L, stack, inner, layout, request)


def _differentiate_as_a_stack(
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
        if isinstance(self.inner, StackIteration):
            return self.inner.certify(x, y, effort)
        (stack,), result = self._stack, torch.promote_types(self.dtype, y.dtype)
        assert stack is not None
        evidence = certify(stack, self.inner, x, self.with_zeros(y), effort, tol, result)
        y = y.to(x.dtype)
        r = self.layout.split(stack(x))[0] - y
        residual = ratio(norms(r.flatten(1)), norms(y.flatten(1)))[:, 0]
        return replace(evidence, damp=self.damp, residual=residual)


class StackIteration(InverseOperator):
    """[A; damp·L]⁺ by LSMR, which starts anew for every right-hand side and factors nothing."""

    method = "krylov"
    keeps_double = True
    iterates = True

    def __init__(self, op: Convolution, L: Convolution, request: Request) -> None:
        A, L = op.in_double(), L.in_double()
        self.layout = Flat(A, L)
        stack = Stack(A, L, request.damp, self.layout)
        norm = largest_singular_value(stack, 1, A.weight)
        summary = SpectrumSummary.damped(norm, 0.0)
        super().__init__(op, request, summary)
        self.domain_shape = stack.range_shape
        self.A, self.L, self.maxiter = A, L, request.maxiter or _MOST_STACK_STEPS
        shape = stack.range_shape[0], A.shape[1]
        _differentiate_as_a_stack(self, op, L, self.layout, shape, request.damp)

    @property
    def device(self) -> torch.device:
        """Device of both operators."""
        return self.A.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._solve_recorded(y)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._iterated(self._stacked(), y)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._iterated(Adjoint(self._stacked()), x)[0]

    def _zero_exactly_(self, x: Tensor, y: Tensor) -> None:
        super()._zero_exactly_(x, self.layout.split(y)[0])

    def advice(self, effort: Effort) -> str | None:
        """What the iteration has to say where it did not come to round-off."""
        return advice_of(effort, 0.0, 1.0)

    def _stacked(self) -> Stack:
        return Stack(self.A, self.L, self.damp, self.layout)

    def _iterated(self, stack: LinearMap, right: Tensor) -> tuple[Tensor, Effort]:
        return by_lsmr(stack, right, self.summary.norm, 0.0, 1.0, self.maxiter)

    def certify(self, x: Tensor, y: Tensor, effort: Effort) -> Certificate:
        """Optimality of the stack; without its smallest singular value nothing bounds the error."""
        x, y = x.to(self.A.weight.dtype), y.to(self.A.weight.dtype)
        stack = self._stacked()
        r = self.layout.join(y, y.new_zeros(len(y), *self.L.range_shape)) - stack.matvec(x)
        g, norm = norms(stack.rmatvec(r).flatten(1)), self.summary.norm.reshape(1, 1)
        size = norms(y.flatten(1))
        optimality = ratio(g, norm * (norm * norms(x.flatten(1)) + size))[:, 0]
        whole = torch.ones_like(optimality)
        return Certificate(
            method=self.method,
            rank=None,
            rank_how=self.summary.rank_how,
            gap=whole * math.inf,
            damp=self.damp,
            residual=ratio(norms(r[:, : self.A.shape[0]]), size)[:, 0],
            optimality=optimality,
            error_bound=torch.where(size[:, 0] == 0, 0.0, whole * math.inf),
            tolerance=torch.zeros_like(optimality),
            tolerance_how="nothing bounds the error of an iterated stack",
            iterations=effort.iterations,
            refinements=torch.zeros(len(x), dtype=torch.long),
            dropped=torch.zeros(len(x), dtype=torch.long),
            converged=size[:, 0] == 0,
            advice=self.advice(effort)
            or "optimal to round-off, but no bound of the error of an iterated penalty is known; "
            "padding that L shares, such as 'zeros', has a direct method with a bound",
        )


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
    return LstsqResult(x.to(result_dtype(op.dtype, y.dtype, y.device.type)), found[0])
