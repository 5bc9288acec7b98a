"""Which points are measured, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .fit import Fit
from .point_light import Windows
from .shifts import along_axes

_SEEN = 0.9  # of the middle half of a window
_ODD = 4.0  # times the median of the points' chi²
_WANDERED = 0.25  # of the psf's size


class Refused(NamedTuple):
    """A point that was not used.

    Attributes
    ----------
    position : in samples
    why : a sentence
    """

    position: tuple[float, ...]
    why: str


def before_fit(
    image: Tensor, seen: Tensor, size: Sequence[int], positions: Tensor, saturation: float | None
) -> list[str]:  # '' for a point that may be used
    """What speaks against points before they are fitted."""
    if len(positions) == 0:
        return []
    half = [max(1, k // 4) for k in size]
    offsets = torch.cartesian_prod(*(torch.arange(-r, r + 1) for r in half))
    places = positions.round().long()[:, None] + offsets.reshape(-1, len(half))[None]
    bounds = torch.tensor(image.shape) - 1
    inside = ((places >= 0) & (places <= bounds)).all(2)
    flat = (places.clamp(min=0).minimum(bounds) * torch.tensor(image.stride())).sum(2)
    known = seen.flatten()[flat] & inside
    values = image.flatten()[flat].where(known, -torch.inf)
    full, level = _full(values, image, seen, saturation)
    found = []
    for part, saturated in zip(known.double().mean(1).tolist(), full, strict=True):
        if part < _SEEN:
            found.append(f"{100 * (1 - part):.0f} % of the samples around it were not seen")
        else:
            found.append(f"saturated, it reaches {level:.4g}" if saturated else "")
    return found


def _full(
    values: Tensor, image: Tensor, seen: Tensor, saturation: float | None
) -> tuple[list[bool], float]:
    """Whether each point reaches the level; without one that of the picture's largest value.

    That is one of saturation if a point has a plateau of it: of a point between samples 2ᴰ are
    alike at most.
    """
    level = float(image[seen].max()) if saturation is None else saturation
    full = values >= level
    if saturation is None and not bool((full.sum(1) > 2**image.ndim).any()):
        full = torch.zeros_like(full)
    return full.any(1).tolist(), level


def after_fit(found: Fit, start: Tensor, odd_part: float) -> list[str]:
    """What speaks against points that were fitted from `start`.

    Odd is a point of which the psf misses more than `odd_part` of its light, and far more than of
    others.
    """
    points, light = found.points, found.problem.light
    windows = light.windows
    shape = along_axes(light.shifts, found.h.reshape(1, *windows.size)).flatten(1).clamp(min=0)
    weight = shape * windows.seen[windows.pixels]
    squares = light.residual(found.h).square()
    chi2 = (weight * (squares * found.problem.weight)[windows.pixels]).sum(1)
    chi2 = chi2 / weight.sum(1).clamp(min=1e-300)
    missed = (weight * squares[windows.pixels]).sum(1).sqrt()
    missed = missed / (weight * (points.fluxes[:, None] * shape).square()).sum(1).sqrt()
    reach = torch.tensor([max(1.0, _WANDERED * k) for k in windows.size])
    dark = points.fluxes <= 0
    far = ((points.positions - start).abs() > reach).any(1)
    odd = (chi2 > _ODD * chi2.median()) & (missed > odd_part) & (len(chi2) > 2)
    reasons = []
    for j in range(len(chi2)):
        if dark[j]:
            reasons.append("the fit finds no light in it")
        elif far[j]:
            reasons.append("the fit moves it to another place")
        elif odd[j]:
            reasons.append(
                f"unlike the others, the psf misses {100 * float(missed[j]):.0f} % of its light"
            )
        else:
            reasons.append("")
    return reasons


def without(windows: Windows, seen: Tensor, refused: Tensor) -> Tensor:
    """`seen` without the pixels that lie nearest to points that are `refused`, (J,) bool."""
    lost = refused[windows.owner] & (windows.where >= 0)
    seen = seen.clone()
    seen.view(-1)[windows.where[lost]] = False
    return seen
