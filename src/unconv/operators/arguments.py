"""What a convolution is made of, checked: a layer, dimensions, a bias, a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from ..grid.geometry import count_axes
from ..numerics.checks import check_kind, check_tensor

Layer = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)
LAYERS: tuple[type[Layer], ...] = get_args(Layer)


def check_layer(module: object) -> Layer:
    """A module, if it is a convolution of torch.nn."""
    if not isinstance(module, LAYERS):
        names = ", ".join(f"nn.{m.__name__}" for m in LAYERS)
        raise TypeError(f"expected one of {names}, got {type(module).__name__}.")
    return module


def check_dimensions(weight: Tensor, input_shape: Sequence[int]) -> int:
    """The number of spatial axes, which the weight and input_shape must agree on."""
    nd = count_axes(input_shape)
    if weight.ndim not in (nd + 2, nd + 3):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; for the {nd} spatial axes of "
            f"input_shape={tuple(input_shape)} expected {axes_of_weight(weight, nd)}."
        )
    if weight.ndim == nd + 3 and weight.shape[0] == 0:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}: one kernel per sample, of no sample; leave "
            "an empty batch out."
        )
    return nd


def axes_of_weight(weight: Tensor, nd: int) -> str:
    """What was expected of a weight for nd spatial axes, and how a bare kernel becomes one."""
    expected = f"{nd + 2} axes (out, in/groups, *kernel), or {nd + 3} with one kernel per sample"
    if weight.ndim != nd:
        return expected
    sizes = ", ".join(map(str, weight.shape))
    return (
        f"{expected}; of a kernel alone make k[None, None], or k[None, None].expand(C, 1, {sizes}) "
        "with groups=C where each of C channels has it"
    )


def checked_bias(bias: Tensor | None, channels: int, weight: Tensor) -> Tensor | None:
    """A layer's bias, (channels,), that fits its weight."""
    if bias is not None:
        check_tensor("bias", bias)
        if bias.is_complex() and not weight.is_complex():
            raise ValueError(
                "a complex bias needs a complex weight, whose layer it is part of; give its "
                "real part, or weight.to(torch.complex128)."
            )
        if tuple(bias.shape) != (channels,):
            raise ValueError(
                f"bias must have shape ({channels},), one value per output channel, "
                f"got {tuple(bias.shape)}."
            )
        if bias.device != weight.device:
            raise ValueError(
                f"bias is on {bias.device}, weight on {weight.device}; move one with .to(device)."
            )
    return bias


def checked_mask(mask: object, shape: tuple[int, ...]) -> Tensor:
    """A mask of outputs as (channels or 1, *sizes) bool.

    shape : (channels, *sizes) of the outputs
    """
    mask = check_kind("mask", mask, Tensor, "torch.from_numpy turns an array into one")
    if mask.dtype != torch.bool:
        raise TypeError(
            f"mask must be a bool tensor, True where an output was seen, got {mask.dtype}; compare "
            "it with something first, as in mask != 0."
        )
    if tuple(mask.shape) not in (shape, shape[1:], (1, *shape[1:])):
        raise ValueError(
            f"mask must have shape {shape[1:]} or {shape}, one value per output, got "
            f"{tuple(mask.shape)}."
        )
    return mask.detach().reshape(-1, *shape[1:])
