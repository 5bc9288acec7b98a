"""What a picture says of a psf: its likelihood, as a curve along one parameter.

For each psf the spectra of scene and noise that the picture speaks for most are found, and what
counts is how well they explain its periodogram (parameter_choice/whittle.py).  A disk or a
movement has zeros in its transfer function, whose places the picture shows: its curve has one sharp
summit as a rule.  A Gaussian only makes a spectrum steeper, and its summit is blunt.

The picture is read in tiles of 256² spread over it, so that a psf costs a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from torch import Tensor

from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.whittle import Fit, Periodogram, PictureSpectra, tiles
from ..pictures.components import parts_of
from .choice import Parameter

_EVIDENCE_TILE = 256  # samples along a side
_CURVE_POINTS = 25  # along a slider
_HALVINGS = 3  # around the best of them, on both sides


class Curve(NamedTuple):
    """Evidence along a parameter.

    Attributes
    ----------
    values : of the parameter, ascending
    evidence : logarithm of the likelihood, the greatest 0
    """

    values: list[float]
    evidence: list[float]


class Reading:
    """A picture's periodogram, and what it says of psfs.

    Parameters
    ----------
    planes : (C, H, W) float64, complete, in the light that was blurred
    jpeg : the rounding of the file, if it was a JPEG and the planes are as stored
    """

    def __init__(self, planes: Tensor, jpeg: Sequence[JpegRounding] | None) -> None:
        part, self._rounding = parts_of(planes, jpeg)[0]
        self._data = Periodogram(tiles(part, _EVIDENCE_TILE), planes.new_ones(1, 1))
        self._spectra: dict[bytes, PictureSpectra] = {}

    def spectra(self, psf: Tensor) -> PictureSpectra:
        """Scene and noise as they are most likely with this psf; remembered."""
        key = sha256(f"{psf.shape}".encode() + psf.numpy().tobytes()).digest()
        if key not in self._spectra:
            data = self._data.under(psf)
            self._spectra[key] = Fit(data, self._rounding, None, radii=(0.0,)).best()[0]
        return self._spectra[key]

    def evidence(self, psf: Tensor) -> float:
        """Logarithm of the likelihood, up to a constant of the picture."""
        found = self.spectra(psf)
        return -found.loss * found.frequencies


def curve_along(
    parameter: Parameter, evidence_at: Callable[[float], float], *, points: int = _CURVE_POINTS
) -> Curve:
    """Evidence at places spread over a slider, and closer to each other around the best."""
    last = points if parameter.is_angle else points - 1
    found: dict[float, float] = {}

    def look(place: float) -> None:
        place = place % 1 if parameter.is_angle else min(max(place, 0.0), 1.0)
        value = parameter.at(place)
        if value not in found:
            found[value] = evidence_at(value)
            if found[value] >= max(found.values()):
                best[:] = [place]

    best = [0.0]
    for i in range(points):
        look(i / last)
    for halving in range(1, _HALVINGS + 1):
        middle, step = best[0], 0.5**halving / last
        look(middle - step)
        look(middle + step)
    greatest = max(found.values())
    values = sorted(found)
    return Curve(values, [found[v] - greatest for v in values])
