"""What a measured psf may have that no psf has: an offset, a rim, a centre beside its sample.

A psf cut from a picture of a point brings its surroundings along.  Of N samples an offset b makes
the sum b·N larger, and scaled to sum 1 the psf is a point on a pedestal, which blurs with the whole
window: an offset of 100 under a peak of 4,000 counts costs more than 14 dB.  A psf whose centroid
is not its centre shifts the picture; one whose peak lies between samples by a fraction of one.

The remedies: `without_background` takes off the median of the rim, and `centred` moves the centroid
onto the centre (h//2, w//2), whole samples by padding and the fraction by the shift theorem.

Not for: psfs whose own shape fills their array up to the rim, such as a box; they are known by a
rim as bright as the middle.

Source: the rim as background is that of aperture photometry, Howell, "Handbook of CCD Astronomy",
Cambridge 2006, §5.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.checks import check_all_finite, check_dense, check_number

_RIM_OF_PEAK = 0.5  # a rim so bright belongs to the shape, as a box's
_LEAST_SHARE = 0.01  # of the sum, that a rim spread over the array must have to matter
_APART = 0.25  # samples, by which centroid or peak may be off


class Examined(NamedTuple):
    """What a psf looks like.

    Attributes
    ----------
    rim : median of its outermost samples, as a part of the peak
    pedestal : what this median, spread over the array, is of the sum
    centroid : (rows, columns) of the centre of mass from the centre (h//2, w//2), the rim taken off
    peak : likewise the top of a parabola through the largest sample and its neighbours
    doubts : sentences about what is wrong, without remedies
    """

    rim: float
    pedestal: float
    centroid: tuple[float, float]
    peak: tuple[float, float]
    doubts: tuple[str, ...]


def examine(values: Tensor) -> Examined:
    """Look at a psf for what no psf has.

    Parameters
    ----------
    values : (h, w), real, its centre the sample (h//2, w//2)

    Returns
    -------
    Examined

    Raises
    ------
    ValueError, TypeError
        If it is not a finite real 2-D array with a positive peak.

    Examples
    --------
    >>> from unconv import psf
    >>> examine(psf.gaussian(1.5)).doubts
    ()
    >>> examine(psf.gaussian(1.5) + 0.002).doubts[0]
    'its rim is 2.8 % of its peak and, spread over the array, 25.3 % of its sum'
    """
    values = _checked(values)
    top = float(values.max())
    rim = float(_rim(values).median())
    pedestal = rim * values.numel() / float(values.sum().clamp(min=1e-300))
    shape = (values - rim if 0 < rim < _RIM_OF_PEAK * top else values).clamp(min=0)
    centroid, peak = _centroid(shape), _peak(shape)
    doubts = []
    if 0 < rim < _RIM_OF_PEAK * top and pedestal > _LEAST_SHARE:
        doubts.append(
            f"its rim is {100 * rim / top:.2g} % of its peak and, spread over the array, "
            f"{100 * pedestal:.1f} % of its sum"
        )
    if max(map(abs, centroid)) > _APART:
        doubts.append(f"its centroid is {_offset(centroid)} off its centre")
    if max(map(abs, centroid)) <= _APART < max(abs(p - round(p)) for p in peak):
        doubts.append(f"its peak lies between samples, {_offset(peak)} off its centre")
    return Examined(rim / top, pedestal, centroid, peak, tuple(doubts))


def without_background(values: Tensor, level: float | None = None) -> Tensor:
    """A psf without what its surroundings added.

    Parameters
    ----------
    values : (h, w), real
    level : of the background, by default the median of the outermost samples

    Returns
    -------
    (h, w) float64, without negative samples; those within three deviations of the rim are zero

    Raises
    ------
    ValueError, TypeError
        If nothing is left, or values is not a finite real 2-D array.

    Examples
    --------
    >>> from unconv import psf
    >>> clean = psf.gaussian(1.5)
    >>> again = without_background(4000 * clean + 100)
    >>> bool((again / again.sum() - clean).abs().max() < 1e-4)
    True
    """
    values = _checked(values)
    rim = _rim(values)
    if level is None:
        level = float(rim.median())
    else:
        check_number("level", level, least=-float("inf"))
    spread = 1.4826 * float((rim - rim.median()).abs().median())
    left = values - level
    left = torch.where(left > 3 * spread, left, 0.0).clamp(min=0)
    if not left.any():
        raise ValueError(
            f"no sample of the psf is above its background of {level:.4g}; give a lower one."
        )
    return left


def centred(values: Tensor) -> Tensor:
    """A psf whose centroid is its centre.

    Whole samples are padded with zeros; the fraction that is left is a shift by Fourier's theorem,
    exact where the psf is sampled finely enough and lossless in any case.

    Parameters
    ----------
    values : (h, w), real, of positive sum

    Returns
    -------
    (h', w') float64, both odd, of the same sum

    Raises
    ------
    ValueError, TypeError
        If values is not a finite real 2-D array of positive sum.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> corner = torch.nn.functional.pad(psf.gaussian(1.5), (3, 0, 0, 2))
    >>> examine(corner).centroid, examine(centred(corner)).doubts
    ((-1.0, 2.0), ())
    """
    values = _checked(values)
    if float(values.sum()) <= 0:
        raise ValueError("a psf of no positive sum has no centroid; take off its background first.")
    off = _centroid(values.clamp(min=0))
    for dim, move in enumerate(off):
        n = values.shape[dim]
        middle = n // 2 + round(move)  # the sample that becomes the centre
        half = max(middle, n - 1 - middle)
        pad = [half - middle, half - (n - 1 - middle)]
        values = torch.nn.functional.pad(values, [0, 0, *pad] if dim == 0 else pad)
    return _shifted(values, [round(move) - move for move in off])


def _shifted(values: Tensor, by: list[float]) -> Tensor:
    """Moved by fractions of a sample, on a grid on which nothing comes back on the other side."""
    if max(map(abs, by)) < 1e-3:
        return values
    grown = torch.nn.functional.pad(values, (2, 2, 2, 2))
    spectrum = torch.fft.fft2(grown)
    for dim, move in enumerate(by):
        f = torch.fft.fftfreq(grown.shape[dim], dtype=values.dtype, device=values.device)
        turn = torch.exp(-2j * torch.pi * f * move)
        spectrum = spectrum * (turn[:, None] if dim == 0 else turn)
    return torch.fft.ifft2(spectrum).real


def _centroid(shape: Tensor) -> tuple[float, float]:
    total = float(shape.sum())
    rows, columns = (
        float((torch.arange(n, dtype=shape.dtype) - n // 2) @ shape.sum(1 - dim).cpu()) / total
        for dim, n in enumerate(shape.shape)
    )
    return rows, columns


def _peak(shape: Tensor) -> tuple[float, float]:
    """The top of a parabola along each axis through the largest sample."""
    at = divmod(int(shape.argmax()), shape.shape[1])
    found = []
    for dim, i in enumerate(at):
        line = shape.select(1 - dim, at[1 - dim])
        before, here, after = (
            float(line[j]) if 0 <= j < len(line) else 0.0 for j in (i - 1, i, i + 1)
        )
        bend = before - 2 * here + after
        found.append(i - len(line) // 2 + (0.5 * (before - after) / bend if bend < 0 else 0.0))
    return found[0], found[1]


def _offset(where: tuple[float, float]) -> str:
    rows, columns = where
    down = f"{abs(rows):.2f} samples {'down' if rows > 0 else 'up'}"
    right = f"{abs(columns):.2f} {'right' if columns > 0 else 'left'}"
    return f"{down} and {right}"


def _rim(values: Tensor) -> Tensor:
    """The outermost samples."""
    inner = torch.ones_like(values, dtype=torch.bool)
    inner[1:-1, 1:-1] = False
    return values[inner]


def _checked(values: Tensor) -> Tensor:
    if check_dense("a psf", values).is_complex():
        raise TypeError("a psf must be real, got a complex tensor; take its real part or modulus.")
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"a psf must be a 2-D grey array, got shape {tuple(values.shape)}.")
    values = values.to(torch.float64)
    check_all_finite("the psf", values, "remove them")
    if float(values.max()) <= 0:
        raise ValueError("the psf has no positive sample; check its file and its background.")
    return values
