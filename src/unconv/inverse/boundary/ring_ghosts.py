"""Ghosts sorted by translation: full rings of the torus, and the rest.

The ghosts outside the box along the first axis have every position along the other axes: they form
full rings H.  What is left, V, lies inside along the first axis.  Both are products:

    H = ghosts of the first axis alone  ×  every position along the other axes
    V = the box along the first axis    ×  ghosts of the convolution along the other axes

Along the other axes everything about H commutes with translations, so it is block-diagonal in
their frequencies ω'.  For that the constraint of a ring must be the same at every position: ghost
(t, j) copies (s, j) for every j, ghosts and samples that no output reads included.  Together with
the copies of V, (i, j) from (i, s'), this is the same set of constraints as every ghost copying its
sample of the domain.  A sample that no output reads comes out zero, constrained or not.

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
from ...grid.torus import Torus
from .ghosts import Points, Strip, find_ghosts


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
    terms : one `Places` for the ghosts, one more for their sources (factor 0 where there is none)
    diagonal : (h,) of D
    """

    components: slice
    terms: tuple[Places, ...]
    diagonal: Tensor

    def to(self, device: torch.device) -> Ring:
        """This ring on a device."""
        terms = tuple(Places(*(t.to(device) for t in place)) for place in self.terms)
        return replace(self, terms=terms, diagonal=self.diagonal.to(device))

    @property
    def size(self) -> int:
        """Number of functionals."""
        return len(self.diagonal)

    @cached_property
    def kept(self) -> Tensor:
        """(T,) the positions along the first axis that are touched."""
        return torch.cat([place.position for place in self.terms]).unique()

    @cached_property
    def indices(self) -> tuple[Tensor, ...]:
        """For each term where it lies among (components · T)."""
        first, T = self.components.start, len(self.kept)
        return tuple(
            (p.component - first) * T + torch.searchsorted(self.kept, p.position)
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
    terms : phase, position (v, nd − 1) and factor along the other axes of ghosts and sources
    diagonal : of D
    """

    family: int
    terms: tuple[Points, ...]
    diagonal: float

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
    """

    rings: tuple[Ring, ...]
    kinds: tuple[Kind, ...]
    families: tuple[Family, Family]
    strips: tuple[Strip, ...]


def find_rings(
    geometry: Geometry, torus: Torus, penalty: float, device: torch.device
) -> RingGhosts:
    """The ghosts of one group of a geometry whose rings run around the other axes.

    Parameters
    ----------
    penalty : β, which D = 1/β takes off the ghosts that copy
    """
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    rings = _rings(geometry, torus, penalty, device)
    families = (
        _family(geometry.axes[0].m, r, 1, 1, 0, device),
        _family(geometry.axes[0].n, c, torus.stride[0], torus.phases, r, device),
    )
    rest = replace(geometry, axes=geometry.axes[1:])
    grid = Torus(torus.coarse[1:], torus.stride[1:], torus.real)
    kinds, strips = [], []
    for family, strip, diagonal in _strips(rest, grid, penalty, device):
        if strip.ghosts:
            kinds.append(Kind(family, strip.terms, diagonal))
            strips.append(_inside(strip, families[family], torus, (r, c * torus.phases)[family]))
    return RingGhosts(rings, tuple(kinds), families, tuple(strips))


def _strips(
    geometry: Geometry, torus: Torus, penalty: float, device: torch.device
) -> list[tuple[int, Strip, float]]:
    """(family, strip, diagonal) of the augmented system along some of the axes."""
    ghosts = find_ghosts(geometry, torus, all_pixels=False, outputs_first=True, device=device)
    strips = [(0, ghosts.outputs, 0.0), (1, ghosts.constraints, 0.0)]
    if ghosts.copies:
        strips.append((1, ghosts.pixels, 1 / penalty))
    return strips


def _rings(
    geometry: Geometry, torus: Torus, penalty: float, device: torch.device
) -> tuple[Ring, ...]:
    """H, the outputs and the pixels apart."""
    axis = replace(geometry, axes=geometry.axes[:1])
    line = Torus(torus.coarse[:1], torus.stride[:1], torus.real)
    others = math.prod(torus.stride[1:])
    parts = _strips(axis, line, penalty, device)
    rings = []
    for family in (0, 1):
        mine = [(strip, d) for which, strip, d in parts if which == family and strip.ghosts]
        if mine:
            phases = 1 if family == 0 else others
            terms = joined([_repeated(strip, phases) for strip, _ in mine])
            d = [torch.full((strip.size * phases,), d, dtype=torch.float64) for strip, d in mine]
            first, channels, own = mine[0][0].offset, mine[0][0].channels, mine[0][0].phases
            components = slice(first, first + channels * own * phases)
            rings.append(Ring(components, terms, torch.cat(d).to(device)))
    return tuple(rings)


def _repeated(strip: Strip, phases: int) -> list[Places]:
    """A strip of the first axis for every channel and every phase of the other axes."""
    channel = torch.arange(strip.channels, device=strip.axis.device)[:, None, None]
    phase = torch.arange(phases, device=strip.axis.device)
    found = []
    for p in strip.terms:
        own = channel * strip.phases + p.phase[:, None]
        component = strip.offset + own * phases + phase
        position = p.position.expand(strip.channels, -1, phases)
        factor = p.factor[:, None].expand(strip.channels, -1, phases)
        found.append(Places(component.flatten(), position.flatten(), factor.flatten().double()))
    return found


def joined(lists: Sequence[list[Places]]) -> tuple[Places, ...]:
    """Functionals of several strips in one list; a strip without sources gets factors 0."""
    found = []
    for i in range(max(map(len, lists))):
        parts = []
        for places in lists:
            own = places[min(i, len(places) - 1)]
            parts.append(own if i < len(places) else own._replace(factor=0 * own.factor))
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


def _inside(strip: Strip, family: Family, torus: Torus, components: int) -> Strip:
    """A strip of the other axes at every channel and sample of the box along the first axis.

    Channels count as phases, so that they come after the ghosts of the other axes.
    """
    terms = []
    for p in strip.terms:
        phase = family.component - strip.offset + p.phase[:, None]
        pairs = phase.shape  # (v, AI)
        others = p.position[:, None].expand(*pairs, -1)
        position = torch.cat([family.position[:, None].expand(*pairs, 1), others], 2)
        factor = p.factor[:, None].expand(pairs)
        terms.append(Points(phase.flatten(), position.flatten(0, 1), factor.flatten()))
    axis = (strip.axis[:, None] + 1).expand(-1, len(family.component)).flatten()
    return Strip(torus, 1, components, strip.offset, tuple(terms), axis)


def roots(positions: Tensor, frequencies: Tensor, M: int) -> Tensor:
    """e^{2πi ω t / M} for (T,) positions and (F,) frequencies, (T, F) complex."""
    angle = (positions[:, None] * frequencies % M).double() * (2 * math.pi / M)
    return torch.polar(torch.ones_like(angle), angle)
