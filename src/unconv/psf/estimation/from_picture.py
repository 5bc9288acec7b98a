"""The psf of one blurred photograph, from the photograph alone.

A psf leaves its mark on the spectrum of every scene: v(ω) = S(ω)|F_θ(ω)|² + N.  Of S is known that
it is smooth and falls about as a power of the frequency (scene.py), of N that it is white, or what
a JPEG has made of white noise (parameter_choice/noise_models.py).  θ is where the likelihood of the
periodogram is greatest (search.py), its errors are those of the likelihood, and families compare by
their evidence.  Disks and movements are known by their zeros, within hundredths of a sample; a
Gaussian has none, and is known as far as the scene follows the law.

Source: after Whittle (1953); the robust likelihood of parameter_choice/whittle.py.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...numerics.checks import (
    check_choice,
    check_number,
    check_real_tensor,
    check_values,
    is_sequence,
    shown,
)
from ...numerics.compiled import outside_graphs
from ...parameter_choice.noise_models import JpegRounding
from ...pictures.bad_pixels import filled, frame_around
from ...pictures.missing import checked_observed, find_missing
from .cells import Cells
from .families import FAMILIES, reach_in
from .parts import Parts
from .result import NONE, PsfEstimate, chosen, doubts_of
from .search import Fitted, Search

NAMES = ("auto", *FAMILIES)
"""What can be asked for."""

_SMALLEST_SIDE = 32  # samples along an axis: a psf of radius 5 can be told there
_LUMINANCE = (0.299, 0.587, 0.114)
_MOST_MISSING = 0.5
_LOUDEST = 1e6  # times the deviation of the picture


@outside_graphs
def estimate(
    picture: Tensor,
    family: str = "auto",
    noise_std: float | None = None,
    observed: Tensor | None = None,
    *,
    jpeg: Sequence[JpegRounding] | None = None,
) -> PsfEstimate:
    """The psf that has blurred a photograph, by the likelihood of its spectrum.

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
    planes = _checked(picture)
    _check_family(family)
    if noise_std is not None:
        check_number("noise_std", noise_std, why=" in the unit of the picture")
    rounding = _rounding_of(jpeg, len(planes))
    with torch.no_grad():
        planes, seen = _data_of(planes, observed)
        colours = len(planes)
        weights = planes.new_tensor(_LUMINANCE if colours == 3 else [1 / colours] * colours)
        plane = torch.tensordot(weights, filled(planes, seen), 1)
        unit, of_plane = float(plane.std()), float(weights.norm())
        noise = None if noise_std is None else min(of_plane * noise_std / unit, _LOUDEST)
        reach = reach_in((plane.shape[0], plane.shape[1]))
        search = Search(Cells(plane, rounding, unit), reach, noise)
        found = {NONE: [search.without()]}
        for name in FAMILIES if family == "auto" else [family]:
            found[name] = search.best(FAMILIES[name])
        name, small, agreed = chosen(found, family, Parts(plane, rounding, unit, noise))
    missing = 1 - float(seen.double().mean())
    doubts = doubts_of(found, name, reach, missing, small=small, agreed=agreed)
    return _concluded(found, name, doubts, unit / of_plane)


def _concluded(
    found: dict[str, list[Fitted]], name: str, doubts: tuple[str, ...], unit: float
) -> PsfEstimate:
    """What is told of all that was found."""
    best, none = found[name][0], found[NONE][0]
    family = best.family
    names = family.parameters if family else ()
    return PsfEstimate(
        psf=family.kernel(*best.values) if family else torch.ones(1, 1, dtype=torch.float64),
        family=name,
        parameters=dict(zip(names, best.values, strict=True)),
        standard_errors=dict(zip(names, best.errors, strict=True)),
        evidence={other: one[0].evidence - none.evidence for other, one in found.items()},
        reliable=not doubts,
        doubts=doubts,
        noise_std=unit * math.exp(float(best.scene.values[0, -1]) / 2),
    )


def _checked(picture: Tensor) -> Tensor:
    """(C, H, W) float64."""
    check_values("picture", check_real_tensor("picture", picture))
    planes = picture[None] if picture.ndim == 2 else picture
    if planes.ndim != 3 or len(planes) == 0:
        raise ValueError(
            f"a picture must have shape (H, W) or (C, H, W), got {tuple(picture.shape)}."
        )
    H, W = planes.shape[1:]
    if min(H, W) < _SMALLEST_SIDE:
        remedy = "move the colours to the front" if W <= 4 else "give a larger part of it"
        raise ValueError(
            f"a picture of {H} x {W} samples is too small to tell its psf, which takes "
            f"{_SMALLEST_SIDE} along each axis; {remedy}."
        )
    return planes.detach().to(device="cpu", dtype=torch.float64)


def _check_family(family: object) -> None:
    """Refuse what is none, with the one that was probably meant."""
    close = difflib.get_close_matches(family, NAMES, n=1) if isinstance(family, str) else []
    check_choice("family", family, NAMES, f"; the nearest is {close[0]!r}" if close else "")


def _rounding_of(jpeg: Sequence[JpegRounding] | None, planes: int) -> JpegRounding | None:
    """That of the luminance."""
    if jpeg is None:
        return None
    if not is_sequence(jpeg) or not all(isinstance(r, JpegRounding) for r in jpeg):
        raise TypeError(
            f"jpeg={shown(jpeg)} must be a sequence of roundings; take it from jpeg_rounding()."
        )
    if len(jpeg) != planes or planes not in (1, 3):
        raise ValueError(
            f"jpeg has the rounding of {len(jpeg)} components and the picture {planes} planes; a "
            "JPEG has 1 or 3 of both."
        )
    return jpeg[0]


def _data_of(planes: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
    """The picture inside a constant frame, and (H, W) bool: where it is a datum."""
    finite = planes.isfinite().all(0)
    if observed is None and not bool(finite.all()):
        count = int((~finite).sum())
        raise ValueError(
            f"{count:,} pixels of the picture are not finite; give observed=, False where a pixel "
            "is no datum, such as picture.isfinite().all(0)."
        )
    seen = finite
    if observed is not None:
        seen = finite & checked_observed(observed, planes.shape[1:]).cpu()
        if not bool(seen.any()):
            raise ValueError("observed excludes every finite pixel; it must be True where seen.")
    else:
        top, bottom, left, right = frame_around(planes)
        inside = planes[:, top : planes.shape[1] - bottom, left : planes.shape[2] - right]
        if min(inside.shape[1:]) >= _SMALLEST_SIDE:
            planes, seen = inside, torch.ones_like(inside[0], dtype=torch.bool)
    if bool((planes[:, seen].amax(1) == planes[:, seen].amin(1)).all()):
        raise ValueError("the picture is even where it was observed, and nothing tells its blur.")
    lit = find_missing(planes, white=1.0, bad=~seen)
    seen = seen if lit.observed is None else lit.observed
    share = float(seen.double().mean())
    if share < 1 - _MOST_MISSING:
        raise ValueError(
            f"only {share:.0%} of the pixels are data, the others saturated or "
            "not observed; a psf is read from pictures of which half was seen."
        )
    return planes, seen
