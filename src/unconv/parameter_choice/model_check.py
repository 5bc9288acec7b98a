"""Whether a photograph looks like the model that was fitted to it.

The model says what the periodogram of the restored scene's residual r = y − Ax is: with v the
spectrum of the data and N that of the noise, N²/v.  The ratio of the two is white where the model
is right, and its cumulative sum a straight line (residual_whiteness.py).  Where the data are
stronger than the model in places at which it takes them for noise, the noise is stronger than it
says, and a filter built on it would carry that noise into the picture: `excess` is by how much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .residual_whiteness import Whiteness
from .whittle import Periodogram, PictureSpectra, smoothed, transfer

_LIMIT = 1.36  # of D·√q, 5 %
_PRACTICAL = 0.05  # a distance that costs a filter nothing
_OF_EDGES = 0.1  # more, for residuals near unseen surroundings, which are smaller than inside
_OF_ROUNDING = 0.1  # more, for a JPEG's, which leaves less where it leaves next to nothing
_EXCESS = 1.5  # chance leaves 1.4 in a cell of frequencies
_NOTABLE = 0.2  # noise, of the power in a cell
_FAR_TOO_MUCH = 3.0  # of edges along few directions there is more than the law says
_DECISIVE = 10.0  # natural units of the likelihood


def spectrum_of(data: Periodogram, spectra: PictureSpectra, psf: Tensor) -> tuple[Tensor, Tensor]:
    """(v, N) on the grid of twice the size of a tile, (2h, w + 1)."""
    h, w = (2 * n for n in data.sizes)
    fy = torch.fft.fftfreq(h, dtype=torch.float64, device=psf.device)
    fx = torch.fft.rfftfreq(w, dtype=torch.float64, device=psf.device)
    radius = torch.hypot(fy[:, None], fx[None]).clamp(min=0.5 / max(data.sizes))
    signal = spectra.scale * radius**-spectra.exponent
    noise = spectra.noise.psd(fy, fx)
    return signal * transfer(psf, (h, w)).abs().square() + noise, noise


def whitened(
    residual: Tensor, data: Periodogram, spectra: PictureSpectra, psf: Tensor
) -> Whiteness:
    """How white the residual is once it is divided by what the model expects of it.

    Parameters
    ----------
    residual : (C, H, W), y − Ax, of data whose periodogram is `data`
    """
    v, noise = spectrum_of(data, spectra, psf)
    found = Periodogram(residual, psf)
    expected = data.mean_of(noise.square() / v)
    known = data.counts > 0
    if spectra.noise.rounding is not None:  # what was rounded to nothing leaves nothing
        width = data.sizes[1]
        left = smoothed(data.power, width) > 0.5 * smoothed(data.mean_of(noise), width)
        known = known & left
    if not bool(known.any()):
        return Whiteness(0.0, 1.0, torch.ones(1, dtype=torch.float64))
    ratio, counts = (found.power / expected)[known], data.counts[known]
    order = torch.hypot(data.fy[:, None], data.fx[None])[known].argsort(stable=True)
    ratio, counts = (ratio * counts)[order].cumsum(0), counts[order].cumsum(0)
    line = counts / counts[-1]
    cumulative = ratio / ratio[-1] if float(ratio[-1]) > 0 else line
    distance = float((cumulative - line).abs().max())
    chance = _LIMIT / math.sqrt(max(spectra.frequencies, 1.0) / 2)
    inside = math.prod(
        max(0, n - k + 1) / n for n, k in zip(residual.shape[-2:], psf.shape, strict=True)
    )
    practical = _PRACTICAL + _OF_EDGES * (1 - inside)
    if spectra.noise.rounding is not None:
        practical += _OF_ROUNDING
    limit = max(chance, practical)
    return Whiteness(distance, limit, cumulative)


def excess(
    data: Periodogram, spectra: PictureSpectra, psf: Tensor, sizes: Sequence[int]
) -> Tensor | None:
    """Noise beside N on a grid, (*sizes): by what the data exceed the model; None for nowhere.

    In cells of frequencies in which the model has mostly noise, or in which the filter amplifies
    and the data are several times what the model allows.
    """
    v, noise = spectrum_of(data, spectra, psf)
    width = data.sizes[1]
    mean, power = smoothed(data.mean_of(v), width), smoothed(data.power, width)
    share = smoothed(data.mean_of(noise), width) / mean
    over = power / mean
    wrong = ((share > 0.5) & (over > _EXCESS)) | ((share > _NOTABLE) & (over > _FAR_TOO_MUCH))
    if not bool(wrong.any()):
        return None
    more = torch.where(wrong, power - mean, 0.0)
    # The nearest frequency of the tile; those below zero are mirrored.
    h, w = data.sizes
    row, column = (torch.fft.fftfreq(n, dtype=torch.float64) for n in sizes)
    rows = (row * h).round().long() % h
    columns = (column.abs() * w).round().long().clamp(max=more.shape[1] - 1)
    mirrored = torch.where((column < 0)[None], (-rows[:, None]) % h, rows[:, None])
    found = more[mirrored.to(more.device), columns.expand(mirrored.shape).to(more.device)]
    return torch.maximum(found, found.flip(0, 1).roll((1, 1), (0, 1)))  # even to the last digit


def looks_blurred(data: Periodogram, sharp: Periodogram, spectra: PictureSpectra) -> bool:
    """Whether the psf is no less likely than none.

    sharp : the same picture with a psf of one sample
    """
    alone = sharp.fit(spectra.noise.rounding)
    return (spectra.loss - alone.loss) * spectra.frequencies < _DECISIVE
