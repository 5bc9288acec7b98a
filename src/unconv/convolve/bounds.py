"""Upper bounds of ‖A‖ that cost next to nothing, proven for A = P · C · E.

    σ_max(A) ≤ √(‖A‖₁ ‖A‖_∞)          row and column sums of |A|, from the taps
    σ_max(A) ≤ max_ω ‖C(ω)‖ · ‖E‖     any periodic grid on which nothing wraps; ‖P‖ = 1

E is a product over the axes, and so are its norms.  Where padding copies, EᴴE is diagonal and
counts how often each sample occurs in the padded input: ‖E‖² = Π_a max_j (1 + copies of sample j
along axis a).

The second bound is within O(1/n²) of σ_max for zero padding, for which ‖E‖ = 1.
"""

from __future__ import annotations

import math

from torch import Tensor

from ..grid.geometry import Axis, Geometry


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
    return math.prod(axis.pads.norm for axis in geometry.axes if not _is_isometric(axis))


def extension_sums(geometry: Geometry) -> float:
    """max(‖E‖₁, ‖E‖_∞) from above: how many terms E or Eᴴ may add up, weighted by their size."""
    return math.prod(axis.pads.sums for axis in geometry.axes if not _is_isometric(axis))


def _is_isometric(axis: Axis) -> bool:
    """Whether the axis has nothing to add: on its own periodic grid C reads no padded sample."""
    return axis.pads_zeros or axis.on_torus
