"""Periodic interference: lines of a photograph's spectrum that no scene explains.

Hum of a sensor's electronics, banding of a lamp or a scan are a few waves

    Σ_j a_j cos(2π(f_j·r) + φ_j)

of one amplitude from edge to edge.  A filter that undoes a blur divides them by the transfer
function F and covers the picture with stripes.  Of a wave that is known nothing need be guessed: it
is subtracted.

A candidate is a frequency at which the periodogram exceeds what the model expects by fifty times
the usual excess around it (its median).  Its place and amplitude are those of the largest
coefficient of the whole picture under a Hann window, which has a main lobe and no others to speak
of.  The scene has lines too, of fences, walls and cloth, and these stay:

* a wave of the scene ends, bends or grows smaller with distance: in sixteen parts of the picture
  its coefficients differ, those of interference differ by noise alone (measured: the former by 15
  times the square of their mean and more, the latter by 0.1 at most);
* where the psf transmits half or more, nothing is amplified, and the wave is left alone;
* a wave too strong for interference is the scene's, unless the scene would be too strong to be one;
* and so are the harmonics of what is left.

Not for: stripes whose phase wanders; scenes that are gratings from edge to edge.

Source: the refined maximum is the likelihood's for a wave in white noise, Rife & Boorstyn, IEEE
Trans. Inform. Theory 20 (1974) 591.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from .model_check import spectrum_of
from .whittle import Periodogram, PictureSpectra, hann

_PEAK = 50.0  # times the usual excess around it
_LEAST_EXCESS = 0.3  # that is usual: less is chance
_MOST_WAVES = 24
_LEAST_PERIODS = 6  # in the picture
_LOBE = 3  # frequencies of a tile on either side that a wave reaches
_LEVEL_CELL = 16  # frequencies along an axis, of the neighbourhood
_PARTS = 4  # of the picture along each axis
_SCATTER, _SCATTER_BY_CHANCE = 0.25, 3.0  # of the square of the mean, and times noise
_PASSED = 0.5  # of |F(0)|: from here a wave is hardly amplified
_FAINT, _IMPOSSIBLE = 0.4, 8.0  # standard deviations of the picture: amplitudes
_POWER_OF_MEAN = 4 / 9  # (Σw)²/(nΣw²) of a Hann window in two dimensions
_SEARCH_STEPS, _ZOOM, _ZOOMS = 17, 6, 6  # of the search for a frequency


class Wave(NamedTuple):
    """One wave: frequency in cycles per sample, and (C,) complex amplitudes at sample (0, 0)."""

    fy: float
    fx: float
    amplitude: Tensor

    @property
    def size(self) -> float:
        """a, the mean over colours."""
        return 2 * float(self.amplitude.abs().square().mean().sqrt())


def interference(
    planes: Tensor, data: Periodogram, spectra: PictureSpectra, psf: Tensor
) -> list[Wave]:
    """The waves in a picture that are no part of its scene.

    Parameters
    ----------
    planes : (C, H, W) float64, complete and finite
    data, spectra : of the planes under this psf

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> noise = torch.randn(1, 96, 96, generator=torch.Generator().manual_seed(0)).double()
    >>> y = 0.01 * noise + 0.05 * torch.cos(0.9 * torch.arange(96.0))[:, None]
    >>> data = Periodogram(y, psf.disk(4))
    >>> [wave] = interference(y, data, data.fit(), psf.disk(4))
    >>> round(2 * 3.14159 * abs(wave.fy), 2), round(wave.size, 2)
    (0.9, 0.05)
    """
    v, _ = spectrum_of(data, spectra, psf)
    mean = data.mean_of(v)
    usual = mean * _level(data.power / mean, data.sizes[1]).clamp(min=_LEAST_EXCESS)
    total, deviation = float(psf.sum().abs()), math.sqrt(data.variance)
    found: list[Wave] = []
    kept: list[Wave] = []
    for i, j in _candidates(data, usual):
        wave = _refined(planes, float(data.fy[i]), float(data.fx[j]), data.sizes)
        near = [_distance(wave, other, data.sizes) < 1 for other in (*found, *kept)]
        if any(near) or not _is_everywhere(planes, wave, float(usual[i, j])):
            continue
        passed = _transmitted(psf, wave) / total
        faint = wave.size < _FAINT * deviation or wave.size > _IMPOSSIBLE * passed * deviation
        of_scene = passed >= _PASSED or not faint
        harmonic = any(_is_harmonic(wave, other, data.sizes) for other in kept)
        (kept if of_scene or harmonic else found).append(wave)
    return found


def pattern_of(waves: Sequence[Wave], planes: Tensor) -> Tensor:
    """The sum of waves, (C, H, W) as `planes`."""
    sum_ = torch.zeros_like(planes)
    for wave in waves:
        down = _turns(planes.new_tensor([wave.fy]), planes.shape[1]).conj()[0]
        right = _turns(planes.new_tensor([wave.fx]), planes.shape[2]).conj()[0]
        left = 2 * wave.amplitude[:, None] * down  # (C, H)
        sum_ += left.real[..., None] * right.real - left.imag[..., None] * right.imag
    return sum_


def _level(ratio: Tensor, width: int) -> Tensor:
    """The mean of an exponential variable by its median over cells of frequencies."""
    h, w = ratio.shape
    rows, columns = min(_LEVEL_CELL, h), min(_LEVEL_CELL, w)
    down, right = -h % rows, -w % columns
    wide = pad(ratio[None], (0, right), mode="replicate" if right else "constant")
    wide = pad(wide, (0, 0, 0, down), mode="replicate" if down else "constant")[0]
    cells = wide.reshape(len(wide) // rows, rows, -1, columns).transpose(1, 2).flatten(2)
    level = cells.median(-1).values / math.log(2)
    return level.repeat_interleave(rows, 0).repeat_interleave(columns, 1)[:h, :w]


def _candidates(data: Periodogram, usual: Tensor) -> list[tuple[int, int]]:
    """Frequencies (row, column) of peaks, the highest first."""
    (h, w), peak = data.sizes, data.power / usual
    periods = torch.hypot((data.fy * h)[:, None], (data.fx * w)[None])
    peak = torch.where((data.counts > 0) & (periods > _LEAST_PERIODS), peak, 0.0)
    around = pad(peak[None], (0, 0, _LOBE, _LOBE), mode="circular") if h > _LOBE else peak[None]
    margin = (0 if h > _LOBE else _LOBE, _LOBE)
    highest = max_pool2d(around, 2 * _LOBE + 1, stride=1, padding=margin)[0]
    places = ((peak == highest) & (peak > _PEAK)).nonzero()
    order = peak[places[:, 0], places[:, 1]].argsort(descending=True)[:_MOST_WAVES]
    return [(int(i), int(j)) for i, j in places[order]]


def _refined(planes: Tensor, fy: float, fx: float, sizes: Sequence[int]) -> Wave:
    """The largest coefficient within one frequency of a tile."""
    steps = torch.linspace(-1, 1, _SEARCH_STEPS, dtype=planes.dtype, device=planes.device)
    for zoom in range(_ZOOMS):
        rows, columns = (
            f + steps / (n * _ZOOM**zoom) for f, n in zip((fy, fx), sizes, strict=True)
        )
        found = _coefficients(planes, rows, columns)
        best = int(found.abs().square().sum(0).argmax())
        i, j = divmod(best, _SEARCH_STEPS)
        fy, fx = float(rows[i]), float(columns[j])
    return Wave(fy, fx, found[:, i, j])


def _turns(f: Tensor, n: int) -> Tensor:
    """exp(−2πi f t) for t = 0 … n−1, (m, n)."""
    t = torch.arange(n, dtype=f.dtype, device=f.device)
    return torch.exp(-2j * math.pi * f[:, None] * t)


def _coefficients(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Coefficients under a Hann window whose sum is one, (C, len(rows), len(columns))."""
    down, right = (hann(n, planes) for n in planes.shape[1:])
    E_y = _turns(rows, len(down)) * (down / down.sum())
    E_x = _turns(columns, len(right)) * (right / right.sum())
    half = torch.complex(E_y.real @ planes, E_y.imag @ planes)  # (C, m, W)
    return half @ E_x.mT


def _is_everywhere(planes: Tensor, wave: Wave, power: float) -> bool:
    """Whether the parts of the picture have the same coefficient up to noise of this power."""
    found = []
    fy, fx = planes.new_tensor([wave.fy]), planes.new_tensor([wave.fx])
    top = 0
    for band in planes.tensor_split(_PARTS, 1):
        left = 0
        for part in band.tensor_split(_PARTS, 2):
            angle = -2 * math.pi * (wave.fy * top + wave.fx * left)
            turn = complex(math.cos(angle), math.sin(angle))
            found.append(turn * _coefficients(part, fy, fx)[:, 0, 0])
            left += part.shape[2]
        top += band.shape[1]
    z = torch.stack(found)  # (16, C)
    mean = z.mean(0)
    scatter = float((z - mean).abs().square().mean())
    samples = planes[0].numel() / _PARTS**2
    chance = _SCATTER_BY_CHANCE * power / (_POWER_OF_MEAN * samples)
    return scatter < chance + _SCATTER * float(mean.abs().square().mean())


def _transmitted(psf: Tensor, wave: Wave) -> float:
    """|F| at the frequency of a wave."""
    rows, columns = (
        _turns(psf.new_tensor([f]), n) for f, n in zip((wave.fy, wave.fx), psf.shape, strict=True)
    )
    return float((rows @ psf.to(rows.dtype) @ columns.mT).abs())


def _distance(a: Wave, b: Wave, sizes: Sequence[int], times: int = 1) -> float:
    """From a frequency to a multiple of another, up to sign and aliasing, in those of a tile."""
    apart = []
    for sign in (1, -1):
        ways = (a.fy - sign * times * b.fy, a.fx - sign * times * b.fx)
        apart.append(max(abs(f - round(f)) * n for f, n in zip(ways, sizes, strict=True)))
    return min(apart)


def _is_harmonic(wave: Wave, other: Wave, sizes: Sequence[int]) -> bool:
    return any(_distance(wave, other, sizes, times) < times for times in range(2, 8))
