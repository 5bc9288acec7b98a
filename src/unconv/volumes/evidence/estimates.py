"""What a volume says of itself before it is restored: its noise, background and best penalty.

Some dozens of tiles, drawn at random, stand for the volume (sample.py).  The mean of their
periodograms tells the noise and the strength of the penalty (spectrum.py).  The background, a
camera's offset or what shines everywhere, is the level of the darkest blocks.  Where the noise is
that of counts its variance grows with the light,

    Var y = gain·(E y − background) + read²,

and both numbers are those of a line through the variance of the finest detail, by how bright its
surroundings are, scaled so that the mean is that of the periodogram.

One estimate serves the whole volume, and the same seed finds the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...numerics.checks import check_choice, check_number
from ...parameter_choice.noise import finest_detail
from .sample import ReadData, Sample, draw_sample, of_blocks
from .spectrum import TilePeriodogram, VolumeSpectra, least_error_strength

NOISE_MODELS = ("gaussian", "poisson")
RIDGE = 1e-2
LEAST_SHOT = 0.01
"""Share of the variance that grows with the light; a gain is not known from less."""
_SIDE, _SIDE_OF_PLANES, _PSFS = 48, 160, 2  # samples of a tile, of three axes and of two; or psfs
_DARK = 0.05  # of the blocks, that are dark
_LEVELS = 24  # of brightness, at which the variance is read
_NO_COUNTS = (
    "the noise does not grow with the light, as far as tiles tell: noise_model='gaussian' fits it"
)
_PEAKS = 16.0  # of the variance of its level: a square that is no noise


@dataclass(frozen=True)
class Estimates:
    """What was read from a volume, in the unit of its values.

    Attributes
    ----------
    noise_std : root mean square of the noise's standard deviation
    gain, read_std : of the noise of counts; 0 and `noise_std` where it is the same everywhere
    background : to be taken off before the volume is restored
    strength, ridge, weights : λ, ε and w_a of the penalty λ(Σ_a w_a‖D_a x‖² + ε‖x‖²)
    signal_std : standard deviation of the blurred signal without its noise
    tiles, left_out : how many were looked at; why -> how many of them say nothing
    spectra : of signal and noise
    doubts : sentences
    """

    noise_std: float
    gain: float
    read_std: float
    background: float
    strength: float
    ridge: float
    weights: tuple[float, ...]
    signal_std: float
    tiles: int
    left_out: dict[str, int]
    spectra: VolumeSpectra
    doubts: tuple[str, ...]

    @property
    def shot_share(self) -> float:
        """How much of the variance of the noise grows with the light."""
        return 1 - (self.read_std / self.noise_std) ** 2 if self.noise_std else 0.0


def estimate(
    read: ReadData,
    shape: Sequence[int],
    psf: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    noise_model: str = "gaussian",
    noise_std: float | None = None,
    background: float | None = None,
    strength: float | None = None,
    gain: float | None = None,
    ridge: float = RIDGE,
    seed: int = 0,
) -> Estimates:
    """Read noise, background and the best penalty from a sample of a volume.

    Parameters
    ----------
    read : gives a region (a slice with start and stop for each axis) of the data as an array
    shape : of the data, two or three axes
    psf : of as many axes, sum 1, its centre the sample n//2 of each
    spacing : of the samples along each axis, in any one unit; by default the same along all
    noise_model : 'gaussian', or 'poisson' where the variance of the noise grows with the light
    noise_std, background, strength : if they are known
    gain : of the noise of counts, if it is known; read_std then explains the rest of noise_std
    ridge : ε of the penalty
    seed : of the places that are looked at

    Returns
    -------
    Estimates

    Raises
    ------
    ValueError
        If no finite value is found, there are too few samples to tell noise from what is in them,
        or a number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> from unconv.volumes.evidence.estimates import estimate
    >>> scene = torch.zeros(128, 128, dtype=torch.float64)
    >>> scene[20:60, 30:80] = 100
    >>> blur = psf.gaussian(2.0)
    >>> y = torch.nn.functional.conv2d(scene[None, None], blur[None, None])[0, 0]
    >>> y = y + 2 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).double()
    >>> found = estimate(lambda region: y.numpy()[region], y.shape, blur)
    >>> 1.8 < found.noise_std < 2.2, abs(found.background) < 1
    (True, True)
    """
    check_choice("noise_model", noise_model, NOISE_MODELS)
    if noise_std is not None:
        check_number("noise_std", noise_std, positive=True)
    if background is not None:
        check_number("background", background, least=-math.inf)
    if strength is not None:
        check_number("strength", strength, positive=True)
    if gain is not None:
        check_number("gain", gain, positive=True)
    weights = penalty_weights(spacing or (1.0,) * len(shape))
    sample = draw_sample(read, shape, _least_sides(shape, psf.shape), seed)
    data = TilePeriodogram(sample.tiles, psf, weights)
    spectra = data.fit(noise_std)
    if noise_std is None and sample.step:  # rounding to whole numbers is the least there is
        spectra = spectra.at_least(sample.step / math.sqrt(12))
    level = _background(sample.tiles) if background is None else background
    noise = 0.0, spectra.noise_std
    if noise_model == "poisson" and gain is None:
        noise = _counts_noise(sample.tiles, level, spectra.noise_std)
    elif gain is not None:
        light = max(float(sample.tiles.mean()) - level, 0.0)
        noise = gain, math.sqrt(max(spectra.noise_std**2 - gain * light, 0.0))
    if strength is None:
        strength = least_error_strength(spectra, data, ridge)
    found = Estimates(
        noise_std=spectra.noise_std,
        gain=noise[0],
        read_std=noise[1],
        background=level,
        strength=strength,
        ridge=ridge,
        weights=weights,
        signal_std=math.sqrt(max(data.variance - spectra.noise_std**2, 0.0)),
        tiles=sample.drawn,
        left_out=sample.left_out,
        spectra=spectra,
        doubts=_doubts(sample, data, spectra, noise_std is None),
    )
    if noise_model == "poisson" and gain is None and found.shot_share < LEAST_SHOT:
        return replace(found, doubts=(*found.doubts, _NO_COUNTS))
    return found


def penalty_weights(spacing: Sequence[float]) -> tuple[float, ...]:
    """w_a = (finest spacing / spacing of the axis)²: differences per length, not per sample.

    Examples
    --------
    >>> penalty_weights((0.2, 0.1, 0.1))
    (0.25, 1.0, 1.0)
    """
    each = [check_number("spacing", v, positive=True) for v in spacing]
    return tuple((min(each) / v) ** 2 for v in each)


def _least_sides(shape: Sequence[int], psf: Sequence[int]) -> list[int]:
    side = _SIDE if len(shape) > 2 else _SIDE_OF_PLANES
    return [min(n, max(side, _PSFS * k)) for n, k in zip(shape, psf, strict=True)]


def _background(tiles: NDArray[np.float64]) -> float:
    """The median of the darkest blocks."""
    blocks = np.concatenate([of_blocks(tile, np.mean).ravel() for tile in tiles])
    return float(np.median(blocks[blocks <= np.quantile(blocks, _DARK)]))


def _counts_noise(
    tiles: NDArray[np.float64], background: float, noise_std: float
) -> tuple[float, float]:
    """Gain, and the standard deviation of what does not grow with the light; see the module."""
    from scipy.optimize import nnls

    light, variance, count = _variance_by_light(tiles, background)
    weight = np.sqrt(count) / np.maximum(variance, 1e-300)  # the error of a variance is its share
    rows = np.stack([light, np.ones_like(light)], 1) * weight[:, None]
    (gain, rest), _ = nnls(rows, variance * weight)
    mean = float(tiles.mean() - background)
    line = gain * max(mean, 0.0) + rest
    if gain <= 0 or line <= 0:  # no grey levels, or no slope: what counts alone would give
        return (noise_std**2 / mean, 0.0) if mean > 0 else (0.0, noise_std)
    scale = noise_std**2 / line
    return float(gain * scale), math.sqrt(rest * scale)


def _variance_by_light(
    tiles: NDArray[np.float64], background: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For levels of brightness the light, the variance of the finest detail, and the samples."""
    sides = [n for n in tiles.shape[1:] if n > 1]  # along one sample there are no differences
    y = torch.from_numpy(tiles).view(len(tiles), 1, *sides)
    squares = finest_detail(y).square().flatten().numpy()
    pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(sides) - 1]
    light = pool(y, [min(3, n) for n in sides], stride=1).flatten().numpy() - background
    edges = np.unique(np.quantile(light, np.linspace(0, 1, _LEVELS + 1)))
    level = np.clip(np.searchsorted(edges, light, side="right") - 1, 0, max(len(edges) - 2, 0))
    found = []
    for i in range(max(len(edges) - 1, 1)):
        of_level = squares[level == i]
        if len(of_level) > 1:
            kept = of_level[of_level <= _PEAKS * of_level.mean()]
            found.append((float(light[level == i].mean()), float(kept.mean()), float(len(kept))))
    light, variance, count = np.array(found).T
    return np.maximum(light, 0.0), variance, count


def _doubts(
    sample: Sample, data: TilePeriodogram, spectra: VolumeSpectra, looked_for: bool
) -> tuple[str, ...]:
    doubts = [] if sample.doubt is None or not looked_for else [sample.doubt]
    if spectra.noise_std**2 >= data.variance > 0:
        doubts.append(
            "the volume holds no more than noise, as far as its tiles tell; give noise_std if it "
            "is weaker"
        )
    return tuple(doubts)
