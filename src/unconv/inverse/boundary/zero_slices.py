"""Kernels without the zero slices at their rim, which reach for ghosts that nothing depends on.

Masked and causal kernels have fewer ghosts without them where padding copies samples, and none that
no pixel depends on.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ...convolve import grouped
from ...grid.geometry import Geometry
from ...operators.convolution import Convolution


def needed_geometry(op: Convolution) -> Geometry:
    """The geometry of `op` without the slices that are zero in all of its kernels."""
    if op.device.type == "meta":
        return op.geometry
    return without_zero_slices(op.geometry, grouped(op.taps.detach(), op.geometry))[0]


def without_zero_slices(geometry: Geometry, weight: Tensor) -> tuple[Geometry, Tensor]:
    """A convolution without the zero slices at the rim of its kernel, which change no output.

    weight : (B, g, r, c, *k)
    """
    axes = list(geometry.axes)
    for a, axis in enumerate(axes):
        dim = 4 + a
        used = weight.movedim(dim, 0).flatten(1).any(1).nonzero().flatten().tolist()
        if axis.on_torus or not used:
            continue
        # The first tap can only go with padded samples that it alone reads.
        first = min(used[0], axis.before // axis.dilation)
        last = axis.k - 1 - used[-1]
        axes[a] = replace(
            axis,
            k=axis.k - first - last,
            before=axis.before - first * axis.dilation,
            after=max(0, axis.after - last * axis.dilation),
        )
        weight = weight.narrow(dim, first, axes[a].k)
    return replace(geometry, axes=tuple(axes)), weight.contiguous()
