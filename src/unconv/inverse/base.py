"""What every factored inverse is, and what it knows about the spectrum of A."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..linear_operator import LinearOperator, check_all_finite
from ..operator import ConvOperator
from ..precision import ieee_arithmetic, real_working_dtype


@dataclass(frozen=True)
class Options:
    """What a factorisation was asked for: damp, cut-offs and the bytes it may take."""

    damp: float = 0.0
    rtol: float | None = None
    atol: float = 0.0
    memory_limit: float = math.inf

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
    norm : (B,) lower bound of σ_max, within a few percent of it as a rule
    floor : (B,) lower bound of √(σ_r² + damp²) over the kept directions; inf if there are none
    rank : (B,) number of kept singular values, None where damp > 0 made it moot
    gap : (B,) lower bound of σ_r/σ_{r+1}, inf when nothing was dropped
    rank_how : how the rank is known
    """

    norm: Tensor
    floor: Tensor
    rank: Tensor | None
    gap: Tensor
    rank_how: str
    dropped: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))


class InverseOperator(LinearOperator):
    """A⁺, or (AᴴA + damp²)⁻¹Aᴴ, with its factor inside.

    Attributes
    ----------
    method : name of the rung
    damp : the damping that it was factored with
    summary : what is known about the singular values of A
    """

    method: str

    def __init__(
        self, op: ConvOperator, options: Options, summary: SpectrumSummary, check_finite: bool
    ) -> None:
        super().__init__()
        self.domain_shape, self.range_shape = op.range_shape, op.domain_shape
        self.batch_size = op.batch_size
        self.damp, self.summary, self.check_finite = options.damp, summary, check_finite
        self._dtype = op.dtype
        # A tuple keeps the weight out of the module's parameters: the factor is what moves.
        self._live_weight = (op.weight,) if op.weight.requires_grad else ()

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operator that was inverted."""
        return self._dtype

    # --- to be given by a rung, for tensors of the factor's dtype
    def _solve(self, y: Tensor) -> Tensor:  # A⁺ y
        raise NotImplementedError

    def _solve_adjoint(self, x: Tensor) -> Tensor:  # (A⁺)ᴴ x
        raise NotImplementedError

    def _matvec(self, x: Tensor) -> Tensor:
        return self._guarded(self._in_factor_dtype(self._solve, x))

    def _rmatvec(self, y: Tensor) -> Tensor:
        return self._guarded(self._in_factor_dtype(self._solve_adjoint, y))

    def extra_repr(self) -> str:
        """Shapes, damping and rank for `print(inverse)`."""
        rank = self.summary.rank
        known = "" if rank is None else f", rank={rank.tolist()}"
        return f"{self.domain_shape} -> {self.range_shape}, damp={self.damp:g}{known}"

    def _guarded(self, solution: Tensor) -> Tensor:
        """Make a gradient in the weight an error: without it, it would silently be zero."""
        if self._live_weight and torch.is_grad_enabled():
            return solution + _NoWeightGradient.apply(*self._live_weight).to(solution.dtype)
        return solution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> InverseOperator:
        """`.to`, `.double`, …: a real dtype changes a complex factor's precision, not its kind.

        The factor stays in float32 at least, and an inverse of a real operator stays real.
        """
        probe = fn(torch.empty(0, dtype=self._dtype.to_real(), device=self.device))
        real = probe.dtype.to_real()
        self._dtype = real.to_complex() if self._dtype.is_complex else real
        working = real_working_dtype(real)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                dtype = working.to_complex() if buffer.is_complex() else working
                self._buffers[name] = buffer.to(probe.device, dtype)
        return self

    def _in_factor_dtype(self, apply: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        if self.check_finite:
            check_all_finite("the data", y)
        with ieee_arithmetic(y.device.type, self.dtype):
            return self._applied(apply, y)

    def _applied(self, apply: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
        result = torch.promote_types(self.dtype, y.dtype)
        real = real_working_dtype(self.dtype)
        if y.is_complex() and not self.dtype.is_complex:  # a real operator: Re and Im as a batch
            if self.batch_size:
                return torch.complex(apply(y.real.to(real)), apply(y.imag.to(real))).to(result)
            parts = apply(torch.cat([y.real, y.imag]).to(real))
            return torch.complex(parts[: len(y)], parts[len(y) :]).to(result)
        return apply(y.to(real.to_complex() if self.dtype.is_complex else real)).to(result)


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
