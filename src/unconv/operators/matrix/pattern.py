"""The positions of all entries of a Kronecker product, in blocks that stay in the cache.

Row (i₀, i₁, …) of a Kronecker product holds every combination of entries of row i₀ of the first
factor, row i₁ of the second, …, the last factor varying fastest: already in CSR order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .factors import Factor, Indices

BLOCK = 2**15
"""Entries that are worked out at once; larger blocks leave the cache and take longer."""


class Block(NamedTuple):
    """The entries of some rows: where they stand among all entries, and what they are."""

    rows: slice
    where: slice
    column: Indices
    label: Indices  # into the flattened table of values


class Pattern:
    """The sparse pattern of factor₀ ⊗ factor₁ ⊗ …

    Attributes
    ----------
    shape : (m, n)
    crow : (m + 1,), where each row begins
    size : number of entries
    zero : label of an entry that is zero, one behind those of the table

    Entries of rows that are not `seen`, (m,) bool, are labelled zero; they keep their places.
    """

    def __init__(self, factors: list[Factor], seen: NDArray[np.bool_] | None = None) -> None:
        self.factors, self.seen = factors, seen
        self.zero = math.prod(len(f.taps) for f in factors)
        self.shape = math.prod(f.shape[0] for f in factors), math.prod(f.shape[1] for f in factors)
        self.crow = np.zeros(self.shape[0] + 1, dtype=np.int64)
        np.cumsum(reduce(np.kron, [f.counts for f in factors]), out=self.crow[1:])
        self.size = int(self.crow[-1])

    def blocks(self) -> Iterator[Block]:
        """All entries in order, in blocks of whole rows."""
        begin, first = 0, 0
        while begin < self.shape[0]:
            fits = int(self.crow.searchsorted(first + BLOCK, "right")) - 1
            end = max(begin + 1, fits)
            last = int(self.crow[end])
            rows = slice(begin, end)
            column, label = self._entries(begin, end)
            if self.seen is not None:
                label = np.where(self.seen[self.row_of_entries(rows)], label, self.zero)
            yield Block(rows, slice(first, last), column, label)
            begin, first = end, last

    def row_of_entries(self, rows: slice) -> Indices:
        """The row of every entry of some rows."""
        count = np.diff(self.crow[rows.start : rows.stop + 1])
        return np.arange(rows.start, rows.stop).repeat(count)

    def _entries(self, begin: int, end: int) -> tuple[Indices, Indices]:
        """Column and label of every entry of some rows.

        One factor after the other: each entry so far is continued by all entries that the next
        factor has in its row.
        """
        rows_of = np.unravel_index(np.arange(begin, end), [f.shape[0] for f in self.factors])
        origin = np.arange(end - begin)
        column = label = np.zeros_like(origin)
        for factor, rows in zip(self.factors, rows_of, strict=True):
            here = rows[origin]
            count = factor.counts[here]
            shift = factor.starts[here] - (count.cumsum() - count)
            entry = np.arange(count.sum()) + shift.repeat(count)
            column = (column * factor.shape[1]).repeat(count) + factor.columns[entry]
            label = (label * len(factor.taps)).repeat(count) + factor.labels[entry]
            if factor is not self.factors[-1]:
                origin = origin.repeat(count)
        return column, label
