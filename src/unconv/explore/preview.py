"""What a choice makes of the part of a picture that is looked at.

At once: the Wiener filter (pictures/wiener_restoration.py) by the spectra of the whole picture,
with white noise alone, and what lies outside the part and its margin unknown.  It takes what psf
and picture say at their word: pixels that no scene explains, interference and an error of the psf
are not looked for, and a psf that is too wide is seen to ring.  A damp that is a number is damped
by at once too.

When the slider rests: `unconv.pictures.deblur` of the same part, as the whole picture is restored
in the end, but with the spectra and strengths of the part.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..grid.fft import fast_size
from ..inverse import AccuracyWarning
from ..pictures.bad_pixels import filled
from ..pictures.memory import MARGIN
from ..pictures.operators import blur_operator, frame
from ..pictures.restoration import Restored, deblur
from .choice import Choice, Region, Told
from .reading import Reading
from .subject import Subject, as_stored, in_light

_MOST_AROUND = 48  # rows and columns of the picture that are restored around what is shown
_NOISE_FLOOR = 1e-3  # of the largest power of noise
_NOISE_TIMES = (1.0, 100.0, 1e4)  # times the noise, where its filter cannot be solved for
_QUICK_TOL = 5e-2  # of what is shown at once, in the norm of its spectrum: a tenth of a grey level


@dataclass(frozen=True)
class Preview:
    """A restored part.

    Attributes
    ----------
    before, after : (C, h, w) as stored
    prior : what restored it
    strength, damp : that were used, None for a prior without
    said : what is to be said of it, sentences
    """

    before: Tensor
    after: Tensor
    prior: str
    strength: float | None = None
    damp: float | None = None
    said: tuple[str, ...] = ()


@dataclass
class Desk:
    """A picture, and what was read from it in each light."""

    subject: Subject
    _readings: dict[bool, Reading] = field(default_factory=dict)

    def reading(self, light: str) -> Reading:
        """What the picture says of psfs, as stored or in linear light."""
        linear = light == "linear"
        if linear not in self._readings:
            subject = self.subject
            planes, jpeg = in_light(subject.complete, light), None if linear else subject.jpeg
            self._readings[linear] = Reading(planes, subject.seen, jpeg)
        return self._readings[linear]

    def at_once(self, region: Region, choice: Choice, psf: Tensor) -> Preview:
        """In less than half a second, for 512² pixels."""
        if choice.prior == "damp" and choice.damp is not None:
            return self.carefully(region, choice, psf, lambda step, fraction=None: None)
        around, planes = self._around(region, psf, 0.5)
        seen = planes.isfinite().all(0)
        y = in_light(planes if bool(seen.all()) else filled(planes, seen), choice.light)
        x = _wiener(y, psf, self.reading(choice.light))
        return self._shown(region, around, as_stored(x, choice.light), prior="wiener")

    def carefully(self, region: Region, choice: Choice, psf: Tensor, say: Told) -> Preview:
        """By the library's `deblur`; `say` may raise to end it."""
        around, planes = self._around(region, psf, 1.0)
        asked: dict[str, Any] = {"prior": choice.prior, "damp": choice.damp, "progress": say}
        if choice.strength is not None:
            asked["strength"] = choice.strength
        if choice.light != "linear":
            asked["jpeg"] = self.subject.jpeg
        found = deblur(in_light(planes, choice.light), psf, **asked)
        x = as_stored(found.planes, choice.light)
        strengths = [s.strength for s in found.sharpened if s.certificate is not None]
        return self._shown(
            region,
            around,
            x,
            prior=found.prior,
            strength=strengths[0] if strengths else None,
            damp=found.damp,
            said=_sentences(found),
        )

    def _around(self, region: Region, psf: Tensor, share: float) -> tuple[Region, Tensor]:
        """The region and a margin of that share of the psf, and the stored values there."""
        rows, columns = (min(int(share * n) + 1, _MOST_AROUND) for n in psf.shape)
        around = region.grown(rows, columns, self.subject.size)
        return around, around.of(self.subject.planes)

    def _shown(self, region: Region, around: Region, x: Tensor, **facts: Any) -> Preview:
        inside = Region(region.x - around.x, region.y - around.y, region.width, region.height)
        return Preview(region.of(self.subject.complete), inside.of(x), **facts)


def _wiener(y: Tensor, psf: Tensor, reading: Reading) -> Tensor:
    """E[scene | y] where y (C, H, W) was seen, by the spectra that were read."""
    op = blur_operator(psf, (y.shape[1], y.shape[2]), "valid")
    alone = psf.numel() == 1  # no light comes from outside
    grid = [n if alone else fast_size(n + MARGIN) for n in op.domain_shape[1:]]
    spectra = reading.spectra(psf)
    noise, signal = spectra.noise_psd(grid), spectra.signal_psd(grid)
    noise = noise.clamp(min=_NOISE_FLOOR * float(noise.max()))
    method = "fourier" if alone else "completion"
    mean = y.mean((1, 2), keepdim=True)
    x = None
    for raised in _NOISE_TIMES:
        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)  # what is kept is solved again
            x = op.wiener(raised * noise, signal, method=method, tol=_QUICK_TOL)(
                (y - mean)[:, None]
            )
            break
    if x is None:
        raise ValueError("no filter can be solved for this psf; try a narrower one.")
    return frame(x[:, 0] + mean, psf)


def _sentences(found: Restored) -> tuple[str, ...]:
    if found.data is None:
        return ()
    return (found.data.sentence, *found.data.doubts)
