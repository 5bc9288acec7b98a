"""The seam: where padding that is not zeros and a periodic grid read different samples.

On a periodic grid of N = s·M ≥ n samples the domain is the box [0, n).  An output whose tap falls
on the coordinate q outside it reads by the padding R(q) = Σ c·x[j] (modes.py), mostly one sample,
and on the grid the sample q mod N.  Both are the same linear map of x but for

    pads     the coordinates q, read by some output, with R(q) ≠ x[q mod N]
    edges    the outputs that read a pad

so that, with F x the values R(q) − x[q mod N] on the pads and T the taps from pads to edges,

    A = P (C + Uᴴ T F),      U reads off the edges, P crops the outputs to the data.

The grid need only hold the domain and the data: no ghost of the padding has a place on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import Axis
from .modes import Terms
from .padding import line_of, sums_of


class AxisSeam(NamedTuple):
    """One axis on a grid of N fine samples, in integers.

    Attributes
    ----------
    read : the coordinates that outputs read, in order
    held : what each of them holds, as pairs (sample of the domain, coefficient)
    torn : whether that is something else than the grid holds there
    on_edge : of every output, whether it reads a coordinate that is torn
    torn_taps : how many taps of all outputs read one
    """

    read: tuple[int, ...]
    held: tuple[Terms, ...]
    torn: tuple[bool, ...]
    on_edge: tuple[bool, ...]
    torn_taps: int


@lru_cache(maxsize=256)
def axis_seam(axis: Axis, N: int) -> AxisSeam:
    """Which coordinates of an axis are torn, and which outputs read them; not for zeros.

    Examples
    --------
    >>> axis = Axis(n=4, m=4, k=3, stride=1, dilation=1, before=1, after=1, mode="reflect")
    >>> seam = axis_seam(axis, 4)
    >>> seam.read, seam.held[0], seam.held[-1]
    ((-1, 0, 1, 2, 3, 4), ((1, 1.0),), ((2, 1.0),))
    >>> seam.torn, seam.on_edge
    ((True, False, False, False, False, True), (True, False, False, True))
    """
    starts = [t * axis.dilation - axis.before for t in range(axis.k)]
    lines = (range(q, q + axis.m * axis.stride, axis.stride) for q in starts)
    read = sorted(set().union(*lines))
    terms = axis.pads.terms
    inside = (((j, 1.0),) for j in range(axis.n))
    every = [*terms[: axis.before], *inside, *terms[axis.before :]]
    held = [every[q + axis.before] for q in read]
    torn = [terms != ((q % N, 1),) for q, terms in zip(read, held, strict=True)]
    on_edge, taps = [False] * axis.m, 0
    for q, differs in zip(read, torn, strict=True):
        for start in starts if differs else ():
            i, rest = divmod(q - start, axis.stride)
            if not rest and 0 <= i < axis.m:
                on_edge[i], taps = True, taps + 1
    return AxisSeam(tuple(read), tuple(held), tuple(torn), tuple(on_edge), taps)


class SeamCounts(NamedTuple):
    """Sizes of a seam, of one channel."""

    edges: int
    pads: int
    taps: int


def seam_counts(axes: Sequence[Axis], fine: Sequence[int]) -> SeamCounts:
    """Edges, pads and the taps between them, on a grid of so many fine samples."""
    seams = [axis_seam(a, N) for a, N in zip(axes, fine, strict=True)]
    outputs, taps = math.prod(a.m for a in axes), math.prod(a.m * a.k for a in axes)
    pairs = zip(axes, seams, strict=True)
    return SeamCounts(
        edges=outputs - math.prod(s.on_edge.count(False) for s in seams),
        pads=math.prod(len(s.read) for s in seams) - math.prod(s.torn.count(False) for s in seams),
        taps=taps - math.prod(a.m * a.k - s.torn_taps for a, s in pairs),
    )


class Seam(NamedTuple):
    """The seam of some axes.

    Attributes
    ----------
    edges : (e, nd) outputs
    pads : (p, nd) coordinates, from −before
    held : what they hold, a few pairs of samples of the domain (p, nd) and coefficients (p,)
    taps : (e, p) the tap, row-major, by which an edge reads a pad; −1 if it does not
    edge_axis, pad_axis : (e,), (p,) the first axis along which each of them is one
    """

    edges: Tensor
    pads: Tensor
    held: list[tuple[Tensor, Tensor]]
    taps: Tensor
    edge_axis: Tensor
    pad_axis: Tensor


def find_seam(axes: Sequence[Axis], fine: Sequence[int]) -> Seam:
    """Edges and pads of axes that do not pad zeros, on a grid of so many fine samples."""
    seams = [axis_seam(a, N) for a, N in zip(axes, fine, strict=True)]
    edges = _product([torch.arange(a.m) for a in axes])
    pads = _product([torch.tensor(s.read) for s in seams])
    on_edge = _product([torch.tensor(s.on_edge) for s in seams])
    torn = _product([torch.tensor(s.torn) for s in seams])
    edges, on_edge = edges[on_edge.any(1)], on_edge[on_edge.any(1)]
    pads, torn = pads[torn.any(1)], torn[torn.any(1)]
    held = sums_of(axes, [pads[:, a] + axis.before for a, axis in enumerate(axes)])
    taps = torch.zeros(len(edges), len(pads), dtype=torch.long)
    misses = torch.zeros_like(taps, dtype=torch.bool)
    for a, axis in enumerate(axes):
        apart = pads[:, a] + axis.before - edges[:, a, None] * axis.stride
        tap = apart // axis.dilation
        misses |= (apart % axis.dilation != 0) | (tap < 0) | (tap >= axis.k)
        taps = taps * axis.k + tap
    taps = taps.masked_fill(misses, -1)
    return Seam(edges, pads, held, taps, *(t.long().argmax(1) for t in (on_edge, torn)))


def taps_of_line(axis: Axis) -> list[tuple[Tensor, Tensor]]:
    """What each tap of each output reads: samples of the domain and coefficients, (m, k) each."""
    first = torch.arange(axis.m)[:, None] * axis.stride
    read = first + torch.arange(axis.k) * axis.dilation
    sources, factors = map(torch.from_numpy, line_of(axis))
    return [(s[read], c[read]) for s, c in zip(sources, factors, strict=True)]


def _product(lines: list[Tensor]) -> Tensor:
    """All combinations, (count, nd)."""
    return torch.cartesian_prod(*lines).reshape(-1, len(lines))
