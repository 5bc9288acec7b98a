"""What every factored inverse is, and what it knows about the spectrum of A."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics import compiled
from ..numerics.checks import check_all_finite
from ..numerics.precision import ieee_arithmetic, real_working_dtype
from ..operators.convolution import Convolution
from ..operators.linear_operator import LinearOperator
from .autograd import Record, apply_inverse, cotangents
from .derivative import ConvModel, Derivative, LeastSquares
from .facts import Effort, Plan, SpectrumSummary
from .request import Request


class InverseOperator(LinearOperator):
    """A⁺, or (AᴴA + damp²)⁻¹Aᴴ, with its factor inside.

    Attributes
    ----------
    method : name of the rung
    keeps_double : the factor and all work stay in double precision, whatever the operator's dtype
    iterates : an answer is only as good as its error_bound says
    backward_stable : by construction, answers lose no more than eps·cond
    damp : the damping that it was factored with
    summary : what is known about the singular values of A
    params : what it was factored from, (weight, [damp]); gradients reach these tensors
    derivative : how the inverse depends on `params`
    plan : of the ladder that made it: the rung that serves, those that do not, and why
    """

    method: str
    each: InverseOperator  # under vmap over the weight: the inverses of all slices
    keeps_double = False
    iterates = False
    backward_stable = True
    plan: Plan | None = None

    def __init__(
        self,
        op: Convolution,
        request: Request,
        summary: SpectrumSummary,
    ) -> None:
        super().__init__()
        self.handle = compiled.register(self)
        self.domain_shape, self.range_shape = op.range_shape, op.domain_shape
        self.batch_size = op.batch_size
        self.damp, self.summary, self.check_finite = request.damp, summary, request.check_finite
        self._dtype = op.dtype
        self.source = (op,)  # in a tuple: evidence and geometry, not a part of the module
        self.derivative: Derivative = LeastSquares(ConvModel(op), op.shape, request, summary)
        damp = torch.tensor(self.damp, dtype=torch.float64, device=op.device)
        self.depends_on(op.weight, *([damp] if request.damp else []))

    def depends_on(self, *params: Tensor, derivative: Derivative | None = None) -> None:
        """What gradients may be asked for: tensors whose values were factored, and how.

        derivative : if it is not that of the operator and damp
        """
        if derivative is not None:
            self.derivative = derivative
        # A tuple keeps the weight out of the module's parameters: the factor is what moves.
        self.params = params
        # torch's count of changes is blind to fused optimisers and to `.data`; weights are small.
        self._factored = tuple(p.detach().clone() for p in params)

    def made_by(self, plan: Plan | None) -> None:
        """Remember the plan that was carried out."""
        self.plan = plan

    def bound_to(self, *params: Tensor) -> InverseOperator:
        """The same factor for other tensors of the same values, such as those of a new graph."""
        other = copy.copy(self)
        other._buffers, other._modules = self._buffers.copy(), self._modules.copy()
        other.depends_on(*params)
        return other

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operator that was inverted."""
        return self._dtype

    # --- to be given by a rung, for tensors of the factor's dtype
    def _solve(self, y: Tensor) -> Tensor:  # A⁺ y
        raise NotImplementedError

    def _solve_adjoint(self, x: Tensor) -> Tensor:  # (A⁺)ᴴ x
        raise NotImplementedError

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        """A⁺ y and what it took; rungs that iterate or refine override this."""
        return self._solve(y), Effort()

    def solution(self, y: Tensor, record: Record | None = None) -> tuple[Tensor, Effort]:
        """A⁺ y before it is rounded to the dtype of the result, and what it took."""
        self._check(y, self.domain_shape)
        efforts: list[Effort] = []

        def keep(inverse: InverseOperator, y: Tensor, x: Tensor, effort: Effort) -> None:
            efforts.append(effort)
            if record is not None:
                record(inverse, y, x, effort)

        return self._apply_to(y, record=keep), efforts[0]

    def _matvec(self, x: Tensor) -> Tensor:
        return self._apply_to(x).to(torch.promote_types(self.dtype, x.dtype))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._apply_to(y, adjoint=True).to(torch.promote_types(self.dtype, y.dtype))

    def _apply_to(
        self, v: Tensor, *, adjoint: bool = False, record: Record | None = None
    ) -> Tensor:
        if torch.compiler.is_compiling():
            return compiled.apply(self, v, self.params, adjoint=adjoint)
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.params):
            self._refuse_stale_factor()
        return apply_inverse(self, v, adjoint=adjoint, record=record)

    def _refuse_stale_factor(self) -> None:
        pairs = zip(self.params, self._factored, strict=True)
        if not all(torch.equal(p.detach(), values) for p, values in pairs):
            raise RuntimeError(
                "the weight or damp has been changed in place since it was factored, so that its "
                "gradient would be that of another operator; factor it again after every change, "
                "as the layers of unconv.nn do by themselves."
            )

    def extra_repr(self) -> str:
        """Shapes, damping and rank for `print(inverse)`."""
        rank = self.summary.rank
        known = "" if rank is None else f", rank={rank.tolist()}"
        return f"{self.domain_shape} -> {self.range_shape}, damp={self.damp:g}{known}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InverseOperator:
        """`.to`, `.double`, …: a real dtype changes a complex factor's precision, not its kind.

        The factor stays in float32 at least, and an inverse of a real operator stays real.
        """
        probe = fn(torch.empty(0, dtype=self._dtype.to_real(), device=self.device))
        real = probe.dtype.to_real()
        self._dtype = real.to_complex() if self._dtype.is_complex else real
        working = self._working_real_dtype
        for name, buffer in self._buffers.items():
            if buffer is not None and (buffer.is_floating_point() or buffer.is_complex()):
                dtype = working.to_complex() if buffer.is_complex() else working
                self._buffers[name] = buffer.to(probe.device, dtype)
            elif buffer is not None:
                self._buffers[name] = buffer.to(probe.device)
        for child in self.children():  # kept in double precision
            child.to(probe.device)
        self.params = tuple(p.to(probe.device) for p in self.params)
        self._factored = tuple(p.to(probe.device) for p in self._factored)
        return self

    @property
    def _working_real_dtype(self) -> torch.dtype:
        return torch.float64 if self.keeps_double else real_working_dtype(self._dtype)

    # --- for compiled.py
    def value_dtype(self, data: torch.dtype) -> torch.dtype:
        """Dtype of what `evaluate` returns."""
        is_complex = self.dtype.is_complex or data.is_complex
        return self._working_real_dtype.to_complex() if is_complex else self._working_real_dtype

    def value(self, x: Tensor, params: Sequence[Tensor], adjoint: bool) -> Tensor:
        """A⁺ x or (A⁺)ᴴ x; its parameters were factored."""
        if any(p.requires_grad for p in self.params):
            self._refuse_stale_factor()
        return self.evaluate(x, adjoint=adjoint)

    def gradients(
        self, g: Tensor, w: Tensor, x: Tensor, y: Tensor, params: Sequence[Tensor], adjoint: bool
    ) -> list[Tensor]:
        """Of what it was factored from."""
        found = cotangents(self, g, w, x, y, params, adjoint, [True] * len(params))
        return [grad for grad in found if grad is not None]

    def __getstate__(self) -> dict[str, Any]:
        """Copies leave the graph behind: torch copies leaves alone."""
        state = self.__dict__.copy()
        state["params"] = tuple(p if p.is_leaf else p.detach() for p in self.params)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.handle = compiled.register(self)

    def evaluate(self, v: Tensor, *, adjoint: bool, record: Record | None = None) -> Tensor:
        """B v or Bᴴ v as plain values in the dtype of the factor, outside autograd."""
        if self.check_finite:
            check_all_finite("the data", v)
        real, careful = self._working_real_dtype, record is not None
        with ieee_arithmetic(v.device.type, real):
            if self.dtype.is_complex or not v.is_complex():
                dtype = real.to_complex() if self.dtype.is_complex else real
                x, effort = self._run(v.to(dtype), adjoint, careful)
            elif self.batch_size:  # a real operator takes Re and Im apart
                re, effort = self._run(v.real.to(real), adjoint, careful)
                im, other = self._run(v.imag.to(real), adjoint, careful)
                x, effort = torch.complex(re, im), effort.joined(other)
            else:  # Re and Im as one batch
                parts, both = self._run(torch.cat([v.real, v.imag]).to(real), adjoint, careful)
                x, effort = torch.complex(*parts.chunk(2)), both.halved()
        if record is not None:
            record(self, v, x, effort)
        return x

    def _run(self, v: Tensor, adjoint: bool, careful: bool) -> tuple[Tensor, Effort]:
        if not len(v):
            return v.new_zeros(0, *(self.domain_shape if adjoint else self.range_shape)), Effort()
        if careful:
            return self._solve_recorded(v)
        return (self._solve_adjoint(v) if adjoint else self._solve(v)), Effort()
