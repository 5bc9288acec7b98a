"""The noise of data where nobody told it: by a photograph's likelihood, or the finest detail."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.convolution import Convolution
from ..parameter_choice.noise import estimate_noise_std
from ..parameter_choice.whittle import Periodogram

_LEAST_SIDE = 24  # samples of a picture whose spectrum says something


def noise_level(op: Convolution, y: Tensor) -> float:
    """Standard deviation of white noise in one image of data.

    Where every colour is one picture blurred by one psf, the psf is told apart from the noise by
    the likelihood of its periodogram; for all else the finest diagonal detail of y counts.

    Parameters
    ----------
    op : one kernel
    y : (1, c_out, *m) float64; what was not seen is filled with the mean of the rest
    """
    seen = torch.ones_like(y, dtype=torch.bool) if op.seen is None else op.seen.expand_as(y)
    y = torch.where(seen, y, y[seen].mean())
    if y.is_complex():
        parts = [estimate_noise_std(_without_single(part))[0] for part in (y.real, y.imag)]
        return float(torch.stack(parts).square().sum().sqrt())
    psf = _psf(op)
    if psf is not None and min(y.shape[2:]) >= _LEAST_SIDE:
        return Periodogram(y[0], psf).fit().noise.std
    return float(estimate_noise_std(_without_single(y))[0])


def _without_single(y: Tensor) -> Tensor:
    """y without axes of one sample."""
    return y.reshape(*y.shape[:2], *([n for n in y.shape[2:] if n > 1] or [1]))


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
