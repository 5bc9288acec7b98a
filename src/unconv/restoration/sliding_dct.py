"""Denoise by the cosine transform of all overlapping blocks: what is small in each is dropped.

Every k×k block is transformed, coefficients of at most t·σ are set to zero, and the blocks are
averaged where they overlap, those with few coefficients left counting more (weight 1/number).  The
transform of all blocks is a convolution with k² orthonormal products of cosines.

It needs no training and no parameter but σ, and is within a decibel of BM3D.

Not for: fewer than 2 samples along an axis.

Source: Yu & Sapiro, "DCT image denoising: a simple and effective image denoising algorithm", IPOL
1 (2011); the weights, Guleryuz, "Weighted averaging for denoising with overcomplete dictionaries",
IEEE Trans. Image Processing 16 (2007).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..numerics.checks import check_all_finite, check_number, check_real_tensor
from ..numerics.dct import dct
from ..numerics.norms import unit_of
from ..numerics.threads import ENTRIES_A_SLICE

THRESHOLD = 2.7
"""t, in standard deviations of the noise."""

_BLOCK = {1: 16, 2: 8, 3: 4}  # samples of a block along each axis, by the number of axes
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def sliding_dct(x: Tensor, sigma: float) -> Tensor:
    """Denoise images in 1 to 3 dimensions.

    Parameters
    ----------
    x : (N, C, *spatial), real; every channel by itself
    sigma : standard deviation of the white noise in x, in its unit

    Returns
    -------
    Of the shape and dtype of x; x itself where sigma is 0.

    Raises
    ------
    ValueError, TypeError
        If x is no real tensor of 1 to 3 spatial axes, holds NaN or Inf, or sigma is no number >= 0.

    Examples
    --------
    >>> import torch
    >>> noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> bool(sliding_dct(noise, 1.0).std() < 0.15)
    True
    """
    check_real_tensor("x", x)
    nd = x.ndim - 2
    if nd not in _BLOCK:
        raise ValueError(
            f"x must have shape (N, C, *spatial) with 1 to 3 spatial axes, got {tuple(x.shape)}; "
            "add axes with x[None, None]."
        )
    check_all_finite("x", x, "fill such places first")
    check_number("sigma", sigma)
    k = min(_BLOCK[nd], *x.shape[2:])
    if sigma == 0 or k < 2 or not x.numel():
        return x
    unit = unit_of(x.detach().abs().amax())
    sigma = sigma / float(unit)
    wide = _mirrored((x / unit).flatten(0, 1).float(), k)  # in a unit that single precision holds
    total, weight = torch.zeros_like(wide), torch.zeros_like(wide)
    cosines = _cosines(k, nd, wide.device)
    blocks = wide.shape[1] - k + 1
    step = max(1, ENTRIES_A_SLICE * 8 // (k**nd * wide[:, 0].numel()))
    for first in range(0, blocks, step):
        rows = slice(first, min(first + step, blocks) + k - 1)
        c = _CONV[nd](wide[:, None, rows], cosines)
        kept = c.abs() > THRESHOLD * sigma
        kept[:, 0] = True  # the mean of a block
        confidence = 1 / kept.sum(1, keepdim=True, dtype=c.dtype)
        c.mul_(kept).mul_(confidence)
        total[:, rows] += _TRANSPOSE[nd](c, cosines)[:, 0]
        weight[:, rows] += _TRANSPOSE[nd](confidence, torch.ones_like(cosines[:1]))[:, 0]
    inside = (slice(None), *(slice(k - 1, k - 1 + n) for n in x.shape[2:]))
    return (total / weight)[inside].unflatten(0, x.shape[:2]).to(x.dtype) * unit


def _mirrored(x: Tensor, k: int) -> Tensor:
    """k − 1 samples more on each side, so that every sample lies in as many blocks."""
    for d in range(1, x.ndim):
        n = x.shape[d]
        line = torch.arange(1 - k, n + k - 1, device=x.device).remainder(2 * n)
        x = x.index_select(d, torch.where(line < n, line, 2 * n - 1 - line))
    return x


def _cosines(k: int, nd: int, device: torch.device) -> Tensor:
    """The orthonormal cosine transform of a block, (k^nd, 1, k, …); the first is the mean."""
    found = lines = dct(torch.eye(k, dtype=torch.float64), 0)
    for _ in range(nd - 1):
        found = torch.einsum("ax,by->abxy", found.flatten(1), lines).flatten(0, 1)
    return found.reshape(k**nd, 1, *[k] * nd).float().to(device)
