"""What every factored inverse is, and what it knows about the spectrum of A."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import traced
from ..checks import check_all_finite
from ..linear_operator import LinearOperator
from ..operator import ConvOperator
from ..precision import ieee_arithmetic, real_working_dtype
from .apply import Record, apply_inverse, cotangents
from .implicit import ConvModel, Derivative, LeastSquares


@dataclass(frozen=True)
class Options:
    """What a factorisation was asked for.

    Attributes
    ----------
    damp, rtol, atol : as in `ConvOperator.lstsq`
    memory_limit : bytes that it may take
    expected_solves : images that will be solved, to weigh set-up against solves
    tol : error_bound that an iteration shall reach
    maxiter : iterations that it may take; None for as many as the rung thinks sensible
    tol_is_asked : whether the caller named tol, which then binds direct methods too
    dense_serves : whether the SVD of the matrix stands ready for what the ghosts cannot resolve
    """

    damp: float = 0.0
    rtol: float | None = None
    atol: float = 0.0
    memory_limit: float = math.inf
    expected_solves: int = 1
    tol: float = 1e-6
    maxiter: int | None = None
    tol_is_asked: bool = False
    dense_serves: bool = False

    def undamped(self) -> Options:
        """Of A⁺ with its default cut-off: what that drops is zero to round-off."""
        return replace(self, damp=0.0, rtol=None, atol=0.0)

    def cutoff(self, op: ConvOperator, sigma_max: Tensor) -> Tensor:
        """Singular values at or below this count as zero; none of them when damp > 0."""
        if self.damp:
            return torch.zeros_like(sigma_max)
        rtol = self.rtol
        if rtol is None:
            rtol = 0.0 if self.atol else default_rtol(op)
        return torch.clamp(rtol * sigma_max, min=self.atol)

    def departure(self, tolerance: float, least: float) -> float:
        """How far a weight may be from the structure that a rung is for, relative to its size.

        `tolerance`, or less where the cut-off that was asked for would be hidden; `least` is what
        looking for the structure loses itself.
        """
        if self.damp or self.rtol is None:
            return tolerance
        return max(least, min(tolerance, self.rtol / 16))


def least_above_zero(S: Tensor, cutoff: Tensor) -> Tensor:
    """(B, k) singular values and (B,) -> (B,): the least above the cut-off; inf if all are."""
    above = cutoff[:, None] < S
    least = torch.where(above, S, torch.inf).amin(1)
    return torch.where(above.all(1), torch.inf, least)


def default_rtol(op: ConvOperator) -> float:
    """max(m, n)·eps64, for every factor is computed in float64; never under the weight's own eps.

    `torch.linalg.pinv` would take max(m, n)·eps32 for float32: 0.06 for half a million unknowns.
    """
    eps = torch.finfo(real_working_dtype(op.dtype)).eps
    return max(max(op.shape) * torch.finfo(torch.float64).eps, eps)


@dataclass(frozen=True)
class SpectrumSummary:
    """What the factorisation learned about the singular values, one entry a kernel (B or 1).

    Attributes
    ----------
    norm : (B,) lower bound of σ_max, within a few percent of it as a rule, never under half
    floor : (B,) lower bound of √(σ_r² + damp²) over the kept directions; inf if there are none
    rank : (B,) number of kept singular values, None where damp > 0 made it moot
    gap : (B,) σ_r/σ_{r+1} from below or to a percent, inf when nothing was dropped
    rank_how : how the rank is known
    above_zero : (B,) where some singular values are zero to round-off, a lower bound of the least
        of the others; inf where none is zero, or nobody has looked
    """

    norm: Tensor
    floor: Tensor
    rank: Tensor | None
    gap: Tensor
    rank_how: str
    dropped: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))
    above_zero: Tensor = field(default_factory=lambda: torch.full((1,), math.inf))


def image_bytes(op: ConvOperator) -> int:
    """Bytes of one image for each kernel, of the larger side and in double precision."""
    return (16 if op.dtype.is_complex else 8) * max(op.shape) * (op.batch_size or 1)


class CannotServeError(ValueError):
    """A rung found while factoring that it cannot answer; the ladder then tries the next one."""


class AccuracyWarning(UserWarning):
    """An answer that is less certain than was asked, with the figures."""


def warn_of_accuracy(sentence: str) -> None:
    """An `AccuracyWarning` at the line outside of this package (and torch) that asked."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, AccuracyWarning, stacklevel=level)


_INSIDE = ("unconv", "torch")


class Effort(NamedTuple):
    """What one solve took: an integer, or one an image.

    `residual` is the solver's own y − Ax, if it carries one: a second witness for the certificate.
    """

    iterations: Tensor | int = 0
    refinements: Tensor | int = 0
    advice: str | None = None
    residual: Tensor | None = None

    def joined(self, other: Effort) -> Effort:
        """Of a solve for Re y and one for Im y, the larger, image by image."""
        residual = None
        if self.residual is not None and other.residual is not None:
            residual = torch.complex(self.residual, other.residual)
        return Effort(
            _larger(self.iterations, other.iterations),
            _larger(self.refinements, other.refinements),
            self.advice or other.advice,
            residual,
        )

    def halved(self) -> Effort:
        """The same where both were one batch of two halves."""
        halves = []
        for part in (slice(None, 1), slice(1, None)):
            half = [
                v.chunk(2)[part][0] if isinstance(v, Tensor) else v
                for v in (self.iterations, self.refinements)
            ]
            residual = None if self.residual is None else self.residual.chunk(2)[part][0]
            halves.append(Effort(half[0], half[1], self.advice, residual))
        return halves[0].joined(halves[1])


def _larger(a: Tensor | int, b: Tensor | int) -> Tensor | int:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return torch.maximum(torch.as_tensor(a), torch.as_tensor(b))


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
    """

    method: str
    keeps_double = False
    iterates = False
    backward_stable = True

    def __init__(
        self,
        op: ConvOperator,
        options: Options,
        summary: SpectrumSummary,
        check_finite: bool,
    ) -> None:
        super().__init__()
        self.handle = traced.register(self)
        self.domain_shape, self.range_shape = op.range_shape, op.domain_shape
        self.batch_size = op.batch_size
        self.damp, self.summary, self.check_finite = options.damp, summary, check_finite
        self._dtype = op.dtype
        self.source = (op,)  # in a tuple: evidence and geometry, not a part of the module
        self.derivative: Derivative = LeastSquares(ConvModel(op), op.shape, options, summary)
        damp = torch.tensor(self.damp, dtype=torch.float64, device=op.device)
        self.depends_on(op.weight, *([damp] if options.damp else []))

    def depends_on(self, *params: Tensor) -> None:
        """What gradients may be asked for: tensors whose values were factored."""
        # A tuple keeps the weight out of the module's parameters: the factor is what moves.
        self.params = params
        # torch's count of changes is blind to fused optimisers and to `.data`; weights are small.
        self._factored = tuple(p.detach().clone() for p in params)

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
            return traced.apply(self, v, self.params, adjoint=adjoint)
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

    # --- for traced.py
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
        self.handle = traced.register(self)

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
