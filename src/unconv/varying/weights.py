"""Weights of psfs on a grid of nodes: hats, or smoother ones, that add up to one everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..numerics.checks import (
    check_all_finite,
    check_real_tensor,
    is_sequence,
    shown,
)

INTERPOLATIONS = ("linear", "smooth")

_SUM_ROUNDED = 1e-4  # by which given weights may miss one: sums of half precision


class Weights:
    """w, one weight a psf and sample, as an outer product of what is known along the axes.

    Parameters
    ----------
    factors : (T_f, *sizes of its axes) float64 each, over one axis after the other or over all of
        them; psfs are counted in C order of all T_f
    """

    def __init__(self, factors: Sequence[Tensor]) -> None:
        self.factors = tuple(factors)
        self.sizes = tuple(n for f in self.factors for n in f.shape[1:])
        self.counts = tuple(len(f) for f in self.factors)
        ends = list(itertools.accumulate(f.ndim - 1 for f in self.factors))
        self._axes = [range(b - f.ndim + 1, b) for f, b in zip(self.factors, ends, strict=True)]

    def block(self, box: Sequence[slice]) -> tuple[tuple[int, ...], Tensor]:
        """The psfs with weight in a box, and their weights, (active, *box)."""
        parts = [f[(slice(None), *box[a.start : a.stop])] for f, a in self._pairs()]
        rows = [(p != 0).flatten(1).any(1).nonzero()[:, 0].tolist() for p in parts]
        parts = [p[r] for p, r in zip(parts, rows, strict=True)]
        index = [0]
        for row, count in zip(rows, self.counts, strict=True):
            index = [i * count + j for i in index for j in row]
        return tuple(index), _outer(parts)

    def used(self, axis: int) -> Tensor:
        """(T_f, n) bool, where along an axis a psf may have weight."""
        for f, axes in self._pairs():
            if axis in axes:
                others = tuple(1 + a - axes.start for a in axes if a != axis)
                return (f != 0).any(others) if others else f != 0
        raise AssertionError(f"no axis {axis}")

    def tile(self, i: int) -> tuple[tuple[slice, ...], Tensor]:
        """The box in which psf i has weight, and its weights there."""
        box: list[slice] = []
        parts = []
        for f, row in zip(self.factors, self._rows(i), strict=True):
            place = f[row].nonzero()
            first = place.amin(0).tolist() if len(place) else [0] * (f.ndim - 1)
            last = (place.amax(0) + 1).tolist() if len(place) else [0] * (f.ndim - 1)
            own = [slice(a, b) for a, b in zip(first, last, strict=True)]
            parts.append(f[(slice(row, row + 1), *own)])
            box += own
        return tuple(box), _outer(parts)[0]

    def at(self, places: Sequence[Tensor]) -> Weights:
        """The weights at these samples of each axis."""
        found = []
        for f, axes in self._pairs():
            for a in axes:
                f = f.index_select(1 + a - axes.start, places[a])
            found.append(f)
        return Weights(found)

    def mean(self) -> Tensor:
        """The share that each psf has of all samples, (P,)."""
        return _outer([f.flatten(1).mean(1, keepdim=True) for f in self.factors]).flatten()

    def _pairs(self) -> Iterator[tuple[Tensor, range]]:
        return zip(self.factors, self._axes, strict=True)

    def _rows(self, i: int) -> list[int]:
        rows = []
        for count in reversed(self.counts):
            i, row = divmod(i, count)
            rows.append(row)
        return rows[::-1]


def _outer(parts: Sequence[Tensor]) -> Tensor:
    """(a, *m), (b, *n), … -> (ab…, *m, *n, …)."""
    found = parts[0]
    for part in parts[1:]:
        left = found.reshape(len(found), 1, *found.shape[1:], *[1] * (part.ndim - 1))
        right = part.reshape(1, len(part), *[1] * (found.ndim - 1), *part.shape[1:])
        found = (left * right).flatten(0, 1)
    return found


def interpolation_weights(
    nodes: Sequence[Tensor], positions: Sequence[Tensor], interpolation: str
) -> Weights:
    """The weight of each psf at each position.

    Between two nodes the weights of both are 1 − t and t, or with t² (3 − 2t) in the place of t
    for 'smooth'; before the first and behind the last node they are constant.
    """
    pairs = zip(nodes, positions, strict=True)
    return Weights([line_weights(nodes_d, at, interpolation) for nodes_d, at in pairs])


def line_weights(nodes: Tensor, at: Tensor, interpolation: str) -> Tensor:
    """The weight of each node of one axis at each position, (nodes, positions)."""
    nodes = nodes.double()
    found = torch.zeros(len(nodes), len(at), dtype=torch.float64)
    if len(nodes) == 1:
        return found + 1
    left = (torch.searchsorted(nodes, at, right=True) - 1).clamp(0, len(nodes) - 2)
    t = ((at - nodes[left]) / (nodes[left + 1] - nodes[left])).clamp(0, 1)
    t = t * t * (3 - 2 * t) if interpolation == "smooth" else t
    sample = torch.arange(len(at))
    found[left, sample], found[left + 1, sample] = 1 - t, t
    return found


def checked_nodes(nodes: object, grid: tuple[int, ...], sizes: tuple[int, ...]) -> list[Tensor]:
    """Positions along each axis, in samples of the data.

    grid : how many psfs there are along each axis
    sizes : of the data
    """
    if not is_sequence(nodes) or len(nodes) != len(grid):
        raise ValueError(
            f"nodes={shown(nodes)} must be a tuple of {len(grid)} tensors, the positions of the "
            "psfs along each axis."
        )
    found = []
    for d, (line, count, n) in enumerate(zip(nodes, grid, sizes, strict=True)):
        line = check_real_tensor(f"nodes[{d}]", line).detach().double().cpu()
        if tuple(line.shape) != (count,):
            raise ValueError(
                f"nodes[{d}] has shape {tuple(line.shape)} for {count} psfs along this axis; give "
                "one position for each."
            )
        check_all_finite(f"nodes[{d}]", line, "give one position for each psf")
        if bool((line.diff() <= 0).any()):
            raise ValueError(
                f"nodes[{d}] must increase; sort it, and the psfs along axis {d} with it."
            )
        if float(line[0]) < -0.5 or float(line[-1]) > n - 0.5:
            raise ValueError(
                f"nodes[{d}] runs from {float(line[0]):g} to {float(line[-1]):g}, outside of the "
                f"{n} samples of the data along this axis; give positions in samples, 0 the first."
            )
        found.append(line)
    return found


def checked_weights(weights: object, count: int, sizes: tuple[int, ...], of: str) -> Weights:
    """Given weights, (count, *sizes), at least zero and with sum one."""
    w = check_real_tensor("weights", weights).detach().double()
    if tuple(w.shape) != (count, *sizes):
        raise ValueError(
            f"weights must have shape {(count, *sizes)}, one image of the {of}'s sizes for each "
            f"psf, got {tuple(w.shape)}."
        )
    check_all_finite("weights", w, "give a number for every sample")
    if bool((w < 0).any()):
        raise ValueError(
            f"weights must be >= 0, got {float(w.min()):.3g}; give shares that add up to one."
        )
    total = w.sum(0)
    worst = float((total - 1).abs().max())
    if worst > _SUM_ROUNDED:
        raise ValueError(
            f"weights must add up to 1 at every sample, and miss it by {worst:.2g}; divide them by "
            "weights.sum(0)."
        )
    return Weights([w / total])
