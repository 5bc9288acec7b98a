"""The periodogram of a picture in cells of neighbouring frequencies, and what a psf makes of it.

Neighbours of a faded picture are not independent: a Hann window spreads every frequency over 3×3,
so that their means lose little and are four to nine times fewer.  The window is taken into account
where it matters, at the zeros of a psf: with the weights 1/6, 2/3, 1/6 along each axis, which are
exact for a spectrum that is a quadratic from one frequency to the next,

    P̄ has the mean  Σ S |F|²/n + noise,    taken as  S(cell) · ⟨|ω|^(−p)|F|²⟩ / ⟨|ω|^(−p)⟩ + noise

with p = 2.5, for the spectrum S of a scene hardly changes within a cell, and |F| does.

Source: as of parameter_choice/whittle.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ...parameter_choice.noise_models import JpegRounding
from ...parameter_choice.whittle import USUAL_EXPONENT, Periodogram

_CELLS = 170  # along the shorter axis, at most
_LARGEST_CELL = 3  # frequencies along an axis
_KEPT_OF_POWER = 0.4  # of the power: where rounding leaves less, nothing is known
_OF_ODD_PART = 1e-9  # of the peak: less is a psf that equals its point reflection, whose F is real
_BANDWIDTH = 1.94  # of Hann's window, in frequencies along an axis


class Cells:
    """A picture's periodogram in cells.

    Parameters
    ----------
    plane : (H, W) float64, complete and finite
    rounding : of the JPEG that it was, or None
    unit : in which all powers are given

    Attributes
    ----------
    data : the `Periodogram`
    side : of a cell, in frequencies
    power : (K,) means over the cells that say something
    kept, error : (K,) of their power what a JPEG's rounding leaves, and what it adds
    share : (K,) of their frequencies that count, 1 for all
    fy, fx : (K,) their middle
    degrees : of freedom of a mean, half as many as of χ²
    """

    def __init__(
        self, plane: Tensor, rounding: JpegRounding | None = None, unit: float = 1.0
    ) -> None:
        self.data = data = Periodogram(plane[None], plane.new_ones(1, 1))
        kept, error = torch.ones_like(data.power), torch.zeros_like(data.power)
        self._counts = data.counts
        if rounding is not None:
            kept, error = rounding.passed(data.power, data.counts, data.fy, data.fx)
            self._counts = torch.where(kept > _KEPT_OF_POWER, data.counts, 0.0)
        h, w = data.sizes
        self.side = max(1, min(_LARGEST_CELL, math.ceil(min(h, w) / _CELLS)))
        self._rows, self._columns = -h % self.side, -(w // 2 + 1) % self.side  # fill the last
        count = self._pooled(self._counts)
        full = 2.0 * self.side**2
        usable = count.flatten() > 0.25 * full
        self._usable = usable.nonzero()[:, 0]
        self.share = count.flatten()[self._usable] / full
        self._law = torch.hypot(data.fy[:, None], data.fx[None]).clamp(min=0.5 / max(h, w))
        self._law = self._law**-USUAL_EXPONENT
        self.power, self.error = self.mean(data.power) / unit**2, self.mean(error) / unit**2
        self.kept = self.mean(kept)
        self.fy = self.mean(data.fy[:, None].expand_as(data.power))
        self.fx = self.mean(data.fx.expand_as(data.power))
        self._plain = self.mean(self._smeared(self._law))
        independent = max(1.0, self.side / _BANDWIDTH * (1 + 0.5 / self.side)) ** 2
        self.degrees = data.degrees * independent

    def gain(self, psf: Tensor) -> Tensor:
        """⟨|F|²⟩ of a psf, (K,)."""
        rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 for n in psf.shape)
        turn_y = 2 * math.pi * self.data.fy[:, None] * rows
        turn_x = 2 * math.pi * self.data.fx[:, None] * columns
        cos_y, sin_y, cos_x, sin_x = turn_y.cos(), turn_y.sin(), turn_x.cos().mT, turn_x.sin().mT
        power = (cos_y @ psf @ cos_x - sin_y @ psf @ sin_x).square()
        if float((psf - psf.flip(0, 1)).abs().max()) > _OF_ODD_PART * float(psf.abs().max()):
            power += (sin_y @ psf @ cos_x + cos_y @ psf @ sin_x).square()
        return self.mean(self._smeared(power * self._law)) / self._plain

    def corners(self) -> tuple[Tensor, Tensor]:
        """Four frequencies (4, K) whose mean has the spread of a cell under its window."""
        spread = math.sqrt((self.side**2 - 1) / 12 + 1 / 3)
        h, w = self.data.sizes
        up = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)[:, None] * spread / h
        right = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None] * spread / w
        return self.fy + up, self.fx + right

    def _pooled(self, values: Tensor) -> Tensor:
        """Sums over cells, negative frequencies first, so that no cell holds both ends."""
        h = len(values)
        rolled = values.roll(h // 2, 0)
        wide = pad(rolled, (0, self._columns, 0, self._rows))
        return avg_pool2d(wide[None], self.side)[0] * self.side**2

    def mean(self, values: Tensor) -> Tensor:
        """Over each cell, of values at all frequencies, (h, w//2 + 1)."""
        total = self._pooled(values * self._counts).flatten()[self._usable]
        return total / (self.share * 2.0 * self.side**2)

    def _smeared(self, v: Tensor) -> Tensor:
        """What the window makes of a spectrum (h, w//2 + 1)."""
        width = self.data.sizes[1]
        left = v[:, 1:2].flip(0).roll(1, 0)
        last = v[:, -2:-1] if width % 2 == 0 else v[:, -1:]
        wide = torch.cat([left, v, last.flip(0).roll(1, 0)], 1)
        along = (wide[:, :-2] + 4 * wide[:, 1:-1] + wide[:, 2:]) / 6
        return (along.roll(1, 0) + 4 * along + along.roll(-1, 0)) / 6
