"""The psf of one blurred photograph, from the photograph alone.

A psf leaves its mark on the spectrum of every scene: v(ω) = S(ω)|F_θ(ω)|² + N.  Of S is known that
it is smooth and falls about as a power of the frequency (scene.py), of N that it is white, or what
a JPEG has made of white noise (parameter_choice/noise_models.py).  θ is where the likelihood of the
periodogram is greatest (search.py), its errors are those of the likelihood, and families compare by
their evidence.  Disks and movements are known by their zeros, within hundredths of a sample.  A
Gaussian has none, and a picture that shows little beside noise shows none; the scale of a Gaussian
or a disk of which the spectrum is not sure is read from the edges of the picture too (scale.py).

Source: after Whittle (1953); the robust likelihood of parameter_choice/whittle.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from ...numerics.checks import check_choice, check_number
from ...numerics.compiled import outside_graphs
from ...parameter_choice.noise_models import JpegRounding
from ..families import FAMILIES
from ..models import gaussian
from .coarse import COARSE, GAUSSIAN_LINE, LineProfile, reach_in
from .data import Data, data_of
from .edges import Edges
from .parts import Parts
from .result import DECISIVE_EVIDENCE, NONE, OWN_WIDTH, PsfEstimate, chosen, doubts_of
from .scale import scale_of, sharpest
from .search import Fitted, Search

ESTIMATED = tuple(name for name, family in FAMILIES.items() if family.is_estimated)
NAMES = ("auto", *ESTIMATED)
"""What can be asked for."""

_KNOWN = 0.02  # relative error of a scale that edges would not better
_SURELY_SOFTER = 2.0  # standard errors that edges must be softer than those of sharp photographs
_VISIBLE_SIGMA = 1.5  # px; 24 sharp photographs have 30 natural units against it, and more


@outside_graphs
def estimate(
    picture: Tensor,
    family: str = "auto",
    noise_std: float | None = None,
    observed: Tensor | None = None,
    *,
    jpeg: Sequence[JpegRounding] | None = None,
) -> PsfEstimate:
    """The psf that has blurred a photograph, by the likelihood of its spectrum, and by its edges.

    Parameters
    ----------
    picture
        (H, W) or (C, H, W), floating point, at least 32 samples along each axis, in the light that
        was blurred; of three planes (red, green, blue) the luminance counts.
    family
        'gaussian' (sigma), 'disk' (radius), 'motion' (length, angle), 'moffat' (fwhm, beta),
        'gaussian-disk' (radius, sigma), or 'auto': the one of most evidence, or 'none' for a
        picture that is not blurred.  Looked for are psfs that reach up to a sixth of the shorter
        side, and 26 samples, from their centre.
    noise_std : standard deviation of white noise in each plane, if it is known
    observed : (H, W) bool, True where a pixel was seen; NaN is refused without it
    jpeg : the rounding of a picture that was a JPEG (`unconv.pictures.jpeg_rounding`)

    Returns
    -------
    PsfEstimate
        With standard errors, the evidence of each family, and what is doubtful.  Clipped lights
        and a constant frame are no data.

    Raises
    ------
    ValueError, TypeError
        If the picture is even, too small, holds NaN where it was observed, or an argument is of
        another kind.

    Examples
    --------
    >>> import torch
    >>> from skimage import data
    >>> from unconv import psf
    >>> from unconv.pictures import blur
    >>> scene = torch.from_numpy(data.camera()[:256, 128:384] / 255.0)[None]
    >>> y = blur(scene, psf.disk(3.3), boundary="valid", noise_std=0.01)
    >>> found = psf.estimate(y, "disk")
    >>> abs(found.parameters["radius"] - 3.3) < 0.1, found.reliable
    (True, True)
    """
    _check_family(family)
    if noise_std is not None:
        check_number("noise_std", noise_std, why=" in the unit of the picture")
    with torch.no_grad():
        data = data_of(picture, observed, jpeg)
        plane, noise = data.plane, data.noise(noise_std)
        reach = reach_in((plane.shape[0], plane.shape[1]))
        search = Search(data.cells(), reach, noise)
        found = {NONE: [search.without()]}
        for name in ESTIMATED if family == "auto" else [family]:
            found[name] = search.best(FAMILIES[name])
        parts = Parts(plane, data.rounding, data.unit, noise)
        name, agreed = chosen(found, family, parts)
        disagreed = _by_edges(found[name], search, data)
        disagreed += _by_more_blur(found[name][0], search)
    doubts = doubts_of(found, name, reach, data.missing, agreed=agreed) + disagreed
    return _concluded(found, name, doubts, data.unit / data.of_plane)


def _by_edges(best: list[Fitted], search: Search, data: Data) -> tuple[str, ...]:
    """Put the scale of the first psf right by the edges of the picture; what is doubtful then."""
    first = best[0]
    edges = Edges(data.plane / data.unit, data.seen, first.scene.noise_std)
    if first.family is None:
        return _of_soft_edges(edges)
    profile = COARSE[first.family.name].profile
    if profile is None:
        return ()
    value, error = first.values[0], first.errors[0]
    if error < _KNOWN * value:
        return _of_sharp_edges(edges, profile, value, error)
    scale = scale_of(edges, profile, value, error)
    if scale is None:
        return ()
    best[0] = search.rescaled(first, scale.value, scale.error)
    return scale.disagreement(value, error)


def _of_soft_edges(edges: Edges) -> tuple[str, ...]:
    """A sentence if a picture that is said to have no blur has no edge as sharp as that."""
    found = sharpest(edges, GAUSSIAN_LINE)
    if found is None or found.of_edges - _SURELY_SOFTER * found.error_of_edges < OWN_WIDTH:
        return ()
    return (f"its edges are as soft as a Gaussian of {found.of_edges:.2g} px leaves them",)


def _of_sharp_edges(
    edges: Edges, profile: LineProfile, value: float, error: float
) -> tuple[str, ...]:
    """A sentence if edges are sharper than a psf of a well-known scale leaves any."""
    found = sharpest(edges, profile)
    if found is None or found.of_edges > value:
        return ()
    return found.disagreement(value, error)


def _by_more_blur(best: Fitted, search: Search) -> tuple[str, ...]:
    """A sentence if a picture that is said to have no blur might as well have a visible one."""
    if best.family is not None:
        return ()
    gain = search.told(gaussian(_VISIBLE_SIGMA)).evidence - best.evidence
    if gain < -DECISIVE_EVIDENCE:
        return ()
    return (f"too little detail is seen to tell no blur from a Gaussian of {_VISIBLE_SIGMA} px",)


def _concluded(
    found: dict[str, list[Fitted]], name: str, doubts: tuple[str, ...], unit: float
) -> PsfEstimate:
    """What is told of all that was found."""
    best, none = found[name][0], found[NONE][0]
    family = best.family
    names = [p.name for p in family.parameters] if family else []
    return PsfEstimate(
        psf=family.kernel(*best.values) if family else torch.ones(1, 1, dtype=torch.float64),
        family=name,
        parameters=dict(zip(names, best.values, strict=True)),
        standard_errors=dict(zip(names, best.errors, strict=True)),
        evidence={other: one[0].evidence - none.evidence for other, one in found.items()},
        reliable=not doubts,
        doubts=doubts,
        noise_std=unit * best.scene.noise_std,
    )


def _check_family(family: object) -> None:
    """Refuse what is none, with the one that was probably meant."""
    close = difflib.get_close_matches(family, NAMES, n=1) if isinstance(family, str) else []
    check_choice("family", family, NAMES, f"; the nearest is {close[0]!r}" if close else "")
