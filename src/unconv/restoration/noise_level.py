"""The noise of data where nobody told it: by a photograph's likelihood, or the finest detail.

Holes and outliers are no picture: with 30 % of a blurred picture missing and filled with the mean,
its periodogram has eight times the noise, and with 2 % of outliers seven times.  There the median
of the finest detail is taken, over places of which all neighbours were seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from ..parameter_choice.noise import estimate_noise_std, finest_detail, std_of_detail
from ..parameter_choice.whittle import Periodogram

_LEAST_SIDE = 24  # samples of a picture whose spectrum says something
_LEAST_PLACES = 30  # of detail, for a median


def noise_level(op: Convolution, y: Tensor, outliers: bool = False) -> float:
    """Standard deviation of white noise in one image of data.

    Where every colour is one picture blurred by one psf, the psf is told apart from the noise by
    the likelihood of its periodogram; for all else the finest diagonal detail of y counts.

    Parameters
    ----------
    op : one kernel
    y : (1, c_out, *m) float64
    outliers : whether some of y may be off by far
    """
    if op.seen is not None and not bool(op.seen.all()):
        return _of_seen(y, op.seen.expand_as(y))
    psf = None if outliers else _psf(op)
    if psf is not None and min(y.shape[2:]) >= _LEAST_SIDE:
        return Periodogram(y[0], psf).fit().noise.std
    return _by_detail(y)


def _by_detail(y: Tensor) -> float:
    """The median of the finest diagonal detail, along axes of more than one sample."""
    y = y.reshape(*y.shape[:2], *([n for n in y.shape[2:] if n > 1] or [1]))
    return float(estimate_noise_std(y)[0])


def _of_seen(y: Tensor, seen: Tensor) -> float:
    """The median of second differences of what was seen; of all, if hardly any can be formed."""
    shape = *y.shape[:2], *([n for n in y.shape[2:] if n > 1] or [1])
    holes = torch.where(seen, y, torch.nan).reshape(shape)
    parts = [holes.real, holes.imag] if y.is_complex() else [holes]
    details = [finest_detail(part) for part in parts] if shape[2:] != (1,) else parts
    if int(details[0].isfinite().sum()) < _LEAST_PLACES:
        return _by_detail(torch.where(seen, y, y[seen].mean()))
    return math.hypot(*(float(std_of_detail(detail)[0]) for detail in details))


def _psf(op: Convolution) -> Tensor | None:
    """The psf (h, w) that all channels share, as a true convolution, or None."""
    g = op.geometry
    if op.transposed or g.nd != 2 or g.c_in != g.groups or g.c_out != g.groups:
        return None
    if any(a.stride > 1 or a.dilation > 1 for a in g.axes) or op.dtype.is_complex:
        return None
    taps = op.taps.detach().flatten(0, -3)
    if not bool((taps == taps[0]).all()):
        return None
    return taps[0].double().flip(0, 1)
