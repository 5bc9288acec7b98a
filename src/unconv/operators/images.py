"""How images lie in a tensor: one alone or a batch of them, and in which order in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

_Image = TypeVar("_Image", Tensor, Tensor | None)

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def is_alone(x: object, shape: tuple[int, ...]) -> bool:
    """Whether x is a single image of this shape, (channels, *spatial), without a batch axis.

    Examples
    --------
    >>> is_alone(torch.ones(3, 8), (3, 8)), is_alone(torch.ones(1, 3, 8), (3, 8))
    (True, False)
    """
    return (
        isinstance(x, Tensor)
        and x.ndim == len(shape)
        and x.layout == torch.strided
        and not x.is_nested
        and tuple(x.shape) == shape
    )


def batched(x: _Image, shape: tuple[int, ...]) -> _Image:
    """x with a batch axis if it is a single image of this shape; anything else as it is.

    Examples
    --------
    >>> batched(torch.ones(3, 8), (3, 8)).shape, batched(torch.ones(2, 3, 8), (3, 8)).shape
    (torch.Size([1, 3, 8]), torch.Size([2, 3, 8]))
    """
    return x[None] if x is not None and is_alone(x, shape) else x


def in_layout_of(y: Tensor, x: Tensor) -> Tensor:
    """y with its channels last in memory where those of x are, as torch's convolutions do it.

    Examples
    --------
    >>> x = torch.ones(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    >>> in_layout_of(torch.ones(1, 2, 4, 5), x).stride()
    (40, 1, 10, 2)
    """
    if x.ndim not in _CHANNELS_LAST or x.is_contiguous():
        return y
    if torch._C._are_functorch_transforms_active():  # which tell of no layout
        return y
    layout = _CHANNELS_LAST[x.ndim]
    return y.contiguous(memory_format=layout) if x.is_contiguous(memory_format=layout) else y
