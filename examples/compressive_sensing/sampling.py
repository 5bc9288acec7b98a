"""Which elements of a picture are measured, and what counts as a measurement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unconv.numerics.checks import check_all_finite, check_tensor

RATIOS = (0.04, 0.1, 0.3, 0.4, 0.5)
"""Those of the paper."""


def random_mask(shape: Sequence[int], ratio: float, generator: torch.Generator) -> Tensor:
    """Elements drawn without replacement, each picture its own: round(ratio·3HW) of them.

    Returns
    -------
    (N, 3, H, W) = shape, bool
    """
    check_ratio(ratio)
    count, *picture = shape
    elements = torch.Size(picture).numel()
    wanted = round(ratio * elements)
    if not wanted:
        raise ValueError(
            f"ratio={ratio} samples nothing of {elements} elements; use at least "
            f"{1 / elements:.2g}, or larger pictures."
        )
    order = torch.rand(count, elements, generator=generator).argsort(1)
    mask = torch.zeros(count, elements, dtype=torch.bool)
    return mask.scatter_(1, order[:, :wanted], True).view(*shape)


def check_ratio(ratio: float) -> None:
    """Refuse what is no share."""
    if not 0 < ratio <= 1:
        raise ValueError(
            f"ratio must be above 0 and at most 1, got {ratio}; the paper has "
            f"{', '.join(map(str, RATIOS))}."
        )


def check_measurements(y: object, mask: object) -> None:
    """Refuse what is no batch of sampled colour pictures, with one sentence."""
    y = check_tensor("y", y)
    if y.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"y must be float32 or float64, got {y.dtype}; convert it with .float().")
    if y.ndim != 4 or y.shape[1] != 3:
        raise ValueError(
            f"y must be colour pictures (N, 3, H, W), got shape {tuple(y.shape)}; give one picture "
            "as y[None], a grey one with its plane three times."
        )
    if 0 in y.shape:
        raise ValueError(
            f"y must have pictures with pixels, got shape {tuple(y.shape)}; leave empty ones out."
        )
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a tensor of bool, got {kind}; use mask != 0.")
    if mask.shape != y.shape:
        raise ValueError(
            f"mask must have the shape of y, {tuple(y.shape)}, got {tuple(mask.shape)}; expand one "
            "that several pictures share."
        )
    if not mask.flatten(1).any(1).all():
        raise ValueError(
            "mask must sample something of every picture, got one without a True; use a higher "
            "ratio, or leave that picture out."
        )
    check_all_finite("y", y, "mend the picture, or leave these elements out of mask and set them 0")
