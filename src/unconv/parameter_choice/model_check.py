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
from typing import NamedTuple

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
_NINE_TENTHS = 0.9  # quantile: edges along few directions stand out of any law
_QUIET_CELLS = 0.05  # quantile of the cells' power that is taken for noise
_REMAINS, _ABOVE_NOISE = 0.5, 10.0  # of a cell's power is taken away, though it is no noise
# Such a share of the frequencies, at such a share of the law of scenes.
_TAKEN = ((0.15, 0.022), (0.03, 0.05))
_RADIAL_RINGS = 32  # of frequencies, each a constant factor beyond the one before


class RadialSpectra(NamedTuple):
    """Means over rings of frequencies: the data beside the model that was fitted to them.

    Attributes
    ----------
    frequency : (n,) cycles per sample, up to 1/2
    data : (n,) P, the periodogram of the faded picture
    fitted : (n,) signal·|psf|² + noise, under the same window
    noise : (n,) N, under the same window
    residual : (n,) the periodogram of y − Ax over what the model expects of it: 1 if that is right
    """

    frequency: Tensor
    data: Tensor
    fitted: Tensor
    noise: Tensor
    residual: Tensor


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


def radial_spectra(
    residual: Tensor, data: Periodogram, spectra: PictureSpectra, psf: Tensor, seen: float = 1.0
) -> RadialSpectra:
    """Means over rings of frequencies, for a curve of each spectrum.

    Parameters
    ----------
    residual : (C, H, W), y − Ax, of data whose periodogram is `data`; 0 where nothing was seen
    seen : the share of the pixels that were
    """
    v, noise = spectrum_of(data, spectra, psf)
    expected = seen * data.mean_of(noise.square() / v)
    radius = torch.hypot(data.fy[:, None], data.fx[None])
    known = (data.counts > 0) & (radius <= 0.5)
    counts, radius = data.counts[known], radius[known]
    lowest = float(radius.min())
    ring = (
        (_RADIAL_RINGS * (radius / lowest).log() / math.log(0.5 / lowest))
        .long()
        .clamp(max=_RADIAL_RINGS - 1)
    )
    total = counts.new_zeros(_RADIAL_RINGS).index_add(0, ring, counts)
    full = total > 0

    def mean(values: Tensor) -> Tensor:
        return (
            total.new_zeros(_RADIAL_RINGS).index_add(0, ring, counts * values)[full] / total[full]
        )

    return RadialSpectra(
        frequency=mean(radius),
        data=mean(data.power[known]),
        fitted=mean(data.mean_of(v)[known]),
        noise=mean(data.mean_of(noise)[known]),
        residual=mean(Periodogram(residual, psf).power[known]) / mean(expected[known]),
    )


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


def looks_blurred(alone: PictureSpectra, spectra: PictureSpectra) -> bool:
    """Whether the psf is no less likely than none.

    alone : the spectra of the same picture for a psf of one sample
    """
    return (spectra.loss - alone.loss) * spectra.frequencies < _DECISIVE


def takes_detail_away(
    data: Periodogram,
    spectra: PictureSpectra,
    restored: Tensor,
    psf: Tensor,
) -> bool:
    """Whether a restored picture lacks what its data show, which no blur allows.

    A blur takes power away, |F|² ≤ max|F|².  Where a psf is wrong its filter holds for noise what
    the true one has let pass, in cells of frequencies that are many, and in which the data are not
    much weaker than the law of scenes; coloured noise is.

    Parameters
    ----------
    restored : (C, H, W), as it would be handed out: with all the noise that was assumed in the end

    Notes
    -----
    Parts of 128² of six photographs: with the psf that blurred them and white noise or hum at most
    0.014 of the frequencies are such cells; with strong noise over 3 × 3 samples more are, but nine
    tenths of the data there are below 0.02 of the law (on bricks 0.03 and 0.24: their picture is
    given back).  A motion of 9 taken for a disk or a Gaussian costs 1.2 to 6 dB, and has 0.04 to
    0.5 at more than 0.05, or 0.19 to 0.35 at 0.028 to 0.06.
    """
    width = data.sizes[1]
    power = smoothed(data.power, width)
    left = smoothed(Periodogram(restored, psf).power * data.gain.max(), width)
    law = smoothed(data.mean_of(spectra.scale * data.radius**-spectra.exponent), width)
    noise = power[data.counts > 0].quantile(_QUIET_CELLS).expand_as(power)
    if spectra.noise.rounding is not None:  # which a JPEG's quiet cells have lost
        noise = torch.maximum(noise, spectra.noise.rounding.psd(data.fy, data.fx))
    taken = (left < _REMAINS * power) & (power > _ABOVE_NOISE * noise) & (data.counts > 0)
    share = float(data.counts[taken].sum() / data.counts.sum())
    of_law = float((power / law)[taken].quantile(_NINE_TENTHS)) if share else 0.0
    return any(share > many and of_law > much for many, much in _TAKEN)
