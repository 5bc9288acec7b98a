"""Pixels that nobody saw: which they are.

Not finite, marked as bad, transparent, or saturated: a sensor that is full says no more than that.
Clipped lights show as a plateau, many samples of exactly the largest value.  Taken at its word, 0.8
% of them costs more than 10 dB, for the blur of what was really there is missing at its rim; so a
plateau counts as not seen, with the samples around it, which are half full.

A pixel is seen if all of its channels are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..numerics.checks import (
    check_choice,
    check_dense,
    check_kind,
    check_number,
    check_real_tensor,
    check_values,
)

_LEAST_PLATEAU = 0.001  # of the samples: fewer at the largest value are chance
_LARGEST_PLATEAU = 0.2  # of them: more are a drawing, or a white sky that is part of the picture
_PROMINENT, _CHANCE = 2, 5  # times the samples at the values beside it, and their deviations
_MOST_MISSING = 0.5  # of the pixels: more are a mask the wrong way round


class Missing(NamedTuple):
    """What was not seen of a picture.

    Attributes
    ----------
    observed : (H, W) bool, True where a pixel was seen; None where all were
    saturated : (C, H, W) bool, where a sample is but a lower bound; None where none is
    counts : why -> number of pixels, of 'not finite', 'saturated', 'masked' and 'transparent' those
        that occur; a pixel may stand under several
    level : at which samples count as saturated, None where none does
    notes : sentences about what was left alone
    """

    observed: Tensor | None
    saturated: Tensor | None
    counts: Mapping[str, int]
    level: float | None
    notes: tuple[str, ...]


def find_missing(
    planes: Tensor,
    *,
    saturation: float | str = "auto",
    white: float | None = None,
    bad: Tensor | None = None,
    transparent: Tensor | None = None,
) -> Missing:
    """Find the pixels that nobody saw.

    Parameters
    ----------
    planes : (C, H, W), floating point; NaN and infinities count as not seen
    saturation
        A number, at and above which a sample is saturated; 'auto': the largest value of a channel,
        if more than 0.1 % and at most 20 % of its samples have it and, unless it is `white`, no
        other value stands out so; 'off'.  The samples around a saturated one count too.
    white : the largest value that can be stored, None if nothing ends there
    bad, transparent : (H, W) bool, True where a pixel is to be ignored

    Returns
    -------
    Missing

    Raises
    ------
    ValueError, TypeError
        If no pixel is left, or an argument is of another kind or shape.

    Examples
    --------
    >>> import torch
    >>> picture = torch.linspace(0, 1.2, 400).reshape(1, 20, 20).clamp(max=1)
    >>> found = find_missing(picture, white=1.0)
    >>> dict(found.counts), found.level
    ({'saturated': 88}, 1.0)
    """
    check_values("planes", check_real_tensor("planes", planes))
    if planes.ndim != 3 or planes.numel() == 0:
        raise ValueError(f"a picture must have shape (C, H, W), got {tuple(planes.shape)}.")
    if white is not None:
        check_number("white", white)
    hidden = {"not finite": ~planes.isfinite().all(0)}
    for name, marked in (("masked", bad), ("transparent", transparent)):
        if marked is not None:
            hidden[name] = _mask(name, marked, planes)
    ignored = torch.stack([*hidden.values()]).any(0)
    full, level, notes = _saturated(planes.where(~ignored, math.nan), saturation, white)
    hidden["saturated"] = _grown(full) if bool(full.any()) else full[0]
    unseen = torch.stack([*hidden.values()]).any(0)
    counts = {name: int(where.sum()) for name, where in hidden.items() if bool(where.any())}
    if bool(unseen.all()):
        raise ValueError(
            f"no pixel of the picture was seen ({', '.join(counts)}); check the mask and the "
            "saturation."
        )
    share = float(unseen.double().mean())
    if share > _MOST_MISSING:
        notes = (*notes, f"only {100 * (1 - share):.2g} % of the pixels were seen; check the mask")
    bounds = full if bool(full.any()) else None
    return Missing(~unseen if counts else None, bounds, counts, level, notes)


def _mask(name: str, marked: Tensor, planes: Tensor) -> Tensor:
    if check_kind(name, marked, Tensor, "give a bool tensor (H, W)").dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor, got {marked.dtype}; compare it with 0.")
    if marked.shape != planes.shape[1:]:
        raise ValueError(
            f"the pixels that are {name} have shape {tuple(marked.shape)}, the picture "
            f"{tuple(planes.shape[1:])}; they must be the same."
        )
    return marked.to(planes.device)


def check_saturation(saturation: float | str) -> float | str:
    """Refuse what is neither a level nor the name of a way to find it."""
    if isinstance(saturation, str):
        check_choice("saturation", saturation, ("auto", "off"), "; or give a number")
        return saturation
    return check_number("saturation", saturation, least=-math.inf)


def _saturated(
    planes: Tensor, saturation: float | str, white: float | None
) -> tuple[Tensor, float | None, tuple[str, ...]]:
    """(C, H, W) bool, the level, and what is to be said."""
    notes: tuple[str, ...] = ()
    levels: list[float | None]
    saturation = check_saturation(saturation)
    if saturation == "auto":
        levels, notes = _plateaus(planes, white)
    else:
        levels = [None if isinstance(saturation, str) else saturation] * len(planes)
    full = torch.zeros(planes.shape, dtype=torch.bool, device=planes.device)
    for i, level in enumerate(levels):
        if level is not None:
            full[i] = planes[i].isfinite() & (planes[i] >= level)
    known = [level for level in levels if level is not None]
    return full, min(known) if bool(full.any()) else None, notes


def _grown(full: Tensor) -> Tensor:
    """(C, H, W) -> (H, W): any channel, and the samples around it, which are half full."""
    from scipy import ndimage

    grown = ndimage.binary_dilation(full.any(0).cpu().numpy(), np.ones((3, 3)))
    return torch.from_numpy(grown).to(full.device)


def _plateaus(planes: Tensor, white: float | None) -> tuple[list[float | None], tuple[str, ...]]:
    """For each channel the value at which it is clipped, None where it is not."""
    levels: list[float | None] = []
    shares = []
    for plane in planes:
        values = plane[plane.isfinite()]
        levels.append(None)
        if values.numel() == 0:
            continue
        top = float(values.max())
        if top == float(values.min()):  # an even picture
            continue
        count = int((values == top).sum())
        if count <= _LEAST_PLATEAU * values.numel():
            continue
        if not _is_spike(values, alone=top != white):
            continue
        if count > _LARGEST_PLATEAU * values.numel():
            shares.append(count / values.numel())
        else:
            levels[-1] = top
    notes: tuple[str, ...] = ()
    if shares:
        notes = (
            f"{100 * max(shares):.0f} % of the picture have its largest value: taken for its "
            "white, not for saturated",
        )
    return levels, notes


def _is_spike(values: Tensor, *, alone: bool) -> bool:
    """Whether the largest value stands out of the histogram, and, `alone`, no other but the least.

    A drawing has many such values, all of them meant.
    """
    counts = values.unique(return_counts=True)[1].double()
    least = _LEAST_PLATEAU * values.numel()
    beside = torch.nn.functional.pad(counts, (1, 1))
    usual = torch.maximum(beside[:-2], beside[2:])
    spikes = counts > (_PROMINENT * usual + _CHANCE * usual.sqrt()).clamp(min=least)
    return bool(spikes[-1]) and not (alone and bool(spikes[1:-1].any()))


def checked_observed(observed: Tensor, size: tuple[int, ...]) -> Tensor:
    """Refuse what is no mask of a picture (H, W) = `size`."""
    mask = check_dense("observed", check_kind("observed", observed, Tensor, "give a bool tensor"))
    check_values("observed", mask)
    if mask.dtype != torch.bool or tuple(mask.shape) != tuple(size):
        raise ValueError(
            f"observed must be a bool tensor of shape {tuple(size)}, True where a pixel was seen, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}."
        )
    return mask
