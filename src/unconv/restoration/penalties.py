"""What a penalty charges for the differences of an image: its value, prox and dual ball.

A penalty is strength · Σ φ(|Dx|) over the places of the domain, |·| the norm over the stack of
differences at a place and, where they are coupled, over the channels:

    total variation      φ(t) = t            isotropic; vectorial in colour
    sparse gradients     φ(t) = t^p, 0 < p < 1     not convex

Source: Rudin, Osher & Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D
60 (1992); Blomgren & Chan, "Color TV", IEEE Trans. Image Processing 7 (1998); sparse gradients,
Krishnan & Fergus, "Fast image deconvolution using hyper-Laplacian priors", NIPS 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .differences import Differences

_NEWTON = 6  # steps of the prox of t^p, from above: to round-off of float32


@dataclass(frozen=True)
class Penalty:
    """strength · Σ |Dx|^p.

    Attributes
    ----------
    differences : D
    p : 1 for total variation
    coupled : whether the channels of a place share one norm
    """

    differences: Differences
    p: float
    coupled: bool

    @property
    def is_convex(self) -> bool:
        """Whether a duality gap exists."""
        return self.p == 1

    def value(self, v: Tensor) -> float:
        """Σ |Dv|^p of an image of the grid."""
        d = self.differences(v) * self.differences.counted
        return float(self._norm(d).pow(self.p).sum())

    def outside(self, v: Tensor, threshold: float) -> Tensor:
        """v − prox(v) of threshold · Σ|·|^p, in the memory of v, zero where nothing is counted.

        By Moreau's identity the projection on the ball of the radius `threshold` for p = 1.
        """
        v *= self.differences.counted
        size = self._norm(v)
        if self.p == 1:
            return v.mul_(threshold / size.clamp_(min=threshold))
        kept = _shrunk(size, threshold, self.p)
        return v.mul_(1 - kept / size.clamp(min=torch.finfo(size.dtype).tiny))

    def into_ball(self, p: Tensor, radius: float) -> Tensor:
        """The nearest field of no more than the radius at any place, zero where none is counted."""
        p = p * self.differences.counted
        return p.mul_(radius / self._norm(p).clamp_(min=radius))

    def _norm(self, d: Tensor) -> Tensor:
        """(J, c, *grid) -> (1, c or 1, *grid); the norm of torch along first axes is slow."""
        parts = torch.view_as_real(d).movedim(-1, 1).flatten(0, 1) if d.is_complex() else d
        total = parts[0].square()
        for part in parts[1:]:
            total.addcmul_(part, part)
        if self.coupled and len(total) > 1:
            total = total.sum(0, keepdim=True)
        return total.sqrt_()[None]


def _shrunk(size: Tensor, threshold: float, p: float) -> Tensor:
    """argmin_t (t − size)²/2 + threshold·t^p for t ≥ 0, by Newton's steps from above.

    It is zero below a jump; above, the larger root of t − size + threshold·p·t^(p−1), on the side
    where the function is convex.
    """
    jump = (2 * threshold * (1 - p)) ** (1 / (2 - p))  # the smallest t that is not zero
    least = jump + threshold * p * jump ** (p - 1)  # what it takes to get there
    t = size.clamp(min=least)
    for _ in range(_NEWTON):
        slope = threshold * p * t.pow(p - 1)
        t = (t - (t - size + slope) / (1 + (p - 1) * slope / t)).clamp_(min=jump)
    return torch.where(size > least, t, 0)
