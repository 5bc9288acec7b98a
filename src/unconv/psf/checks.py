"""What a measured psf may have that no psf has, and whether it is sampled finely enough.

A psf cut from a picture of a point brings its surroundings along.  Of N samples an offset b makes
the sum b·N larger, and scaled to sum 1 the psf is a point on a pedestal, which blurs with the whole
window: an offset of 100 under a peak of 4,000 counts costs more than 14 dB.  A psf whose centroid
is not its centre shifts the picture, by a fraction of a sample if it lies between samples.  Light
is not negative; and a psf narrower than its samples blurs by where it falls between them, so that
no convolution of samples tells what it did.

The remedies: `without_background` takes off the median of the rim, `center` moves the centroid onto
the centre n//2, and what is sampled too coarsely is measured on a finer grid.

Not for: psfs whose own shape fills their array up to the rim, such as a box; they are known by a
rim as bright as the middle.

Source: the rim as background is that of aperture photometry, Howell, "Handbook of CCD Astronomy",
Cambridge 2006, §5.1; sampling by the transfer function, Goodman, "Introduction to Fourier Optics",
Roberts 2005, §2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.checks import check_number
from .arrays import center_of_mass, marginal, psf_array, psf_with_light, rim

RIM_OF_PEAK = 0.5  # a rim so bright belongs to the shape, as a box's
_LEAST_PEDESTAL = 0.02  # of the sum, that a rim spread over the array must have to matter
_LOW = 0.25  # of the rim's samples may lie below what is taken for a pedestal
_NOISE_OF_PEAK = 0.05  # at most, that counts as noise of the rim
_APART = 0.25  # samples, by which the centroid may be off
_MOST_NEGATIVE = 0.02  # of the sum, that may be negative
_NARROW = 1.6  # samples, as a Gaussian of σ = 0.64; a disk two samples across has 1.64
_SIDES = (("to the front", "to the back"), ("above", "below"), ("left", "right"))


class Doubt(NamedTuple):
    """What is wrong with a psf, and what helps; as text one sentence.

    Attributes
    ----------
    finding : what is seen
    remedy : what to do
    """

    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.finding}; {self.remedy}."


class PsfCheck(NamedTuple):
    """What a psf looks like.

    Attributes
    ----------
    sum : of all samples
    centroid : of each axis, samples from the centre n//2, the background of the rim taken off
    rim : median of the outermost samples, as a part of the peak
    pedestal : what hardly any of them is below, spread over the array, as a part of the sum
    negative : the sum of the negative samples without their sign, as a part of the sum
    width : of each axis, the equivalent width (sum over peak) of the psf summed over the others, in
        samples
    nyquist : of each axis, the modulus of the transfer function at half a cycle per sample: 0 for a
        psf that is sampled finely, 1 for one that is a single sample across
    doubts : what is wrong, under 'sum', 'background', 'centre', 'negative' and 'sampling'
    """

    sum: float
    centroid: tuple[float, ...]
    rim: float
    pedestal: float
    negative: float
    width: tuple[float, ...]
    nyquist: tuple[float, ...]
    doubts: Mapping[str, Doubt]


def check(values: Tensor) -> PsfCheck:
    """Look at a psf for what no psf has.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real, its centre the sample n//2 of each axis

    Returns
    -------
    PsfCheck

    Raises
    ------
    ValueError, TypeError
        If it is not a finite real 2-D or 3-D array with a positive sample.

    Examples
    --------
    >>> from unconv import psf
    >>> psf.check(psf.gaussian(1.5)).doubts
    {}
    >>> doubt = psf.check(psf.gaussian(1.5) + 0.002).doubts["background"]
    >>> doubt.finding
    'its rim is 2.8 % of its peak and, spread over the array, 25.3 % of its sum'
    >>> doubt.remedy
    'take it off with psf.without_background'
    """
    values = psf_with_light(values)
    outer, top, total = rim(values), float(values.max()), float(values.sum())
    level, pedestal = float(outer.median()), 0.0
    plane = values.shape[-2] * values.shape[-1]
    if 2 * outer.numel() < plane and 0 < level < RIM_OF_PEAK * top and total > 0:
        pedestal = max(0.0, float(outer.quantile(_LOW))) * values.numel() / total
    shape = standing_out(values)
    light = shape if pedestal > _LEAST_PEDESTAL else values.clamp(min=0)
    lines = [marginal(light, d) for d in range(values.ndim)]
    negative = float(-values.clamp(max=0).sum())
    found = PsfCheck(
        sum=total,
        centroid=center_of_mass(shape),
        rim=level / top,
        pedestal=pedestal,
        negative=negative / total if total > 0 else float("inf"),
        width=tuple(float(line.sum() / line.max()) for line in lines),
        nyquist=tuple(map(_at_nyquist, lines)),
        doubts={},
    )
    return found._replace(doubts=_doubts(found))


def _doubts(found: PsfCheck) -> dict[str, Doubt]:
    doubts = {}
    if found.sum <= 0:
        doubts["sum"] = Doubt(
            f"it sums to {found.sum:.3g}, and light cannot", "less was background; take off less"
        )
    if found.pedestal > _LEAST_PEDESTAL:
        doubts["background"] = Doubt(
            f"its rim is {100 * found.rim:.2g} % of its peak and, spread over the array, "
            f"{100 * found.pedestal:.1f} % of its sum",
            "take it off with psf.without_background",
        )
    if max(map(abs, found.centroid)) > _APART:
        doubts["centre"] = Doubt(
            f"its centroid lies {_offset(found.centroid)} of its centre",
            "it moves the picture by that, psf.center moves it back",
        )
    if found.sum > 0 and found.negative > _MOST_NEGATIVE:
        doubts["negative"] = Doubt(
            f"its negative samples are {100 * found.negative:.2g} % of its sum, and light has none",
            "psf.without_background leaves what stands out of the rim",
        )
    if _is_narrow(found):
        doubts["sampling"] = Doubt(
            f"it is {' × '.join(f'{w:.2g}' for w in found.width)} samples wide, with "
            f"{100 * max(found.nyquist):.0f} % of its transfer function left at the Nyquist "
            "frequency: where it falls between samples decides what is seen",
            "measure it, and the picture, on a finer grid",
        )
    return doubts


def _is_narrow(found: PsfCheck) -> bool:
    """Every axis of a plane, for a movement is one sample across; any axis of a volume."""
    narrow = [w < _NARROW for w in found.width]
    return all(narrow) if len(narrow) == 2 else any(narrow)


def _at_nyquist(line: Tensor) -> float:
    signs = 1 - 2 * (torch.arange(len(line), dtype=line.dtype) % 2)
    return float((signs @ line).abs() / line.sum())


def without_background(values: Tensor, level: float | None = None) -> Tensor:
    """A psf without what its surroundings added.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real
    level : of the background, by default the median of the outermost samples

    Returns
    -------
    float64 of the same shape, without negative samples; those within three deviations of the rim
    are zero

    Raises
    ------
    ValueError, TypeError
        If nothing is left, or values is not a finite real 2-D or 3-D array.

    Examples
    --------
    >>> from unconv import psf
    >>> clean = psf.gaussian(1.5)
    >>> again = psf.without_background(4000 * clean + 100)
    >>> bool((again / again.sum() - clean).abs().max() < 1e-4)
    True
    """
    values = psf_with_light(values)
    if level is None:
        level = float(rim(values).median())
    else:
        check_number("level", level, least=-float("inf"))
    left = _above(values, level)
    if not left.any():
        raise ValueError(
            f"no sample of the psf is above its background of {level:.4g}; give a lower one."
        )
    return left


def standing_out(values: Tensor) -> Tensor:
    """The shape alone, without negative samples: what stands out of a rim that is not bright."""
    level = float(rim(values).median())
    bright = level >= RIM_OF_PEAK * float(values.max())
    return values.clamp(min=0) if bright else _above(values, level)


def measured(values: Tensor) -> Tensor:
    """A measured psf, as float64 with sum 1.

    Parameters
    ----------
    values : (h, w) or (d, h, w), real; the centre is the sample n//2 of each axis

    Returns
    -------
    float64 of the same shape

    Raises
    ------
    ValueError, TypeError
        If it is not a finite real 2-D or 3-D array or its sum is not positive.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> psf.measured(torch.tensor([[1.0, 2.0, 1.0]]))
    tensor([[0.2500, 0.5000, 0.2500]], dtype=torch.float64)
    """
    values = psf_array(values)
    total = float(values.sum())
    if total <= 1e-12 * float(values.abs().sum()):
        raise ValueError(
            f"the psf sums to {total:.3g}; it must sum to a positive number to be scaled to 1."
        )
    return values / total


def _offset(where: tuple[float, ...]) -> str:
    sides = zip(where, _SIDES[-len(where) :], strict=True)
    parts = [f"{abs(d):.2f} samples {side[d > 0]}" for d, side in sides if abs(d) > _APART]
    return " and ".join(parts)


def _above(values: Tensor, level: float) -> Tensor:
    """What stands out of a background by more than three deviations of the rim, zero elsewhere."""
    outer = rim(values)
    spread = 1.4826 * float((outer - outer.median()).abs().median())
    left = values - level
    noise = min(3 * spread, _NOISE_OF_PEAK * float(left.max()))  # a shape may cross the rim
    return torch.where(left > noise, left, 0.0).clamp(min=0)
