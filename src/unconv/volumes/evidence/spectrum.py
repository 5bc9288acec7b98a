"""Spectra of signal and noise of a volume, by the likelihood of the mean periodogram of its tiles.

The model is that of `parameter_choice.whittle`, for any number of axes and samples of any shape:

    v(ω) = S(ω) |F(ω)|² + s²,      S = c (d(ω) + κ²)^(−p/2),      d = Σ_a w_a 4 sin²(ω_a/2)

F is the transfer function of the psf, d the spectrum of the squared differences with the weights
w_a of the penalty, and κ a wavenumber below which the signal has no more power: stacks of cells,
beads and fibres are no photographs, whose power rises down to the lowest frequency.  Tiles are
faded by a Hann window, and the mean of their periodogram is computed exactly and not assumed
(debiased Whittle likelihood).  c and s² are found by a quasi-Newton method for each p and κ, these
by a simplex.

From it the factor λ of the penalty λ(Σ_a w_a‖D_a x‖² + ε‖x‖²) that leaves the least error,

    E|x̂ − x|² = Σ_ω (|F|² s² + λ²(d + ε)² S) / (|F|² + λ(d + ε))²,

which is not λ = s²/c unless p = 2 is the truth.  ε is given: it holds λ_min from below, and with
10⁻² in place of 10⁻³ no volume of beads, shells or brains lost more than 0.01 dB (0.2 with 10⁻¹).

Cost: some 80 transforms of twice the size of a tile.

Source: Sykulski, Olhede, Guillaumin, Lilly & Early, "The debiased Whittle likelihood", Biometrika
106 (2019) 251; S is the spectrum of Matérn, Stein, "Interpolation of spatial data", Springer 1999.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...parameter_choice.whittle import hann, likelihood, transfer

_LOWEST_RING = 2.5  # periods in a tile; below, its mean and the window dominate
_MOST_FREQUENCIES = 20_000  # that are looked at, at most
_LEVELS = (0.05, 0.5)  # quantiles of the power at which the noise may be: starts
_FLOOR = 1e-4  # noise, of the standard deviation of the data, that is taken for none
_EXPONENTS, _KAPPAS = (1.0, 8.0), (-14.0, 2.0)  # p and log κ²: where they may be
_SIMPLEX_STEPS = 40  # of the simplex
_LOWEST_STRENGTH, _HIGHEST_STRENGTH = -25, 12  # log λ
_RINGS_OF_SPECTRUM = 40  # of frequencies, for the eye


@dataclass(frozen=True)
class VolumeSpectra:
    """Spectra of a volume.

    Attributes
    ----------
    scale, exponent, kappa2 : c, p and κ² of S
    noise_std : s
    rings, measured, fitted, noise
        For the eye: frequencies in cycles per sample of the finest axis, and for each the mean of
        the periodogram, of what the model expects of it, and of the noise in it.
    """

    scale: float
    exponent: float
    kappa2: float
    noise_std: float
    rings: tuple[float, ...]
    measured: tuple[float, ...]
    fitted: tuple[float, ...]
    noise: tuple[float, ...]

    def at_least(self, noise_std: float) -> VolumeSpectra:
        """Spectra with at least so much noise."""
        if self.noise_std >= noise_std:
            return self
        more = noise_std**2 - self.noise_std**2
        return replace(
            self,
            noise_std=noise_std,
            fitted=tuple(v + more for v in self.fitted),
            noise=(noise_std**2,) * len(self.noise),
        )

    def signal_psd(self, differences: Tensor) -> Tensor:
        """S where the squared differences have the spectrum d."""
        return self.scale * (differences + self.kappa2) ** (-self.exponent / 2)


class TilePeriodogram:
    """The mean periodogram of faded tiles.

    Parameters
    ----------
    tiles : (N, *side) float64, complete and finite
    psf : of as many axes, its centre the sample n//2 of each
    weights : w_a, one per axis
    """

    def __init__(self, tiles: NDArray[np.float64], psf: Tensor, weights: Sequence[float]) -> None:
        self.sizes, self.weights = tiles.shape[1:], tuple(weights)
        self.degrees, self.dims = len(tiles), tuple(range(len(self.sizes)))
        windows = [hann(n, psf) for n in self.sizes]
        window = _outer(windows)
        volume = window.numel()
        power = torch.zeros(*self.sizes[:-1], self.sizes[-1] // 2 + 1, dtype=torch.float64)
        variance = 0.0
        for part in tiles:
            tile = torch.from_numpy(part)
            detail = tile - (tile * window.square()).sum() / volume
            variance += float((detail * window).square().sum()) / volume
            power += torch.fft.rfftn(detail * window, dim=self.dims).abs().square()
        self.power, self.variance = power / (volume * len(tiles)), variance / len(tiles)
        self.twice = tuple(2 * n for n in self.sizes)
        lags = [torch.fft.irfft(torch.fft.rfft(w, n=2 * len(w)).abs().square()) for w in windows]
        self._lags = _outer([a / len(w) for a, w in zip(lags, windows, strict=True)])
        self.gain = transfer(psf.double(), self.twice).abs().square()
        self.differences = differences_psd(self.twice, weights)

    def mean_of(self, v: Tensor) -> Tensor:
        """The mean of the periodogram of data of spectrum v, which is on the grid of twice the
        size.
        """
        correlation = torch.fft.irfftn(v, s=self.twice, dim=self.dims) * self._lags
        mean = torch.fft.rfftn(correlation, dim=self.dims).real
        return mean[(slice(None, None, 2),) * len(self.sizes)].clamp(min=1e-300)

    def counts(self) -> Tensor:
        """How often each frequency stands in the whole spectrum; 0 for the lowest."""
        counts = torch.full_like(self.power, 2.0)
        counts[..., 0] = 1
        if self.sizes[-1] % 2 == 0:
            counts[..., -1] = 1
        periods = sum(
            (f * n).square() for f, n in zip(_frequencies(self.sizes), self.sizes, strict=True)
        )
        assert isinstance(periods, Tensor)
        return torch.where(periods.sqrt() > _LOWEST_RING, counts, 0.0)

    def fit(self, noise_std: float | None = None) -> VolumeSpectra:
        """The spectra of the largest likelihood; with the noise as told, where it is."""
        return _Fit(self, noise_std).best()


class _Fit:
    """The search for p and κ, and for each for c and s²."""

    def __init__(self, data: TilePeriodogram, noise_std: float | None) -> None:
        self.data, self.given = data, noise_std
        self.counts = data.counts()
        usable = self.counts.flatten().nonzero()[:, 0]
        if not len(usable):
            raise ValueError(
                f"{' × '.join(map(str, data.sizes))} samples are too few to tell noise from what "
                "is in them; give a volume of some more along one axis at least."
            )
        if len(usable) > _MOST_FREQUENCIES:
            draw = torch.Generator().manual_seed(0)
            usable = usable[torch.randperm(len(usable), generator=draw)[:_MOST_FREQUENCIES]]
        self.usable = usable
        self.power = data.power.flatten()[usable]
        self.share = self.counts.flatten()[usable] / self.counts.flatten()[usable].sum()
        self.floor = max(_FLOOR**2 * data.variance, 1e-300)
        self.found: dict[tuple[float, ...], tuple[float, NDArray[np.float64]]] = {}

    def best(self) -> VolumeSpectra:
        from scipy.optimize import minimize

        search = minimize(
            lambda at: self._at(at)[0],
            [3.0, -5.0],
            method="Nelder-Mead",
            options={
                "maxfev": _SIMPLEX_STEPS,
                "initial_simplex": [[3.0, -5.0], [4.0, -5.0], [3.0, -2.0]],
                "xatol": 0.05,
                "fatol": 1e-7,
            },
        )
        exponent, kappa2 = _shape(search.x)
        log_scale, log_variance = self._at(search.x)[1]
        shape = self._signal(exponent, kappa2)
        variance = max(math.exp(log_variance), self.floor)
        fitted = math.exp(log_scale) * shape + variance
        rings = _rings(self.data, self.counts, fitted)
        return VolumeSpectra(
            scale=math.exp(log_scale),
            exponent=exponent,
            kappa2=kappa2,
            noise_std=math.sqrt(variance),
            noise=(variance,) * len(rings[0]),
            rings=rings[0],
            measured=rings[1],
            fitted=rings[2],
        )

    def _signal(self, exponent: float, kappa2: float) -> Tensor:
        d = self.data
        return d.mean_of(d.gain * (d.differences + kappa2) ** (-exponent / 2))

    def _at(self, at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Minus the log-likelihood of a frequency, and [log c, log s²]."""
        key = tuple(float(v) for v in at)
        if key not in self.found:
            signal = self._signal(*_shape(at)).flatten()[self.usable]
            self.found[key] = min(
                (self._solved(signal, s) for s in self._starts(signal)), key=lambda found: found[0]
            )
        return self.found[key]

    def _starts(self, signal: Tensor) -> list[list[float]]:
        if self.found:
            near = min(self.found.values(), key=lambda found: found[0])[1]
            levels = [float(near[1])]
        else:
            levels = [math.log(max(float(self.power.quantile(q)), self.floor)) for q in _LEVELS]
        top = signal.topk(max(1, len(signal) // 100))
        scale = math.log(max(float(self.power[top.indices].mean() / top.values.mean()), 1e-300))
        return [[scale, level] for level in levels]

    def _solved(self, signal: Tensor, start: list[float]) -> tuple[float, NDArray[np.float64]]:
        from scipy.optimize import minimize

        low = math.log(self.floor)
        if self.given is not None:
            start = [start[0], max(2 * math.log(max(self.given, 1e-150)), low)]
        bounds = [(None, None), (low, None) if self.given is None else (start[1], start[1])]

        def loss(x: NDArray[np.float64]) -> tuple[float, list[float]]:
            parts = math.exp(min(x[0], 600.0)) * signal, math.exp(x[1])
            v = parts[0] + parts[1]
            each, slope = likelihood(self.power, v, self.data.degrees)
            weighted = self.share * slope / v
            slopes = [float((weighted * part).sum()) for part in parts]
            return float((each * self.share).sum()), slopes

        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        return float(found.fun), found.x


def least_error_strength(spectra: VolumeSpectra, data: TilePeriodogram, ridge: float) -> float:
    """λ of the least expected error; see the module."""
    from scipy.optimize import minimize_scalar

    sizes = data.sizes
    gain = data.gain[(slice(None, None, 2),) * len(sizes)].flatten()
    d = differences_psd(sizes, data.weights).flatten()
    counts = data.counts().flatten()
    S, variance = spectra.signal_psd(d), spectra.noise_std**2

    def risk(log_strength: float) -> float:
        penalty = math.exp(log_strength) * (d + ridge)
        error = (gain * variance + penalty.square() * S) / (gain + penalty).square()
        return math.log(max(float((error * counts).sum()), 1e-300))

    tries = [_LOWEST_STRENGTH + step for step in range(_HIGHEST_STRENGTH - _LOWEST_STRENGTH + 1)]
    near = min(tries, key=risk)
    found = minimize_scalar(risk, bounds=(near - 1, near + 1), method="bounded")
    return math.exp(float(found.x))


def differences_psd(sizes: Sequence[int], weights: Sequence[float]) -> Tensor:
    """d on a grid of these sizes, of the half of a spectrum of real data."""
    parts = [
        w * 4 * torch.sin(math.pi * f).square()
        for w, f in zip(weights, _frequencies(sizes), strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _shape(at: NDArray[np.float64]) -> tuple[float, float]:
    """p and κ² of a point of the search, within their bounds."""
    return float(np.clip(at[0], *_EXPONENTS)), math.exp(float(np.clip(at[1], *_KAPPAS)))


def _frequencies(sizes: Sequence[int]) -> list[Tensor]:
    """In cycles per sample, of each axis, to be broadcast; the last one has its half."""
    last = len(sizes) - 1
    found = []
    for axis, n in enumerate(sizes):
        make = torch.fft.rfftfreq if axis == last else torch.fft.fftfreq
        found.append(make(n, dtype=torch.float64).reshape(-1, *[1] * (last - axis)))
    return found


def _outer(lines: Sequence[Tensor]) -> Tensor:
    product = lines[0]
    for line in lines[1:]:
        product = product[..., None] * line
    return product


def _rings(
    data: TilePeriodogram, counts: Tensor, fitted: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Frequency, and the means over rings of it of the periodogram and of its model."""
    top = max(data.weights)
    squares = [w / top * f.square()
               for w, f in zip(data.weights, _frequencies(data.sizes), strict=True)]  # fmt: skip
    radius = squares[0]
    for square in squares[1:]:
        radius = radius + square
    radius = radius.sqrt().flatten()
    number = (
        (radius / float(radius.max()) * _RINGS_OF_SPECTRUM).long().clamp(max=_RINGS_OF_SPECTRUM - 1)
    )
    weight = counts.flatten()

    def mean(values: Tensor) -> Tensor:
        sums = torch.zeros(_RINGS_OF_SPECTRUM, dtype=torch.float64)
        return sums.index_add(0, number, values.flatten() * weight)

    total = mean(torch.ones_like(radius))
    seen = total > 0
    found = (mean(values)[seen] / total[seen] for values in (radius, data.power, fitted))
    rings, measured, model = (tuple(values.tolist()) for values in found)
    return rings, measured, model
