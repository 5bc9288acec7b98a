"""Psfs of a few numbers: their names, what the numbers mean, and how to build them.

The one table from which the command line (`--psf moffat:3,2.5`), the page of `unconv explore`, the
plugin for napari and `estimate` take what they offer.  A size is in samples, an angle in degrees.

`gaussian` and `moffat` are values at the middles of samples, for a width that is seen in a picture
holds the pixel already; `disk`, `motion` and `airy` are integrals over pixels, for their numbers
are those of the lens or the camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import conv2d

from . import models
from .theory import FIRST_DARK_RING, airy, moffat


@dataclass(frozen=True)
class Parameter:
    """A number of a family.

    Attributes
    ----------
    name : one word
    unit : 'px', '°' (of an angle that comes back after half a turn), or '' for a pure number
    low, high : where psfs of photographs are looked for; any number that the kernel takes is a psf
    start : a usual value
    of_reach
        The largest value by how far a psf may reach from its centre; None where the reach does not
        limit it.
    meaning : in a few words, '' where the name says all
    """

    name: str
    unit: str
    low: float
    high: float
    start: float
    of_reach: float | None = None
    meaning: str = ""

    @property
    def is_angle(self) -> bool:
        """Whether the ends of the range are neighbours."""
        return self.unit == "°"

    def highest(self, reach: float) -> float:
        """The largest value of a psf that may reach so far from its centre, in samples."""
        return self.high if self.of_reach is None else min(self.high, self.of_reach * reach)


@dataclass(frozen=True)
class Family:
    """Psfs of one kind.

    Attributes
    ----------
    name : as it is typed before the colon of `--psf name:numbers`
    parameters : in the order of the numbers
    kernel : the psf (h, w) float64 with sum 1 for such numbers
    is_estimated : whether `estimate` looks for it in a picture
    """

    name: str
    parameters: tuple[Parameter, ...]
    kernel: Callable[..., Tensor]
    is_estimated: bool = True

    @property
    def turns(self) -> tuple[bool, ...]:
        """Which parameters are angles, that come back after 180 degrees."""
        return tuple(p.is_angle for p in self.parameters)

    def limits(self, reach: float) -> list[tuple[float, float]]:
        """Least and largest value of each parameter for a reach in samples; angles have none."""
        return [
            (-math.inf, math.inf) if p.is_angle else (p.low, p.highest(reach))
            for p in self.parameters
        ]

    @property
    def usage(self) -> str:
        """How it is typed, such as 'motion:LENGTH,ANGLE'."""
        return f"{self.name}:{','.join(p.name.upper() for p in self.parameters)}"

    def typed(self, numbers: Iterable[float], digits: int = 6) -> str:
        """As it is typed for these numbers, such as 'motion:15,30'."""
        return f"{self.name}:{','.join(f'{v:.{digits}g}' for v in numbers)}"


def _moffat(fwhm: float, beta: float) -> Tensor:
    return moffat(fwhm, beta, pixelated=False)


def _gaussian_disk(radius: float, sigma: float) -> Tensor:
    disk, spread = models.disk(radius), models.gaussian(sigma)
    both = conv2d(disk[None, None], spread[None, None], padding=len(spread) - 1)[0, 0]
    return both / both.sum()


def _airy(radius: float) -> Tensor:
    return airy(wavelength_nm=1000 * radius / FIRST_DARK_RING, f_number=1.0, pixel_um=1.0)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("gaussian", (Parameter("sigma", "px", 0.25, 10.4, 1.5, 0.4),), models.gaussian),
        Family("disk", (Parameter("radius", "px", 0.55, 26.0, 3.0, 1.0),), models.disk),
        Family(
            "motion",
            (
                Parameter("length", "px", 1.1, 80.0, 12.0, 2.0),
                Parameter("angle", "°", 0.0, 180.0, 0.0, meaning="counter-clockwise"),
            ),
            models.motion,
        ),
        Family(
            "moffat",
            (
                Parameter("fwhm", "px", 0.7, 13.0, 3.0, 0.5, "full width at half maximum"),
                Parameter("beta", "", 1.8, 6.0, 2.5, meaning="of the wings, > 1"),
            ),
            _moffat,
        ),
        Family(
            "gaussian-disk",
            (
                Parameter("radius", "px", 0.6, 26.0, 3.0, 1.0),
                Parameter("sigma", "px", 0.3, 10.4, 0.8, 0.4),
            ),
            _gaussian_disk,
        ),
        Family(
            "airy",
            (Parameter("radius", "px", 0.6, 6.0, 1.5, 0.25, "of the first dark ring"),),
            _airy,
            is_estimated=False,
        ),
    )
}
"""By name."""
