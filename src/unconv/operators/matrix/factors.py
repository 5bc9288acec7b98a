"""Where the entries of a convolution's matrix are: one small sparse matrix per axis.

    A ~ channels ⊗ axis₁ ⊗ … ⊗ axis_nd

A factor lists the positions (row, column) of its entries in order, and labels each with the set of
taps that meet there, each with a coefficient.  Most sets are one tap times 1.  Circular, reflected
or replicated samples may be read by several taps of one output, and padded samples that are sums
(grid/modes.py) by taps times a coefficient: such an entry stands once, under a label of its own.

Indices are NumPy's: it starts no threads, for which arrays this small would wait longer than the
work takes, and it repeats and sorts faster than torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...grid.geometry import Axis, Geometry
from ...grid.padding import sums_at

Indices = NDArray[np.int64]
Coefficients = NDArray[np.float64]


class Factor(NamedTuple):
    """The sparse pattern of one axis, in CSR order."""

    shape: tuple[int, int]
    starts: Indices  # (rows,), where each row begins among the entries
    counts: Indices  # (rows,), how many entries it has
    columns: Indices  # (entries,)
    labels: Indices  # (entries,), rows of `taps`
    taps: Indices  # (labels, most), ascending; k, one behind the last tap, fills the shorter sets
    coefficients: Coefficients | None = None  # (labels, most), of each tap; None where all are 1


def factors_of(geometry: Geometry, transposed: bool) -> list[Factor]:
    """The factors of A, channels first; of Aᵀ (no conjugate) if `transposed`."""
    axes = (axis_factor(axis, transposed) for axis in geometry.axes)
    return [_channel_factor(geometry, transposed), *axes]


def axis_factor(axis: Axis, transposed: bool = False) -> Factor:
    """Rows are outputs and columns samples of the domain, or the other way round.

    Examples
    --------
    >>> a = Axis(n=3, m=3, k=3, stride=1, dilation=1, before=1, after=1, mode="replicate")
    >>> f = axis_factor(a)
    >>> f.columns.tolist(), f.taps[f.labels].tolist()
    ([0, 1, 0, 1, 2, 1, 2], [[0, 1], [2, 3], [0, 3], [1, 3], [2, 3], [0, 3], [1, 2]])
    """
    output, sample, tap, coefficient = reads(axis)
    row, column = (sample, output) if transposed else (output, sample)
    shape = (axis.n, axis.m) if transposed else (axis.m, axis.n)
    return _factor(row, column, tap, shape, axis.k, coefficient)


def reads(axis: Axis) -> tuple[Indices, Indices, Indices, Coefficients]:
    """Output i, sample j, tap t and c of every w[t]·c·x[j] that y[i] adds up, by i and t.

    Padding may be wider than the domain: modes say how they go on (reflections repeat).
    """
    i = np.arange(axis.m)[:, None] * axis.stride + np.arange(axis.k) * axis.dilation
    sources, factors = sums_at(axis, i)  # (layers, m, k)
    if len(sources) == 1 and factors.all():  # every tap reads one sample
        output, tap = (t.ravel() for t in np.indices(i.shape))
        return output, sources.ravel(), tap, factors.ravel()
    sources, factors = np.moveaxis(sources, 0, 2), np.moveaxis(factors, 0, 2)
    read = np.nonzero(factors)
    return read[0], sources[read], read[1], factors[read]


def most_entries(axis: Axis) -> int:
    """A bound on the entries of an axis that needs no table; exact for zeros."""
    if not axis.pads_zeros:
        further = 0 if axis.pads.copy else sum(len(terms) for terms in axis.pads.terms)
        return min(axis.m * min(axis.k, axis.n) + axis.k * further, axis.m * axis.n)
    total = 0
    for t in range(axis.k):  # outputs whose tap t lies in the domain: 0 ≤ i·s − shift < n
        shift = axis.before - t * axis.dilation
        first = max(0, -(-shift // axis.stride))
        last = min(axis.m - 1, (axis.n - 1 + shift) // axis.stride)
        total += max(0, last - first + 1)
    return total


def _channel_factor(geometry: Geometry, transposed: bool) -> Factor:
    """c_out × c_in, block-diagonal by groups; its "taps" are the rows of weight.flatten(0, 1)."""
    c_in, c_out, groups = geometry.c_in, geometry.c_out, geometry.groups
    tap = np.arange(c_out * c_in // groups)
    out = tap // (c_in // groups)
    into = out // (c_out // groups) * (c_in // groups) + tap % (c_in // groups)
    if transposed:
        return _factor(into, out, tap, (c_in, c_out), len(tap))
    return _factor(out, into, tap, (c_out, c_in), len(tap))


def _factor(
    row: Indices,
    column: Indices,
    tap: Indices,
    shape: tuple[int, int],
    k: int,
    coefficient: Coefficients | None = None,
) -> Factor:
    """Entries sorted; taps of one position, ascending before, put into one set."""
    if coefficient is not None and (coefficient == 1).all():
        coefficient = None
    assert shape[0] * shape[1] < 2**63, "positions must fit into int64"
    position = row * shape[1] + column
    coefficients = None
    if coefficient is None and (position[1:] > position[:-1]).all():
        labels, taps = tap, np.arange(k)[:, None]
    else:
        order = position.argsort(kind="stable")
        position = position[order]
        first = np.flatnonzero(np.diff(position, prepend=-1))
        row, column = np.divmod(position[first], shape[1])
        coefficient = None if coefficient is None else coefficient[order]
        labels, taps, coefficients = _tap_sets(tap[order], coefficient, first, k)
    counts = np.bincount(row, minlength=shape[0])
    return Factor(shape, counts.cumsum() - counts, counts, column, labels, taps, coefficients)


def _tap_sets(
    tap: Indices, coefficient: Coefficients | None, first: Indices, k: int
) -> tuple[Indices, Indices, Coefficients | None]:
    """Labels of consecutive sets of taps that begin at `first`, and the table of the sets.

    A tap that is alone, times 1, shares its label with its like; other sets have a label each.
    """
    size = np.diff(first, append=len(tap))
    several = size > 1
    if coefficient is not None:
        several |= coefficient[first] != 1
    single, label_of_single = np.unique(tap[first[~several]], return_inverse=True)
    slot = np.arange(size.max())
    there = slot < size[several, None]
    taps = np.full((len(single) + len(there), len(slot)), k)
    taps[: len(single), 0] = single
    members = (first[several, None] + slot)[there]
    taps[len(single) :][there] = tap[members]
    coefficients = None
    if coefficient is not None:
        coefficients = np.ones(taps.shape)
        coefficients[len(single) :][there] = coefficient[members]
    labels = np.empty_like(first)
    labels[~several] = label_of_single
    labels[several] = np.arange(len(single), len(taps))
    return labels, taps, coefficients
