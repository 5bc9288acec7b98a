"""Whether a photograph contradicts its psf, and how far a wrong one may be used.

A psf that is a little wrong, or a blur of light held for one of stored values, leaves its error E
in the data, which are (F + E)x: a part that the model has no place for.  Of E its power is known by
the likelihood, if it is taken to grow with what the psf takes away,

    v(ω) = c·|ω|^(−p) (|F|² + ε (1 − |F|)²) + N(ω),        F(0) = 1,

and a filter for which that part is noise amplifies nothing by more than about 1/(2√ε).

A psf that is quite wrong cannot be used at all: no filter made of it is as good as none.  It is
known by one of these: the picture is as likely without any psf, the error is as strong as the psf,
a psf of half its effect (√|F|) explains the picture better, or the scene would have to be as rough
as no photograph is; and by what is restored, which lacks detail that the picture has
(`takes_detail_away` in model_check.py): an error in some directions only is none of these.

Measured on four scenes with noise 0.004, dB beside the blurred picture, without and with ε:
gaussian:1.5 taken for disk:3 −1.1 to +0.9 and −0.1 to +0.9; disk:3 for disk:4 −4.4 to −0.9 and −0.1
to +1.0; light blurred by motion:15,30 and taken as stored −2.4 to +0.1 and +1.0 to +2.2.

Cost: that of reading the spectra, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .whittle import (
    LEAST_EXPONENT,
    USUAL_EXPONENT,
    Fit,
    Periodogram,
    PictureSpectra,
    transfer,
    whole,
)

_MEANINGLESS_GAIN = 10.0  # natural units that mean nothing
_OF_LINES = 0.0096  # and so many for each frequency: what the lines of a brick wall are worth
_TIMES = 5.0  # the power of the error, for a filter: it is not spread as evenly as it is modelled
_BEYOND_DOUBT = 4.0  # times what is decisive
_AS_STRONG = 0.25  # of the psf's power


@dataclass(frozen=True)
class PsfError:
    """What the likelihood says of an error of the psf.

    Attributes
    ----------
    spectra : fitted together with the error
    power : ε
    gain : natural units of the likelihood that ε adds
    halved : natural units that a psf of half the effect would add beside that
    """

    spectra: PictureSpectra
    power: float
    gain: float
    halved: float

    @property
    def is_decisive(self) -> bool:
        """Whether there is an error."""
        return self.gain > self._much

    @property
    def _much(self) -> float:
        return max(_MEANINGLESS_GAIN, _OF_LINES * self.spectra.frequencies)

    @property
    def forbids(self) -> bool:
        """Whether no filter should be made of the psf."""
        if self.halved > _BEYOND_DOUBT * self._much:  # even if no error of F explains anything
            return True
        better = self.halved > self._much
        rough = self.spectra.exponent <= LEAST_EXPONENT
        return self.is_decisive and (better or rough or self.power > _AS_STRONG)

    def noise_psd(self, psf: Tensor, sizes: Sequence[int]) -> Tensor:
        """What a filter is to take for noise because of the error, (*sizes)."""
        gain = whole(transfer(psf, sizes).abs(), sizes[1])
        total = gain[0, 0].clamp(min=torch.finfo(gain.dtype).tiny)
        wrong = (total - gain).square()
        return _TIMES * self.power * wrong * self.spectra.signal_psd(sizes, psf.device)


def psf_error(
    data: Periodogram, spectra: PictureSpectra, psf: Tensor, std: float | None = None
) -> PsfError:
    """The error of a psf by the likelihood; `spectra` are those without.

    std : standard deviation of white noise, if it is known

    Examples
    --------
    >>> import torch
    >>> from skimage import data as pictures
    >>> from unconv import psf
    >>> from unconv.pictures import blur
    >>> x = torch.from_numpy(pictures.camera()[::4, ::4] / 255.0)[None]
    >>> def error(true, told):
    ...     y = Periodogram(blur(x, true, boundary="circular", noise_std=0.004), told)
    ...     return psf_error(y, y.fit(), told)
    >>> error(psf.disk(2), psf.disk(2)).is_decisive, error(psf.disk(2), psf.disk(4)).is_decisive
    (False, True)
    """
    gain = data.gain.sqrt()
    total = gain[0, 0].clamp(min=torch.finfo(gain.dtype).tiny)
    noise = spectra.noise

    def fitted(effect: float) -> tuple[PictureSpectra, float]:
        passed = total * (gain / total) ** effect
        wrong = (total - gain).square()

        def shapes(exponent: float) -> list[Tensor]:
            law = data.radius**-exponent
            return [data.mean_of(passed.square() * law), data.mean_of(wrong * law)]

        begin = (spectra.exponent, USUAL_EXPONENT)
        return Fit(data, noise.rounding, std, shapes, (noise.radius,), begin).best()

    (found, power), (half, _) = fitted(1.0), fitted(0.5)
    n = spectra.frequencies
    return PsfError(found, power, (spectra.loss - found.loss) * n, (found.loss - half.loss) * n)
