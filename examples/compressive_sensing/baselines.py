"""What needs no network: the samples alone, interpolation, thresholding, the best linear map.

Source: Mazumder, Hastie & Tibshirani, "Spectral regularization algorithms for learning large
incomplete matrices", J. Mach. Learn. Res. 11 (2010), for soft-impute.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.interpolate import griddata
from torch import Tensor

from unconv.linalg import svt

from .linear import lmmse
from .network import in_tiles

_ITERATIONS = 100
_FIRST, _LAST = 0.5, 0.005  # thresholds, in units of σ₁ of the samples


def zero_filling(y: Tensor, mask: Tensor) -> Tensor:
    """The samples, and 0 elsewhere."""
    return y * mask


def soft_impute(y: Tensor, mask: Tensor) -> Tensor:
    """Iterated thresholding of each channel, the network's step with no transform:

        A = U max(S − τ, 0) Vᴴ of x,     x = y where sampled, else A,

    with τ falling geometrically, which is the path of warm starts.
    """
    x = y * mask
    largest = torch.linalg.svdvals(x)[..., 0]
    for factor in np.geomspace(_FIRST, _LAST, _ITERATIONS):
        x = torch.where(mask, y, svt(x, factor * largest))
    return x


def interpolation(y: Tensor, mask: Tensor) -> Tensor:
    """Linear on the Delaunay triangles of each channel's samples; outside them, the nearest."""
    x = y.clone()
    for plane, known in zip(x.flatten(0, 1), mask.flatten(0, 1), strict=True):
        if known.sum() < 4:  # too few for a triangulation
            plane[~known] = plane[known].mean() if known.any() else 0.0
            continue
        at, values, wanted = known.nonzero().numpy(), plane[known].numpy(), (~known).nonzero()
        filled = griddata(at, values, wanted.numpy(), method="linear")
        nearest = griddata(at, values, wanted.numpy(), method="nearest")
        plane[~known] = torch.from_numpy(np.where(np.isnan(filled), nearest, filled)).to(plane)
    return x


BASELINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "zero filling": zero_filling,
    "soft-impute": soft_impute,
    "interpolation": interpolation,
}
"""y and mask (N, 3, H, W) -> (N, 3, H, W); those that know nothing of pictures."""

BEST_LINEAR = "best linear"


def with_covariance(table: Tensor) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """`BASELINES` and the best linear restoration, in tiles of the size that the table reaches."""

    def best_linear(y: Tensor, mask: Tensor) -> Tensor:
        return in_tiles(lambda y, mask: lmmse(y, mask, table), y, mask, table.shape[-1])

    return BASELINES | {BEST_LINEAR: best_linear}
