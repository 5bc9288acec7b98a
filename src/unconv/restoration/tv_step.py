"""Total variation in a Richardson–Lucy step, for min over x ≥ 0 of D(y, A x + b) + λ Σ |∇x|.

Its stationary points are the fixed points of

    x ← x · Aᴴ(y/μ) / (Aᴴ1 − λ div(∇x/|∇x|)),

the step of Dey et al., whose divergence is taken one step late.  As published it fails where the
denominator is zero or less, and for strong λ it swings and does not settle.  Here the step is the
minimum of a function that lies above the objective and touches it at x, so that no step raises it,
for whatever λ.  With e = x·Aᴴ(y/μ), over the edges (i, j) between neighbours,

    |∇x'| ≤ const + Σ (x'_i − x'_j)² / 2|∇x|,   (x'_i − x'_j)² ≤ ½ (2x'_i − m)² + ½ (2x'_j − m)²,
    m = x_i + x_j:   every pixel has a quadratic equation of its own,

    2λW x'² + (Aᴴ1 − λM) x' − e = 0,   W = Σ 1/|∇x|, M = Σ m/|∇x| over the edges of the pixel,

with one root that is not negative; it is e/Aᴴ1 where λ = 0, and a fixed point of the step above.
|∇x| is isotropic and joins the channels of a pixel, as (|∇x|² + ε²)^½; no edge leads out of the
picture nor out of reach.

Sources: Dey, Blanc-Féraud, Zimmer et al., "Richardson–Lucy algorithm with total variation
regularization for 3D confocal microscope deconvolution", Microsc. Res. Tech. 69 (2006); De Pierro,
"A modified expectation maximization algorithm for penalized likelihood estimation in emission
tomography", IEEE Trans. Med. Imaging 14 (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .count_data import CountData, total_of

_SMOOTHED = 0.02
"""ε in units of the constant x that has the light of the data.  Smaller ones make steps smaller
where x is flat, and at 0.001 the best picture takes hundreds of them."""


class TotalVariation:
    """The term of strength λ for one data set; 0 leaves it out at no cost.

    spacing : of samples along each axis, which differences are divided by; 1 by default
    """

    def __init__(
        self, data: CountData, strength: float, spacing: Sequence[float] | None = None
    ) -> None:
        self.data, self.strength = data, strength
        self.spacing = spacing or [1.0] * (data.y.ndim - 2)
        # of which the square is still a number above zero, where there is no light at all
        least = torch.finfo(data.y.dtype).tiny ** 0.5
        self.smoothing = (_SMOOTHED * data.level).clamp(min=least)

    def value(self, x: Tensor, where: tuple[slice, ...] = ()) -> Tensor | float:
        """λ Σ |∇x| of every image, (N,) in float64; over a part of the pixels if one is told."""
        if not self.strength:
            return 0.0
        part: tuple[Any, ...] = (..., *where)
        return self.strength * total_of((self._length(x) - self.smoothing)[part])

    def step(self, x: Tensor, e: Tensor) -> Tensor:
        """The next x after this one, with e = x·Aᴴ(y/μ)."""
        weights = self.data.weights
        if not self.strength:
            return (e / weights).where(self.data.reach, 0)
        inverse_length = 1 / self._length(x)
        W, M = torch.zeros_like(x), torch.zeros_like(x)
        for axis in range(2, x.ndim):
            here, next_ = _sides(x, axis)
            edge = _sides(inverse_length, axis)[0].where(self._joined(axis), 0)
            edge = edge / self.spacing[axis - 2] ** 2
            m = edge * (here + next_)
            for sum_, term in ((W, edge), (M, m)):
                for side in _sides(sum_, axis):
                    side.add_(term)
        found = _root(self.strength * W, weights - self.strength * M, e)
        return found.where(self.data.reach, 0)

    def _length(self, x: Tensor) -> Tensor:
        """(|∇x|² + ε²)^½ by forward differences, (N, 1, *n)."""
        squares = self.smoothing.square().expand(len(x), 1, *x.shape[2:]).clone()
        for axis in range(2, x.ndim):
            slope = x.diff(dim=axis).where(self._joined(axis), 0) / self.spacing[axis - 2]
            _sides(squares, axis)[0].add_(slope.square().sum(1, keepdim=True))
        return squares.sqrt_()

    def _joined(self, axis: int) -> Tensor:
        """Which neighbours along an axis are both within reach."""
        here, next_ = _sides(self.data.reach, axis)
        return here & next_


def _sides(t: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All samples but the last along an axis, and all but the first, as views."""
    n = t.shape[axis]
    return t.narrow(axis, 0, n - 1), t.narrow(axis, 1, n - 1)


def _root(a: Tensor, b: Tensor, e: Tensor) -> Tensor:
    """x ≥ 0 with 2a x² + b x = e, for a, e ≥ 0 and a + |b| > 0, without cancellation."""
    root = torch.hypot(b, (8 * a).sqrt() * e.sqrt())
    tiny = torch.finfo(b.dtype).tiny
    return torch.where(
        b >= 0, 2 * e / (b + root).clamp(min=tiny), (root - b) / (4 * a).clamp(min=tiny)
    )
