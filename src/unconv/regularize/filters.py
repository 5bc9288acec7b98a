"""Filtered inverses: x = Σ f(σᵢ) ⟨uᵢ, y⟩ vᵢ for any f in the place of 1/σ.

    tsvd        1/σ for σ > τ, else 0              A⁺ with a cut-off: `op.tsvd`
    tikhonov    σ/(σ² + damp²)                     `op.tikhonov`, for every operator
    landweber   (1 − (1 − ωσ²)^k)/σ                k steps x ← x + ω·Aᴴ(y − Ax) from zero
    showalter   (1 − exp(−tσ²))/σ                  the gradient flow of ½‖Ax − y‖² at time t

Only where a rung diagonalises A (circular, symmetric, separable, small): f needs all singular
vectors.

Source: Engl, Hanke & Neubauer, "Regularization of Inverse Problems", Kluwer 1996, §4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request
from ..inverse.derivative import NotDifferentiable
from ..inverse.diagonal.rungs import RUNGS, diagonal_rung
from ..inverse.facts import SpectrumSummary
from ..numerics.checks import (
    check_all_finite,
    check_count,
    check_function,
    check_number,
    check_values,
)
from ..operators.convolution import Convolution
from ..operators.linear_operator import gigabytes

Gain = Callable[[Tensor], Tensor]


def landweber(steps: int, step: float) -> Gain:
    """The filter of Landweber's iteration: `steps` steps x ← x + step·Aᴴ(y − Ax) from x = 0.

    Parameters
    ----------
    steps : number of steps, at least 1
    step : step length, for which the iteration converges if it is below 2/σ_max²

    Returns
    -------
    A function from singular values σ, of any shape, to (1 − (1 − step·σ²)^steps)/σ.  It raises
    ValueError where the step is too long for the largest of them.

    Examples
    --------
    >>> landweber(1, 0.25)(torch.tensor([2.0]))
    tensor([0.5000])
    """
    check_count("steps", steps)
    check_number("step", step, positive=True, why="; 1/norm² is a good one")

    def gain(s: Tensor) -> Tensor:
        if bool((step * s.square() >= 2).any()):
            raise ValueError(
                f"step={step:g} makes Landweber's iteration diverge; use less than 2/σ_max² = "
                f"{2 / float(s.square().max()):g}."
            )
        safe = torch.where(s > 0, s, 1.0)
        u = step * safe.square()
        slow = -torch.expm1(steps * torch.log1p(-u.clamp(max=0.5)))  # no digits lost for small u
        decayed = torch.where(u < 0.5, slow, 1 - (1 - u) ** steps)
        return torch.where(s > 0, decayed / safe, 0.0)

    return gain


def showalter(time: float) -> Gain:
    """The filter of Showalter's method: the gradient flow of ½‖Ax − y‖² from x = 0 at t = `time`.

    Parameters
    ----------
    time : how long the flow runs, in units of 1/σ²; the longer, the less is damped

    Returns
    -------
    A function from singular values σ, of any shape, to (1 − exp(−time·σ²))/σ

    Examples
    --------
    >>> showalter(1e9)(torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    check_number("time", time, positive=True)

    def gain(s: Tensor) -> Tensor:
        safe = torch.where(s > 0, s, 1.0)
        return torch.where(s > 0, -torch.expm1(-time * safe.square()) / safe, 0.0)

    return gain


def filtered_inverse(op: Convolution, gain: Gain, request: Request) -> InverseOperator:
    """x = Σ gain(σᵢ) ⟨uᵢ, y⟩ vᵢ, by the first rung (way to invert A) that knows all of uᵢ, σᵢ, vᵢ.

    Parameters
    ----------
    gain : a function from a float64 tensor of singular values to a real tensor of its shape
    request : its `memory_limit` and `check_finite` are heeded

    Raises
    ------
    NotImplementedError
        If no rung diagonalises `op` within memory_limit.
    ValueError
        If what `gain` returns has another shape, is not finite, or does not vanish at σ = 0.
    """
    check_function("gain", gain)
    memory_limit = request.memory_limit
    check_values("weight", op.weight)
    if request.check_finite:
        check_all_finite("weight", op.weight.detach())
    name = diagonal_rung(op, memory_limit / 2)  # the SVDs beside what the factor takes
    if name is None:
        raise NotImplementedError(
            f"a filter needs all singular vectors, which none of {', '.join(RUNGS)} has here "
            f"within memory_limit={gigabytes(memory_limit)}; use tikhonov(), or tsvd()."
        )
    return prepared(op, name, request)(_checked(gain))


def prepared(op: Convolution, name: str, request: Request) -> Callable[[Gain], InverseOperator]:
    """A function from a filter to its inverse, for which the singular vectors are computed once.

    name : the rung (way to invert A) that diagonalises `op`, of `diagonal_rung`
    """
    with torch.no_grad():
        found = RUNGS[name].diagonalise(op)

    def build(f: Gain) -> InverseOperator:
        gains = f(found.sigma)  # with gradients on: what asks for one is to be refused
        with torch.no_grad():
            return _constant(found.filter(gains, request, _summary(op)))

    return build


def _constant(inverse: InverseOperator) -> InverseOperator:
    """A filter's inverse has gradients in the data of a constant weight."""
    none = NotDifferentiable(
        "a filtered inverse is not differentiable in the weight; use tikhonov(), or "
        "weight.detach() if it is a constant here."
    )
    inverse.depends_on(*inverse.params, derivative=none)
    return inverse


def _checked(gain: Gain) -> Gain:
    """What the user's function returns must be one finite number a singular value."""

    def run(s: Tensor) -> Tensor:
        values = gain(s)
        if (
            not isinstance(values, Tensor)
            or values.shape != s.shape
            or not values.is_floating_point()
        ):
            raise ValueError(
                "a filter must map a tensor of singular values to a real tensor of the same shape."
            )
        if not bool(values.isfinite().all()):
            raise ValueError("the filter is not finite everywhere; give it a value at σ = 0.")
        if values.requires_grad:
            raise NotImplementedError(
                "an inverse is not differentiable in its filter yet; detach what it holds."
            )
        vanishing = s <= s.numel() * torch.finfo(s.dtype).eps * s.max()
        if bool((values[vanishing].abs() > 1e-6 * values.abs().max()).any()):
            raise ValueError(
                "a filter must vanish at σ = 0, where A does not tell which vectors belong "
                "together; give it f(0) = 0."
            )
        return values.to(s.dtype)

    return run


def _summary(op: Convolution) -> SpectrumSummary:
    """The summary of a filtered inverse: NaN, for it is no optimum that could be judged."""
    none = torch.full((op.batch_size or 1,), torch.nan, dtype=torch.float64, device=op.device)
    return SpectrumSummary(none, 0 * none, None, none, "a filter of all singular values")
