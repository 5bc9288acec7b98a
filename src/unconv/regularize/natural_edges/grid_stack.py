"""The stack [A; damp·L] on a periodic grid, and which of its rows there are.

Rows that translate are rows of a circular convolution: all outputs of an A that pads nothing, and
of L the differences between samples of the domain.  The others on the grid are *missing rows*:
outputs behind the frame or not observed, differences across the seam.

A grid larger than the domain has pixels in which no row is interested.  Differences that lead to
them from the edge are rows too: they cost nothing, for the pixels may repeat the edge, and without
them the missing rows would not determine each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...grid.fft import fast_size
from ...grid.geometry import Axis
from ...grid.torus import Torus
from ...operators.convolution import Convolution
from ..penalty import in_groups


@dataclass(frozen=True)
class GridStack:
    """Both operators on one grid, in double precision; channels in groups, those of A first.

    Attributes
    ----------
    torus : the grid, as large as the domain or larger
    groups : g
    blocks : (F, 1, g, r, c) complex128
    seen : (g·r, *grid) bool, True where a row is
    frame : for each channel, (first, last + 1) along each axis of its rows within the domain
    channels : those of A and those of L among the g·r
    """

    torus: Torus
    groups: int
    blocks: Tensor
    seen: Tensor
    frame: list[list[tuple[int, int]]]
    channels: tuple[Tensor, Tensor]

    def places(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[Any, ...]]:
        """Where data of A and of L, (c_out, *m) each, lie in images (N, g·r, *grid)."""
        return [
            (slice(None), channels, *(slice(n) for n in shape[1:]))
            for channels, shape in zip(self.channels, shapes, strict=True)
        ]

    @property
    def inside(self) -> Tensor:
        """(g·r, *grid) bool, True where a row is that of A or L."""
        found = torch.zeros_like(self.seen)
        for channel, sides in enumerate(self.frame):
            found[channel][_box(sides)] = True
        return found & self.seen


def grid_stack(A: Convolution, L: Convolution, damp: float) -> GridStack | None:
    """The stack on the smallest fast grid; None where some rows of A or L do not translate."""
    if any(op.transposed or op.batch_size for op in (A, L)) or L.seen is not None:
        return None
    if any(a.stride > 1 for op in (A, L) for a in op.geometry.axes):
        return None
    if any(not a.on_torus and (a.before or a.after) for a in A.geometry.axes):
        return None
    g = math.gcd(A.geometry.groups, L.geometry.groups)
    own, other = in_groups(A, g), in_groups(L, g)  # (g, rows, c, *k)
    frames = [_frame(taps, L) for taps in other.flatten(0, 1)]
    of_L = [sides for sides in frames if sides is not None]
    if len(of_L) < len(frames):
        return None
    kind = torch.promote_types(own.dtype, other.dtype)
    sizes, links = _grid(A, L, other)
    torus = Torus(sizes, tuple(1 for _ in sizes), not kind.is_complex)
    both = (own.to(kind), A), (damp * other.to(kind), L)
    blocks = torch.cat([torus.spectrum(t[None], op.geometry) for t, op in both], 3)
    order = torch.arange(blocks.shape[2] * blocks.shape[3], device=A.device).reshape(g, -1)
    channels = order[:, : own.shape[1]].flatten(), order[:, own.shape[1] :].flatten()
    frame = [[(0, a.m) for a in A.geometry.axes]] * order.numel()
    for channel, sides in zip(channels[1].tolist(), of_L, strict=True):
        frame[channel] = sides
    seen = torch.zeros(order.numel(), *sizes, dtype=torch.bool, device=A.device)
    for channel, sides in enumerate(frame):
        seen[channel][_box(sides)] = True
    if A.seen is not None:
        part = seen[channels[0]]
        part[:, *(slice(a.m) for a in A.geometry.axes)] = A.seen.expand(A.range_shape)
        seen[channels[0]] = part
    for row, axis in links:
        _link(seen[channels[1][row]], axis, A.domain_shape[1:])
    return GridStack(torus, g, blocks, seen, frame, channels)


def _box(sides: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(*side) for side in sides)


def wraps(op: Convolution) -> bool:
    """Whether the domain of an operator is periodic along some axis."""
    return any(a.on_torus and (a.before or a.after) for a in op.geometry.axes)


def _reach(taps: Tensor, axis: Axis, d: int) -> tuple[list[int], bool]:
    """Offsets along an axis that taps (c, *k) read, and whether they are two equal and opposite."""
    lines = taps.movedim(1 + d, 0).flatten(1)
    used = lines.abs().amax(1).nonzero()[:, 0]
    cancel = len(used) == 2 and not bool((lines[used].sum(0) != 0).any())
    return (used * axis.dilation - axis.before).tolist(), cancel


def _frame(taps: Tensor, op: Convolution) -> list[tuple[int, int]] | None:
    """Where the outputs of one channel, taps (c, *k), translate; None unless all others are zero.

    At the edge of a replicated domain a difference between neighbours vanishes, and nothing else.
    """
    sides: list[tuple[int, int]] = []
    for d, axis in enumerate(op.geometry.axes):
        if axis.on_torus or not (axis.before or axis.after):
            sides.append((0, axis.m))
            continue
        reach, cancel = _reach(taps, axis, d)
        vanish = cancel and not axis.pads_zeros and axis.pads.repeat_edge
        if axis.m != axis.n or reach not in ([], [0], *([[0, 1], [-1, 0]] if vanish else [])):
            return None
        sides.append((-min([0, *reach]), axis.n - max([0, *reach])))
    return sides


def _grid(
    A: Convolution, L: Convolution, taps: Tensor
) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Sizes of the grid, and (row of L, axis) of the differences that lead out of the domain.

    It is larger than the domain where each component has its forward difference along each axis.
    """
    sizes: tuple[int, ...] = A.domain_shape[1:]
    if wraps(A) or wraps(L):
        return sizes, []
    links: dict[tuple[int, int, int], tuple[int, int]] = {}
    for row, of_row in enumerate(taps.flatten(0, 1)):
        components = of_row.flatten(1).abs().amax(1).nonzero()[:, 0].tolist()
        reaches = [_reach(of_row, axis, d) for d, axis in enumerate(L.geometry.axes)]
        along = [d for d, found in enumerate(reaches) if found == ([0, 1], True)]
        still = [d for d, (reach, _) in enumerate(reaches) if reach == [0]]
        if len(components) == len(along) == 1 and len(still) == len(sizes) - 1:
            links[(row // taps.shape[1], components[0], along[0])] = row, along[0]
    if len(links) < len(taps) * taps.shape[2] * len(sizes) or min(sizes) == 1:
        return sizes, []
    return tuple(fast_size(n) for n in sizes), list(links.values())


def _link(seen: Tensor, axis: int, sizes: tuple[int, ...]) -> None:
    """Let differences along `axis` lead from each pixel to its neighbour outside the domain.

    A pixel outside along several axes is reached along the first of them alone.
    """
    where = [slice(n) if d < axis else slice(None) for d, n in enumerate(sizes)]
    where[axis] = slice(sizes[axis] - 1, seen.shape[axis] - 1)
    seen[tuple(where)] = True
