"""Ghosts: the few places where a convolution differs from its periodic grid.

On a periodic grid (torus.py) the domain is the box [0, n) of the fine samples and the data are the
box [0, m) of the coarse ones.  What is left over are ghosts:

    ghost outputs   coarse samples outside the data: the grid computes them, A does not
    ghost pixels    fine samples outside the domain: the padding invents them, x̃_ghost = R x

R = 0 for zeros; for the other modes every ghost is a sum over samples of the domain, mostly a copy
of one (grid/modes.py).

A `Strip` is a set of linear functionals on the grid, the same for every channel: the value at each
ghost, or that value minus the sum over its sources.  It reads them off (`gather`), puts sources
there (`scatter`, its adjoint), and fills the matrix of a Green's function between two strips
(`fill_green`).  Fine samples are addressed as (phase, coarse position), as in torus.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ...grid.fft import inverse_transform
from ...grid.geometry import Axis, Geometry
from ...grid.padding import sums_of
from ...grid.slab import Slab
from ...grid.torus import Torus

_SLICE_ENTRIES = 2**17  # 1 MiB of float64, and of each index: more only takes memory
_UNREAD = -1
_THIN_SLABS = 8  # samples across all slabs: an FFT costs about 8 products with DFT columns


@dataclass(frozen=True)
class Points:
    """Places on the grid: flat phase (g,), coarse position (g, nd) and its factor (g,)."""

    phase: Tensor
    position: Tensor
    factor: Tensor

    def on_slab(self, slab: Slab) -> Tensor:
        """Index into an array (phases · slab.shape); every point must lie on the slab."""
        position = self.position.clone()
        position[:, slab.axis] = torch.searchsorted(slab.kept, position[:, slab.axis].contiguous())
        return self.phase * math.prod(slab.shape) + flatten(position, slab.shape)

    def where(self, mine: Tensor) -> Points:
        """Those of a mask."""
        return Points(self.phase[mine], self.position[mine], self.factor[mine])

    def to(self, device: torch.device) -> Points:
        """These points on a device."""
        return Points(self.phase.to(device), self.position.to(device), self.factor.to(device))

    def flat(self, torus: Torus) -> Tensor:
        """Index into an array (phases · coarse)."""
        return self.phase * math.prod(torus.coarse) + flatten(self.position, torus.coarse)


@dataclass(frozen=True)
class Strip:
    """Functionals on the grid, `channels` times one for each ghost: Σ factor · value at a place.

    Attributes
    ----------
    channels : of a group, each with `phases` components on the coarse grid
    offset : of its first component in the vector of a frequency's block
    terms : one `Points` for the ghosts, more for the sources of each
    axis : (g,) an axis along which the ghost lies outside the box
    """

    torus: Torus
    channels: int
    phases: int
    offset: int
    terms: tuple[Points, ...]
    axis: Tensor

    def to(self, device: torch.device) -> Strip:
        """This strip on a device."""
        terms = tuple(p.to(device) for p in self.terms)
        return replace(self, terms=terms, axis=self.axis.to(device))

    @cached_property
    def slabs(self) -> tuple[tuple[Slab, Tensor, tuple[Points, ...]], ...]:
        """For each axis the slab, which ghosts lie on it, and their terms."""
        found = []
        for a in range(len(self.torus.coarse)):
            mine = (self.axis == a).nonzero()[:, 0]
            if len(mine):
                terms = tuple(p.where(mine) for p in self.terms)
                kept = torch.cat([p.position[:, a] for p in terms]).unique()
                found.append((Slab(self.torus, a, kept), mine, terms))
        return tuple(found)

    @property
    def is_thin(self) -> bool:
        """Whether partial transforms of the slabs cost less than one of the grid."""
        return sum(len(slab.kept) for slab, _, _ in self.slabs) <= _THIN_SLABS

    def values_of(self, U: Tensor) -> Tensor:  # (N, g, components, *spectrum) -> (N, g, size)
        """`gather` of the inverse transform, by partial transforms."""
        N, g = U.shape[:2]
        real = U.real.dtype if self.torus.real else U.dtype
        out = torch.empty(N, g, self.channels, self.ghosts, dtype=real, device=U.device)
        own = U[:, :, self.components].flatten(1, 2)
        for slab, mine, terms in self.slabs:
            lines = slab.values(own).reshape(N, g, self.channels, -1)
            parts = [lines.index_select(3, p.on_slab(slab)) * p.factor.to(lines) for p in terms]
            out[..., mine] = sum(parts[1:], parts[0])
        return out.flatten(2)

    def add_spectrum_(self, U: Tensor, z: Tensor) -> None:  # (N, g, size) into (N, g, ...)
        """Add the transform of `scatter_`, by partial transforms."""
        N, g = z.shape[:2]
        z = z.unflatten(2, (self.channels, self.ghosts))
        for slab, mine, terms in self.slabs:
            lines = z.new_zeros(N, g, self.channels, self.phases * math.prod(slab.shape))
            for p in terms:
                lines.index_add_(3, p.on_slab(slab), z[..., mine] * p.factor.to(z))
            lines = lines.reshape(N, -1, *slab.shape)
            U[:, :, self.components] += slab.spectrum(lines).unflatten(1, (g, -1))

    @property
    def ghosts(self) -> int:
        """Number of ghosts."""
        return len(self.terms[0].phase)

    @property
    def size(self) -> int:
        """Number of functionals a group."""
        return self.channels * self.ghosts

    @property
    def components(self) -> slice:
        """Where its components lie in the vector of a frequency's block."""
        return slice(self.offset, self.offset + self.channels * self.phases)

    def gather(self, grid: Tensor) -> Tensor:  # (N, g, components, *coarse) -> (N, g, size)
        """Values of the functionals."""
        lines = self._lines(grid[:, :, self.components])
        parts = [lines.index_select(3, p.flat(self.torus)) * p.factor.to(lines) for p in self.terms]
        return sum(parts[1:], parts[0]).flatten(2)

    def scatter_(self, grid: Tensor, values: Tensor) -> None:  # the adjoint, added in place
        """Add sources (N, g, size) to a contiguous grid (N, g, components, *coarse)."""
        values = values.unflatten(2, (self.channels, self.ghosts))
        lines = self._lines(grid[:, :, self.components])
        for p in self.terms:
            lines.index_add_(3, p.flat(self.torus), values * p.factor.to(values))

    def _lines(self, grid: Tensor) -> Tensor:  # -> (N, g, channels, phases · coarse), a view
        lines = grid.flatten(3).unflatten(2, (self.channels, self.phases))
        return lines.flatten(3)


def fill_green(matrix: Tensor, blocks: Tensor, rows: Strip, columns: Strip) -> None:
    """Fill `matrix` with rows · G · columnsᴴ, G the inverse transform of `blocks`.

    Parameters
    ----------
    matrix : (rows.size, columns.size), with its columns contiguous
    blocks : (F, components of the rows' vector, components of the columns' vector)
    """
    torus = rows.torus
    target = matrix.mT.unflatten(0, (columns.channels, columns.ghosts))
    target = target.unflatten(2, (rows.channels, rows.ghosts))
    step = max(1, _SLICE_ENTRIES // max(1, columns.channels * rows.ghosts))
    pairs = [(p, q) for p in rows.terms for q in columns.terms]
    for channel in range(rows.channels):
        green = _green(blocks, torus, rows, columns, channel)
        for start in range(0, columns.ghosts, step):
            part = slice(start, start + step)
            out = None
            for p, q in pairs:
                index = differences(torus, p, q, part, columns.phases)
                values = green.index_select(1, index.flatten()).unflatten(1, index.shape)
                factor = q.factor[part, None] * p.factor
                if not bool((factor == 1).all()):
                    values *= factor.to(values)
                out = values if out is None else out.add_(values)
            target[:, part, channel] = out


def _green(blocks: Tensor, torus: Torus, rows: Strip, columns: Strip, channel: int) -> Tensor:
    """(columns.channels, row phases · column phases · coarse) of one channel of the rows."""
    first = rows.offset + channel * rows.phases
    spectrum = blocks[:, first : first + rows.phases, columns.components]  # (F, phases, cC)
    spectrum = spectrum.permute(1, 2, 0).reshape(rows.phases, -1, *torus.spectrum_shape)
    green = inverse_transform(torus, spectrum)
    green = green.reshape(rows.phases, columns.channels, columns.phases, -1)
    return green.transpose(0, 1).reshape(columns.channels, -1)


def differences(torus: Torus, rows: Points, columns: Points, part: slice, phases: int) -> Tensor:
    """Where G(row − column) lies in `_green`: (columns of the part, rows)."""
    index = rows.phase * phases + columns.phase[part, None]
    for a, M in enumerate(torus.coarse):
        apart = rows.position[:, a] - columns.position[part, a, None]
        apart += (apart < 0) * M
        index = index * M + apart
    return index


def flatten(position: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Row-major index of positions (g, nd)."""
    index = torch.zeros_like(position[:, 0])
    for a, size in enumerate(sizes):
        index = index * size + position[:, a]
    return index


@dataclass(frozen=True)
class Ghosts:
    """The strips of a geometry on a grid.

    Attributes
    ----------
    outputs : the value at each ghost output
    pixels : the value at each ghost pixel
    constraints : that value minus the sum over its sources, zero for every x̃ = E x
    copies : whether any ghost depends on a sample, R ≠ 0
    """

    outputs: Strip
    pixels: Strip
    constraints: Strip
    copies: bool

    def augmented(self, beta: float) -> tuple[list[Strip], float]:
        """Sources and constraints of the augmented system with the corner β, and the last D.

        Where padding is not zeros the pixels are unknowns a second time, with 1/β on the
        diagonal: the penalty is on x and not on what continues it.
        """
        strips = [self.outputs, self.constraints]
        if not (self.copies and beta):
            return strips, 0.0
        return [*strips, self.pixels], 1 / beta


def find_ghosts(
    geometry: Geometry, torus: Torus, *, all_pixels: bool, outputs_first: bool, device: torch.device
) -> Ghosts:
    """The ghosts of one group.

    Parameters
    ----------
    all_pixels
        Also those that no output reads (they are zero), for as many ghost pixels as outputs.
    outputs_first
        Whether a frequency's vector holds outputs before pixels, or pixels only.
    """
    r, c = geometry.c_out // geometry.groups, geometry.c_in // geometry.groups
    nd = len(torus.coarse)
    outside, out_axis = outside_box(torus.coarse, tuple(a.m for a in geometry.axes))
    out = split(outside, replace(torus, stride=(1,) * nd))
    fine, axis = outside_box(torus.fine, tuple(a.n for a in geometry.axes))
    tables = [_places(a, N) for a, N in zip(geometry.axes, torus.fine, strict=True)]
    place = torch.stack([tables[a][fine[:, a]] for a in range(nd)], 1)
    read = (place != _UNREAD).all(1)
    if not all_pixels:
        fine, place, axis, read = fine[read], place[read], axis[read], read[read]
    sums = sums_of(geometry.axes, place.where(read[:, None], 0).unbind(1))
    ghosts = split(fine, torus)
    terms = [ghosts]
    terms += [split(source, torus, -c * read) for source, c in sums if bool(c[read].any())]
    offset = r if outputs_first else 0

    def strip(channels: int, phases: int, first: int, points: list[Points], side: Tensor) -> Strip:
        moved = tuple(p.to(device) for p in points)
        return Strip(torus, channels, phases, first, moved, side.to(device))

    return Ghosts(
        outputs=strip(r, 1, 0, [out], out_axis),
        pixels=strip(c, torus.phases, offset, [ghosts], axis),
        constraints=strip(c, torus.phases, offset, terms, axis),
        copies=len(terms) > 1,
    )


def outside_box(grid: tuple[int, ...], box: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(g, nd) samples of the grid outside [0, box), and (g,) the first axis that is outside."""
    parts = []
    for a, (N, n) in enumerate(zip(grid, box, strict=True)):  # inside up to axis a, then outside
        lines = [torch.arange(b) for b in box[:a]]
        lines += [torch.arange(n, N), *(torch.arange(g) for g in grid[a + 1 :])]
        parts.append(torch.cartesian_prod(*lines).reshape(-1, len(grid)))
    axis = torch.cat([torch.full((len(part),), a) for a, part in enumerate(parts)])
    return torch.cat(parts), axis


def _places(axis: Axis, N: int) -> Tensor:
    """For each of N fine samples its place on the padded axis, −1 if no output reads it there."""
    place = torch.full((N,), _UNREAD)
    behind = 0 if axis.on_torus else axis.read_behind
    place[: axis.n + behind] = axis.before + torch.arange(axis.n + behind)
    if not axis.on_torus:
        place[N - axis.before :] = torch.arange(axis.before)
    return place


def split(fine: Tensor, torus: Torus, factor: Tensor | float = 1.0) -> Points:
    """Fine samples (g, nd) as phases and coarse positions."""
    stride = torch.tensor(torus.stride)
    factors = torch.ones(len(fine)) * factor
    return Points(flatten(fine % stride, torus.stride), fine // stride, factors)
