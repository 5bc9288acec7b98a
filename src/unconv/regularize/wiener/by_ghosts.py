"""Wiener filters of operators that pad nothing, through the ghost systems of the *boundary* rung.

A scene x that is larger than its data y = Ax + noise lives on a periodic grid of its own, on which
its spectrum S is defined.  With b(ω) = noise/S(ω) the estimate solves the augmented system

    [ α     A    ] [ ρ ]   [ y ]
    [ Aᴴ  −B/α   ] [ x ] = [ 0 ],       B = 𝓕⁻¹ b 𝓕,

which differs from that of damping (forms.py) by one number a frequency in the place of
β: the same rings are eliminated, the same S' is factored.  α² is the geometric mean of b.

Cost: that of a damped factorisation.  Not for: padding, whose ghosts would be part of the prior.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...convolve import grouped
from ...convolve.bounds import kernel_bound
from ...inverse import InverseOperator, Request
from ...inverse.boundary.forms import AugmentedForm, Corners, Embedding
from ...inverse.boundary.ghost_system import augmented_inverse
from ...inverse.boundary.ring_system import RingSystem
from ...inverse.boundary.sizes import (
    grid_of,
    ring_axis,
    ring_sizes,
    with_axis_first,
)
from ...inverse.facts import Effort, SpectrumSummary
from ...operators.convolution import Convolution

_LEAST = 1e-12  # of the largest signal power: below, a frequency counts as that weak
_REFINABLE = 1e-4  # change of x by the first refinement, above which iterations answer


def obstacle(op: Convolution, signal: Tensor, request: Request) -> str | None:
    """Why the ghost systems cannot serve, or None."""
    axes, real = op.geometry.axes, not op.dtype.is_complex
    if op.transposed or any(a.stride > 1 or a.before or a.after for a in axes):
        return "it pads, strides or is transposed"
    if signal.shape[0] != 1 or signal.ndim > len(op.domain_shape):
        return "channels have spectra of their own"
    sizes = ring_sizes(op.geometry, real)
    if sizes is None:
        return "it has one axis"
    block = op.geometry.c_out + op.geometry.c_in
    need = op.geometry.groups * sizes.unknowns**2 * 8 + 6 * 16 * sizes.frequencies * block**2
    if need * (1 if real else 2) > request.memory_limit:
        return "its ghosts do not fit memory_limit"
    return None


class PriorForm(AugmentedForm):
    """The augmented form with B/α in the place of β."""

    power: Tensor

    def __init__(
        self, A: Convolution, embedding: Embedding, system: RingSystem, alpha: float, power: Tensor
    ) -> None:
        rows, corners = A.geometry.c_out // A.geometry.groups, Corners(alpha, 0.0)
        norm = float(kernel_bound(grouped(A.taps, A.geometry), A.geometry))
        super().__init__(A, embedding, system, rows, corners, corners, norm)
        self.register_buffer("power", power)  # (*spectrum), b/α, axes in the order of x

    def _residuals(
        self, right: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        (a, b), (rho, x) = right, found
        f = a - self.corners.alpha * rho - self.A._matvec(x)
        return f, b - self.A._rmatvec(rho) + self._prior(x)

    def _prior(self, x: Tensor) -> Tensor:
        dims, sizes = tuple(range(2, x.ndim)), x.shape[2:]
        if x.is_complex():
            return torch.fft.ifftn(self.power * torch.fft.fftn(x, dim=dims), dim=dims)
        return torch.fft.irfftn(self.power * torch.fft.rfftn(x, dim=dims), s=sizes, dim=dims)


class WienerGhosts(InverseOperator):
    """The estimator by a ghost system, refined with A and B; `summary` tells nothing of A."""

    method = "boundary"
    keeps_double = True

    def __init__(self, op: Convolution, form: PriorForm, request: Request) -> None:
        none = torch.full((1,), math.nan, dtype=torch.float64, device=op.device)
        summary = SpectrumSummary(none, 0 * none, None, none, "not needed: noise > 0")
        super().__init__(op, request, summary)
        self.form = form

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.form.power.device

    def _solve(self, y: Tensor) -> Tensor:
        return self.form.pinv(y, careful=False).value

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self.form.pinv_adjoint(x, careful=False).value

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        answer = self.form.pinv(y, careful=True)
        count = torch.full((len(y),), answer.refinements, device=y.device)
        return answer.value, Effort(refinements=count)


def by_ghosts(
    op: Convolution, noise: float, signal: Tensor, request: Request
) -> InverseOperator | None:
    """The estimator, or None where the elimination of the rings loses too many digits.

    noise : variance of a sample; signal : S^½ (1, *n or 1)
    """
    A, real = op.in_double(), not op.dtype.is_complex
    first = ring_axis(op.geometry, real)
    assert first is not None
    geometry = with_axis_first(op.geometry, first)
    torus = grid_of(geometry, real)
    power = signal[0].square().expand(op.domain_shape[1:])
    b = noise / power.clamp(min=_LEAST * float(power.max()))
    alpha = math.exp(float(b.log().mean()) / 2)
    beta = b / alpha
    half = beta.movedim(first, 0)[..., : torus.spectrum_shape[-1]]
    with torch.no_grad():
        taps = grouped(A.taps, op.geometry).movedim(4 + first, 4)
        blocks = augmented_inverse(torus.spectrum(taps, geometry), alpha, half.flatten())
        system = RingSystem(geometry, torus, blocks, 0.0)
        stored = beta if not real else beta[..., : beta.shape[-1] // 2 + 1]
        embedding = Embedding(geometry, torus, first)
        form = PriorForm(A, embedding, system, alpha, stored)
        if not form.try_one_pass(A.weight) <= _REFINABLE:
            return None
    return WienerGhosts(op, form, request)
