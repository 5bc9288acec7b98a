"""A psf that is read from a picture: for which planes, and what is said of it."""

from __future__ import annotations

from typing import Any

from ..pictures import jpeg_rounding
from ..pictures.formats import Picture
from ..pictures.missing import Missing
from ..psf import blind
from ..psf.estimation import NONE, PsfEstimate, estimate
from .picture_options import in_light
from .progress_bar import Told
from .psf_option import BLIND, blind_size


def estimated_psf(
    source: Picture,
    found: Missing,
    family: str,
    light: str,
    noise_std: float | None,
    step: Told,
) -> PsfEstimate:
    """The psf of a picture in the light that was blurred; by 'auto' of what the file stores.

    family : as of `estimate`, or 'blind:SIZE' for a psf of any form
    found : what was not seen of it
    step : told what is looked for
    """
    planes = in_light(source, light)
    jpeg = None if light == "linear" else jpeg_rounding(source.metadata, len(planes))
    observed = found.observed
    if observed is not None and found.saturated is not None:
        observed = observed | found.saturated.any(0)  # what these recorded is told apart there
    if family.startswith(BLIND):
        size = blind_size(family)
        return blind(planes, size, noise_std=noise_std, observed=observed, jpeg=jpeg, progress=step)
    return estimate(planes, family, noise_std, observed, jpeg=jpeg)


def psf_to_undo(
    source: Picture,
    found: Missing,
    family: str,
    light: str,
    noise_std: float | None,
    name: str,
    step: Told,
) -> PsfEstimate:
    """The psf read from a picture, which is refused where it shows no blur.

    name : of the picture
    """
    psf = estimated_psf(source, found, family, light, noise_std, step)
    if psf.family == NONE:
        why = f" ({psf.doubts[0]})" if psf.doubts else ""
        raise ValueError(
            f"{name} shows no blur that could be undone{why}; name its psf if you know it, or its "
            "family, such as --psf disk:auto, or search one of any form, --psf blind:25."
        )
    return psf


def facts_of_psf(psf: PsfEstimate | None) -> dict[str, Any]:
    """For a table or JSON; nothing of a psf that was told."""
    if psf is None:
        return {}
    return {
        "psf_found": psf.described,
        **({} if psf.typed is None else {"psf_typed": psf.typed}),
        "psf_family": psf.family,
        "psf_parameters": dict(psf.parameters),
        "psf_standard_errors": dict(psf.standard_errors),
        "psf_evidence": dict(psf.evidence),
        "psf_reliable": psf.reliable,
    }


def doubts_of_psf(psf: PsfEstimate | None) -> list[str]:
    """Sentences; none about a psf that was told."""
    return [] if psf is None else [f"psf {psf.described}: {doubt}" for doubt in psf.doubts]
