"""(AᴴA + λ)⁻¹ from the damped inverses of A alone, without cancellation, and its derivatives.

Let B = N Aᴴ, N = (AᴴA + λ)⁻¹, λ = damp².  One solve w = Bᴴg = A N g gives N at no other cost,

    λN g = g − Aᴴw,

but along σ that is λ/(σ² + λ) as a difference of numbers near one: v₀ = (g − Aᴴw)/λ has an error of
eps/λ, where N is 1/(σ² + λ).  It loses (σ/damp)² of all digits where σ is above damp, and nothing
where it is below, or zero.  Now A v = w, and the first of these is what B inverts well:

    v ← v + B(w − A v)      multiplies the error by 1 − BA = λN

so that with q = λ/(σ² + λ), the error of v₀ is eps/q relative to N, and that of v₁ is eps: every
digit that was lost.  What g holds of null(A) is not touched (Bf is orthogonal to it), and of v₀ it
is known to an eps.  Round-off of A v₀, eps·σ·max(q, eps)/λ, is added by B as an error of
eps·max(1, eps/q).  The step is repeated where q is under eps.  One solve each; no spectrum, rank or
gap has to be known.

Derivatives: N⁻¹ dN N⁻¹ = −dAᴴA − AᴴdA − 2·damp·ddamp, so for v = N g and a cotangent h of v

    dv = N(dg − dAᴴw − 2·damp·ddamp·v) − B dA v
    ∂g = Nh,   ∂weight = −W(Nh, w) − W(v, Bᴴh),   ∂damp = −2·damp·Re⟨Nh, v⟩

where W(x, g) is the gradient of Re⟨g, Ax⟩ in the weight.  No 1/λ is left that has to cancel, which
differentiating the identity itself, backwards, would bring in again.

Source: the step is that of iterated Tikhonov regularisation; King & Chillingworth, "Approximation
of generalized inverses by iterated regularization", Numer. Funct. Anal. Optim. 1 (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..numerics.linear_map import Parametric, ParametricAdjoint
from ..numerics.precision import ieee_arithmetic

Map = Callable[[Tensor], Tensor]
Params = Sequence[Tensor]

_LARGEST_JOINED = 2**14  # numbers of a batch that joins another sooner than it is taken by itself
_ONE_STEP = 100.0  # eps·(σ_max/damp)² up to which one step is enough


class Model(Protocol):
    """A linear map that depends on parameters."""

    def at(self, params: Params, like: Tensor) -> Parametric:
        """A for these parameters, in the precision of `like`."""

    def tangent(
        self, params: Params, tangents: Sequence[Tensor | None], like: Tensor
    ) -> Parametric:
        """The change dA of A for changes of its parameters; None stands for no change."""


def turned(A: Parametric, adjoint: bool) -> Parametric:
    """A map of parameters as it is, or its adjoint in its place."""
    return ParametricAdjoint(A) if adjoint else A


def gradients(A: Parametric, terms: Sequence[tuple[float, Tensor, Tensor]]) -> list[Tensor]:
    """The gradient of Σ factor·Re⟨g, Ax⟩ over (factor, x, g) in each parameter of A."""
    if len(terms) > 1 and not A.per_sample and terms[0][1].numel() <= _LARGEST_JOINED:
        xs, gs = zip(*((x, factor * g) for factor, x, g in terms), strict=True)
        return A.gradients(torch.cat(xs), torch.cat(gs))  # samples more of one sum
    found = [[factor * part for part in A.gradients(x, g)] for factor, x, g in terms]
    return [sum(parts[1:], start=parts[0]) for parts in zip(*found, strict=True)]


def real_dot(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩."""
    return (a.conj() * b).real.sum() if a.is_complex() else (a * b).sum()


def refinements_for(ratio: float, dtype: torch.dtype) -> int:
    """How many steps for σ_max/damp = ratio: 0 while v₀ has three quarters of all digits."""
    eps = torch.finfo(dtype).eps
    if not ratio**2 > eps**-0.25:
        return 0
    return 1 if eps * ratio**2 <= _ONE_STEP else 2


@dataclass(frozen=True)
class NormalEquations:
    """N = (AᴴA + damp²)⁻¹ of A, or of Aᴴ in its place; damp is the last parameter.

    Attributes
    ----------
    inverse : (t, params, adjoint) ↦ B t or Bᴴt of A itself, differentiable
    model : A
    adjoint : whether Aᴴ takes the place of A
    refinements : number of steps after v₀
    """

    inverse: Callable[[Tensor, Params, bool], Tensor]
    model: Model
    adjoint: bool
    refinements: int

    def solve(self, g: Tensor, w: Tensor, params: Params) -> Tensor:
        """N g, differentiable in g and the parameters; w = Bᴴg is given, as others need it too."""
        v: Tensor = _Normal.apply(g, w, self, *params)
        return v

    def B(self, t: Tensor, params: Params) -> Tensor:
        """B t = N Aᴴt, one damped solve."""
        return self.inverse(t, params, self.adjoint)

    def BH(self, t: Tensor, params: Params) -> Tensor:
        """Bᴴt = A N t, one damped solve with the adjoint."""
        return self.inverse(t, params, not self.adjoint)

    def operator(self, params: Params, like: Tensor) -> Parametric:
        """A for these parameters, or Aᴴ where that takes its place."""
        return turned(self.model.at(params, like), self.adjoint)


class _Normal(torch.autograd.Function):
    """The node v = N g of autograd; of w = Bᴴg, a function of g, no gradient is owed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, w: Tensor, N: NormalEquations, *params: Tensor) -> Tensor:
        A, damp = N.operator(params, g), params[-1]
        v = (g - A.rmatvec(w)) / damp / damp
        for _ in range(N.refinements):
            v = v + N.B(w - A.matvec(v), params)
        return v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """What the formulas of the module read."""
        _, w, ctx.equations, *params = inputs
        ctx.save_for_backward(w, output, *params)
        ctx.save_for_forward(w, output, *params)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        w, v, *params = ctx.saved_tensors
        N: NormalEquations = ctx.equations
        with ieee_arithmetic(h.device.type, h.dtype):
            of_v = N.BH(h, params)
            of_g = N.solve(h, of_v, params)
            found: list[Tensor | None] = [None] * len(params)
            if any(ctx.needs_input_grad[3:]):
                A = N.operator(params, h)
                found = [*gradients(A, [(-1, of_g, w), (-1, v, of_v)])]
                found.append((-2 * params[-1] * real_dot(of_g, v)).reshape(params[-1].shape))
        return of_g, None, None, *found

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, _w: Any, _n: Any, *tangents: Tensor | None) -> Tensor:
        w, v, *params = ctx.saved_tensors
        N: NormalEquations = ctx.equations
        with ieee_arithmetic(v.device.type, v.dtype):
            z = torch.zeros_like(v) if dg is None else dg
            if tangents[-1] is not None:
                z = z - 2 * params[-1] * tangents[-1] * v
            change = None
            if any(t is not None for t in tangents[:-1]):
                dA = turned(N.model.tangent(params, tangents, v), N.adjoint)
                z, change = z - dA.rmatvec(w), N.B(dA.matvec(v), params)
            dv = N.solve(z, N.BH(z, params), params)
        return dv if change is None else dv - change
