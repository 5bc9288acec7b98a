"""The extension E of the domain to the padded samples, and its adjoint.

A padded ("ghost") sample is a sum Σ c·x[j] over samples of the domain, as its mode says (modes.py),
so along each axis, with G and H the rows of these coefficients,

    x̃ = [G x; x; H x],        Eᴴ x̃ = core(x̃) + Gᵀ left(x̃) + Hᵀ right(x̃).

G and H are applied layer by layer, a pair (j, c) of each ghost at a time; modes that copy have one
layer with all c = 1.  Zeros need none and are left to the convolution itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..numerics.precision import in_precision
from .geometry import Axis, Geometry


class PaddedSamples(NamedTuple):
    """The padded samples ("ghosts") of one axis, ready for tensors on a device.

    Attributes
    ----------
    before, after : how many stand at each end
    layers : (sources, factors) of each layer, (before + after,); None for factors that are all 1
    """

    before: int
    after: int
    layers: list[tuple[Tensor, Tensor | None]]

    def values(self, x: Tensor, dim: int) -> Tensor:
        """[G x; H x] along a dimension."""
        total: Tensor | None = None
        for sources, factors in self.layers:
            part = x.index_select(dim, sources)
            part = part if factors is None else part * _along(factors, part, dim)
            total = part if total is None else total + part
        if total is None:  # of a mode all of whose sums are empty
            return x.new_zeros(*x.shape[:dim], self.before + self.after, *x.shape[dim + 1 :])
        return total

    def folded(self, core: Tensor, values: Tensor, dim: int) -> Tensor:
        """core + [G; H]ᵀ values along a dimension."""
        for sources, part in self._spread(values, dim):
            core = core.index_add(dim, sources, part)
        return core

    def fold_(self, core: Tensor, values: Tensor, dim: int) -> None:
        """Add [G; H]ᵀ values to core, in place."""
        for sources, part in self._spread(values, dim):
            core.index_add_(dim, sources, part)

    def _spread(self, values: Tensor, dim: int) -> Iterator[tuple[Tensor, Tensor]]:
        for sources, factors in self.layers:
            yield sources, values if factors is None else values * _along(factors, values, dim)


def _along(factors: Tensor, x: Tensor, dim: int) -> Tensor:
    """Factors that broadcast along one dimension of x, in its precision."""
    return factors.to(x.dtype.to_real()).reshape(-1, *[1] * (x.ndim - 1 - dim))


def ghosts_of(axis: Axis, device: torch.device, shift: int = 0) -> PaddedSamples:
    """The ghosts of an axis that does not pad zeros.

    shift : added to the sources, where the domain does not begin at 0
    """
    pads, layers = axis.pads, []
    for sources, factors in pads.layers:
        own = None if pads.copy else torch.tensor(factors, dtype=torch.float64, device=device)
        layers.append((torch.tensor(sources, device=device) + shift, own))
    return PaddedSamples(axis.before, axis.after, layers)


def extend(x: Tensor, geometry: Geometry, dtype: torch.dtype | None = None) -> Tensor:
    """E x: append the ghosts of every axis that is not padded with zeros.

    Parameters
    ----------
    x : (N, C, *n)
    dtype
        Of what the ghosts are multiplied with: sums are taken in the precision of both, and copies
        in that of x, (N, C, *padded).
    """
    for dim, axis in enumerate(geometry.axes, start=2):
        if axis.pads_zeros:
            continue
        if dtype is not None and not axis.pads.copy:
            x = in_precision(x, torch.promote_types(x.dtype, dtype))
        ghosts = ghosts_of(axis, x.device)
        left, right = ghosts.values(x, dim).split([axis.before, axis.after], dim)
        x = torch.cat([left, x, right], dim)
    return x


def extend_adjoint(x: Tensor, geometry: Geometry) -> Tensor:  # (N, C, *padded) -> (N, C, *n)
    """Eᴴ x: add every ghost onto the samples that it is a sum of."""
    for dim, axis in reversed(list(enumerate(geometry.axes, start=2))):
        if axis.pads_zeros:
            continue
        left, core, right = x.split([axis.before, axis.n, axis.after], dim)
        x = ghosts_of(axis, x.device).folded(core, torch.cat([left, right], dim), dim)
    return x


def sums_of(axes: Sequence[Axis], places: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Samples of a padded domain as sums over the domain: products of the sums along each axis.

    places : an axis, (p,) counted from the first padded sample

    Returns
    -------
    Samples of the domain (p, nd) and factors (p,), as many pairs as the longest of the sums has.
    """
    lines = [[torch.from_numpy(t) for t in line_of(axis)] for axis in axes]
    found = []
    for layers in itertools.product(*(range(len(sources)) for sources, _ in lines)):
        every = list(zip(lines, layers, places, strict=True))
        factors = [factor[t][place] for (_, factor), t, place in every]
        product = torch.stack(factors).prod(0)
        if bool(product.any()):
            found.append((torch.stack([s[t][place] for (s, _), t, place in every], 1), product))
    return found


def line_of(axis: Axis) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every sample of a padded axis as a sum: sources and factors, (layers, padded) each.

    A sample that has no more pairs, or is a zero of the padding, has the source 0 and the factor 0.

    Examples
    --------
    >>> axis = Axis(3, 3, 3, stride=1, dilation=1, before=1, after=1, mode="antireflective")
    >>> sources, factors = line_of(axis)
    >>> sources.tolist(), factors.tolist()
    ([[0, 0, 1, 2, 1], [1, 0, 0, 0, 2]], [[2.0, 1.0, 1.0, 1.0, -1.0], [-1.0, 0.0, 0.0, 0.0, 2.0]])
    """
    return sums_at(axis, np.arange(axis.padded))


def sums_at(axis: Axis, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Some samples of a padded axis as sums, as `line_of` has all: (layers, *places.shape) each.

    places : of any shape, counted from the first padded sample
    """
    layers = () if axis.pads_zeros else axis.pads.layers
    inside = places - axis.before
    outside = (inside < 0) | (inside >= axis.n)
    sources = np.zeros((max(1, len(layers)), *places.shape), dtype=np.int64)
    factors = np.zeros(sources.shape)
    sources[0], factors[0] = np.where(outside, 0, inside), ~outside
    ghost = np.where(inside < 0, places, places - axis.n)[outside]
    for t, layer in enumerate(layers):
        sources[t, outside] = np.array(layer.sources)[ghost]
        factors[t, outside] = np.array(layer.factors)[ghost]
    return sources, factors
