"""What a factorisation is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..numerics.precision import real_working_dtype
from ..numerics.progress import Progress
from ..operators.convolution import Convolution


@dataclass(frozen=True)
class Request:
    """Everything that an inverse is asked for, checked (`unconv.inverse.plan.request_of`).

    Attributes
    ----------
    damp : of min ‖Ax − y‖² + damp²‖x‖²; 0 asks for A⁺
    damps : under torch.func.vmap over damp its values, one a slice, of which damp is the least
    rtol, atol : for damp = 0, singular values at or below max(rtol·σ_max, atol) count as zero
    method : 'auto', or the name of a rung (a way to invert A, `inverse.plan.LADDER`)
    memory_limit : bytes that it may take
    expected_solves : images that will be solved, to weigh set-up against solves
    tol : error_bound that an iteration shall reach
    maxiter : iterations that it may take; None for as many as the rung thinks sensible
    tol_is_asked : whether the caller named tol, which then binds direct methods too
    check_finite : whether NaN and Inf are refused, in the weight and in data
    progress : who is told of the steps of an iteration, in every solve
    live_damp : the tensor that damp is the value of, where a gradient may be asked of it
    dense_serves : whether the SVD of A as a matrix may answer what the *boundary* rung cannot
        resolve, which solves for the ghosts (samples by which A differs from a circular operator)
    """

    damp: float = 0.0
    rtol: float | None = None
    atol: float = 0.0
    method: str = "auto"
    memory_limit: float = math.inf
    expected_solves: int = 1
    tol: float = 1e-6
    maxiter: int | None = None
    tol_is_asked: bool = False
    check_finite: bool = True
    progress: Progress | None = field(default=None, compare=False, repr=False)
    damps: tuple[float, ...] = ()
    live_damp: Tensor | None = field(default=None, compare=False, repr=False)
    dense_serves: bool = False

    def undamped(self) -> Request:
        """This request for A⁺ with its default cut-off: what that drops is zero to round-off."""
        return replace(self, damp=0.0, live_damp=None, rtol=None, atol=0.0)

    def cutoff(self, op: Convolution, sigma_max: Tensor) -> Tensor:
        """The value at or below which singular values count as zero, of the shape of `sigma_max`.

        0 when damp > 0, which keeps all of them.
        """
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


def default_rtol(op: Convolution) -> float:
    """The relative cut-off of A⁺ for an m × n operator: max(m, n)·eps64.

    eps64, for every factor of A⁺ is computed in float64; but never less than the eps of the weight.

    `torch.linalg.pinv` would take max(m, n)·eps32 for float32: 0.06 for half a million unknowns.
    """
    eps = torch.finfo(real_working_dtype(op.dtype)).eps
    return max(max(op.shape) * torch.finfo(torch.float64).eps, eps)
