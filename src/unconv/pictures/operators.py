"""The operator that blurs pictures, the part of a scene that is seen, and checks of both."""

from __future__ import annotations

import torch
from torch import Tensor

from ..doors import ConvOperator
from ..grid.modes import MODES
from ..numerics.checks import (
    check_choice,
    check_count,
    check_real_tensor,
    check_values,
    is_sequence,
    shown,
)

BOUNDARIES = (*MODES, "valid")

EDGE_PRIORS = ("dct", "tv", "sparse", "hessian")
"""Those of `unconv.restoration`, which start from the Wiener filter's scene."""

PRIORS = ("auto", "wiener", "damp", *EDGE_PRIORS)

LEAST_SIZE = 12
"""Samples along each axis from which spectra can be read."""

_SMALL_PICTURE = 20  # samples along an axis: what is read from fewer is often wrong


def blur_operator(
    psf: Tensor, size: tuple[int, int], boundary: str = "symmetric", *, channels: int = 1
) -> ConvOperator:
    """The operator that blurs grey pictures into (H, W) = `size`.

    Parameters
    ----------
    psf : (h, w), its centre the sample (h//2, w//2)
    boundary
        What lies outside the picture: its mirror image ('symmetric', and 'reflect', which does not
        repeat the edge), that turned over about the edge, which keeps slopes ('antireflective'),
        itself again ('circular'), black ('zeros'), its edge ('replicate'), or a larger scene that
        is restored too ('valid': x then has h−1 and w−1 samples more than y).
    channels : blurred by the same psf, each by itself

    Returns
    -------
    ConvOperator
        By default of one channel, for batches (C, 1, H, W) of grey planes.

    Raises
    ------
    ValueError, TypeError
        If the psf is not a real 2-D array, the size no pair or the boundary unknown.

    Examples
    --------
    >>> import torch
    >>> blur_operator(torch.ones(3, 5) / 15, (20, 30), "valid").domain_shape
    (1, 22, 34)
    """
    h, w = psf_size(psf)
    check_choice("boundary", boundary, BOUNDARIES)
    check_count("channels", channels, most=2**20)
    if not is_sequence(size) or len(size) != 2 or not all(isinstance(n, int) for n in size):
        raise TypeError(f"size={shown(size)} must be (height, width), such as (128, 128).")
    kernel = psf[None, None]
    if boundary == "circular" and (h > size[0] or w > size[1]):
        kernel = _wrapped(psf, (size[0], size[1]))[None, None]
    kernel = kernel.repeat(channels, 1, 1, 1)
    if boundary == "valid":
        larger = size[0] + h - 1, size[1] + w - 1
        return ConvOperator(kernel, larger, padding="valid", flip=True, groups=channels)
    # Flipped, the middle sample h//2 meets the output when ⌊(h−1)/2⌋ samples are padded before.
    return ConvOperator(
        kernel, size, padding="same", padding_mode=boundary, flip=True, groups=channels
    )


def _wrapped(psf: Tensor, size: tuple[int, int]) -> Tensor:
    """The psf that blurs periodic pictures (H, W) = `size` as a larger one does."""
    for dim, n in enumerate(size):
        k = psf.shape[dim]
        place = (torch.arange(k, device=psf.device) - k // 2 + n // 2) % n
        shape = [*psf.shape]
        shape[dim] = n
        psf = psf.new_zeros(shape).index_add(dim, place, psf)
    return psf


def frame(planes: Tensor, psf: Tensor) -> Tensor:
    """The part of a scene that its 'valid' blur shows.

    Parameters
    ----------
    planes : (C, H, W), the scene
    psf : (h, w)

    Returns
    -------
    (C, H−h+1, W−w+1), a view

    Raises
    ------
    ValueError, TypeError
        If these are not real arrays of these shapes, or the psf is the larger one.

    Examples
    --------
    >>> import torch
    >>> frame(torch.zeros(3, 20, 20), torch.ones(5, 5)).shape
    torch.Size([3, 16, 16])
    """
    H, W = check_sizes(planes, psf)
    h, w = psf.shape
    top, left = (h - 1) // 2, (w - 1) // 2
    return planes[:, top : top + H - h + 1, left : left + W - w + 1]


def check_sizes(planes: Tensor, psf: Tensor, *, larger_psf: bool = False) -> tuple[int, int]:
    """(H, W) of a picture, at least as large as the psf unless that may be larger."""
    check_real_tensor("planes", planes)
    check_values("planes", planes)
    if planes.ndim != 3 or planes.numel() == 0:
        raise ValueError(
            f"a picture must have shape (C, H, W), got {tuple(planes.shape)}; add the channel axis "
            "of a grey one with planes[None]."
        )
    (h, w), (H, W) = psf_size(psf), planes.shape[1:]
    if not larger_psf and (h > H or w > W):
        raise ValueError(
            f"the psf ({h} × {w}) is larger than the picture ({H} × {W}); crop the psf or check "
            "its unit (a picture may be restored with boundary='valid', which knows of nothing "
            "outside)."
        )
    return H, W


def psf_size(psf: Tensor) -> tuple[int, int]:
    """(h, w) of a psf that is a real array."""
    check_real_tensor("a psf", psf)
    check_values("a psf", psf)
    if psf.ndim != 2 or psf.numel() == 0:
        raise ValueError(f"a psf must be a 2-D grey array, got shape {tuple(psf.shape)}.")
    return psf.shape[0], psf.shape[1]


def doubt_of_size(size: tuple[int, int], psf: Tensor) -> str | None:
    """What is to be said of a picture that is small beside its psf, None of others.

    size : (H, W)
    """
    rows, columns = (max(_SMALL_PICTURE, 2 * n) for n in psf.shape)
    if size[0] >= rows and size[1] >= columns:
        return None
    return (
        f"{size[1]} x {size[0]} samples under a psf of {psf.shape[1]} x {psf.shape[0]} say little "
        "of the scene, and what was restored can be worse than the blurred picture: compare both, "
        "and restore a larger part of the photograph if there is one"
    )
