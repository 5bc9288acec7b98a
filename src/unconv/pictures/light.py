"""Linear light: a lens adds up light, and files store a curve of it.

sRGB, which nearly every photograph of 8 bits is, stores about the 2.4th root of light.  Blurred by
a lens, or by a camera that moves, are the linear values.  So a picture is made linear, restored,
and stored as it was:

    linear(s) = s/12.92                      for s ≤ 0.04045
                ((s + 0.055)/1.055)^2.4      above

Both ways are continued as odd functions below zero and by the same formula above one, so that what
restoring takes out of the range comes back as it was.

Not for: pictures blurred by a program as they were stored, as most test pictures are; data of
instruments, which are linear already.

Source: IEC 61966-2-1:1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics.checks import check_real_tensor, check_values

_STEP, _SLOPE, _OFFSET, _POWER = 0.04045, 12.92, 0.055, 2.4


def linear_from_srgb(planes: Tensor) -> Tensor:
    """Light of sRGB values, white = 1.

    Parameters
    ----------
    planes : real, of any shape

    Returns
    -------
    the same shape and dtype; NaN where it was

    Raises
    ------
    TypeError
        If planes is no real tensor.

    Examples
    --------
    >>> import torch
    >>> linear_from_srgb(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.2140, 1.0000])
    """
    check_values("planes", check_real_tensor("planes", planes))
    size = planes.abs()
    curve = ((size + _OFFSET) / (1 + _OFFSET)) ** _POWER
    return torch.where(size <= _STEP, size / _SLOPE, curve) * planes.sign()


def srgb_from_linear(light: Tensor) -> Tensor:
    """The sRGB values of light, the inverse of `linear_from_srgb`.

    Parameters
    ----------
    light : real, of any shape, white = 1

    Returns
    -------
    the same shape and dtype

    Raises
    ------
    TypeError
        If light is no real tensor.

    Examples
    --------
    >>> import torch
    >>> srgb_from_linear(torch.tensor([0.0, 0.2140, 1.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    check_values("light", check_real_tensor("light", light))
    size = light.abs()
    curve = (1 + _OFFSET) * size ** (1 / _POWER) - _OFFSET
    return torch.where(size <= _STEP / _SLOPE, size * _SLOPE, curve) * light.sign()
