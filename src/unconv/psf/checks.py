"""What a measured psf may have that no psf has: an offset, a rim, a centre beside its sample.

A psf cut from a picture of a point brings its surroundings along.  Of N samples an offset b makes
the sum b·N larger, and scaled to sum 1 the psf is a point on a pedestal, which blurs with the whole
window: an offset of 100 under a peak of 4,000 counts costs more than 14 dB.  A psf whose centroid
is not its centre shifts the picture, by a fraction of a sample if it lies between samples.

The remedies: `without_background` takes off the median of the rim, and `centred` moves the centroid
onto the centre (h//2, w//2), whole samples by padding and the fraction by the shift theorem.

Not for: psfs whose own shape fills their array up to the rim, such as a box; they are known by a
rim as bright as the middle.

Source: the rim as background is that of aperture photometry, Howell, "Handbook of CCD Astronomy",
Cambridge 2006, §5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.checks import check_all_finite, check_dense, check_number

_RIM_OF_PEAK = 0.5  # a rim so bright belongs to the shape, as a box's
_LEAST_PEDESTAL = 0.02  # of the sum, that a rim spread over the array must have to matter
_LOW = 0.25  # of the rim's samples may lie below what is taken for a pedestal
_NOISE_OF_PEAK = 0.05  # at most, that counts as noise of the rim
_APART = 0.25  # samples, by which the centroid may be off


class Examined(NamedTuple):
    """What a psf looks like.

    Attributes
    ----------
    rim : median of its outermost samples, as a part of the peak
    pedestal : what hardly any of them is below, spread over the array, as a part of the sum
    centroid : (rows, columns) of the centre of mass from the centre (h//2, w//2), the rim taken off
    doubts : sentences about what is wrong, under 'background' and 'centre'
    """

    rim: float
    pedestal: float
    centroid: tuple[float, float]
    doubts: Mapping[str, str]


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
    {}
    >>> examine(psf.gaussian(1.5) + 0.002).doubts["background"]
    'its rim is 2.8 % of its peak and, spread over the array, 25.3 % of its sum'
    """
    values = _checked(values)
    rim, top = _rim(values), float(values.max())
    level = float(rim.median())
    pedestal = 0.0
    if 2 * rim.numel() < values.numel() and 0 < level < _RIM_OF_PEAK * top:
        total = float(values.sum().clamp(min=1e-300))
        pedestal = max(0.0, float(rim.quantile(_LOW))) * values.numel() / total
    shape = _above(values, level) if level < _RIM_OF_PEAK * top else values.clamp(min=0)
    centroid = _centroid(shape)
    doubts = {}
    if pedestal > _LEAST_PEDESTAL:
        doubts["background"] = (
            f"its rim is {100 * level / top:.2g} % of its peak and, spread over the array, "
            f"{100 * pedestal:.1f} % of its sum"
        )
    if max(map(abs, centroid)) > _APART:
        doubts["centre"] = f"its centroid lies {_offset(centroid)} of its centre"
    return Examined(level / top, pedestal, centroid, doubts)


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
    if level is None:
        level = float(_rim(values).median())
    else:
        check_number("level", level, least=-float("inf"))
    left = _above(values, level)
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
    values : (h, w), real

    Returns
    -------
    (h', w') float64, both odd, of the same sum

    Raises
    ------
    ValueError, TypeError
        If values is not a finite real 2-D array with a positive sample.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> corner = torch.nn.functional.pad(psf.gaussian(1.5), (4, 0, 0, 2))
    >>> examine(corner).doubts, examine(centred(corner)).doubts
    ({'centre': 'its centroid lies 1.00 samples above and 2.00 samples right of its centre'}, {})
    """
    values = _checked(values)
    level = float(_rim(values).median())
    bright = level >= _RIM_OF_PEAK * float(values.max())
    off = _centroid(values.clamp(min=0) if bright else _above(values, level))
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


def _offset(where: tuple[float, float]) -> str:
    sides = zip(where, (("above", "below"), ("left", "right")), strict=True)
    parts = [f"{abs(d):.2f} samples {side[d > 0]}" for d, side in sides if abs(d) > _APART]
    return " and ".join(parts)


def _above(values: Tensor, level: float) -> Tensor:
    """What stands out of a background by more than three deviations of the rim, zero elsewhere."""
    rim = _rim(values)
    spread = 1.4826 * float((rim - rim.median()).abs().median())
    left = values - level
    noise = min(3 * spread, _NOISE_OF_PEAK * float(left.max()))  # a shape may cross the rim
    return torch.where(left > noise, left, 0.0).clamp(min=0)


def _rim(values: Tensor) -> Tensor:
    """The outermost samples."""
    inner = torch.ones_like(values, dtype=torch.bool)
    inner[1:-1, 1:-1] = False
    return values[inner]


def grey_array(values: Tensor) -> Tensor:
    """(h, w) float64 of what may be a psf: a finite, real 2-D array.

    Raises
    ------
    ValueError, TypeError
        If it is none.

    Examples
    --------
    >>> import torch
    >>> grey_array(torch.ones(1, 2))
    tensor([[1., 1.]], dtype=torch.float64)
    """
    if check_dense("a psf", values).is_complex():
        raise TypeError("a psf must be real, got a complex tensor; take its real part or modulus.")
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"a psf must be a 2-D grey array, got shape {tuple(values.shape)}.")
    values = values.to(torch.float64)
    check_all_finite("the psf", values, "remove them")
    return values


def _checked(values: Tensor) -> Tensor:
    values = grey_array(values)
    if float(values.max()) <= 0:
        raise ValueError("the psf has no positive sample; check its file and its background.")
    return values
