"""Ghosts sorted by translation: full rings of the torus, and the rest.

The ghosts outside the box along the first axis have every position along the other axes: they form
full rings H.  What is left, V, lies inside along the first axis.  Both are products:

    H = ghosts of the first axis alone  ×  every position along the other axes
    V = the box along the first axis    ×  ghosts of the convolution along the other axes

Along the other axes everything about H commutes with translations, so it is block-diagonal in
their frequencies ω'.

Where padding is zeros they are ghost outputs and ghost pixels (ghosts.py).  Any other padding has
a seam instead (grid/seam.py): edges beside the ghost outputs, pads in the place of ghost pixels;
what couples them is in ring_coupling.py.

Fine samples are addressed as (phase, coarse position), as in torus.py; the phase of the first axis
is the slowest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ...grid.geometry import Geometry
from ...grid.seam import Seam, find_seam
from ...grid.torus import Torus
from .ghosts import Points, Strip, find_ghosts, outside_box, split


class Places(NamedTuple):
    """Component of a frequency's vector, position along the first axis, factor; (h,) each."""

    component: Tensor
    position: Tensor
    factor: Tensor


@dataclass(frozen=True)
class Ring:
    """h functionals Σ factor · value, the same at every position along the other axes.

    Attributes
    ----------
    components : that they know, of the vector of a frequency's block
    terms : one `Places`; for pads more, what they hold and last what the grid holds there
    """

    components: slice
    terms: tuple[Places, ...]

    def to(self, device: torch.device) -> Ring:
        """This ring on a device."""
        terms = tuple(Places(*(t.to(device) for t in place)) for place in self.terms)
        return replace(self, terms=terms)

    @property
    def size(self) -> int:
        """Number of functionals."""
        return len(self.terms[0].position)

    @cached_property
    def kept(self) -> Tensor:
        """(T,) the positions along the first axis that are touched."""
        return torch.cat([place.position for place in self.terms]).unique()

    @cached_property
    def indices(self) -> tuple[Tensor, ...]:
        """For each term where it lies among (components · T)."""
        first, T = self.components.start, len(self.kept)
        return tuple(
            (p.component - first) * T + torch.searchsorted(self.kept, p.position.contiguous())
            for p in self.terms
        )

    def read(self, U: Tensor, M: int) -> Tensor:  # (N, g, b, M, F') -> (N, g, h, F')
        """Values of a spectrum's inverse transform along the first axis."""
        lines = (self._roots(U, M) / M @ U[:, :, self.components]).flatten(2, 3)
        values = None
        for index, place in zip(self.indices, self.terms, strict=True):
            part = lines.index_select(2, index) * place.factor[:, None].to(lines)
            values = part if values is None else values.add_(part)
        assert values is not None
        return values

    def put_(self, F: Tensor, z: Tensor, M: int) -> None:  # (N, g, h, F') into (N, g, b, M, F')
        """Add sources to a spectrum: M times the adjoint of `read`."""
        count, T = self.components.stop - self.components.start, len(self.kept)
        lines = z.new_zeros(*z.shape[:2], count * T, z.shape[3])
        for index, place in zip(self.indices, self.terms, strict=True):
            lines.index_add_(2, index, z * place.factor[:, None].to(z))
        F[:, :, self.components] += self._roots(F, M).mH @ lines.unflatten(2, (count, T))

    def _roots(self, like: Tensor, M: int) -> Tensor:  # (T, M) e^{2πi ω t / M}
        return roots(self.kept, torch.arange(M, device=self.kept.device), M).to(like.dtype)


class Kind(NamedTuple):
    """One strip of V: the box along the first axis times ghosts along the other axes.

    Attributes
    ----------
    family : 0 for outputs, 1 for pixels
    terms : phase, position (v, nd − 1) and factor along the other axes
    """

    family: int
    terms: tuple[Points, ...]

    @property
    def ghosts(self) -> int:
        """Number of ghosts along the other axes, v."""
        return len(self.terms[0].phase)


class Family(NamedTuple):
    """Components of one kind inside the box along the first axis, (channel, sample) each.

    Attributes
    ----------
    component, position : (AI,), the component without the phase of the other axes
    phases : of the other axes, P'
    """

    component: Tensor
    position: Tensor
    phases: int


@dataclass(frozen=True)
class RingGhosts:
    """H and V of a geometry on a grid, for the augmented system.

    Attributes
    ----------
    rings : H, the outputs and the pixels apart
    kinds, families : V as products
    strips : V on the grid, ordered (ghost along the other axes, channel, sample)
    first, others : what the first axis and the others leave over
    """

    rings: tuple[Ring, ...]
    kinds: tuple[Kind, ...]
    families: tuple[Family, Family]
    strips: tuple[Strip, ...]
    first: Side
    others: Side


class Part(NamedTuple):
    """Functionals of one kind that some of the axes leave over.

    Attributes
    ----------
    terms : `Points`, for pads two or more
    axis : (v,) an axis along which all that a functional reads lies on few samples
    """

    terms: tuple[Points, ...]
    axis: Tensor

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.axis)


class Side(NamedTuple):
    """What some of the axes leave over: ghost outputs, then edges; ghost pixels or pads."""

    outputs: Part
    pixels: Part
    seam: Seam | None


def find_rings(geometry: Geometry, torus: Torus, device: torch.device) -> RingGhosts:
    """The ghosts of one group of a geometry whose rings run around the other axes."""
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    line = Torus(torus.coarse[:1], torus.stride[:1], torus.real)
    grid = Torus(torus.coarse[1:], torus.stride[1:], torus.real)
    mine = _side(replace(geometry, axes=geometry.axes[:1]), line, device)
    others = _side(replace(geometry, axes=geometry.axes[1:]), grid, device)
    rings = _rings(mine, (r, c), torus)
    families = (
        _family(geometry.axes[0].m, r, 1, 1, 0, device),
        _family(geometry.axes[0].n, c, torus.stride[0], torus.phases, r, device),
    )
    kinds, strips = [], []
    for family, part in enumerate((others.outputs, others.pixels)):
        if part.size:
            kinds.append(Kind(family, part.terms))
            components = (r, c * torus.phases)[family]
            strips.append(_inside(part, families[family], torus, (0, r)[family], components))
    return RingGhosts(rings, tuple(kinds), families, tuple(strips), mine, others)


def _side(geometry: Geometry, torus: Torus, device: torch.device) -> Side:
    """What the axes of a geometry leave over on their grid."""
    if geometry.pads_zeros:
        ghosts = find_ghosts(geometry, torus, all_pixels=False, outputs_first=True, device=device)
        outputs, pixels = ghosts.outputs, ghosts.pixels
        return Side(Part(outputs.terms, outputs.axis), Part(pixels.terms, pixels.axis), None)
    seam = find_seam(geometry.axes, torus.fine)
    outside, axis = outside_box(torus.coarse, tuple(a.m for a in geometry.axes))
    unphased = replace(torus, stride=(1,) * geometry.nd)
    places = split(torch.cat([outside, seam.edges]), unphased)
    held = [split(sources, torus, factors).to(device) for sources, factors in seam.held]
    on_grid = split(seam.pads % torch.tensor(torus.fine), torus, -1.0).to(device)
    return Side(
        Part((places.to(device),), torch.cat([axis, seam.edge_axis]).to(device)),
        Part((*held, on_grid), seam.pad_axis.to(device)),
        seam,
    )


def _rings(side: Side, channels: tuple[int, int], torus: Torus) -> tuple[Ring, ...]:
    """H, the outputs and the pixels apart."""
    others = math.prod(torus.stride[1:])
    rings = []
    r, c = channels
    parts = (side.outputs, r, 1, 1, 0), (side.pixels, c, torus.stride[0], others, r)
    for part, count, own, phases, first in parts:
        if part.size:
            components = slice(first, first + count * own * phases)
            places = tuple(_repeated(p, count, own, phases, first) for p in part.terms)
            rings.append(Ring(components, places))
    return tuple(rings)


def _repeated(p: Points, channels: int, own: int, phases: int, first: int) -> Places:
    """Points of the first axis for every channel and every phase of the other axes."""
    channel = torch.arange(channels, device=p.phase.device)[:, None, None]
    phase = torch.arange(phases, device=p.phase.device)
    component = first + (channel * own + p.phase[:, None]) * phases + phase
    position = p.position.expand(channels, -1, phases)
    factor = p.factor[:, None].expand(channels, -1, phases)
    return Places(component.flatten(), position.flatten(), factor.flatten().double())


def joined(rings: Sequence[Ring]) -> tuple[Places, ...]:
    """Functionals of all rings in one list; where one has no second term its factors are 0."""
    found = []
    for i in range(max(len(ring.terms) for ring in rings)):
        parts = []
        for ring in rings:
            own = ring.terms[min(i, len(ring.terms) - 1)]
            parts.append(own if i < len(ring.terms) else own._replace(factor=0 * own.factor))
        found.append(Places(*(torch.cat(t) for t in zip(*parts, strict=True))))
    return tuple(found)


def _family(
    samples: int, channels: int, stride: int, phases: int, offset: int, device: torch.device
) -> Family:
    sample = torch.arange(samples, device=device)
    channel = torch.arange(channels, device=device)[:, None]
    component = offset + channel * phases + sample % stride * (phases // stride)
    position = (sample // stride).expand(channels, -1)
    return Family(component.flatten(), position.flatten(), phases // stride)


def _inside(part: Part, family: Family, torus: Torus, first: int, components: int) -> Strip:
    """A part of the other axes at every channel and sample of the box along the first axis.

    Channels count as phases, so that they come after the ghosts of the other axes.
    """
    terms = []
    for p in part.terms:
        phase = family.component - first + p.phase[:, None]
        pairs = phase.shape  # (v, AI)
        others = p.position[:, None].expand(*pairs, -1)
        position = torch.cat([family.position[:, None].expand(*pairs, 1), others], 2)
        factor = p.factor[:, None].expand(pairs)
        terms.append(Points(phase.flatten(), position.flatten(0, 1), factor.flatten()))
    axis = (part.axis[:, None] + 1).expand(-1, len(family.component)).flatten()
    return Strip(torus, 1, components, first, tuple(terms), axis)


def roots(positions: Tensor, frequencies: Tensor, M: int) -> Tensor:
    """e^{2πi ω t / M} for (T,) positions and (F,) frequencies, (T, F) complex."""
    angle = (positions[:, None] * frequencies % M).double() * (2 * math.pi / M)
    return torch.polar(torch.ones_like(angle), angle)
