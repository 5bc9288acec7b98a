"""What a restored picture says of its data: noise, psf, residual, bad pixels.

A Wiener filter rests on the spectra of scene and noise that were read from the picture.  They are
held against the data here, in numbers that a user can judge: whether what is left looks like the
noise, whether the psf is plausible, and the spectra themselves beside the data's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..inverse.facts import Effort
from ..parameter_choice import model_check
from ..parameter_choice.model_check import RadialSpectra
from ..parameter_choice.psf_error import PsfError
from ..parameter_choice.residual_whiteness import Whiteness
from ..parameter_choice.whittle import Periodogram, PictureSpectra
from .operators import doubt_of_size, frame

_FAR_FROM_WHITE = 4.0  # times what is usual: other failures of the model leave less


class How(NamedTuple):
    """How a filter was made, what it took, and (c,) the error of x in the norm of its spectrum."""

    method: str
    effort: Effort
    error: Tensor


class Component(NamedTuple):
    """Planes that share their spectra, restored."""

    planes: Tensor  # (c, H, W), complete
    data: Periodogram
    spectra: PictureSpectra
    x: Tensor  # (c, *domain)
    residual: Tensor  # (c, H, W)
    fitted: Tensor  # (c, H, W), A x
    how: How
    judged: Tensor  # (c, H, W), the residual before more noise was assumed than the model has
    whiteness: Whiteness  # of that
    psf_error: PsfError | None  # where the data speak for one


class DataReport(NamedTuple):
    """What was concluded about the data.

    Attributes
    ----------
    noise : of each component, in words
    whiteness : of the residual within the seen part, divided by what the model expects of it; of
        the component that is worst
    psf_plausible : whether the picture looks blurred by the psf
    psf_refused
        whether the psf contradicts the picture so much that nothing should be made of it; unless it
        was insisted on, the picture is given back as it was
    observed : (H, W) bool, False where a pixel was not taken for a datum
    excluded : why -> number of pixels that were taken for missing by what the picture shows: 'in a
        constant frame', 'explained by no scene'
    profiles : of each component, the spectra of data, model and noise by frequency
    sentence : all of it
    doubts : what is to be said when an assumption fails
    """

    noise: tuple[str, ...]
    whiteness: Whiteness
    psf_plausible: bool
    psf_refused: bool
    observed: Tensor
    excluded: Mapping[str, int]
    profiles: tuple[RadialSpectra, ...]
    sentence: str
    doubts: tuple[str, ...]


def concluded(
    found: Sequence[Component],
    seen: Tensor,
    psf: Tensor,
    notes: Sequence[str],
    excluded: Mapping[str, int],
    *,
    insist: bool,
) -> DataReport:
    """The conclusions, and what fails of the assumptions.

    seen : (H, W) bool, of the planes of the components
    insist : whether a psf is used that the picture contradicts
    """
    small = doubt_of_size((seen.shape[0], seen.shape[1]), psf)
    doubts = [] if small is None or psf.numel() == 1 else [small]
    worst = max((c.whiteness for c in found), key=lambda w: w.distance / w.limit)
    if not worst.is_white:
        doubts.append(
            f"the residual does not look like the noise that was read (distance "
            f"{worst.distance:.3g}, up to {worst.limit:.3g} is usual); "
            "where the data are stronger than signal and noise, the rest was taken for noise"
        )
    first = found[0]
    blurred, contradicts = _held_against_none(first, psf)
    errors = [c.psf_error for c in found if c.psf_error is not None]
    forbidden = contradicts or any(error.forbids for error in errors)
    plausible = blurred and not forbidden
    far = worst.distance > _FAR_FROM_WHITE * worst.limit
    refused = forbidden or (bool(errors) and far and not blurred)
    doubts += _of_psf(errors, plausible=plausible, refused=refused, insist=insist)
    noise = tuple(str(c.spectra.noise) for c in found)
    parts = [
        noise[0],
        f"residual {'white' if worst.is_white else 'not white'} within the seen part",
        f"psf {'plausible' if plausible else 'not plausible'}",
        *notes,
    ]
    share = float(seen.double().mean())
    profiles = tuple(
        model_check.radial_spectra(c.judged, c.data, c.spectra, psf, share) for c in found
    )
    sentence = "; ".join(parts)
    return DataReport(
        noise, worst, plausible, refused, seen, excluded, profiles, sentence, tuple(doubts)
    )


def _held_against_none(found: Component, psf: Tensor) -> tuple[bool, bool]:
    """Whether the picture looks blurred by the psf, and whether it loses by it what it has."""
    if psf.numel() == 1:
        return True, False
    sharp = Periodogram(found.residual + found.fitted, psf.new_ones(1, 1))
    alone, spectra = sharp.fit(found.spectra.noise.rounding), found.spectra
    blurred = model_check.looks_blurred(alone, spectra)
    restored = found.x if found.x.shape == found.planes.shape else frame(found.x, psf)
    return blurred, model_check.takes_detail_away(found.data, spectra, restored, psf)


def _of_psf(
    errors: Sequence[PsfError], *, plausible: bool, refused: bool, insist: bool
) -> list[str]:
    """What is to be said of a psf that is not quite right."""
    if refused:
        done = "was restored as was asked" if insist else "is given back as it was, still blurred"
        remedy = "check the psf and its size" + (
            "" if insist else ", or ask for the prior 'wiener' to have it restored all the same"
        )
        return [f"the picture contradicts this psf, and {done}: {remedy}"]
    if not plausible:
        return ["the picture looks as if this psf had not blurred it: check the psf and its size"]
    if errors:
        worst = math.sqrt(max(error.power for error in errors))
        return [
            f"the psf is off by about {worst:.1%} of what it takes away, and the picture was "
            "restored as far as that allows: check the psf, and the light that was blurred"
        ]
    return []
