"""How much a step on singular values can gain at all, after the linear start.

Of an estimate Z = X + E, Z = U diag(S) Vᴴ, every step that keeps U and V (thresholding with any τ,
any shrinkage, any other function of S) moves Z in the span of the k matrices u_i v_iᴴ alone, which
are orthonormal.  The best of them all replaces s_i by d_i = u_iᴴ X v_i and leaves

    |E|² − Σ (s_i − d_i)²,

so that it gains −10 log₁₀(1 − q) dB, q = Σ (s_i − d_i)²/|E|², and to do so it has to know X.
Thresholding knows a τ.  What is left with it is |E|² − Σ (s_i − d_i)² + Σ (max(s_i − τ, 0) − d_i)².
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import unfold

from .network import BLOCK

_FACTORS = torch.logspace(-5, -0.3, 60, dtype=torch.float64)  # τ tried, in units of σ₁


class Gains(NamedTuple):
    """Decibels in the mean squared error over all matrices.

    Attributes
    ----------
    values : of an oracle that chooses every singular value
    thresholds : of an oracle that chooses a τ for every matrix
    threshold : of the best factor τ/σ₁ for all matrices
    """

    values: float
    thresholds: float
    threshold: float


def gains(Z: Tensor, X: Tensor) -> Gains:
    """What steps on the singular values of estimates Z (N, m, n) of X could gain.

    Examples
    --------
    >>> X = torch.diag(torch.tensor([2.0, 1.0, 0.0]))[None]
    >>> found = gains(X + torch.diag(torch.full((3,), 0.1)), X)  # τ = 0.1 mends all of it
    >>> found.values > 60, found.threshold > 20
    (True, True)
    """
    Z, X = Z.double(), X.double()
    U, S, Vh = torch.linalg.svd(Z, full_matrices=False)
    d = torch.einsum("nik, nij, nkj -> nk", U, X, Vh)
    error = (Z - X).square().sum((1, 2))
    outside = (error - (S - d).square().sum(1)).clamp(min=0)
    kept = (S[:, None] - _FACTORS[:, None] * S[:, None, :1]).clamp(min=0)  # (N, factors, k)
    left = outside[:, None] + (kept - d[:, None]).square().sum(2)
    each = torch.minimum(left.amin(1), error)
    return Gains(*(_decibels(error.sum(), now) for now in (outside.sum(), each.sum(), _best(left))))


def channels(x: Tensor) -> Tensor:
    """Patches (N, 3, H, W) as the published network has them: (3N, H, W)."""
    return x.flatten(0, 1)


def neighbourhoods(x: Tensor) -> Tensor:
    """Patches (N, 3, H, W) in whole blocks of 8 × 8: 3 × 3 about each pixel, (·, 27, 64)."""
    rows, columns = (side // BLOCK for side in x.shape[2:])
    around = unfold(x, 3, padding=1).unflatten(2, x.shape[2:])
    around = around[..., : rows * BLOCK, : columns * BLOCK]
    cut = around.unflatten(3, (columns, BLOCK)).unflatten(2, (rows, BLOCK))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)


MATRICES: dict[str, Callable[[Tensor], Tensor]] = {
    "rows × columns of each colour": channels,
    "3 × 3 neighbours × 64 pixels": neighbourhoods,
}
"""Ways to see a patch as matrices."""


def _best(left: Tensor) -> Tensor:
    return left.sum(0).min()


def _decibels(before: Tensor, after: Tensor) -> float:
    return 10 * math.log10(float(before) / max(float(after), 1e-300)) if before else 0.0
