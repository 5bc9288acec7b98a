"""What a penalty charges for the differences of an image: its value, prox and dual ball.

A penalty is strength · Σ φ(|Dx|) over the places of the domain, |·| the norm over the stack of
differences at a place and, where they are coupled, over the channels:

    total variation      φ(t) = t                        isotropic; vectorial in colour
    sparse gradients     φ(t) = (t + δ)^p − δ^p, 0 < p < 1     not convex

The latter lies below its tangents, so that it is minimised by total variation with weights φ′(|Dx|)
of the last image: the objective falls at every turn.  δ keeps them finite.  After some turns they
are held, for weights and image may go on in circles, between which the objective hardly differs.

Source: Rudin, Osher & Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D
60 (1992); Blomgren & Chan, "Color TV", IEEE Trans. Image Processing 7 (1998); the weights, Candès,
Wakin & Boyd, "Enhancing sparsity by reweighted l1 minimization", J. Fourier Analysis and
Applications 14 (2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .differences import Differences


@dataclass(frozen=True)
class Penalty:
    """strength · Σ φ(|Dx|).

    Attributes
    ----------
    differences : D
    p : 1 for total variation
    coupled : whether the channels of a place share one norm
    delta : δ, in the unit of differences; 0 for p = 1
    """

    differences: Differences
    p: float
    coupled: bool
    delta: float = 0.0

    @property
    def is_convex(self) -> bool:
        """Whether a duality gap exists."""
        return self.p == 1

    def value(self, v: Tensor) -> float:
        """Σ φ(|Dv|) of an image of the grid."""
        size = self._norm(self.differences(v) * self.differences.counted)
        if not self.is_convex:
            size = (size + self.delta).pow(self.p) - self.delta**self.p
        return float(size.sum())

    def slope(self, d: Tensor) -> Tensor:
        """φ′(|d|) of differences (J, c, *grid), (1, c or 1, *grid)."""
        size = self._norm(d * self.differences.counted)
        return self.p * (size + self.delta).pow(self.p - 1)

    def outside(self, v: Tensor, radius: float | Tensor, out: Tensor | None = None) -> Tensor:
        """v − prox(v) of Σ radius·|·|, the projection on a ball (Moreau).

        v : (J, c, *grid) differences; those that are not counted become zero
        radius : > 0, of each place
        out : memory of the shape of v for it, not that of v
        """
        out = torch.mul(v, self.differences.counted, out=out)
        return out.mul_(self._square(out).rsqrt_().mul_(radius).clamp_(max=1))

    def into_ball(self, p: Tensor, radius: float) -> Tensor:
        """The nearest field of no more than the radius at any place, zero where none is counted."""
        p = p * self.differences.counted
        return p.mul_(radius / self._norm(p).clamp_(min=radius))

    def _norm(self, d: Tensor) -> Tensor:
        return self._square(d).sqrt_()

    def _square(self, d: Tensor) -> Tensor:
        """|d|², (J, c, *grid) -> (1, c or 1, *grid); the norm of torch along first axes is slow."""
        parts = torch.view_as_real(d).movedim(-1, 1).flatten(0, 1) if d.is_complex() else d
        total = parts[0].square()
        for part in parts[1:]:
            total.addcmul_(part, part)
        if self.coupled and len(total) > 1:
            total = total.sum(0, keepdim=True)
        return total[None]
