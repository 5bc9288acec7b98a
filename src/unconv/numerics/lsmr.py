"""LSMR: MINRES on the normal equations, by Golub–Kahan bidiagonalisation.

    min ‖Ax − y‖:   u and v bidiagonalise A,  A V_k = U_{k+1} B_k,  and x_k in the span of V_k
    minimises ‖Aᴴr‖, which therefore never rises.

Started from zero, x stays in the range of Aᴴ: the limit has the smallest norm of all minimisers.
Cost: A and Aᴴ once a step, five vectors.  Without damping an iteration is all that can be had and
its ‖Aᴴr‖ all that is known, so the algorithm is the one in which that falls steadily.  damp > 0
acts as rows damp·I below A; unlike damping by rotations this lets it start anew from any x.

`largest_singular_value` bounds ‖A‖ from below by the same bidiagonalisation.

Source: Fong & Saunders, "LSMR: an iterative algorithm for sparse least-squares problems", SIAM J.
Sci. Comput. 33(5), 2011, table 1 of §2.7 and, for ‖r‖, LSQR's φ̄ ≤ ‖r‖ (Paige & Saunders, 1982).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .iteration import Iteration, norms
from .linear_map import LinearMap

_STEPS = 24  # of the bidiagonalisation that estimates a norm
_SETTLED = 2e-3  # relative growth in two steps


class Lsmr(Iteration):
    """LSMR for a batch; the paper's letters, scalars (N, 1), shrink = 1."""

    u: Tensor
    w: Tensor  # the rows of u that belong to damp·I
    v: Tensor
    h: Tensor
    hbar: Tensor
    spare_u: Tensor
    spare_v: Tensor
    scalars: Tensor  # (N, 7): α, ᾱ, ζ̄, ρ, ρ̄, c̄, s̄
    _damped = False

    def __init__(self, A: LinearMap, y: Tensor, norm: Tensor, damp: Tensor) -> None:
        self._damped = bool((damp > 0).any())
        super().__init__(A, y, norm, damp, torch.ones_like(damp))

    def start(self, index: Tensor, r: Tensor, g: Tensor) -> None:
        """β u = r, α v = Aᴴu."""
        β = norms(r)
        if self._damped:
            w = self.x[index] * -self.damp[index]
            β = torch.hypot(β, norms(w))
            self.put(index, w=w.mul_(_inverse(β)))
        gradient = norms(g)  # = α β
        v = g * _inverse(gradient)
        α, one = gradient * _inverse(β), torch.ones_like(β)
        self.put(
            index, u=r * _inverse(β), v=v, h=v.clone(), hbar=torch.zeros_like(v),
            scalars=torch.cat([α, α, gradient, one, one, one, 0 * one], 1),
            residual=β, gradient=gradient,
        )  # fmt: skip

        if len(index) == len(self.x):
            self.spare_u, self.spare_v = torch.empty_like(r), torch.empty_like(v)

    def step(self) -> None:
        """One column of table 1."""
        α, αbar, ζbar, ρ_old, ρbar_old, cbar, sbar = self.scalars.split(1, 1)
        # continue the bidiagonalisation; u and v change places with the memory of the last ones
        u = self.matvec(self.v, self.spare_u).addcmul_(α, self.u, value=-1)
        β = norms(u)
        if self._damped:
            self.w.mul_(-α).addcmul_(self.damp, self.v)
            β = torch.hypot(β, norms(self.w))
            self.w.mul_(_inverse(β))
        self.u, self.spare_u = u.mul_(_inverse(β)), self.u
        v = self.rmatvec(u, self.spare_v).addcmul_(β, self.v, value=-1)
        if self._damped:
            v.addcmul_(self.damp, self.w)
        α = norms(v)
        self.v, self.spare_v = v.mul_(_inverse(α)), self.v

        ρ = torch.hypot(αbar, β)  # rotation P_k
        c, s = αbar * _inverse(ρ), β * _inverse(ρ)
        θ, αbar = s * α, c * α
        θbar = sbar * ρ  # rotation P̄_k
        ρbar = torch.hypot(cbar * ρ, θ)
        cbar, sbar = cbar * ρ * _inverse(ρbar), θ * _inverse(ρbar)
        ζ, ζbar = cbar * ζbar, -sbar * ζbar

        self.hbar.mul_(-θbar * ρ * _inverse(ρ_old * ρbar_old)).add_(self.h)
        self.x.addcmul_(ζ * _inverse(ρ * ρbar), self.hbar)
        self.h.mul_(-θ * _inverse(ρ)).add_(self.v)
        self.scalars = torch.cat([α, αbar, ζbar, ρ, ρbar, cbar, sbar], 1)
        self.gradient, self.residual = ζbar.abs(), s * self.residual


def _inverse(t: Tensor) -> Tensor:
    """1/t, with 1/0 = 0: a vector that has run out stays zero."""
    return torch.where(t == 0, 0.0, 1 / t)


def largest_singular_value(A: LinearMap, batch: int, like: Tensor) -> Tensor:
    """A lower bound of σ_max, (batch,), within a few percent as a rule.

    The Ritz values of A on the Krylov space of AᴴA never exceed σ_max.  The first vector is half
    constant, which is close to the answer for kernels without negative taps, and half Gaussian.
    """
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, *A.domain_shape, dtype=like.dtype, generator=generator).to(like.device) + 1
    v = v.flatten(1).expand(batch, -1)
    v = v / norms(v)
    u, β = v.new_zeros(batch, 1), v.new_zeros(batch, 1, dtype=torch.float64)
    αs: list[Tensor] = []
    βs: list[Tensor] = []
    found: list[Tensor] = []
    for _ in range(min(_STEPS, v.shape[1])):
        u = A.matvec(v.reshape(batch, *A.domain_shape)).flatten(1) - β * u
        α = norms(u)
        u = u * _inverse(α)
        αs.append(α[:, 0])
        found.append(_largest(torch.stack(αs, 1), βs))
        if len(found) > 2 and bool((found[-1] <= found[-3] * (1 + _SETTLED)).all()):
            break
        v = A.rmatvec(u.reshape(batch, *A.range_shape)).flatten(1) - α * v
        β = norms(v)
        v = v * _inverse(β)
        βs.append(β[:, 0])
    return found[-1]


def _largest(αs: Tensor, βs: list[Tensor]) -> Tensor:
    """σ_max of the upper bidiagonal matrix; NaN where it holds one."""
    B = torch.diag_embed(αs)
    if βs:
        B = B + torch.diag_embed(torch.stack(βs, 1), offset=1)
    clean = torch.linalg.svdvals(torch.nan_to_num(B))[:, 0]
    return torch.where(B.isfinite().flatten(1).all(1), clean, torch.nan)
