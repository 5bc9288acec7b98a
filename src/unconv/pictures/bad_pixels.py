"""Samples of a picture that are no data: clipped lights, and a frame around the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

_LEAST_PLATEAU, _LARGEST_PLATEAU = 1e-3, 0.2  # of the samples
_PILED_UP = 2.0  # times as many samples as of the next lower value, or it is no plateau


def clipped(planes: Tensor) -> tuple[Tensor, float]:
    """Samples at the largest value of the picture, if they are a plateau, grown by one sample.

    A plateau is more than 0.1 % of the samples, and at least twice as many as stand at the next
    lower value; over 20 %, as in drawings and white skies, it is the picture's own.

    Parameters
    ----------
    planes : (C, H, W)

    Returns
    -------
    (H, W) bool, and the share of the samples on the plateau before it was grown

    Examples
    --------
    >>> import torch
    >>> y = torch.linspace(0, 2, 400).reshape(1, 20, 20).clamp(max=1.9)
    >>> mask, share = clipped(y)
    >>> int(mask.sum()), share
    (40, 0.05)
    """
    top = planes.amax()
    at_top = planes == top
    share = float(at_top.double().mean())
    lower = planes[~at_top]
    nothing = torch.zeros_like(at_top[0])
    if not len(lower) or share <= _LEAST_PLATEAU:
        return nothing, 0.0
    if float(at_top.sum()) < _PILED_UP * float((lower == lower.amax()).sum()):
        return nothing, 0.0
    if share > _LARGEST_PLATEAU:
        return nothing, share
    grown = max_pool2d(at_top.any(0)[None].double(), 3, stride=1, padding=1)[0]
    return grown > 0, share


def frame_around(planes: Tensor) -> tuple[int, int, int, int]:
    """Rows and columns of one constant value around a picture: (top, bottom, left, right).

    Only around a picture with noise: what is even by itself, such as a drawing, has no frame.

    Examples
    --------
    >>> import torch
    >>> y = torch.zeros(1, 20, 30)
    >>> y[:, 3:, 2:-4] = torch.rand(1, 17, 24)
    >>> frame_around(y)
    (3, 0, 2, 4)
    """
    constant = planes == planes[:, :1, :1]
    if bool((planes == planes[:, -1:, -1:]).double().mean() > constant.double().mean()):
        constant = planes == planes[:, -1:, -1:]
    rows, columns = (constant.all(0).all(axis) for axis in (1, 0))
    if bool(rows.all()):
        return 0, 0, 0, 0
    found = _ends(rows) + _ends(columns)
    top, bottom, left, right = found
    inside = planes[:, top : planes.shape[1] - bottom, left : planes.shape[2] - right]
    bend = inside[..., 2:] - 2 * inside[..., 1:-1] + inside[..., :-2]
    noisy = inside.shape[-1] > 2 and bool(bend.abs().median() > 0)
    return found if noisy else (0, 0, 0, 0)


def _ends(constant: Tensor) -> tuple[int, int]:
    """How many entries are True from the beginning, and from the end."""
    places = (~constant).nonzero()[:, 0]
    return int(places[0]), len(constant) - 1 - int(places[-1])


def filled(planes: Tensor, seen: Tensor) -> Tensor:
    """Samples that are no data replaced by the mean of the nearest ones, (C, H, W).

    Parameters
    ----------
    planes : (C, H, W); what stands where nothing was seen is without effect, NaN too
    seen : (H, W) bool, True somewhere

    Examples
    --------
    >>> import torch
    >>> seen = torch.ones(5, 5, dtype=torch.bool)
    >>> seen[2, 2] = False
    >>> float(filled(torch.where(seen, 3.0, torch.nan)[None], seen)[0, 2, 2])
    3.0
    """
    known = seen.to(planes)[None]
    values = torch.where(seen, planes, 0.0)
    reach = 1
    while not bool((known > 0).all()):
        size = 2 * reach + 1
        weight = avg_pool2d(known[None], size, stride=1, padding=reach)[0]
        mean = avg_pool2d(values[None], size, stride=1, padding=reach)[0] / weight.clamp(min=1e-12)
        new = (known == 0) & (weight > 1e-9)
        values = torch.where(new, mean, values)
        known = torch.where(new, 1.0, known)
        reach *= 2
    return values
