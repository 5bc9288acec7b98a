"""How fast an inverse kernel decays."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_tensor,
    is_sequence,
    shown,
)


def decay(weight: Tensor, center: Sequence[int] | None = None) -> Tensor:
    """The tail Σ |g[j]| over |j − center|_∞ > L, for L = 0, 1, …

    A tile restored with a halo of L samples misses what lies beyond: at most tail[L] times the
    largest |y| there.  So the first L with tail[L] ≤ ε is the halo for an error of ε·max|y|.

    Parameters
    ----------
    weight : (*size) or (c_in, c_out, *size), g; an `InverseKernel.weight`
        With 1 or 2 axes the taps alone; with 3 or more, channels first.
    center
        The tap from which the distance counts; by default the middle, (size − 1)//2 an axis.

    Returns
    -------
    (L_max + 1,) float64, not increasing, the last entry 0; with channels the sum over the inputs of
    the filter, and the largest over its outputs.

    Raises
    ------
    ValueError, TypeError
        If the taps are empty or not finite, or center is no tap.

    Examples
    --------
    >>> import torch
    >>> from unconv.fir import decay
    >>> decay(torch.tensor([0.1, -0.5, 2.0, -0.5, 0.1]))
    tensor([1.2000, 0.2000, 0.0000], dtype=torch.float64)
    """
    check_all_finite("weight", check_tensor("weight", weight), "give finite numbers")
    magnitude = weight.detach().abs().double()
    if not 1 <= magnitude.ndim <= 5 or magnitude.numel() == 0:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; expected taps (*size) or (c_in, c_out, "
            "*size), and none of them empty."
        )
    taps = magnitude if magnitude.ndim > 2 else magnitude[None, None]
    size = taps.shape[2:]
    middle = tuple((n - 1) // 2 for n in size) if center is None else _position(center)
    if len(middle) != len(size) or not all(0 <= c < n for c, n in zip(middle, size, strict=True)):
        raise ValueError(
            f"center={shown(middle)} is no tap of a kernel of size {tuple(size)}; give one "
            "position per axis, or leave it out."
        )
    lines = [
        (torch.arange(n, device=taps.device) - c).abs() for c, n in zip(middle, size, strict=True)
    ]
    distance = torch.stack(torch.meshgrid(*lines, indexing="ij")).amax(0).flatten()
    rings = taps.new_zeros(taps.shape[0], int(distance.amax()) + 1)
    rings.index_add_(1, distance, taps.sum(1).flatten(1))
    beyond = rings.flip(1).cumsum(1).flip(1)[:, 1:]  # summed from the far end: no cancellation
    return torch.nn.functional.pad(beyond, (0, 1)).amax(0)


def _position(center: Sequence[int]) -> tuple[int, ...]:
    if not is_sequence(center) or not all(type(c) is int for c in center):
        raise TypeError(f"center={shown(center)} must be a tuple of whole numbers, one per axis.")
    return tuple(center)
