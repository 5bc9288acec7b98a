"""Cᵀ at stride 1 as a correlation again: flipped taps, channels of each group swapped."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from ..grid.geometry import Axis, Geometry


@lru_cache(maxsize=1024)
def turned_geometry(geometry: Geometry) -> Geometry | None:
    """Geometry of Cᵀ as a correlation; None where it is not one (stride, padding beyond full)."""
    axes = []
    for a in geometry.axes:
        before = a.extent - 1 - a.before
        after = a.n - a.m + a.before
        if a.stride != 1 or before < 0 or after < 0:
            return None
        axes.append(Axis(a.m, a.n, a.k, 1, a.dilation, before, after, "zeros"))
    turned = replace(geometry, axes=tuple(axes), c_in=geometry.c_out, c_out=geometry.c_in)
    return geometry if turned == geometry else turned  # one object is found sooner than two equal


def turned_weight(weight: Tensor, geometry: Geometry) -> Tensor:
    """The kernel of Cᵀ: taps flipped, channels of each group swapped."""
    nd, g = geometry.nd, geometry.groups
    channels = weight.ndim - nd - 2
    dims = [dim for dim in range(-nd, 0) if weight.shape[dim] > 1]
    flipped = weight.flip(dims) if dims else weight  # of one tap there is nothing to copy
    if g == 1:
        return flipped.transpose(channels, channels + 1)
    swapped = flipped.unflatten(channels, (g, -1)).transpose(channels + 1, channels + 2)
    return swapped.flatten(channels, channels + 1)
