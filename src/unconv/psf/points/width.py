"""Full width at half maximum of a psf, along each axis through its brightest sample."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_FINE_STEPS = 200  # places between two samples at which the spline is looked at


def widths(psf: Tensor) -> tuple[float, ...]:
    """In samples, for each axis; NaN where the psf does not fall to one half within its size.

    On a cubic spline through the samples of the line, zero beyond them.

    Examples
    --------
    >>> from unconv import psf
    >>> [round(w, 2) for w in widths(psf.gaussian(2.0))]
    [4.71, 4.71]
    """
    peak = np.unravel_index(int(torch.argmax(psf)), psf.shape)
    found = []
    for axis in range(psf.ndim):
        line = psf[tuple(slice(None) if a == axis else int(i) for a, i in enumerate(peak))]
        found.append(_width(line.numpy(), int(peak[axis])))
    return tuple(found)


def _width(line: np.ndarray[tuple[int], np.dtype[np.float64]], peak: int) -> float:
    from scipy.interpolate import CubicSpline  # takes a while to load

    n = len(line)
    curve = CubicSpline(np.arange(-2, n + 2), np.pad(line, 2))
    t = np.linspace(-1, n, _FINE_STEPS * (n + 1) + 1)
    values = curve(t)
    near = np.abs(t - peak) <= 1
    top = int(np.flatnonzero(near)[values[near].argmax()])
    below = values < values[top] / 2
    left, right = np.flatnonzero(below[:top]), np.flatnonzero(below[top:])
    edges = t[left[-1]] if len(left) else t[0], t[top + right[0]] if len(right) else t[-1]
    inside = edges[0] > -0.5 and edges[1] < n - 0.5
    return float(edges[1] - edges[0] - 1 / _FINE_STEPS) if inside else float("nan")
