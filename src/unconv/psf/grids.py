"""A psf on another grid: centred, cropped, sampled more finely or more coarsely.

A psf that is sampled finely enough is the band-limited function of its samples,

    h(t) = Σ_j h[j] Π_axes sinc(t − j),        sinc(t) = sin(πt)/(πt)

so that it can be moved by fractions of a sample and sampled anew, exactly.  What it has above the
Nyquist frequency of a coarser grid would come back folded to lower frequencies, and is refused.  A
camera does not sample but integrate over its pixels: that is the factor sinc(f·pixel) on the
transfer function, with which any coarser grid is right.

Cost: one matrix of (samples after) × (samples before) an axis.

Source: Shannon, "Communication in the presence of noise", Proc. IRE 37 (1949).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..inverse import AccuracyWarning
from ..numerics.checks import check_flag, check_number, is_sequence, shown
from .arrays import center_of_mass, psf_with_light
from .checks import standing_out
from .pixels import LARGEST_SIDE

_MOST_FOLDED = 0.01  # of Σ|F|², that may lie above the new Nyquist frequency
_NEXT_TO_NYQUIST = 0.9  # of the Nyquist frequency: what lies above is next to it


def center(values: Tensor) -> Tensor:
    """A psf whose centroid is its centre.

    Whole samples are padded with zeros; the fraction that is left is a shift by Fourier's theorem,
    exact where the psf is sampled finely enough and lossless in any case.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real

    Returns
    -------
    float64 with as many axes, all of odd sizes, of the same sum

    Raises
    ------
    ValueError, TypeError
        If values is not a finite real 2-D or 3-D array with a positive sample.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> corner = torch.nn.functional.pad(psf.gaussian(1.5), (4, 0, 0, 2))
    >>> psf.check(corner).doubts["centre"].finding
    'its centroid lies 1.00 samples above and 2.00 samples right of its centre'
    >>> psf.check(psf.center(corner)).doubts
    {}
    """
    values = psf_with_light(values)
    off = center_of_mass(standing_out(values))
    pads: list[int] = []
    for n, move in zip(values.shape, off, strict=True):
        middle = n // 2 + round(move)  # the sample that becomes the centre
        half = max(middle, n - 1 - middle)
        pads = [half - middle, half - (n - 1 - middle), *pads]
    return _shifted(torch.nn.functional.pad(values, pads), [round(move) - move for move in off])


def _shifted(values: Tensor, by: list[float]) -> Tensor:
    """Moved by fractions of a sample, on a grid on which nothing comes back on the other side."""
    if max(map(abs, by)) < 1e-3:
        return values
    grown = torch.nn.functional.pad(values, (2, 2) * values.ndim)
    spectrum = torch.fft.fftn(grown)
    for dim, move in enumerate(by):
        f = torch.fft.fftfreq(grown.shape[dim], dtype=values.dtype, device=values.device)
        turn = torch.exp(-2j * torch.pi * f * move)
        spectrum = spectrum * turn.reshape(-1, *[1] * (values.ndim - 1 - dim))
    return torch.fft.ifftn(spectrum).real


def crop(values: Tensor, energy: float = 0.999) -> Tensor:
    """The smallest part around the centre that holds most of a psf.

    Samples count by their moduli.  The part grows by one sample on each side of an axis at a time,
    of the axis that gains most by it.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real; the centre is the sample n//2 of each axis
    energy : of Σ|values|, that is kept at least; 0 < energy ≤ 1

    Returns
    -------
    float64 with as many axes, all of odd sizes, with the samples as they are: not scaled anew

    Raises
    ------
    ValueError, TypeError
        If energy is out of range, or values is not a finite real 2-D or 3-D array with a positive
        sample.

    Examples
    --------
    >>> from unconv import psf
    >>> psf.crop(psf.gaussian(1.5, truncate=8)).shape
    torch.Size([11, 11])
    """
    values = psf_with_light(values)
    if check_number("energy", energy, positive=True) > 1:
        raise ValueError(f"energy={energy:g} is a part of the whole; give a number up to 1.")
    pads: list[int] = []
    for n in values.shape:  # an even size has one sample more in front of its centre
        pads = [0, 1 - n % 2, *pads]
    values = torch.nn.functional.pad(values, pads)
    sizes, half = values.shape, [0] * values.ndim
    mass = _corner_sums(values.abs())
    total = _mass(mass, sizes, [n // 2 for n in sizes])
    while (held := _mass(mass, sizes, half)) < energy * total * (1 - 1e-14):
        wider = [
            [h + (d == axis) for d, h in enumerate(half)]
            for axis in range(values.ndim)
            if half[axis] < sizes[axis] // 2
        ]
        if not wider:
            break
        area = math.prod(2 * h + 1 for h in half)
        gains = [  # the mean of what is added, so that a long axis does not win by its length
            (_mass(mass, sizes, w) - held) / (math.prod(2 * h + 1 for h in w) - area) for w in wider
        ]
        half = wider[gains.index(max(gains))]
    part = (slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(sizes, half, strict=True))
    return values[tuple(part)].clone()


def _corner_sums(values: Tensor) -> Tensor:
    """S[i, j] = Σ over the box [0, i) × [0, j)."""
    for d in range(values.ndim):
        values = values.cumsum(d)
    return torch.nn.functional.pad(values, (1, 0) * values.ndim)


def _mass(sums: Tensor, sizes: Sequence[int], half: Sequence[int]) -> float:
    """What the box around the centre holds, by inclusion and exclusion."""
    for n, h in zip(sizes, half, strict=True):
        sums = sums[n // 2 + h + 1] - sums[n // 2 - h]
    return float(sums)


Voxel = float | Sequence[float]


def resample(values: Tensor, voxel: Voxel, to: Voxel, *, pixelated: bool = False) -> Tensor:
    """A psf on a grid of another pitch, with its centre in the middle and its sum as it was.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real; the centre is the sample n//2 of each axis
    voxel, to
        The distance of neighbouring samples before and after, in any one unit (µm, arcsec): one
        number, or one per axis.
    pixelated
        False: values at the new points, as before; for another sampling of the same optics.  True:
        means over the new voxels, of values at points; for a camera of that pixel.

    Returns
    -------
    float64 with as many axes, all of odd sizes, that reach as far as the old grid did

    Raises
    ------
    ValueError, TypeError
        If more than 1 % of the energy Σ|F|² along an axis is above the Nyquist frequency of the new
        grid, unless `pixelated`, or a pitch is not positive, or the result too large.

    Examples
    --------
    >>> from unconv import psf
    >>> fine = psf.gaussian(3.0, truncate=8)
    >>> half = psf.resample(fine, 0.1, 0.2)
    >>> bool((psf.crop(half, 0.99999999) - psf.crop(psf.gaussian(1.5, truncate=8), 0.99999999))
    ...      .abs().max() < 1e-9)
    True
    """
    values = psf_with_light(values)
    before, after = (pitches(n, v, values.ndim) for n, v in (("voxel", voxel), ("to", to)))
    check_flag("pixelated", pixelated)
    found = values
    for dim, (a, b) in enumerate(zip(before, after, strict=True)):
        n = values.shape[dim]
        if max(n // 2, 1) * a / b > LARGEST_SIDE / 2:
            raise ValueError(
                f"to={b:g} would give more than {LARGEST_SIDE} samples along axis {dim}; both "
                "pitches are in one unit."
            )
        if not pixelated:
            _doubt_bandwidth(values, dim, a, b)
        found = (found.movedim(dim, -1) @ _interpolation(n, b / a, pixelated)).movedim(-1, dim)
    return found * (values.sum() / found.sum())


def pitches(name: str, voxel: Voxel, ndim: int) -> tuple[float, ...]:
    """One positive pitch an axis."""
    each = tuple(voxel) if is_sequence(voxel) else (voxel,) * ndim
    if len(each) != ndim:
        raise ValueError(
            f"{name}={shown(voxel)} has {len(each)} numbers for a psf of {ndim} axes; give one for "
            "all, or one per axis."
        )
    return tuple(check_number(name, v, positive=True) for v in each)


def _interpolation(n: int, ratio: float, pixelated: bool) -> Tensor:  # (n, after)
    """sinc(t − j), or its mean over a new voxel: a difference of sine integrals."""
    from scipy.special import sici

    middle = n // 2
    half = math.ceil(max(middle, n - 1 - middle) / ratio - 1e-9)
    t = torch.arange(-half, half + 1, dtype=torch.float64) * ratio + middle
    apart = t - torch.arange(n, dtype=torch.float64)[:, None]
    if not pixelated:
        return torch.sinc(apart)
    ends = (math.pi * (apart + side * ratio / 2) for side in (1, -1))
    upper, lower = (torch.from_numpy(sici(end.numpy())[0]) for end in ends)
    return (upper - lower) / (math.pi * ratio)


def _doubt_bandwidth(values: Tensor, dim: int, before: float, after: float) -> None:
    """Refuse what would fold, doubt what was too coarse to be interpolated."""
    power = torch.fft.fft(values, n=2 * values.shape[dim], dim=dim).abs().square()
    power = power.sum([d for d in range(values.ndim) if d != dim])
    f = torch.fft.fftfreq(len(power), dtype=values.dtype, device=values.device).abs()
    if after > before:
        above = float(power[f > before / (2 * after)].sum() / power.sum())
        if above > _MOST_FOLDED:
            raise ValueError(
                f"to={after:g} is too coarse: {100 * above:.2g} % of the energy of the psf along "
                f"axis {dim} lies above its Nyquist frequency and would come back elsewhere; use a "
                "finer one, or pixelated=True for pixels that integrate."
            )
    elif after < before:
        above = float(power[f > _NEXT_TO_NYQUIST / 2].sum() / power.sum())
        if above > _MOST_FOLDED:
            warnings.warn(
                f"along axis {dim} the psf has {100 * above:.2g} % of its energy next to the "
                "Nyquist frequency: it was sampled too coarsely to say what lies between its "
                "samples, and will ring; measure it on a finer grid.",
                AccuracyWarning,
                stacklevel=3,
            )
