"""What every factored inverse is, and what it knows about the spectrum of A.

A rung is one way to invert A: by Fourier blocks, by an SVD, by an iteration, …  Each is a subclass,
whose buffers are its factor: what is computed once from the weight and applied to many data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics import compiled
from ..numerics.checks import check_all_finite
from ..numerics.precision import ieee_arithmetic, real_working_dtype
from ..numerics.progress import Progress
from ..operators.convolution import Convolution
from ..operators.linear_operator import LinearOperator
from .autograd import apply_inverse, cotangents, solve_with_effort
from .derivative import ConvModel, Derivative, LeastSquares
from .facts import Companions, Effort, Plan, SpectrumSummary
from .orthogonal_data import zero_exactly_
from .request import Request


class InverseOperator(LinearOperator):
    """A⁺, or (AᴴA + damp²)⁻¹Aᴴ, with its factor inside.

    Attributes
    ----------
    method : name of the rung
    keeps_double
        Its own buffers, and answers before they are rounded to the dtype of operator and data, are
        in double precision, whatever the operator's dtype; what modules inside it keep need not be
    iterates : an answer is only as good as its error_bound says
    tol : error_bound up to which an iteration goes on
    backward_stable : by construction, answers lose no more than eps·cond
    damp : the damping that it was factored with
    summary : what is known about the singular values of A
    params : what it was factored from, (weight, [damp]); gradients reach these tensors
    derivative : how the inverse depends on `params`
    progress : who is told of the steps of every solve that iterates; copies tell nobody
    plan : of the ladder that made it: the rung that serves, those that do not, and why
    """

    method: str
    each: InverseOperator  # under vmap over the weight: the inverses of all slices
    slices: tuple[InverseOperator, ...] = ()  # under vmap over damp: an inverse for each slice
    keeps_double = False
    iterates = False
    tol = 0.0
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
        self._dtype, self.progress = op.dtype, request.progress
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
        """An inverse with this factor whose gradients reach other tensors of the same values.

        Such as those of a new graph, or of a training step that has changed nothing.
        """
        other = copy.copy(self)
        other._buffers, other._modules = self._buffers.copy(), self._modules.copy()
        other.progress = self.progress
        other.depends_on(*params)
        return other

    def watched_by(self, progress: Progress | None) -> InverseOperator:
        """An inverse with this factor whose solves tell another function of their steps."""
        other = self.bound_to(*self.params)
        other.progress = progress
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

    def advice(self, effort: Effort) -> str | None:
        """What an iteration has to say of images that fell short, else None."""
        return None

    def solution(self, y: Tensor) -> tuple[Tensor, Effort]:
        """A⁺ y before it is rounded to the dtype of the result, and what it took.

        The most careful solve of the rung; zero exactly where the data are orthogonal to the range.
        """
        self._check(y, self.domain_shape)
        return self._solution(self._seen(y))

    def _solution(self, y: Tensor) -> tuple[Tensor, Effort]:
        self._refuse_stale_gradient()
        return solve_with_effort(self, y)

    def _matvec(self, x: Tensor) -> Tensor:
        return self._rounded(self._apply_to(self._seen(x)), x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._rounded(self._apply_to(y, adjoint=True), y)

    def _seen(self, y: Tensor) -> Tensor:
        """Data with zeros where nothing was observed: NaN may stand there."""
        return self.source[0]._masked(y)

    def _rounded(self, x: Tensor, data: Tensor) -> Tensor:
        """A result in the dtype of operator and data, which may be less than the factor's."""
        dtype = torch.promote_types(self._dtype, data.dtype)
        return x if x.dtype == dtype else x.to(dtype)

    def _apply_to(self, v: Tensor, *, adjoint: bool = False) -> Tensor:
        """B v or Bᴴ v in the dtype of the factor."""
        if torch.compiler.is_compiling():
            if self.made_in_passing:
                return torch.compiler.disable(self._apply_to)(v, adjoint=adjoint)
            return compiled.apply(self, v, self.params, adjoint=adjoint)
        self._refuse_stale_gradient()
        return apply_inverse(self, v, adjoint=adjoint)

    def _refuse_stale_gradient(self) -> None:
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.params):
            self._refuse_stale_factor()

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
        for child in self.children():  # in the precision that they were factored in
            child.to(probe.device)
        self.params = tuple(p.to(probe.device) for p in self.params)
        self._factored = tuple(p.to(probe.device) for p in self._factored)
        return self

    @property
    def _working_real_dtype(self) -> torch.dtype:
        return torch.float64 if self.keeps_double else real_working_dtype(self._dtype)

    def _data_dtype(self, data: torch.dtype) -> torch.dtype:
        """The real dtype in which data of some dtype enter a solve."""
        return self._working_real_dtype

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
        """Gradients in what the inverse was factored from, the weight and damp, for compiled code.

        g : cotangent of y, which is the answer for x; w : the adjoint inverse applied to g
        """
        found = cotangents(self, g, w, x, y, params, adjoint, [True] * len(params))
        return [grad for grad in found if grad is not None]

    def __getstate__(self) -> dict[str, Any]:
        """Copies leave graph and watcher behind: torch copies leaves alone, pickle no closures."""
        state = self.__dict__.copy()
        state["progress"] = None
        state["params"] = tuple(p if p.is_leaf else p.detach() for p in self.params)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.handle = compiled.register(self)

    def evaluate(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """B v or Bᴴ v as plain values in the dtype of the factor, outside autograd."""
        solve = self._solve_adjoint if adjoint else self._solve
        return self._evaluated(v, lambda t: (solve(t), _NONE), adjoint)[0]

    def evaluate_with_companion(self, v: Tensor, *, adjoint: bool) -> tuple[Tensor, Tensor | None]:
        """B v or Bᴴ v as `evaluate` gives it, and what `companions` reads, if the rung has it."""
        return self.evaluate(v, adjoint=adjoint), None

    def companions(self, companion: Tensor | None, *, adjoint: bool) -> Companions:
        """What a solve has found beside its answer."""
        return Companions()

    def evaluate_with_effort(self, y: Tensor) -> tuple[Tensor, Effort]:
        """B y as `solution` gives it, as plain values and outside autograd, and what it took."""
        x, effort = self._evaluated(y, self._solve_recorded, adjoint=False)
        self._zero_exactly_(x, y)
        return x, effort

    def companions_of(self, effort: Effort) -> Companions:
        """What a careful solve has found beside its answer: its residual, if that is exact."""
        return Companions() if self.iterates else Companions(effort.residual, 1.0)

    def _zero_exactly_(self, x: Tensor, y: Tensor) -> None:
        """Put 0 in the place of round-off where Aᴴy = 0, in place."""
        zero_exactly_(self.source[0], x, y)

    def _evaluated(
        self, v: Tensor, solve: Callable[[Tensor], tuple[Tensor, Effort]], adjoint: bool
    ) -> tuple[Tensor, Effort]:
        """`solve` in the precision of factor and data; complex data of a real operator as real."""
        if self.check_finite:
            check_all_finite("the data", v)
        real = self._data_dtype(v.dtype)
        if v.shape[0] == 0:
            shape = self.domain_shape if adjoint else self.range_shape
            return v.new_zeros(0, *shape, dtype=self.value_dtype(v.dtype)), _NONE
        with ieee_arithmetic(v.device.type, real):
            if self._dtype.is_complex or not v.is_complex():
                dtype = real.to_complex() if self._dtype.is_complex else real
                return solve(v if v.dtype == dtype else v.to(dtype))
            if self.batch_size:  # Re and Im apart
                re, effort = solve(v.real.to(real))
                im, other = solve(v.imag.to(real))
                return torch.complex(re, im), effort.joined(other)
            parts, both = solve(torch.cat([v.real, v.imag]).to(real))  # as one batch
            return torch.complex(*parts.chunk(2)), both.halved()


_NONE = Effort()
