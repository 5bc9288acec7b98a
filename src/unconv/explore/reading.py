"""What is read from the whole picture, in one light, once: the psf, and scene and noise with a psf.

The evidence for a psf and the psf of most evidence are those of `unconv psf estimate`
(psf/estimation).  The spectra are for the Wiener filter that is seen at once, those of
parameter_choice/whittle.py from tiles of 256² spread over the picture: a tenth of a second a psf.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256

from torch import Tensor

from ..parameter_choice.noise_models import JpegRounding
from ..parameter_choice.whittle import Fit, Periodogram, PictureSpectra, tiles
from ..pictures.components import parts_of
from ..psf.estimation import Likelihood, PsfEstimate, estimate

_SPECTRA_TILE = 256  # samples along a side
_FREQUENCIES_READ = 8_000  # of its 33,000, which tell the few numbers of a scene as well


class Reading:
    """A picture in one light.

    Parameters
    ----------
    planes : (C, H, W) float64, complete, in the light that was blurred
    seen : (H, W) bool, where it was seen and not filled in
    jpeg : the rounding of the file, if it was a JPEG and the planes are as stored
    """

    def __init__(self, planes: Tensor, seen: Tensor, jpeg: Sequence[JpegRounding] | None) -> None:
        self._planes, self._seen, self._jpeg = planes, seen, jpeg
        part, self._rounding = parts_of(planes, jpeg)[0]
        self._data = Periodogram(tiles(part, _SPECTRA_TILE), planes.new_ones(1, 1))
        self._spectra: dict[bytes, PictureSpectra] = {}

    def spectra(self, psf: Tensor) -> PictureSpectra:
        """Scene and noise as they are most likely with this psf; remembered."""
        key = sha256(f"{psf.shape}".encode() + psf.numpy().tobytes()).digest()
        if key not in self._spectra:
            data = self._data.under(psf)
            fit = Fit(data, self._rounding, None, radii=(0.0,), most=_FREQUENCIES_READ)
            self._spectra[key] = fit.best()[0]
        return self._spectra[key]

    @cached_property
    def evidence(self) -> Likelihood:
        """Called with a psf: the logarithm of its likelihood, up to a constant of the picture."""
        return Likelihood(self._planes, self._observed, jpeg=self._jpeg)

    @cached_property
    def psf(self) -> PsfEstimate:
        """The likeliest psf of all families."""
        return estimate(self._planes, observed=self._observed, jpeg=self._jpeg)

    @property
    def _observed(self) -> Tensor | None:
        return None if bool(self._seen.all()) else self._seen
