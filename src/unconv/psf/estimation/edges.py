"""How wide a psf has made the edges of a picture.

Steps are fitted at the steepest points (steps.py), under a narrow and under a wide window.  What is
no step on its own but a line, a corner, one of many, looks the narrower the wider one looks; it is
left out, or, if it is nearly a step, what the wider look lost is given back.

Cost: some 0.1 s for 300 points and a psf of 2 samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .coarse import LineProfile
from .steps import LineSpread, Points, Steps, Window, fitted_steps

OWN = 0.35  # samples: the softness of edges in sharp photographs
_LOOK = 0.8  # of the psf's deviation: the scale of the first look at an edge
_SMOOTHED_BY, _LEAST_SMOOTHED = 0.6, 0.7  # of the look, and samples: of the gradient
_FIRST_WINDOW, _NARROW_WINDOW = 1.5, 1.3  # deviations of windows, in widths
_WIDE, _ALONG = 2.4, 1.4
_RADIUS, _WIDE_RADIUS = 3.0, 1.6  # of the patch in looks, and of the wide one in these
_SAMPLED = 2.5  # samples: a look so large has a stride
_FIT_STEPS = 5
_LARGEST = 1024  # samples along an axis: edges are looked for in so large a middle
_STEEP, _STEEPEST = 120_000, 6000  # pixels, and of these points on edges
_MOST_POINTS = 300  # one in a cell
_VISIBLE_GRADIENT, _CLEAR_STEP = 5.0, 8.0  # of the noise: gradients, and heights of steps
_MISFIT, _WIDE_MISFIT = 0.03, 0.05  # of the height, at most
_SHRUNK_WIDTH, _GROWN = 0.1, 0.08  # in log w from the narrow to the wide window, at most
_GIVEN_BACK = 1.5  # of it
_NOISIEST = 0.15  # standard error of log w
_WIDEST_EDGE = 2.0  # looks


class Widths(NamedTuple):
    """Logarithms of the scales of a psf that steps tell, and their standard errors, (n,)."""

    logarithms: Tensor
    errors: Tensor


class Edges:
    """The edges of one picture.

    Parameters
    ----------
    plane, seen : (H, W) the picture, and where it is a datum
    noise_std : of the white noise in it
    """

    def __init__(self, plane: Tensor, seen: Tensor, noise_std: float) -> None:
        middle = tuple(_middle(n) for n in plane.shape)
        self._data, self._noise = plane[middle], noise_std
        self._plane, hidden = self._data.numpy(), ~seen[middle].numpy()
        self._hidden = hidden if hidden.any() else None

    def widths(self, profile: LineProfile, scale: float) -> Widths:
        """What steps tell that a psf of about this scale has blurred."""
        look = math.hypot(_LOOK * profile.deviation * scale, OWN)
        radius = math.ceil(_RADIUS * look) + 1
        wide_radius = math.ceil(_WIDE_RADIUS * radius)
        stride = max(1, round(look / _SAMPLED))
        points = self._points(look, radius)
        if len(points.rows) == 0:
            return Widths(points.offset, points.offset)
        points = points._replace(width=torch.full_like(points.offset, scale))
        spread = LineSpread(profile.line, OWN / scale)
        size = torch.full_like(points.offset, _FIRST_WINDOW * look)
        window = Window(size, size, radius, stride)
        points = fitted_steps(self._data, points, spread, window, _FIT_STEPS).points
        size = (profile.deviation * points.width).clamp(0.5 * look, _FIRST_WINDOW * look)
        narrow, wide = (
            fitted_steps(
                self._data,
                points,
                spread,
                Window(factor * size, _ALONG * size, reach, stride),
                _FIT_STEPS,
            )
            for factor, reach in ((_NARROW_WINDOW, radius), (_WIDE, wide_radius))
        )
        return self._of_steps(narrow, wide, _WIDEST_EDGE * look / profile.deviation)

    def _of_steps(self, narrow: Steps, wide: Steps, widest: float) -> Widths:
        """The widths of those that are steps, as far as noise does not hide them."""
        width, error = narrow.points.width.log(), self._noise * narrow.error
        grown = wide.points.width.log() - width
        is_step = (
            (self._misfit(narrow) < _MISFIT)
            & (self._misfit(wide) < _WIDE_MISFIT)
            & (grown > -_SHRUNK_WIDTH)
            & (grown < _GROWN)
            & (narrow.height.abs() > _CLEAR_STEP * self._noise)
            & (error < _NOISIEST)
            & (narrow.points.width < widest)
        )
        width = width + 0.5 * grown - _GIVEN_BACK * grown.clamp(max=0)
        return Widths(width[is_step], torch.minimum(error, self._noise * wide.error)[is_step])

    def _misfit(self, steps: Steps) -> Tensor:
        """What is not noise, in heights."""
        return (steps.misfit.square() - self._noise**2).clamp(min=0).sqrt() / steps.height.abs()

    def _points(self, look: float, margin: int) -> Points:
        """The steepest points across edges, one in each cell of about a look."""
        from scipy import ndimage  # takes a while to load

        smooth = max(_LEAST_SMOOTHED, _SMOOTHED_BY * look)
        down, right = (
            ndimage.gaussian_filter(self._plane, smooth, order, mode="nearest")
            for order in ((1, 0), (0, 1))
        )
        steep = np.hypot(down, right)
        usable = np.zeros(steep.shape, dtype=bool)
        usable[margin:-margin, margin:-margin] = True
        if self._hidden is not None:
            usable &= ~ndimage.maximum_filter(self._hidden, 2 * margin + 1)
        usable &= steep > _VISIBLE_GRADIENT * self._noise / (math.sqrt(8 * math.pi) * smooth**2)
        at = np.flatnonzero(usable)
        at = at[np.argsort(-steep.flat[at], kind="stable")[:_STEEP]]
        rows, columns = np.unravel_index(at, steep.shape)
        here, down, right = steep[rows, columns], down[rows, columns], right[rows, columns]
        step, places = np.stack([down, right]) / here, np.stack([rows, columns])
        before, after = (
            ndimage.map_coordinates(steep, places + side * step, order=1, mode="nearest")
            for side in (-1, 1)
        )
        top = np.flatnonzero((here >= after) & (here > before))[:_STEEPEST]
        side = max(2, round(look))
        cells = rows[top] // side * steep.shape[1] + columns[top] // side
        chosen = top[np.sort(np.unique(cells, return_index=True)[1])[:_MOST_POINTS]]
        angle = torch.from_numpy(np.arctan2(down[chosen], right[chosen]))
        zero = torch.zeros_like(angle)
        at_rows, at_columns = (torch.from_numpy(v[chosen]) for v in (rows, columns))
        return Points(at_rows, at_columns, angle, zero, zero)


def _middle(n: int) -> slice:
    """The middle of an axis of n samples."""
    start = max(0, (n - _LARGEST) // 2)
    return slice(start, start + min(n, _LARGEST))
