"""Upper bounds of ‖A‖ that cost next to nothing, proven for A = P · C · E.

    σ_max(A) ≤ √(‖A‖₁ ‖A‖_∞)          row and column sums of |A|, from the taps
    σ_max(A) ≤ max_ω ‖C(ω)‖ · ‖E‖     any periodic grid on which nothing wraps; ‖P‖ = 1

EᴴE is diagonal and counts how often each sample occurs in the padded input, so that
‖E‖² = Π_a max_j (1 + copies of sample j along axis a).

The second bound is within O(1/n²) of σ_max for zero padding, for which ‖E‖ = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..grid.geometry import Axis, Geometry
from ..grid.padding import ghost_sources


def kernel_bound(weight: Tensor, geometry: Geometry) -> Tensor:
    """√(‖A‖₁ ‖A‖_∞) from above, for (B, g, r, c, *k) taps: (B,)."""
    return taps_bound(weight) * extension_norm(geometry)


def taps_bound(weight: Tensor) -> Tensor:
    """√(‖C‖₁ ‖C‖_∞) from above, of the zero-padded convolution with (B, g, r, c, *k) taps: (B,)."""
    sizes = weight.abs().flatten(4).sum(4)  # (B, g, r, c)
    rows, columns = sizes.sum(3).amax((1, 2)), sizes.sum(2).amax((1, 2))
    return rows.sqrt() * columns.sqrt()  # each alone: their product may overflow


def extension_norm(geometry: Geometry) -> float:
    """‖E‖, the norm of the padding: how much a padded picture can be larger than the picture."""
    return math.sqrt(math.prod(_most_copies(axis) for axis in geometry.axes))


def _most_copies(axis: Axis) -> int:
    if axis.mode == "zeros" or not (axis.before or axis.after) or axis.on_torus:
        return 1
    left, right = ghost_sources(axis)
    return 1 + int(torch.bincount(torch.tensor([*left, *right]), minlength=axis.n).max())
