"""Spectra of signal and noise of a blurred photograph, by the likelihood of its periodogram.

The model: a scene with the power spectrum S(ω) = c·|ω|^(−p), blurred by a psf with the transfer
function F, and noise of the spectrum N (noise_models.py):

    v(ω) = c·|ω|^(−p) |F(ω)|² + N(ω).

The picture is faded out by a Hann window, or the jump where opposite edges meet would drown what
the blur left.  Its periodogram P then has the mean v̄, v convolved with the spectrum of the window,
computed exactly (debiased Whittle likelihood), so that strips of a few rows count right too.  White
noise keeps its power under the window.  P/v̄ is exponential, a mean of d of them a gamma variable.

Photographs are not quite their law: edges along few directions, a hot column, a lamp.  So the
likelihood is that of a mixture of scales, an F distribution with 2d and 2ν degrees of freedom,

    Σ_ω log κv̄ + (1 + ν/d) log(1 + d P/(ν κ v̄)),      ν = 3,

which bounds what one frequency can say; κ makes it unbiased for noise.  The exponent p, the radius
of the noise's low-pass and, for each, c and s are where it is least, the latter by damped Newton
steps (Levenberg–Marquardt); a low-pass is believed where
it gains more than the logarithm of the number of frequencies (BIC).

Frequencies that a JPEG has rounded to nothing say nothing of v, and are left out.

Cost: some dozens of FFTs of twice the size of a tile of at most 512².
Not for: signals that are not picture-like.

Source: Sykulski, Olhede, Guillaumin, Lilly & Early, "The debiased Whittle likelihood", Biometrika
106 (2019) 251; the power law of pictures, Field, J. Opt. Soc. Am. A 4 (1987) 2379; mixtures of
scales, Lange, Little & Taylor, J. Amer. Statist. Assoc. 84 (1989) 881; damped steps, Marquardt,
J. SIAM 11 (1963) 431.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from .noise_models import JpegRounding, NoiseModel, low_pass

_TILE, _TILES = 512, 3  # samples of a tile, and tiles along an axis, at most
_LOWEST_FREQUENCY = 2.5  # periods in the picture; below, exposure and the window dominate
_FREQUENCIES = 40_000  # that are looked at, at most
NU = 3.0
_RADII = (0.0, 0.3, 0.45, 0.6, 0.8, 1.0)
LEAST_EXPONENT, _LARGEST_EXPONENT, _OF_EXPONENT = 1.0, 4.5, 0.05
_LEVELS = (0.02, 0.25, 0.6)  # quantiles of the power at which the noise may be: starts
USUAL_EXPONENT, _USUAL_ERROR = 2.5, -4.0  # p and log ε: starts
_NOTHING_LEFT = 0.5  # of a JPEG's error: frequencies with less power were rounded to zero
_CELL = 9  # frequencies along each axis over which power is averaged
_INDEPENDENT = 0.26  # of the frequencies of a faded picture: 1/(1.94)², Hann's bandwidth
_LONGEST_STEP = 2.0  # of a logarithm
_MOST_NEWTON_STEPS = 100  # of the search for c and s
_LEAST_DAMPING, _FIRST_DAMPING, _MOST_DAMPING = 1e-5, 1e-3, 1e6  # of these, relative
_EASED, _TIGHTENED = 4.0, 16.0  # by what it changes after a step that gained, and one that did not
_GAINS_NOTHING = 1e-10  # of the loss: nothing more is gained
_FLOOR = 1e-4  # noise, of the standard deviation of the picture, that is taken for none


@dataclass(frozen=True)
class PictureSpectra:
    """Spectra of a photograph.

    Attributes
    ----------
    scale, exponent : c and p of S = c·|ω|^(−p)
    noise : the model of the noise
    loss : minus the logarithm of the likelihood, of one frequency
    frequencies : that count as independent
    """

    scale: float
    exponent: float
    noise: NoiseModel
    loss: float
    frequencies: float

    def signal_psd(self, sizes: Sequence[int], device: torch.device | None = None) -> Tensor:
        """S on a grid, (*sizes) in the order of torch.fft.fftn; even below what was fitted."""
        fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in sizes)
        radius = torch.hypot(fy[:, None], fx[None])
        return self.scale * radius.clamp(min=_LOWEST_FREQUENCY / max(sizes)) ** -self.exponent

    def noise_psd(self, sizes: Sequence[int], device: torch.device | None = None) -> Tensor:
        """N on a grid, (*sizes), or () where it is white."""
        if self.noise.is_white:
            power = max(self.noise.std**2, self.noise.floor)
            return torch.tensor(power, dtype=torch.float64, device=device)
        fy, fx = (torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in sizes)
        return self.noise.psd(fy, fx)


class Periodogram:
    """The periodogram of a faded photograph, and what a model makes of it.

    Parameters
    ----------
    planes : (C, H, W) float64, complete and finite
    psf : (h, w)

    Attributes
    ----------
    power : (h, w//2 + 1) P, the mean over colours and tiles
    degrees : d, how many periodograms it is the mean of
    fy, fx : the frequencies
    gain, radius : |F|² and |ω| on a grid of twice the size, (2h, w + 1)
    """

    def __init__(self, planes: Tensor, psf: Tensor) -> None:
        parts = tiles(planes)
        self.sizes = h, w = tuple(parts.shape[-2:])
        self.degrees = len(parts)
        window = hann(h, planes)[:, None] * hann(w, planes)
        weight = window.square() / (h * w)
        detail = parts - (parts * weight).sum((-2, -1), keepdim=True)
        self.variance = float((detail.square() * weight).sum((-2, -1)).mean())
        self.power = torch.fft.rfft2(detail * window).abs().square().mean(0) / (h * w)
        self.fy = torch.fft.fftfreq(h, dtype=torch.float64, device=planes.device)
        self.fx = torch.fft.rfftfreq(w, dtype=torch.float64, device=planes.device)
        twice = (2 * h, 2 * w)
        self._lags = torch.fft.irfft2(torch.fft.rfft2(window, s=twice).abs().square(), s=twice)
        self._lags /= h * w
        self.gain = transfer(psf.to(planes), twice).abs().square()  # all that is the psf's
        fy, fx = torch.fft.fftfreq(2 * h).to(self.fy), torch.fft.rfftfreq(2 * w).to(self.fx)
        self.radius = torch.hypot(fy[:, None], fx[None]).clamp(min=0.5 / max(h, w))

    def under(self, psf: Tensor) -> Periodogram:
        """That of the same photograph for another psf."""
        other = copy(self)
        other.gain = transfer(psf.to(self.power), [2 * n for n in self.sizes]).abs().square()
        return other

    def of_signal(self, exponent: float) -> Tensor:
        """The mean of the periodogram for S = |ω|^(−p) without noise."""
        return self.mean_of(self.gain * self.radius**-exponent)

    def mean_of(self, v: Tensor) -> Tensor:
        """v̄ of a spectrum v on the grid of twice the size, (2h, w + 1)."""
        twice = [2 * n for n in self.sizes]
        correlation = torch.fft.irfft2(v, s=twice) * self._lags
        return torch.fft.rfft2(correlation)[::2, ::2].real.clamp(min=1e-300)

    @cached_property
    def counts(self) -> Tensor:
        """How often each frequency stands in the whole spectrum; 0 for the lowest."""
        h, w = self.sizes
        counts = torch.full_like(self.power, 2.0)
        counts[:, 0] = 1
        if w % 2 == 0:
            counts[:, -1] = 1
        periods = torch.hypot((self.fy * h)[:, None], (self.fx * w)[None])
        return torch.where(periods > _LOWEST_FREQUENCY, counts, 0.0)

    def fit(self, rounding: JpegRounding | None = None, std: float | None = None) -> PictureSpectra:
        """The spectra of the largest likelihood.

        rounding : of the JPEG that the picture was, if it was one
        std : standard deviation of white noise, if it is known
        """
        return Fit(self, rounding, std).best()[0]


def transfer(psf: Tensor, sizes: Sequence[int]) -> Tensor:
    """F of a psf with its centre at n//2 of each axis, half of the last one's frequencies.

    Where it is larger than the grid it wraps round.
    """
    lines = (
        (torch.arange(n, device=psf.device) - n // 2) % size
        for n, size in zip(psf.shape, sizes, strict=True)
    )
    at = torch.meshgrid(*lines, indexing="ij")
    return torch.fft.rfftn(psf.new_zeros(*sizes).index_put(at, psf, accumulate=True))


def whole(power: Tensor, width: int) -> Tensor:
    """All of a spectrum of a real picture, (h, width), from its half (h, width//2 + 1)."""
    return torch.cat([power, power[:, 1 : (width + 1) // 2].flip(1, 0).roll(1, 0)], 1)


def smoothed(power: Tensor, width: int) -> Tensor:
    """The mean over cells of frequencies of the half of a spectrum, (h, width//2 + 1)."""
    full = whole(power, width)
    size = [min(_CELL, 2 * ((n - 1) // 2) + 1) for n in full.shape]
    margin = [size[1] // 2] * 2 + [size[0] // 2] * 2
    wide = pad(full[None, None], margin, mode="circular")
    return avg_pool2d(wide, size, stride=1)[0, 0, :, : power.shape[1]]


class Fit:
    """The search for p and ρ, and for each for c and s, and for ε where the psf may be wrong.

    Parameters
    ----------
    data, rounding, std : as of `Periodogram.fit`
    shapes
        The mean periodograms for c = 1 and an exponent: of the scene, and of what an error of the
        psf makes of it, which counts ε times (psf_error.py); by default the scene's alone
    radii : of the low-pass of the noise that are tried
    exponents : at which the search for p begins
    most : frequencies that are looked at
    """

    def __init__(
        self,
        data: Periodogram,
        rounding: JpegRounding | None,
        std: float | None,
        shapes: Callable[[float], list[Tensor]] | None = None,
        radii: Sequence[float] = _RADII,
        exponents: Sequence[float] = (USUAL_EXPONENT,),
        most: int = _FREQUENCIES,
    ) -> None:
        self.data, self.rounding, self.std = data, rounding, std
        self.shapes = shapes or (lambda exponent: [data.of_signal(exponent)])
        self.radii = radii if std is None else (0.0,)
        self.exponents = exponents
        error = torch.zeros_like(data.power)
        counts = data.counts
        if rounding is not None:
            error = rounding.psd(data.fy, data.fx)
            width = data.sizes[1]
            left = smoothed(data.power, width) > _NOTHING_LEFT * smoothed(error, width)
            counts = torch.where(left, counts, 0.0) if bool((left & (counts > 0)).any()) else counts
        self.usable = _some(counts.flatten().nonzero()[:, 0], most)
        self.power, self.error = self._taken(data.power), self._taken(error)
        self.counts = self._taken(counts)
        self.counts = self.counts / self.counts.sum()
        self.frequencies = _INDEPENDENT * float(counts.sum())
        self._signals: dict[float, list[Tensor]] = {}
        self._found: dict[tuple[float, float], tuple[float, list[float]]] = {}
        scale = math.log(max(float(self.power.mean()) * 1e-3, 1e-30))
        levels = self.power.quantile(self.power.new_tensor(_LEVELS)).clamp(min=1e-30).log()
        errors = [] if shapes is None else [_USUAL_ERROR]
        self.starts = [[scale, level, *errors] for level in levels.tolist()]

    def _taken(self, values: Tensor) -> Tensor:
        return values.flatten()[self.usable]

    def best(self) -> tuple[PictureSpectra, float]:
        """Over the radii of a low-pass, as long as they gain, and the exponents; and ε."""
        found: list[tuple[float, float, float]] = []  # loss, radius, exponent
        begin = self.exponents
        for radius in self.radii:
            reached = [self._exponent(radius, p) for p in begin]
            exponent = min((self._at(p, radius)[0], p) for p in reached)[1]
            begin = (exponent,)
            price = math.log(self.frequencies + 1) / (self.frequencies + 1) if radius else 0.0
            found.append((self._at(exponent, radius)[0] + price, radius, exponent))
            if len(found) > 2 and found[-1][0] > found[-2][0] > found[-3][0]:
                break
        loss, radius, exponent = min(found)
        _, (log_scale, log_variance, *log_error) = self._at(exponent, radius)
        floor = _FLOOR**2 * self.data.variance
        noise = NoiseModel(math.exp(log_variance / 2), radius, self.rounding, floor)
        best = PictureSpectra(math.exp(log_scale), exponent, noise, loss, self.frequencies)
        return best, math.exp(log_error[0]) if log_error else 0.0

    def _exponent(self, radius: float, p: float) -> float:
        """The best exponent for a radius, by steps that halve."""
        step = 0.4
        while step > 0.8 * _OF_EXPONENT:
            near = [
                round(min(max(q, LEAST_EXPONENT), _LARGEST_EXPONENT), 2)
                for q in (p - step, p, p + step)
            ]
            best = min(near, key=lambda q: self._at(q, radius)[0])
            if best == round(p, 2):
                step /= 2
            p = best
        return p

    def _at(self, exponent: float, radius: float) -> tuple[float, list[float]]:
        """(loss, [log c, log s²] and perhaps log ε) for an exponent and a radius."""
        key = (round(exponent, 2), radius)
        if key not in self._found:
            known = [
                (abs(p - exponent), x) for (p, r), (_, x) in self._found.items() if r == radius
            ]
            starts = [min(known)[1]] if known else self.starts
            self._found[key] = min(self._solved(*key, start) for start in starts)
        return self._found[key]

    def _solved(
        self, exponent: float, radius: float, start: list[float]
    ) -> tuple[float, list[float]]:
        if exponent not in self._signals:
            self._signals[exponent] = [self._taken(shape) for shape in self.shapes(exponent)]
        signal, *wrong = self._signals[exponent]
        shape = self._taken(low_pass(self.data.fy, self.data.fx, radius))
        x = torch.tensor(start, dtype=torch.float64, device=signal.device)
        if self.std is not None:
            x[1] = 2 * math.log(max(self.std, 1e-150))
        loss, downhill, curvature = self._looked_at(x, signal, shape, wrong)
        damping = _FIRST_DAMPING
        for _ in range(_MOST_NEWTON_STEPS):
            damped = curvature + torch.diag(damping * curvature.diagonal().clamp(min=1e-30))
            step = torch.linalg.solve(damped, downhill).clamp(-_LONGEST_STEP, _LONGEST_STEP)
            other = self._looked_at(x + step, signal, shape, wrong)
            gained = loss - other[0]
            if gained > 0:
                x, damping = x + step, max(damping / _EASED, _LEAST_DAMPING)
                loss, downhill, curvature = other
                if gained < _GAINS_NOTHING:
                    break
            else:
                damping *= _TIGHTENED
                if damping > _MOST_DAMPING:
                    break
        return loss, x.tolist()

    def _looked_at(
        self, x: Tensor, signal: Tensor, shape: Tensor, wrong: list[Tensor]
    ) -> tuple[float, Tensor, Tensor]:
        """The loss of one frequency, minus its gradient, and its curvature if log v were linear.

        With R the derivatives of log v in x these are −Rᵀ slope and Rᵀ diag(dslope/dlog v) R; with
        t as in `likelihood` and w = 1 + ν/d the slope is 1 − w t/(1 + t), and dt/dlog v = −t makes
        its derivative w t/(1 + t)², which is never negative.
        """
        parts = [x[0].exp() * signal, x[1].exp() * shape]
        if wrong:  # an error of the psf counts by itself, and with the scene
            parts.append((x[0] + x[2]).exp() * wrong[0])
            parts[0] = parts[0] + parts[2]
        v = parts[0] + parts[1] + self.error
        each, slope = likelihood(self.power, v, self.data.degrees)
        R = torch.stack(parts) / v
        if self.std is not None:
            R[1] = 0  # the noise is known
        rise = (1 - slope) * (1 - (1 - slope) / (1 + NU / self.data.degrees))
        return (
            float(each.dot(self.counts)),
            R @ (-slope * self.counts),
            (R * (rise * self.counts)) @ R.mT,
        )


def likelihood(power: Tensor, v: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Minus the logarithm of the likelihood of each mean of d periodograms, over d; its slope.

    See the module; the slope is in log v.
    """
    v = unbiased(degrees) * v
    t = degrees / NU * power / v
    weight = 1 + NU / degrees
    return v.log() + weight * torch.log1p(t), 1 - weight * t / (1 + t)


def tiles(planes: Tensor, side: int = _TILE) -> Tensor:
    """(N, h, w): all colours of the picture (C, H, W), or of tiles of a side spread over it."""
    parts = planes
    for axis in (-2, -1):
        n = planes.shape[axis]
        if n > side:
            count = min(_TILES, -(-n // side))
            starts = [round(i * (n - side) / (count - 1)) for i in range(count)]
            parts = torch.cat([parts.narrow(axis, start, side) for start in starts])
    return parts


def hann(n: int, like: Tensor) -> Tensor:
    """A Hann window of n samples and unit power, (n,), in the dtype of `like`."""
    t = torch.arange(n, dtype=like.dtype, device=like.device)
    window = torch.sin(math.pi * (t + 0.5) / n) ** 2
    return window / window.square().mean().sqrt()


def _some(indices: Tensor, most: int) -> Tensor:
    """At most so many of them, drawn without a pattern and always the same."""
    if len(indices) <= most:
        return indices
    chosen = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))
    return indices[chosen[:most].to(indices.device)]


@lru_cache(maxsize=32)
def unbiased(degrees: float) -> float:
    """κ: the likelihood of the module is greatest at v = E P for a gamma variable P."""
    from scipy.special import gammaincinv

    count = 4_000
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    ratios = torch.as_tensor(gammaincinv(degrees, middle.numpy())) / degrees
    low, high = 0.01, 2.0
    for _ in range(60):
        kappa = math.sqrt(low * high)
        t = degrees / NU * ratios / kappa
        slope = float(((1 + NU / degrees) * t / (1 + t)).mean())
        low, high = (kappa, high) if slope > 1 else (low, kappa)
    return math.sqrt(low * high)
