"""The inverses of `penalty.py`: a stack that is factored, and one that is iterated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inverse import InverseOperator, LstsqResult, Options, factorize
from ..inverse.base import Effort, SpectrumSummary
from ..inverse.certificate import Certificate, certify
from ..inverse.iteration import Operator, norms, ratio
from ..inverse.lsmr import largest_singular_value
from ..inverse.prepared import Turned
from ..linear_operator import LinearOperator, check_all_finite
from ..operator import ConvOperator
from .by_lsmr import by_lsmr
from .penalty import Penalty, penalty_operator, stacked

_MOST_STEPS = 5_000


def penalized(
    op: ConvOperator, penalty: Penalty, options: Options, method: str, check_finite: bool
) -> InverseOperator:
    """y ↦ argmin ‖Ax − y‖² + damp²‖Lx‖², factored once; `options.damp` is the damp of L."""
    if not options.damp:
        raise ValueError("damp=0 leaves the penalty without effect; give damp > 0, or no penalty.")
    L = penalty_operator(op, penalty)
    if check_finite:
        check_all_finite("weight", op.weight.detach())
        check_all_finite("the penalty", L.weight.detach())
    found = stacked(op, L, options.damp, options.memory_limit)
    if method == "krylov" or (found is None and method == "auto"):
        return PenalizedIteration(op, L, options, check_finite)
    if found is None:
        raise ValueError(
            f"method={method!r} cannot serve this operator with this penalty: they share no grid, "
            "or their stack does not fit memory_limit; use 'auto' or 'krylov'."
        )
    stack, channels = found
    whole = replace(options, damp=0.0, rtol=None, atol=0.0)
    inner = factorize(stack, whole, method, check_finite)
    return PenalizedInverse(op, L, stack, inner, channels, options, check_finite)


class PenalizedInverse(InverseOperator):
    """The first columns of [A; damp·L]⁺."""

    keeps_double = True
    opaque = True
    channels: Tensor

    def __init__(
        self,
        op: ConvOperator,
        L: ConvOperator,
        stack: ConvOperator,
        inner: InverseOperator,
        channels: Tensor,
        options: Options,
        check_finite: bool,
    ) -> None:
        super().__init__(op, options, inner.summary, check_finite, L.weight)
        self.inner, self.method = inner, inner.method
        self.iterates = inner.iterates
        self._stack = (stack,)  # a tuple: evidence only, not a part of the module
        self.register_buffer("channels", channels)

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.inner.device

    def _solve(self, y: Tensor) -> Tensor:
        return self.inner._solve(self.with_zeros(y))

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self.inner._solve_adjoint(x)[:, self.channels]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self.inner._solve_recorded(self.with_zeros(y))

    def with_zeros(self, y: Tensor) -> Tensor:
        """[y; 0] for the stack."""
        full = y.new_zeros(len(y), self.inner.domain_shape[0], *y.shape[2:])
        full[:, self.channels] = y
        return full

    def certify(self, x: Tensor, y: Tensor, effort: Effort, tol: float) -> Certificate:
        """Of the stack, but for the residual, which is that of Ax − y."""
        stack, result = self._stack[0], torch.promote_types(self.dtype, y.dtype)
        evidence = certify(stack, self.inner, x, self.with_zeros(y), effort, tol, result)
        y = y.to(x.dtype)
        r = stack(x)[:, self.channels] - y
        residual = ratio(norms(r.flatten(1)), norms(y.flatten(1)))[:, 0]
        return replace(evidence, damp=self.damp, residual=residual)


class Stack:
    """x ↦ [Ax; damp·Lx] as flat vectors, for an iteration."""

    per_sample = False

    def __init__(self, A: LinearOperator, L: LinearOperator, damp: float) -> None:
        self.A, self.L, self.damp = A, L, damp
        self.domain_shape: tuple[int, ...] = A.domain_shape
        self.range_shape: tuple[int, ...] = (A.shape[0] + L.shape[0],)

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """[A; damp·L] x."""
        return torch.cat(
            [self.A._matvec(x).flatten(1), self.damp * self.L._matvec(x).flatten(1)], 1
        )

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        """Aᴴ y₁ + damp·Lᴴ y₂."""
        first, second = y.split([self.A.shape[0], self.L.shape[0]], 1)
        back = self.A._rmatvec(first.reshape(-1, *self.A.range_shape))
        return back + self.damp * self.L._rmatvec(second.reshape(-1, *self.L.range_shape))


class PenalizedIteration(InverseOperator):
    """The same by LSMR on the stack, anew for every y."""

    method = "krylov"
    keeps_double = True
    opaque = True
    iterates = True

    def __init__(
        self, op: ConvOperator, L: ConvOperator, options: Options, check_finite: bool
    ) -> None:
        penalty, A, L = L.weight, op.in_double(), L.in_double()
        with torch.no_grad():
            norm = largest_singular_value(Stack(A, L, options.damp), 1, A.weight)
        summary = SpectrumSummary(
            norm=norm,
            floor=torch.zeros_like(norm),
            rank=None,
            gap=torch.full_like(norm, math.inf),
            rank_how="not needed: damp > 0",
        )
        super().__init__(op, options, summary, check_finite, penalty)
        self.A, self.L, self.maxiter = A, L, options.maxiter or _MOST_STEPS

    @property
    def device(self) -> torch.device:
        """Device of both operators."""
        return self.A.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._solve_recorded(y)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        stack = Stack(self.A, self.L, self.damp)
        zeros = y.new_zeros(len(y), self.L.shape[0])
        return self._iterated(stack, torch.cat([y.flatten(1), zeros], 1))

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        """A(AᴴA + damp²LᴴL)⁻¹x, the inverse of the normal equations as (stack)⁺(stack)⁺ᴴ."""
        stack = Stack(self.A, self.L, self.damp)
        u = self._iterated(Turned(stack), x)[0]
        return u[:, : self.A.shape[0]].reshape(-1, *self.A.range_shape)

    def _iterated(self, stack: Operator, right: Tensor) -> tuple[Tensor, Effort]:
        return by_lsmr(stack, right, self.summary.norm, 0.0, 1.0, self.maxiter)

    def certify(self, x: Tensor, y: Tensor, effort: Effort, tol: float) -> Certificate:
        """Optimality of the stack; without its smallest singular value nothing bounds the error."""
        x, y = x.to(self.A.weight.dtype), y.to(self.A.weight.dtype)
        stack = Stack(self.A, self.L, self.damp)
        r = torch.cat([y.flatten(1), y.new_zeros(len(y), self.L.shape[0])], 1) - stack.matvec(x)
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
            iterations=torch.as_tensor(effort.iterations).expand(len(x)),
            refinements=torch.zeros(len(x), dtype=torch.long),
            dropped=torch.zeros(len(x), dtype=torch.long),
            converged=size[:, 0] == 0,
            advice=effort.advice or "optimal to round-off; no bound of the error is known",
        )


def solve_penalized(
    op: ConvOperator,
    y: Tensor,
    penalty: Penalty,
    options: Options,
    method: str,
    check_finite: bool,
) -> LstsqResult:
    """Factor, solve, certify."""
    inverse: Any = penalized(op, penalty, options, method, check_finite)
    x, effort = inverse.solution(y)
    tol = options.tol if options.tol_is_asked else math.inf
    certificate = inverse.certify(x, y, effort, tol)
    return LstsqResult(x.to(torch.promote_types(op.dtype, y.dtype)), certificate)
