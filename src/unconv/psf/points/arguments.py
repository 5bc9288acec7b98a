"""What the measurements of psfs from points accept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...numerics.checks import (
    check_choice,
    check_number,
    check_real_tensor,
    check_values,
)
from ..arrays import odd_sizes

_EXTREME = 1e75  # the fourth power of values is a number still


def checked_picture(image: Tensor, size: int | Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """The picture in float64 on the CPU, and the size of a psf along each of its axes."""
    check_values("image", check_real_tensor("image", image))
    if image.ndim not in (2, 3) or image.numel() == 0:
        raise ValueError(
            f"image must have shape (H, W) or (D, H, W), got {tuple(image.shape)}; take one "
            "channel of a picture in colours."
        )
    sizes = odd_sizes(size, image)
    picture = image.detach().to("cpu", torch.float64)
    top = float(picture.where(picture.isfinite(), 0.0).abs().max())
    if top and not 1 / _EXTREME < top < _EXTREME:
        raise ValueError(
            f"image reaches {top:.3g}, whose square is no number; scale it to values around 1."
        )
    return picture, sizes


def checked_places(positions: Tensor, image: Tensor) -> Tensor:
    """Positions (J, D) inside of the picture, in float64 on the CPU."""
    check_values("positions", check_real_tensor("positions", positions))
    D = image.ndim
    if positions.ndim != 2 or positions.shape[1] != D or len(positions) == 0:
        raise ValueError(
            f"positions must have shape (number of points, {D}), rows first, got "
            f"{tuple(positions.shape)}."
        )
    places = positions.detach().to("cpu", torch.float64)
    ends = torch.tensor(image.shape) - 1
    outside = ~((places >= -0.5) & (places <= ends + 0.5)).all(1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        where = ", ".join(f"{v:.4g}" for v in places[first].tolist())
        raise ValueError(
            f"positions[{first}] = ({where}) lies outside of the picture, {tuple(image.shape)}; "
            "positions are in samples, rows first."
        )
    return places.clamp(min=0).minimum(ends)


def checked_saturation(saturation: float | str) -> float | None:
    """The level, None for 'auto', infinity for 'off'."""
    if isinstance(saturation, str):
        check_choice("saturation", saturation, ("auto", "off"), ", or a level")
        return None if saturation == "auto" else math.inf
    return check_number("saturation", saturation, least=-math.inf)
