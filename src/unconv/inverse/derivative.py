"""Derivatives of a solve, from solves: nothing is unrolled, and nothing is factored again.

Let x = B y with B = A⁺ of constant rank, or B = N Aᴴ with N = (AᴴA + damp²)⁻¹, and r = y − Ax.
The product rule on the normal equations, with dA for the change of A, gives

    A⁺      dx = B(dy − dA x) + B Bᴴ dAᴴ r + (1 − BA) dAᴴ Bᴴ x
    damped  dx = B(dy − dA x) + N(dAᴴ r − 2·damp·ddamp·x)

and so, for a cotangent g of x, w = Bᴴg and W(x, g) the gradient of Re⟨g, Ax⟩ in the weight,

    A⁺      ∂y = w,   ∂weight = −W(x, w) + W(Bw, r) + W(g − Aᴴw, Bᴴx)
    damped  ∂y = w,   ∂weight = −W(x, w) + W(v, r),   ∂damp = −2·damp·Re⟨v, x⟩,   v = Ng

The second term of A⁺ vanishes with full row rank (r = 0), the third with full column rank: one
solve for square regular A, two for tall or wide ones, three otherwise.  What N costs is told in
normal_equations.py: nothing for σ_max/damp under 90 in double precision, a solve or two above.

Damped, with λ = damp² and u = (AAᴴ + λ)⁻¹y, there are two ways to say the same, as r = λu:

    m ≥ n   W(v, r)     and  Re⟨v, x⟩     v to all its digits, r = y − Ax
    m < n   W(λv, u)    and  Re⟨w, u⟩     u to all its digits, λv = g − Aᴴw

An augmented system finds r, u, v and λv beside x and w, and Bw = (AᴴA)⁻¹g, Bᴴx = (AAᴴ)⁻¹y of tall
and wide A.  Where no derivative of the derivative is asked for they are taken from it, and the
backward is one solve and W.

Neither meets 1/λ: v is of the size of 1/σ² where A has no null space, and u where Aᴴ has none.
With both null spaces the null vectors that g holds weigh 1/λ in v, and are orthogonal to x only to
round-off.  A change of the weight by an eps does as much to the derivative itself, but not where
its structure holds the null space in place (constants, under a difference kernel).  So where it is
known what the least σ is that is not zero, and damp is far below it, the product with x is taken of
A⁺w = v on the range alone, by z ← z + B(w − Az) from z = 0: λ/(σ² + λ) of the error is left a step.

Bᴴ is the inverse of Aᴴ, so one derivation serves both.  The formulas are written with the same
differentiable solve, operator and W: second derivatives follow from them, in any order but forward
over forward.  There torch drops the outer tangent inside of any `autograd.Function`, without a
word; take `jacfwd(jacrev(f))`.

Where the rank changes nothing is differentiable.  The derivative is that among operators of the
same rank: a change of the weight that would raise a dropped singular value from zero is taken as if
it did not.  Singular values cut that are not zero would need the differences between kept and
dropped ones, which a factored inverse does not have; such a cut is refused, also where only the
gradient of the data is wanted (torch does not tell a node which of its gradients are).

Source: Golub & Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate", SIAM J. Numer. Anal. 10 (1973), eq. 4.12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..numerics.linear_map import Parametric
from ..numerics.precision import in_precision
from ..operators.convolution import Convolution
from ..operators.weight_gradient import weight_gradient
from .facts import Companions, SpectrumSummary
from .normal_equations import (
    Model,
    NormalEquations,
    Params,
    gradients,
    real_dot,
    refinements_for,
    turned,
)
from .request import Request

Map = Callable[[Tensor], Tensor]
Cotangents = list[Tensor | None]

_FAR_ABOVE = 20.0  # the least σ that is not zero over damp, from which A⁺w takes six steps or less
_SEPARATED = 1e3  # σ_r/σ_r+1 from which what is dropped is zero beside what is kept


class Solve(NamedTuple):
    """One solve x = B v that is to be differentiated.

    Attributes
    ----------
    v, x : right-hand side and solution, in the dtype of the factor
    params : what B depends on, beside v
    adjoint : whether B is that of Aᴴ
    wanted : of which parameters a gradient is wanted
    inverse, inverse_adjoint : B and Bᴴ, differentiable
    solve : (t, params, adjoint) ↦ A⁺t or (A⁺)ᴴt of A itself, differentiable in t and params
    known, known_of_g : what this solve and that for g have found beside x and w, as values
    """

    v: Tensor
    x: Tensor
    params: Params
    adjoint: bool
    wanted: Sequence[bool]
    inverse: Map
    inverse_adjoint: Map
    solve: Callable[[Tensor, Params, bool], Tensor]
    known: Companions = Companions()
    known_of_g: Companions = Companions()


class Derivative(Protocol):
    """How an inverse depends on its parameters."""

    def of(self, op: Convolution) -> Derivative:
        """This dependence for the inverse of another operator of the same geometry."""

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """Cotangents of the parameters for a cotangent g of x, w = Bᴴg."""

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """Tangent of x for tangents of the right-hand side and of the parameters."""


class LeastSquares:
    """The derivative of A⁺ and of (AᴴA + damp²)⁻¹Aᴴ; parameters are those of the model and damp.

    Parameters
    ----------
    model : A
    shape : (m, n) of A
    """

    def __init__(
        self, model: Model, shape: tuple[int, int], request: Request, summary: SpectrumSummary
    ) -> None:
        # The tensor that damp is the value of belongs to a graph, and copies cannot take it along.
        self._made_from = shape, replace(request, live_damp=None, progress=None), summary
        m, n = shape
        self.model, self.damped = model, bool(request.damp)
        rank = summary.rank
        # (Aᴴ, A) may have null spaces: data outside the range, and x that no data show
        self.null = rank is None or bool((rank < m).any()), rank is None or bool((rank < n).any())
        self.ratio, self.known = math.inf, math.inf
        if self.damped:
            self.ratio = float(summary.norm.max()) / request.damp
            self.known = float(summary.above_zero.min()) / request.damp
        self.knows_null_spaces = math.inf > self.known >= _FAR_ABOVE
        self.cut = None if self.damped else _real_cut(request, summary, m, n)

    def of(self, op: Convolution) -> LeastSquares:
        """The derivative of the inverse of `op`, one of the kernels that were factored together."""
        return LeastSquares(ConvModel(op), *self._made_from)

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """Cotangents of the weight (and of damp) for a cotangent g of x, w = Bᴴg.

        −W(x, w) + W(Bw, r) + W(g − Aᴴw, Bᴴx) for A⁺, as derived in the docstring of this module.
        """
        A, x = turned(self.model.at(at.params, at.x), at.adjoint), at.x
        self._refuse_a_cut()
        if self.damped:
            return self._damped_vjp(at, A, g, w)
        terms = [(-1, x, w)]
        null_of_adjoint, null = self.null[::-1] if at.adjoint else self.null
        if null_of_adjoint:  # B Bᴴ = (AᴴA)⁻¹ with full column rank
            known = None if null else at.known_of_g.normal
            terms.append((1, at.inverse(w) if known is None else known, _residual(at, A)))
        if null:  # Bᴴ B = (AAᴴ)⁻¹ with full row rank
            known = None if null_of_adjoint else at.known.normal
            u = at.inverse_adjoint(x) if known is None else known
            terms.append((1, g - A.rmatvec(w), u))
        return list(gradients(A, terms))

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """dx for tangents of the right-hand side and of the parameters, of the shape of x.

        B(dv − dA x) + B Bᴴ dAᴴ r + (1 − BA) dAᴴ Bᴴ x for A⁺.
        """
        right = torch.zeros_like(at.v) if v is None else v
        if all(p is None for p in params):
            return at.inverse(right)
        self._refuse_a_cut()
        A = turned(self.model.at(at.params, at.x), at.adjoint)
        dA = turned(self.model.tangent(at.params, params, at.x), at.adjoint)
        right = right - dA.matvec(at.x)
        if self.damped:
            return self._damped_jvp(at, A, dA, right, params[-1])
        null_of_adjoint, null = self.null[::-1] if at.adjoint else self.null
        if null_of_adjoint:
            right = right + at.inverse_adjoint(dA.rmatvec(at.v - A.matvec(at.x)))
        if not null:
            return at.inverse(right)
        z = dA.rmatvec(at.inverse_adjoint(at.x))
        return at.inverse(right - A.matvec(z)) + z

    def _damped_vjp(self, at: Solve, A: Parametric, g: Tensor, w: Tensor) -> Cotangents:
        """−W(x, w) + W(v, r) and −2·damp·Re⟨v, x⟩, or the same of u."""
        pair, product = self._of_normal_equations(at, A, g, w)
        of_damp = None
        if at.wanted[-1]:
            if self.knows_null_spaces:
                product = _with_value(product, real_dot(self._on_the_range(at, A, w), at.x))
            of_damp = -2 * at.params[-1] * product
        if not any(at.wanted[:-1]):  # a fixed kernel with a damp that is learnt
            return [*[None] * (len(at.params) - 1), of_damp]
        return [*gradients(A, [(-1, at.x, w), (1, *pair)]), of_damp]

    def _of_normal_equations(
        self, at: Solve, A: Parametric, g: Tensor, w: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """(v, r) and Re⟨v, x⟩, as (λv, u) and Re⟨w, u⟩ where A is wide."""
        if self._is_wide(at):
            u, of_g = at.known.normal, at.known_of_g.residual
            if u is None:
                u = self._normal(at, of_data=True).solve(at.v, at.x, at.params)
            return (g - A.rmatvec(w) if of_g is None else of_g, u), real_dot(w, u)
        v = at.known_of_g.normal
        if v is None:
            v = self._normal(at, of_data=False).solve(g, w, at.params)
        return (v, _residual(at, A)), real_dot(v, at.x)

    def _damped_jvp(
        self, at: Solve, A: Parametric, dA: Parametric, right: Tensor, ddamp: Tensor | None
    ) -> Tensor:
        """B right + N dAᴴ r − 2·damp·ddamp·N x; N dAᴴ r = λN dAᴴu and N x = Bu where A is wide."""
        if self._is_wide(at):
            u = self._normal(at, of_data=True).solve(at.v, at.x, at.params)
            z = dA.rmatvec(u)
            dx, N_x = at.inverse(right - A.matvec(z)) + z, None if ddamp is None else at.inverse(u)
        else:
            N = self._normal(at, of_data=False)
            z = dA.rmatvec(at.v - A.matvec(at.x))
            dx = at.inverse(right) + N.solve(z, at.inverse_adjoint(z), at.params)
            N_x = None if ddamp is None else N.solve(at.x, at.inverse_adjoint(at.x), at.params)
        if ddamp is None or N_x is None:
            return dx
        if self.knows_null_spaces:
            N_x = _with_value(N_x, self._on_the_range(at, A, at.inverse_adjoint(at.x)))
        return dx - 2 * at.params[-1] * ddamp * N_x

    def _is_wide(self, at: Solve) -> bool:
        """Whether what was inverted, A or Aᴴ, has more columns than rows."""
        m, n = self._made_from[0]
        return m > n if at.adjoint else m < n

    def _normal(self, at: Solve, *, of_data: bool) -> NormalEquations:
        """(AᴴA + damp²)⁻¹ or (AAᴴ + damp²)⁻¹."""
        count = refinements_for(self.ratio, at.x.dtype)
        return NormalEquations(at.solve, self.model, at.adjoint != of_data, count)

    def _on_the_range(self, at: Solve, A: Parametric, w: Tensor) -> Tensor:
        """A⁺w, which is N g without its part in null(A); w = Bᴴ g."""
        z = at.inverse(w)
        digits = math.log(torch.finfo(w.dtype).eps) / (-2 * math.log(self.known))
        for _ in range(math.ceil(digits) - 1):
            z = z + at.inverse(w - A.matvec(z))
        return z

    def _refuse_a_cut(self) -> None:
        if self.cut is not None:
            raise NotImplementedError(self.cut)


class NotDifferentiable:
    """The derivative of what has none here."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def of(self, op: Convolution) -> NotDifferentiable:
        """This refusal, which holds for every operator."""
        return self

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """Refused: a zero would be silently wrong."""
        raise NotImplementedError(self.sentence)

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """B v alone is linear; the rest is refused."""
        if any(p is not None for p in params):
            raise NotImplementedError(self.sentence)
        return at.inverse(torch.zeros_like(at.v) if v is None else v)


class ConvModel:
    """A convolution; its one parameter is the weight."""

    def __init__(self, op: Convolution) -> None:
        self.op = op

    def at(self, params: Params, like: Tensor) -> Parametric:
        """A with this weight."""
        return _Conv(self.op, in_precision(params[0], like.dtype))

    def tangent(
        self, params: Params, tangents: Sequence[Tensor | None], like: Tensor
    ) -> Parametric:
        """dA is a convolution too: A is linear in its weight."""
        change = tangents[0]
        return self.at([torch.zeros_like(params[0]) if change is None else change], like)


class _Conv:
    """A convolution with another weight, made when it is applied, and the gradient in that."""

    def __init__(self, op: Convolution, weight: Tensor) -> None:
        self.template, self.weight, self.per_sample = op, weight, op.batch_size is not None
        self.domain_shape, self.range_shape = op.domain_shape, op.range_shape

    @cached_property
    def op(self) -> Convolution:
        return self.template.with_weight(self.weight)

    def matvec(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return self.op._matvec(x)

    def rmatvec(self, y: Tensor, out: Tensor | None = None) -> Tensor:
        return self.op._rmatvec(y)

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return [weight_gradient(self.template, x, y)]


def _residual(at: Solve, A: Parametric) -> Tensor:
    """v − Ax."""
    known = at.known.residual
    return at.v - A.matvec(at.x) if known is None else known


def _with_value(derivative: Tensor, value: Tensor) -> Tensor:
    """A quantity by two ways, of which one has more digits, and the other can be differentiated."""
    return derivative + (value - derivative).detach()


def _real_cut(request: Request, summary: SpectrumSummary, m: int, n: int) -> str | None:
    """Why the cut is not one at zero, or None."""
    dropped = summary.floor / summary.gap  # σ_r+1, 0 where nothing was dropped
    asked = request.rtol is not None or bool(request.atol)
    roundoff = max(m, n) * torch.finfo(torch.float64).eps * summary.norm
    real = (dropped > roundoff) if asked else torch.zeros_like(dropped, dtype=torch.bool)
    if not bool((real | (summary.gap < _SEPARATED)).any()):
        return None
    size = float((dropped / summary.norm).nan_to_num().max())
    return (
        "A⁺ is not differentiable in the weight here: the cut drops singular values up to "
        f"{size:.1e} of the largest, which are not zero beside those kept (σ_r/σ_r+1 = "
        f"{float(summary.gap.min()):.3g}); use damp > 0, an rtol in a wide gap, or "
        "weight.detach() if it is a constant here."
    )
