"""CGLS: conjugate gradients on the normal equations, without forming them.

    min ‖Ax − y‖² + λ‖x‖²,  λ = damp²:      each step moves x along p, conjugate in AᴴA + λ, and
    keeps the residual r = y − Ax itself, so that AᴴA only ever acts in two halves.

Converges as ((κ−1)/(κ+1))^k with κ = √(σ_max² + λ)/√(σ_min² + λ): made for λ > 0, where κ is at
most about σ_max/damp.  Cost: A and Aᴴ once a step, four vectors.  It starts anew from any x and
true residual, which makes a bound that rounding has missed reachable after all.  Not for λ = 0:
‖Aᴴr‖ then oscillates where LSMR's falls.

`shrink` is for damp beyond σ_max.  There λ would overflow (and x underflow), so x = shrink·z with
shrink = 1/μ², μ ~ damp, is found from (AᴴA/μ² + λ/μ²) z = Aᴴy, all of whose terms are of order one.

Source: Hestenes & Stiefel, J. Res. Nat. Bur. Standards 49 (1952), §10; Björck, "Numerical Methods
for Least Squares Problems", SIAM 1996, algorithm 7.4.1, the damped gradient
taken from r and x.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .iteration import (
    Iteration,
    norms,
    ratio,
)
from .linear_map import LinearMap


class Cgls(Iteration):
    """CGLS for a batch; λ = damp² and shrink (N, 1)."""

    r: Tensor
    p: Tensor
    q: Tensor
    s: Tensor

    def __init__(
        self,
        A: LinearMap,
        y: Tensor,
        norm: Tensor,
        damp: Tensor,
        shrink: Tensor,
        patience: float,
    ) -> None:
        self.patience = patience
        super().__init__(A, y, norm, damp, shrink)

    def start(self, index: Tensor, r: Tensor, g: Tensor) -> None:
        """p = g."""
        self.put(index, r=r, p=g, residual=norms(r), gradient=norms(g))
        if len(index) == len(self.x):  # memory for A p and Aᴴ r
            self.q, self.s = torch.empty_like(r), torch.empty_like(g)

    def step(self) -> None:
        """Algorithm 7.4.1 with s = g."""
        x, r, p, λ = self.x, self.r, self.p, self.damp**2
        self.q = q = self.matvec(p, self.q)
        norm_q, norm_p = norms(q), norms(p)
        # ‖g‖²/(‖q‖² + λ‖p‖²) in ratios: the squares of small vectors would underflow
        α = ratio(self.gradient, norm_p)
        α = ratio(α * α, self.shrink * ratio(norm_q, norm_p) ** 2 + λ)
        x.addcmul_(α, p)
        r.addcmul_(α * self.shrink, q, value=-1)
        self.s = s = self.rmatvec(r, self.s).addcmul_(λ, x, value=-1)
        gradient = norms(s)
        β = ratio(gradient, self.gradient) ** 2
        p.mul_(β).add_(s)
        self.gradient, self.residual = gradient, norms(r)
