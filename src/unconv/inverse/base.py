"""What every factored inverse is, and what it knows about the spectrum of A."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..linear_operator import LinearOperator, check_all_finite
from ..operator import ConvOperator
from ..precision import ieee_arithmetic, real_working_dtype


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
    """

    damp: float = 0.0
    rtol: float | None = None
    atol: float = 0.0
    memory_limit: float = math.inf
    expected_solves: int = 1
    tol: float = 1e-6
    maxiter: int | None = None
    tol_is_asked: bool = False

    def cutoff(self, op: ConvOperator, sigma_max: Tensor) -> Tensor:
        """Singular values at or below this count as zero; none of them when damp > 0."""
        if self.damp:
            return torch.zeros_like(sigma_max)
        rtol = self.rtol
        if rtol is None:
            rtol = 0.0 if self.atol else default_rtol(op)
        return torch.clamp(rtol * sigma_max, min=self.atol)


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
    """

    norm: Tensor
    floor: Tensor
    rank: Tensor | None
    gap: Tensor
    rank_how: str
    dropped: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))


_Way = Literal["plain", "recorded", "adjoint"]  # A⁺ y; the same with its effort; (A⁺)ᴴ x


class CannotServeError(ValueError):
    """A rung found while factoring that it cannot answer; the ladder then tries the next one."""


class AccuracyWarning(UserWarning):
    """An answer that is less certain than was asked, with the figures."""


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
    opaque : autograd sees one linear map, not the steps of an iteration
    damp : the damping that it was factored with
    summary : what is known about the singular values of A
    """

    method: str
    keeps_double = False
    opaque = False
    iterates = False

    def __init__(
        self,
        op: ConvOperator,
        options: Options,
        summary: SpectrumSummary,
        check_finite: bool,
        *weights: Tensor,
    ) -> None:
        """`weights` : beside the operator's own, what a gradient may be asked for in vain."""
        super().__init__()
        self.domain_shape, self.range_shape = op.range_shape, op.domain_shape
        self.batch_size = op.batch_size
        self.damp, self.summary, self.check_finite = options.damp, summary, check_finite
        self._dtype = op.dtype
        # A tuple keeps the weight out of the module's parameters: the factor is what moves.
        self._live_weights = tuple(w for w in (op.weight, *weights) if w.requires_grad)

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

    def solution(self, y: Tensor) -> tuple[Tensor, Effort]:
        """A⁺ y before it is rounded to the dtype of the result, and what it took."""
        self._check(y, self.domain_shape)
        return self._in_factor_dtype(y, "recorded")

    def _matvec(self, x: Tensor) -> Tensor:
        result = torch.promote_types(self.dtype, x.dtype)
        return self._in_factor_dtype(x, "plain")[0].to(result)

    def _rmatvec(self, y: Tensor) -> Tensor:
        result = torch.promote_types(self.dtype, y.dtype)
        return self._in_factor_dtype(y, "adjoint")[0].to(result)

    def extra_repr(self) -> str:
        """Shapes, damping and rank for `print(inverse)`."""
        rank = self.summary.rank
        known = "" if rank is None else f", rank={rank.tolist()}"
        return f"{self.domain_shape} -> {self.range_shape}, damp={self.damp:g}{known}"

    def _guarded(self, solution: Tensor) -> Tensor:
        """Make a gradient in the weight an error: without it, it would silently be zero."""
        if self._live_weights and torch.is_grad_enabled():
            for weight in self._live_weights:
                solution = solution + _NoWeightGradient.apply(weight).to(solution.dtype)
        return solution

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
        return self

    @property
    def _working_real_dtype(self) -> torch.dtype:
        return torch.float64 if self.keeps_double else real_working_dtype(self._dtype)

    def _in_factor_dtype(self, y: Tensor, way: _Way) -> tuple[Tensor, Effort]:
        if self.check_finite:
            check_all_finite("the data", y)
        real = self._working_real_dtype
        with ieee_arithmetic(y.device.type, real):
            if self.dtype.is_complex or not y.is_complex():
                dtype = real.to_complex() if self.dtype.is_complex else real
                x, effort = self._run(y.to(dtype), way)
            elif self.batch_size:  # a real operator takes Re and Im apart
                re, effort = self._run(y.real.to(real), way)
                im, other = self._run(y.imag.to(real), way)
                x, effort = torch.complex(re, im), effort.joined(other)
            else:  # Re and Im as one batch
                parts, both = self._run(torch.cat([y.real, y.imag]).to(real), way)
                x, effort = torch.complex(*parts.chunk(2)), both.halved()
        return self._guarded(x), effort

    def _run(self, y: Tensor, way: _Way) -> tuple[Tensor, Effort]:
        efforts: list[Effort] = []
        x = _LinearMap.apply(y, self, way, efforts) if self.opaque else self._go(y, way, efforts)
        return x, efforts[0] if efforts else Effort()

    def _go(self, y: Tensor, way: _Way, efforts: list[Effort]) -> Tensor:
        if not len(y):
            return y.new_zeros(0, *(self.domain_shape if way == "adjoint" else self.range_shape))
        if way == "recorded":
            x, effort = self._solve_recorded(y)
            efforts.append(effort)
            return x
        return self._solve(y) if way == "plain" else self._solve_adjoint(y)


class _LinearMap(torch.autograd.Function):
    """An inverse as one node of the graph: its gradient is its adjoint, however it computes."""

    @staticmethod
    def forward(y: Tensor, inverse: InverseOperator, way: _Way, efforts: list[Effort]) -> Tensor:
        return inverse._go(y, way, efforts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Only the map itself is kept: it is linear."""
        _, ctx.inverse, ctx.way, _ = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        back: _Way = "plain" if ctx.way == "adjoint" else "adjoint"
        return _LinearMap.apply(grad, ctx.inverse, back, []), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _LinearMap.apply(tangent, ctx.inverse, ctx.way, [])

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        y: Tensor,
        inverse: InverseOperator,
        way: _Way,
        efforts: list[Effort],
    ) -> tuple[Tensor, int]:
        """The mapped axis joins the batch."""
        y = y.movedim(in_dims[0] or 0, 0)
        if inverse.batch_size:  # one kernel a sample: the batch is taken
            return torch.stack([_LinearMap.apply(part, inverse, way, efforts) for part in y]), 0
        x = _LinearMap.apply(y.flatten(0, 1), inverse, way, efforts)
        return x.unflatten(0, y.shape[:2]), 0


class _NoWeightGradient(torch.autograd.Function):
    """Zero, with a backward that is only reached when the weight's gradient is asked for."""

    @staticmethod
    def forward(weight: Tensor) -> Tensor:
        return weight.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise NotImplementedError(
            "an inverse is not differentiable in the weight yet, only in the data; build the "
            "operator from weight.detach() if the weight is a constant here."
        )

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _NoWeightGradient.backward(ctx, tangent)
