"""The damped inverse for one damp from the factor for another one.

With M = (AAᴴ + r₀)⁻¹ and B₀ = Aᴴ M of the factor for r₀ = damp₀², and r = damp²,

    (AAᴴ + r) M = 1 + (r − r₀) M =: T,        x = Aᴴ(AAᴴ + r)⁻¹ y = B₀ T⁻¹ y

The eigenvalues of T lie between 1 and r/r₀, so that conjugate gradients for T v = y gain a factor
of (√κ + 1)/(√κ − 1), κ = max(r/r₀, r₀/r), a step: five where damps are apart by 1.5.  A step is one
solve with the factor, which gives B₀ s and M s = (s − A B₀ s)/r₀ of what is left, s.

Proof.  All of these are functions of AAᴴ, and T⁻¹ ≤ c = max(1, r₀/r):

    ‖δx‖ = ‖B₀ T⁻¹ s‖ ≤ c·‖B₀ s‖

Source: conjugate gradients with one product a step, Chronopoulos & Gear, "s-step iterative methods
for symmetric linear systems", J. Comput. Appl. Math. 25 (1989).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inverse import InverseOperator, Request
from ..inverse.facts import Effort, SpectrumSummary, warn_of_accuracy
from ..numerics.norms import norms, ratio
from ..operators.convolution import Convolution

_Solve = Callable[[Tensor], tuple[Tensor, Tensor]]
_MOST_SHIFT_STEPS = 60
_CANCELS = 1e3  # of σ_max over damp₀, where s − A B₀ s has too few digits left: a million less


class ShiftedInverse(InverseOperator):
    """(AᴴA + damp²)⁻¹Aᴴ by the factor `near` for another damp.

    Cost: a solve of `near` and an application of A a step; nothing to set up.
    Not for: damps that are apart by more than some factor of ten.
    """

    keeps_double = True
    iterates = True

    def __init__(self, op: Convolution, request: Request, near: InverseOperator) -> None:
        norm = near.summary.norm
        super().__init__(op, request, SpectrumSummary.damped(norm, request.damp))
        self.near, self.tol, self.method = near, request.tol, near.method
        self.maxiter = request.maxiter or _MOST_SHIFT_STEPS
        self._A = (op.in_double(),)  # in a tuple: no part of the module
        self._careful = bool((norm > _CANCELS * near.damp).any())

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.near.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._solve_recorded(y)[0]

    def _solve_recorded(self, y: Tensor) -> tuple[Tensor, Effort]:
        return self._iterated(y, self._by_factor)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._iterated(x, self._by_adjoint_factor)[0]

    def _by_factor(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """B₀ s and M s."""
        residual = None
        if self._careful:
            found, effort = self.near.evaluate_with_effort(s)
            residual = effort.residual
        else:
            found = self.near.evaluate(s, adjoint=False)
        if residual is None:
            residual = s - self._A[0]._matvec(found)
        return found, residual / self.near.damp**2

    def _by_adjoint_factor(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """B₀ᴴ s, and (AᴴA + r₀)⁻¹ s in the place of M s."""
        found = self.near.evaluate(s, adjoint=True)
        return found, (s - self._A[0]._rmatvec(found)) / self.near.damp**2

    def _iterated(self, y: Tensor, solve: _Solve) -> tuple[Tensor, Effort]:
        """The answer for each image, until its error is proven to be within tol."""
        r, r0 = self.damp**2, self.near.damp**2
        found, shifted = solve(y)
        state = _State(y, r - r0, torch.zeros_like(found), torch.zeros_like(shifted))
        error = torch.full_like(norms(y), torch.inf)
        going, steps = norms(found) > 0, torch.zeros_like(error, dtype=torch.long)
        while bool(going.any()):
            state.step(found, shifted, going)
            steps += going
            found, shifted = solve(state.left)
            proven = max(1.0, r0 / r) * norms(found)
            gains = proven < error  # or round-off is all that is left
            error = torch.minimum(error, proven)
            going = going & gains & (error > self.tol * norms(state.x)) & (steps < self.maxiter)
        size = norms(state.x)
        error = ratio(error.where(size > 0, 0), size)
        effort = Effort(
            iterations=steps, residual=r * state.w, evidence=error, met=error <= self.tol
        )
        advice = self.advice(effort)
        if advice:
            warn_of_accuracy(advice)
        return state.x, effort

    def advice(self, effort: Effort) -> str | None:
        """What is to be said of the image that is known least, if one falls short."""
        if effort.evidence is None or effort.met is None or bool(effort.met.all()):
            return None
        worst = float(effort.evidence.max())
        return (
            f"stopped with error_bound {worst:.1e}, above tol={self.tol:g}: use a larger damp, or "
            "raise tol"
        )


@dataclass
class _State:
    """Conjugate gradients for T v = y; x = B₀ v and w = M v are what is wanted of v.

    left : (N, *shape) what is left of y
    shift : r − r₀
    """

    left: Tensor
    shift: float
    x: Tensor
    w: Tensor
    _directions: tuple[Tensor, ...] | None = None  # p, T p, B₀ p, M p
    _before: tuple[Tensor, Tensor] | None = None  # ⟨s, s⟩ and the step length

    def step(self, found: Tensor, shifted: Tensor, going: Tensor) -> None:
        """Take the step for images that are going, (N,) bool; found, shifted: B₀ and M of left."""
        product = self.left + self.shift * shifted
        gamma, delta = _dot(self.left, self.left), _dot(self.left, product)
        directions: tuple[Tensor, ...] = (self.left, product, found, shifted)
        if self._before is None or self._directions is None:
            alpha = ratio(gamma, delta)
        else:
            beta = ratio(gamma, self._before[0])
            alpha = ratio(gamma, delta - ratio(beta * gamma, self._before[1]))
            directions = tuple(
                new + _each(beta, new) * old
                for new, old in zip(directions, self._directions, strict=True)
            )
        alpha = alpha.where(going, 0)
        self.x = self.x + _each(alpha, self.x) * directions[2]
        self.w = self.w + _each(alpha, self.w) * directions[3]
        self.left = self.left - _each(alpha, self.left) * directions[1]
        self._directions, self._before = directions, (gamma, alpha)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩, (N,)."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.flatten(1).sum(1)


def _each(factor: Tensor, like: Tensor) -> Tensor:
    """One number a sample, to multiply a tensor."""
    return factor.reshape(-1, *[1] * (like.ndim - 1))
