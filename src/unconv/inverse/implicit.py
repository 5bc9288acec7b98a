"""Derivatives of a solve, from solves: nothing is unrolled, and nothing is factored again.

Let x = B y with B = A⁺ of constant rank, or B = N Aᴴ with N = (AᴴA + damp²)⁻¹, and r = y − Ax.
The product rule on the normal equations, with dA for the change of A, gives

    A⁺      dx = B(dy − dA x) + B Bᴴ dAᴴ r + (1 − BA) dAᴴ Bᴴ x
    damped  dx = B(dy − dA x) + N(dAᴴ r − 2·damp·ddamp·x)

and so, for a cotangent g of x, w = Bᴴg and W(x, g) the gradient of Re⟨g, Ax⟩ in the weight,

    A⁺      ∂y = w,   ∂weight = −W(x, w) + W(Bw, r) + W(g − Aᴴw, Bᴴx)
    damped  ∂y = w,   ∂weight = −W(x, w) + W(v, r),   ∂damp = −2·damp·Re⟨v, x⟩,   v = Ng

The second term of A⁺ vanishes with full row rank (r = 0), the third with full column rank: one
solve for square regular A, two for tall or wide ones, three otherwise.  N costs no solve of its
own: damp²·N = 1 − AᴴBᴴ; where A is tall and damp far below σ_min, so that this cancels, it is the
series N = P + damp²P² + 2·damp⁴P³ + …, P = BBᴴ, with Catalan's numbers.

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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from ..operator import ConvOperator
from ..precision import in_precision

if TYPE_CHECKING:
    from .base import Options, SpectrumSummary

Map = Callable[[Tensor], Tensor]
Params = Sequence[Tensor]
Cotangents = list[Tensor | None]

# σ_min/damp from which the series for N is the more accurate form, with the terms it then needs:
# 1 − AᴴBᴴ loses (σ_min/damp)² of all digits.
_SERIES = ((1e8, 1), (1e4, 2), (1e2, 3))
_DIGITS = 1e-8  # what the cancellation may cost the gradient in damp
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
    """

    v: Tensor
    x: Tensor
    params: Params
    adjoint: bool
    wanted: Sequence[bool]
    inverse: Map
    inverse_adjoint: Map


class Derivative(Protocol):
    """How an inverse depends on its parameters."""

    def of(self, op: ConvOperator) -> Derivative:
        """The same for an operator of the same geometry."""

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """Cotangents of the parameters for a cotangent g of x, w = Bᴴg."""

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """Tangent of x for tangents of the right-hand side and of the parameters."""


class Model(Protocol):
    """A linear map that depends on parameters."""

    def at(self, params: Params, like: Tensor) -> Linear:
        """A for these parameters, in the precision of `like`."""

    def tangent(self, params: Params, tangents: Sequence[Tensor | None], like: Tensor) -> Linear:
        """dA for these tangents."""


class Linear(Protocol):
    """A, Aᴴ, and the gradients of Re⟨y, Ax⟩ in the parameters.

    Attributes
    ----------
    per_sample : whether every sample has parameters of its own
    """

    per_sample: bool

    def _matvec(self, x: Tensor) -> Tensor: ...
    def _rmatvec(self, y: Tensor) -> Tensor: ...
    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """One gradient a parameter."""


class LeastSquares:
    """The derivative of A⁺ and of (AᴴA + damp²)⁻¹Aᴴ; parameters are those of the model and damp.

    Parameters
    ----------
    model : A
    shape : (m, n) of A
    """

    def __init__(
        self, model: Model, shape: tuple[int, int], options: Options, summary: SpectrumSummary
    ) -> None:
        self._made_from = shape, options, summary
        m, n = shape
        self.model, self.damped = model, bool(options.damp)
        rank = summary.rank
        # (Aᴴ, A) may have null spaces: data outside the range, and x that no data show
        self.null = rank is None or bool((rank < m).any()), rank is None or bool((rank < n).any())
        self.ratio = float(summary.floor.min()) / options.damp if self.damped else 0.0
        self.all_terms = next((count for least, count in _SERIES if self.ratio >= least), 0)
        self.terms = self.all_terms * (m > n), self.all_terms * (m < n)
        self.cut = None if self.damped else _real_cut(options, summary, m, n)

    def of(self, op: ConvOperator) -> LeastSquares:
        """The same for one of the kernels that were factored together."""
        return LeastSquares(ConvModel(op), *self._made_from)

    def vjp(self, at: Solve, g: Tensor, w: Tensor) -> Cotangents:
        """See the module."""
        A, v, x = _Turned(self.model.at(at.params, at.x), at.adjoint), at.v, at.x
        self._refuse_a_cut()
        pairs = [(x, -w)]
        if self.damped:
            N_g = self._normal(at, A, g, w)
            of_damp = self._of_damp(at, w, N_g)
            if not any(at.wanted[:-1]):  # a fixed kernel with a damp that is learnt
                return [*[None] * (len(at.params) - 1), of_damp]
            pairs.append((N_g, v - A.apply(x)))
            return [*A.gradients(pairs), of_damp]
        null_of_adjoint, null = self.null[::-1] if at.adjoint else self.null
        if null_of_adjoint:
            pairs.append((at.inverse(w), v - A.apply(x)))
        if null:
            pairs.append((g - A.adjoint(w), at.inverse_adjoint(x)))
        return list(A.gradients(pairs))

    def jvp(self, at: Solve, v: Tensor | None, params: Sequence[Tensor | None]) -> Tensor:
        """See the module."""
        right = torch.zeros_like(at.v) if v is None else v
        if all(p is None for p in params):
            return at.inverse(right)
        self._refuse_a_cut()
        A = _Turned(self.model.at(at.params, at.x), at.adjoint)
        dA = _Turned(self.model.tangent(at.params, params, at.x), at.adjoint)
        right = right - dA.apply(at.x)
        if self.damped:
            z = dA.adjoint(at.v - A.apply(at.x))
            if params[-1] is not None:
                z = z - 2 * at.params[-1] * params[-1] * at.x
            return at.inverse(right) + self._normal(at, A, z, at.inverse_adjoint(z))
        null_of_adjoint, null = self.null[::-1] if at.adjoint else self.null
        if null_of_adjoint:
            right = right + at.inverse_adjoint(dA.adjoint(at.v - A.apply(at.x)))
        if not null:
            return at.inverse(right)
        z = dA.adjoint(at.inverse_adjoint(at.x))
        return at.inverse(right - A.apply(z)) + z

    def _normal(self, at: Solve, A: _Turned, g: Tensor, w: Tensor) -> Tensor:
        """N g = (AᴴA + damp²)⁻¹ g from w = Bᴴ g = A N g."""
        if self.terms[at.adjoint]:
            return self._series(at, w)
        return (g - A.adjoint(w)) / at.params[-1].square()

    def _series(self, at: Solve, w: Tensor) -> Tensor:
        """P + damp²P² + …, which is N on the range of Aᴴ, applied to g; w = Bᴴ g."""
        power = total = at.inverse(w)
        for catalan in (1, 2)[: self.all_terms - 1]:
            power = at.params[-1].square() * at.inverse(at.inverse_adjoint(power))
            total = total + catalan * power
        return total

    def _of_damp(self, at: Solve, w: Tensor, N_g: Tensor) -> Tensor:
        """−2·damp·Re⟨N g, x⟩: x lies in the range of Aᴴ, so that the series serves every shape."""
        lost = torch.finfo(at.x.dtype).eps * self.ratio**2
        if at.wanted[-1] and self.all_terms and not self.terms[at.adjoint] and lost > _DIGITS:
            N_g = self._series(at, w)
        return -2 * at.params[-1] * real_dot(N_g, at.x)

    def _refuse_a_cut(self) -> None:
        if self.cut is not None:
            raise NotImplementedError(self.cut)


class NotDifferentiable:
    """The derivative of what has none here."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def of(self, op: ConvOperator) -> NotDifferentiable:
        """The same."""
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

    def __init__(self, op: ConvOperator) -> None:
        self.op = op

    def at(self, params: Params, like: Tensor) -> Linear:
        """A with this weight."""
        return _Conv(self.op.with_weight(in_precision(params[0], like.dtype)))

    def tangent(self, params: Params, tangents: Sequence[Tensor | None], like: Tensor) -> Linear:
        """dA is a convolution too: A is linear in its weight."""
        change = tangents[0]
        return self.at([torch.zeros_like(params[0]) if change is None else change], like)


class _Conv:
    def __init__(self, op: ConvOperator) -> None:
        self.op, self._matvec, self._rmatvec = op, op._matvec, op._rmatvec
        self.per_sample = op.batch_size is not None

    def gradients(self, x: Tensor, y: Tensor) -> list[Tensor]:
        return [self.op.weight_gradient(x, y)]


class _Turned:
    """A, or Aᴴ in its place."""

    def __init__(self, A: Linear, adjoint: bool) -> None:
        self.A, self.turned = A, adjoint
        self.apply: Map = A._rmatvec if adjoint else A._matvec
        self.adjoint: Map = A._matvec if adjoint else A._rmatvec

    def gradients(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Of Σ Re⟨g, Ax⟩ over pairs (x, g)."""
        if self.turned:
            pairs = [(g, x) for x, g in pairs]
        if not self.A.per_sample:  # the pairs are samples more of one sum
            return self.A.gradients(*(torch.cat(t) for t in zip(*pairs, strict=True)))
        found = [self.A.gradients(*pair) for pair in pairs]
        return [sum(parts[1:], start=parts[0]) for parts in zip(*found, strict=True)]


def real_dot(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩."""
    return (a.conj() * b).real.sum() if a.is_complex() else (a * b).sum()


def _real_cut(options: Options, summary: SpectrumSummary, m: int, n: int) -> str | None:
    """Why the cut is not one at zero, or None."""
    dropped = summary.floor / summary.gap  # σ_r+1, 0 where nothing was dropped
    asked = options.rtol is not None or bool(options.atol)
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
