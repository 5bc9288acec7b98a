"""A psf measured from points of light: the door, and what is said of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.checks import check_count
from .arguments import checked_picture, checked_places, checked_saturation
from .detection import find_points
from .fit import Fit, first_guess, fit
from .point_light import Windows
from .selection import Refused, after_fit, before_fit, without
from .width import widths

_SELECTIONS = 4  # of refusing points that are unlike the others
_ODD_PART = 0.05  # of a point's light that the psf misses
_FEW_POINTS = 5  # points: fewer cannot show which of them is odd
_UNSURE_PSF = 0.05  # relative error of the psf
_RIM_PART = 0.02  # of the peak
_MISSED = 0.01  # of the light: less is nobody's concern
_UNLIKE = 0.15  # correlation of the residual with itself a sample further


class MeasuredPsf(NamedTuple):
    """A psf from points of light, and the evidence.

    Attributes
    ----------
    psf : (*size) float64, not negative, with sum 1; its centroid is the middle sample
    positions : (J, D), of the points that were used, in samples from the first pixel's centre
    fluxes : (J,), the light of each, in the unit of the picture
    backgrounds : (J,), around each
    fwhm : full width at half maximum along each axis, in samples; NaN where it is no smaller than
        the size
    error : expected ‖psf − truth‖ / ‖truth‖ from the noise alone
    residual : ‖picture − model‖ / ‖picture − background‖ in the windows
    refused : points that were not used, with the reason
    doubts : sentences about what the data contradict, by 'points', 'size', 'noise', 'model' and
        'convergence'
    """

    psf: Tensor
    positions: Tensor
    fluxes: Tensor
    backgrounds: Tensor
    fwhm: tuple[float, ...]
    error: float
    residual: float
    refused: tuple[Refused, ...]
    doubts: dict[str, str]


def from_points(
    image: Tensor,
    positions: Tensor | None = None,
    *,
    size: int | Sequence[int],
    saturation: float | str = "auto",
    maxiter: int = 30,
) -> MeasuredPsf:
    """Measure the psf of a picture of beads or stars, between the samples.

    One psf h, and for each point its flux, its position to a fraction of a sample and the
    background around it, are fitted jointly by weighted least squares: y = Σ f·h(· − position) +
    background, h not negative.
    Points may overlap.  The psf has the pixels of the picture: to blur by it, convolve with it.

    Parameters
    ----------
    image
        (H, W) or (D, H, W), real, in linear light and any unit.  NaN and infinities are pixels that
        were not seen.  The noise is read from the residual, as a variance that grows with
        brightness from a constant: counts, camera units or fractions of white.
    positions
        (J, D), where points are, in samples (rows first), good to about a quarter of the width of
        the psf.  None: they are found, as local maxima that stand out.
    size : samples of the psf along each axis, odd; all of its light should fit in
    saturation
        A level at and above which samples are saturated; 'auto', the largest value of the picture
        if a point has a plateau of it; 'off'.  Points with saturated samples are not used.
    maxiter : turns of the fit

    Returns
    -------
    MeasuredPsf

    Raises
    ------
    ValueError, TypeError
        If no point is found or left, a position lies outside, a size is even or larger than the
        picture, or an argument is of another kind.

    Notes
    -----
    Points that are larger than a sample, such as beads of three, make the psf wider by as much.
    A psf finer than about 1.5 samples across (fwhm) is not sampled finely enough to be moved by
    fractions of a sample.  Noise in its wings cannot go below zero: fluxes come out some per cent
    large if `size` is much larger than the psf, and backgrounds accordingly small.

    Examples
    --------
    >>> import torch
    >>> from unconv import psf
    >>> picture = torch.full((64, 64), 10.0).double()
    >>> for row, column in ((12, 15), (14, 44), (40, 20), (47, 49)):
    ...     picture[row - 8 : row + 9, column - 8 : column + 9] += 9000 * psf.gaussian(2.0)
    >>> counts = torch.poisson(picture, torch.Generator().manual_seed(0))
    >>> found = from_points(counts, size=17)
    >>> len(found.positions), [round(w, 1) for w in found.fwhm]
    (4, [4.7, 4.6])
    >>> bool((found.psf - psf.gaussian(2.0)).norm() < 0.1 * psf.gaussian(2.0).norm())
    True

    The method is that of Anderson and King, "Toward high-precision astrometry with WFPC2", PASP 112
    (2000) 1360, with the psf on the picture's own samples and least squares for its averages.
    """
    picture, sizes = checked_picture(image, size)
    level = checked_saturation(saturation)
    check_count("maxiter", maxiter)
    found, refused, _ = measure(picture, sizes, positions, level, maxiter)
    return report(found, refused, image)


def measure(
    image: Tensor,
    size: Sequence[int],
    positions: Tensor | None,
    saturation: float | None,
    maxiter: int,
    odd_part: float = _ODD_PART,
) -> tuple[Fit, list[Refused], Tensor]:
    """The fit of the points that stand it, those that do not, and the pixels that were used."""
    seen = image.isfinite()
    if not bool(seen.any()):
        raise ValueError("no pixel of image is a finite number; check its file and its mask.")
    image = image.where(seen, 0.0)
    places = _found(image, seen, size) if positions is None else checked_places(positions, image)
    reasons = before_fit(image, seen, size, places, saturation)
    refused, seen = _refuse(image, seen, size, places, reasons)
    places = places[[not why for why in reasons]]
    for turn in range(_SELECTIONS):
        _require_points(places, refused)
        found = fit(image, seen, size, first_guess(image, seen, size, places), maxiter=maxiter)
        reasons = after_fit(found, places, odd_part)
        if turn == _SELECTIONS - 1 or not any(reasons):
            break
        more, seen = _refuse(image, seen, size, places, reasons)
        refused += more
        places = places[[not why for why in reasons]]
    return found, refused, seen


def report(found: Fit, refused: Sequence[Refused], image: Tensor) -> MeasuredPsf:
    """What is told of a fit."""
    light = found.problem.light
    windows, points = light.windows, found.points
    psf = found.h.reshape(windows.size)
    lit = torch.where(windows.seen, windows.image - light.background, 0.0)
    missed = float(light.residual(found.h).norm() / lit.norm())
    error = float((1 / found.problem.diagonal).sum().sqrt() / found.h.norm())
    device = image.device
    return MeasuredPsf(
        psf.to(device),
        points.positions.to(device),
        points.fluxes.to(device),
        points.backgrounds.to(device),
        widths(psf),
        error,
        missed,
        tuple(refused),
        _doubts(found, psf, error, missed),
    )


def _doubts(found: Fit, psf: Tensor, error: float, missed: float) -> dict[str, str]:
    doubts, J = {}, len(found.points.fluxes)
    if J < _FEW_POINTS:
        doubts["points"] = (
            f"only {J} point{'s were' if J > 1 else ' was'} used, too few to tell one that is odd; "
            "picture more"
        )
    if error > _UNSURE_PSF:
        doubts["noise"] = (
            f"the noise makes the psf uncertain by {100 * error:.0f} % of its norm; average more "
            "or brighter points"
        )
    rim = _rim_of_peak(psf)
    if rim > _RIM_PART:
        doubts["size"] = (
            f"at its rim the psf still has {100 * rim:.0f} % of its peak; take a larger size"
        )
    alike = _self_correlation(found)
    if alike > _UNLIKE and missed > _MISSED:
        doubts["model"] = (
            f"neighbouring samples of the residual are alike (correlation {alike:.2f}): the points "
            "are not all one psf on a constant background; measure a grid, or fewer points"
        )
    if not found.settled:
        doubts["convergence"] = "the fit had not settled; give maxiter more turns"
    return doubts


def _rim_of_peak(psf: Tensor) -> float:
    """The brightest face of the array, in the mean of its samples, as a part of the peak."""
    if min(psf.shape) < 3:
        return 0.0
    faces = [psf.select(axis, end).mean() for axis in range(psf.ndim) for end in (0, -1)]
    return float(torch.stack(faces).max() / psf.max())


def _self_correlation(found: Fit) -> float:
    """How alike weighted residuals of neighbouring samples are, in the middle of the windows."""
    light = found.problem.light
    windows = light.windows
    rest = (light.residual(found.h) * found.problem.weight.sqrt())[windows.pixels]
    shape = [k + 2 * m for k, m in zip(windows.size, windows.margin, strict=True)]
    middle = [slice(n // 4, n - n // 4) for n in shape]
    rest = rest.reshape(-1, *shape)[(slice(None), *middle)]
    power = float(rest.square().mean())
    found_alike = [
        float((rest.narrow(a, 1, n - 1) * rest.narrow(a, 0, n - 1)).mean()) / max(power, 1e-300)
        for a, n in enumerate(rest.shape[1:], start=1)
        if n > 1
    ]
    return sum(found_alike) / max(1, len(found_alike))


def _found(image: Tensor, seen: Tensor, size: Sequence[int]) -> Tensor:
    places = find_points(image, seen, size)
    if len(places) == 0:
        raise ValueError(
            "no point of light stands out of image by ten deviations of its detail; give "
            "positions, or a picture of brighter beads or stars."
        )
    return places


def _refuse(
    image: Tensor, seen: Tensor, size: Sequence[int], places: Tensor, reasons: Sequence[str]
) -> tuple[list[Refused], Tensor]:
    lost = torch.tensor([bool(why) for why in reasons])
    refused = [
        Refused(tuple(place), why)
        for place, why in zip(places.tolist(), reasons, strict=True)
        if why
    ]
    if refused:
        seen = without(Windows(image, seen, size, places), seen, lost)
    return refused, seen


def _require_points(places: Tensor, refused: Sequence[Refused]) -> None:
    if len(places) == 0:
        why = max({r.why for r in refused}, key=[r.why for r in refused].count)
        raise ValueError(
            f"none of {len(refused)} points can be used, most for one reason: {why}; picture "
            "points that are whole and below saturation, or give saturation='off' to take them all."
        )
