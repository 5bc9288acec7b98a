"""(σ_i − H)⁺ for values at one end of the spectrum, H = [0 A; Aᴴ 0], without a matrix.

H has the eigenvalues ±σ_j with the vectors (u_j, ±v_j)/√2.  On the triples at hand the inverse is
a sum; what equals σ_i is left out.  On their complement, (σ − H)(p, q) = (a, b) is

    p = (a + A q)/σ,      (σ² − AᴴA) q = σ b + Aᴴ a,

definite there, for the triples at hand are the outermost ones: conjugate gradients on the shorter
side.  At the small end (AᴴA)⁻¹, by the factor of A⁺, is their preconditioner.

Cost: products with A, as many as the gap to the next value asks for: some ten, hundreds where it is
1e-4 of σ².

Source: Kato, "Perturbation theory for linear operators", 1976, §II.2.1 (the reduced resolvent).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...inverse import factorize
from ...inverse.completion.conjugate_gradients import ConjugateGradients
from ...inverse.facts import warn_of_accuracy
from ...inverse.operator import InverseOperator
from ...inverse.request import Request
from ...operators.convolution import Convolution

ALIKE = 1e-10
"""Values that are closer than this part of σ_max count as equal."""

_TOLERANCE = 1e-13  # of the problem, before what the triples answer is taken off
_MOST_CG_STEPS = 3000
_Triples = tuple[Tensor, Tensor, Tensor]


def resolvent(
    op: Convolution, weight: Tensor, triples: _Triples, largest: bool, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """(p, q) = (σ_i − H)⁺ (a_i, b_i), differentiable in a and b; nothing where σ_i is zero.

    Parameters
    ----------
    op, weight : a convolution, and the plain weight that it has
    triples : U (k, *range), S (k,), V (k, *domain), outermost first
    largest : at which end they are
    a, b : (k, *range), (k, *domain)
    """
    found: tuple[Tensor, Tensor] = _Resolvent.apply(a, b, op, largest, weight, *triples)
    return found


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a_i, b_i⟩, (k,)."""
    return (a.conj() * b).real.flatten(1).sum(1)


def reciprocal(t: Tensor, least: Tensor) -> Tensor:
    """1/t, and 0 where |t| ≤ least."""
    small = t.abs() <= least
    return torch.where(small, 0.0, 1 / torch.where(small, 1.0, t))


class _Resolvent(torch.autograd.Function):
    """Linear in (a, b) and its own adjoint; op, weight and triples are constants."""

    @staticmethod
    def forward(
        a: Tensor, b: Tensor, op: Convolution, largest: bool, weight: Tensor, *triples: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not (bool(a.any()) or bool(b.any())):  # in a value and in a first derivative
            return torch.zeros_like(a), torch.zeros_like(b)
        return _Complement(op.with_weight(weight), largest, *triples).solve(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the constants."""
        ctx.op, ctx.largest = inputs[2:4]
        ctx.save_for_backward(*inputs[4:])
        ctx.save_for_forward(*inputs[4:])

    @staticmethod
    def backward(ctx: Any, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        of_a, of_b = _Resolvent.apply(p, q, ctx.op, ctx.largest, *ctx.saved_tensors)
        return of_a, of_b, None, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, a: Tensor, b: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        constant = ctx.op, ctx.largest, *ctx.saved_tensors
        found: tuple[Tensor, Tensor] = _Resolvent.apply(a, b, *constant)
        return found

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], *args: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        """One after the other."""
        found = []
        for i in range(info.batch_size):
            mine = (
                t if d is None else t.movedim(d, 0)[i] for t, d in zip(args, in_dims, strict=True)
            )
            found.append(_Resolvent.apply(*mine))
        return tuple(torch.stack(parts) for parts in zip(*found, strict=True)), (0, 0)


class _Complement:
    """The solves beyond the triples at hand; sides are named short and long, and A is tall."""

    def __init__(self, op: Convolution, largest: bool, U: Tensor, S: Tensor, V: Tensor) -> None:
        self.op, self.largest, self.S = op, largest, S
        self.tall = op.shape[0] >= op.shape[1]
        self.long, self.short = (U, V) if self.tall else (V, U)
        self.alike = ALIKE * S.amax()

    def solve(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) for (a, b)."""
        long, short = (a, b) if self.tall else (b, a)
        alpha, beta = _coefficients(self.long, long), _coefficients(self.short, short)
        plus = (alpha + beta) / 2 * reciprocal(self.S[:, None] - self.S, self.alike)
        minus = (alpha - beta) / 2 * reciprocal(self.S[:, None] + self.S, self.alike)
        of_long, of_short = long - _sum(alpha, self.long), short - _sum(beta, self.short)
        size = self.S * (long.flatten(1).norm(dim=1) + short.flatten(1).norm(dim=1))
        q = self._beyond(of_long, of_short, size)
        by_sigma = reciprocal(self.S, self.alike).reshape(-1, *[1] * (long.ndim - 1))
        p = (of_long * (by_sigma != 0) + self._up(q)) * by_sigma
        p = p - _sum(_coefficients(self.long, p), self.long)
        found = p + _sum(plus + minus, self.long), q + _sum(plus - minus, self.short)
        return found if self.tall else found[::-1]

    def _beyond(self, of_long: Tensor, of_short: Tensor, size: Tensor) -> Tensor:
        """q on the complement, by conjugate gradients; `size` (k,) is that of the whole problem."""
        sigma = self.S.reshape(-1, *[1] * (of_short.ndim - 1))
        b = self._off(sigma * of_short + self._down(of_long))
        b = b * (sigma > self.alike)
        sign = 1.0 if self.largest else -1.0

        def apply(v: Tensor) -> Tensor:
            image = self._off(v.reshape(of_short.shape))
            image = sigma**2 * image - self._down(self._up(image))
            return sign * self._off(image).flatten(1)

        solver = ConjugateGradients(apply, self._preconditioner(of_short.shape), b.flatten(1))
        for _ in range(_MOST_CG_STEPS):
            going = solver.residual.norm(dim=1) > _TOLERANCE * size
            if not bool(going.any()):
                break
            solver.step(going)
        else:
            warn_of_accuracy(
                "the second derivative of singular values did not settle, for others lie close to "
                "them; ask for more values (k), so that these are among them."
            )
        return self._off(sign * solver.u.reshape(of_short.shape))

    def _preconditioner(self, shape: torch.Size) -> Callable[[Tensor], Tensor]:
        """(AᴴA)⁻¹ at the small end, where a factor serves."""
        if self.largest:
            return lambda v: v
        inverse: InverseOperator = factorize(self.op, Request())
        if inverse.iterates:
            return lambda v: v
        first = inverse._rmatvec if self.tall else inverse._matvec
        then = inverse._matvec if self.tall else inverse._rmatvec
        return lambda v: self._off(then(first(self._off(v.reshape(shape))))).flatten(1)

    def _up(self, short: Tensor) -> Tensor:
        return self.op._matvec(short) if self.tall else self.op._rmatvec(short)

    def _down(self, long: Tensor) -> Tensor:
        return self.op._rmatvec(long) if self.tall else self.op._matvec(long)

    def _off(self, v: Tensor) -> Tensor:
        return v - _sum(_coefficients(self.short, v), self.short)


def _coefficients(basis: Tensor, v: Tensor) -> Tensor:
    """⟨basis_j, v_i⟩, (N, k)."""
    return v.flatten(1) @ basis.flatten(1).mH


def _sum(c: Tensor, basis: Tensor) -> Tensor:
    """Σ_j c_ij basis_j."""
    return (c @ basis.flatten(1)).reshape(len(c), *basis.shape[1:])
