"""What of the precision on the missing outputs can be solved for directly: rows, corners, holes.

The precision q is a circular convolution, so that on outputs J its matrix is q[J, J] = Γ(j − j′),
Γ = 𝓕⁻¹q.  It is inverted on

    rows      whole rows of channels along an axis: block-circulant over the other axes, one block
              per frequency of these
    corners   in two dimensions the places where rows of both axes meet, and some samples around
    holes     groups of neighbouring missing outputs, in overlapping windows if they are large

and the solutions are added up (additive Schwarz), which keeps the preconditioner symmetric.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .circulant import Circulant
from .definite import invert
from .missing import MissingOutputs
from .rows import Rows

LARGEST_BLOCK = 1500
"""Unknowns of a dense block: its inverse is read at every step."""

_WINDOW, _OVERLAP = 24, 8  # samples a side, and around it
# Holes of more outputs are solved for with the rows that are no more than so many samples away, if
# these are not too many: 40² at a corner of 512² takes 276 steps without, 46 with them.
_SMALL_HOLE, _BESIDE, _MORE_BESIDE = 40, 12, 1000
_FILLED_AT_ONCE = 2**21  # of matrices of blocks that are filled and inverted at once
_STEPS_OF_SIZE = 1.25  # blocks of sizes within this factor are inverted together


class Preconditioner(nn.Module):
    """An approximate inverse of q on the missing outputs, symmetric and positive definite.

    reach : samples around the corners that are solved for with them; None for no corners
    working : real dtype in which it is kept and applied; it is computed in double precision
    """

    def __init__(
        self, precision: Circulant, missing: MissingOutputs, reach: int | None, working: torch.dtype
    ) -> None:
        super().__init__()
        self._working = working
        pairs = itertools.product(range(len(missing.sizes)), range(missing.groups))
        found = [Rows(missing, a, g, precision) for a, g in pairs if len(missing.rows[a][g])]
        self.rows = nn.ModuleList(found)
        cross = len(missing.sizes) == 2 and len({part.axis for part in found}) == 2
        lists = _blocks_of(missing, precision.channels, reach if cross else None)
        green = _Green(precision, lists)
        greens = [(part, part.lines(precision.channels)) for part in found]
        for place, image in green.images():
            for part, lines in greens:
                part.fill(lines, place, image)
        while greens:
            part, lines = greens.pop()
            part.invert(lines, working)
        self.blocks = nn.ModuleList(Blocks(one, green, working) for one in lists)

    def forward(self, r: Tensor) -> Tensor:
        """(N, K) -> (N, K), of the dtype of r."""
        kind = r.dtype
        r = r.to(self._working.to_complex() if r.is_complex() else self._working)
        z = torch.zeros_like(r)
        for part in itertools.chain(self.rows, self.blocks):
            where: Tensor = part.get_buffer("where")
            z.scatter_add_(1, where.expand(len(r), -1), part(r))
        return z.to(kind)


class Blocks(nn.Module):
    """Inverses of q on groups of outputs of about the same size.

    Buffers: where (count·n,), inverse (B, count, n, n).
    """

    where: Tensor
    inverse: Tensor

    def __init__(self, found: _Group, green: _Green, working: torch.dtype) -> None:
        super().__init__()
        count, n = found.used.shape
        kind = working.to_complex() if green.is_complex else working
        inverse = torch.empty(green.kernels, count, n, n, dtype=kind, device=found.used.device)
        step = max(1, _FILLED_AT_ONCE // (n * n))
        for part in (slice(i, i + step) for i in range(0, count, step)):
            used = found.used[part]
            pair = used[:, :, None] & used[:, None]
            matrices = green.between(found, part)
            eye = torch.eye(n, dtype=matrices.dtype, device=matrices.device)
            filled = torch.where(pair, matrices, eye)
            inverses = torch.empty_like(filled, dtype=kind)
            invert(filled.flatten(0, 1).__getitem__, inverses.flatten(0, 1))
            inverse[:, part] = inverses.where(pair, 0)
        self.register_buffer("where", found.where.flatten())
        self.register_buffer("inverse", inverse)

    def forward(self, r: Tensor) -> Tensor:
        """(N, K) -> (N, the places of `where`)."""
        _, count, n, _ = self.inverse.shape
        parts = r.gather(1, self.where.expand(len(r), -1)).reshape(len(r), count, n)
        if len(self.inverse) > 1:
            return (self.inverse @ parts[..., None])[..., 0].flatten(1)
        return (self.inverse[0] @ parts.permute(1, 2, 0)).permute(2, 0, 1).flatten(1)


@dataclass
class _Group:
    """Sets of outputs of one group of channels, padded to one size.

    where : (count, n) places in the vector, any where it is padding;
    channel : (count, n); position : (count, n, nd); used : (count, n)
    """

    group: int
    where: Tensor
    channel: Tensor
    position: Tensor
    used: Tensor

    def reach(self, axis: int, size: int) -> int:
        """Largest distance along an axis, around a grid of `size`, between two outputs of a set."""
        apart = self.position[:, :, axis] - self.position[:, :1, axis]
        apart = torch.where(self.used, (apart + size // 2) % size - size // 2, 0)
        return min(int((apart.amax(1) - apart.amin(1)).max()), size // 2)


class _Green:
    """Γ = 𝓕⁻¹q, an image of the grid for each pair of channels, and what of it blocks need."""

    def __init__(self, precision: Circulant, lists: Sequence[_Group]) -> None:
        self.precision, self.torus = precision, precision.torus
        self.reach = [
            max((found.reach(a, size) for found in lists), default=0)
            for a, size in enumerate(self.torus.coarse)
        ]
        self._near: Tensor | None = None
        self._wanted = bool(lists)

    def images(self) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """((kernel, group, output channel, input channel), Γ between the channels)."""
        p = self.precision
        counts = p.kernels, p.groups, p.channels, p.channels
        for place in itertools.product(*map(range, counts)):
            image = self.torus.inverse_transform(p.between(*place)[None, None])[0, 0]
            if self._wanted:
                self._keep(place, image)
            yield place, image

    def _keep(self, place: tuple[int, ...], image: Tensor) -> None:
        """The part around the origin, whose lags are those between neighbours."""
        for a, reach in enumerate(self.reach):
            steps = torch.arange(-reach, reach + 1, device=image.device) % image.shape[a]
            image = image.index_select(a, steps)
        if self._near is None:
            p = self.precision
            counts = p.kernels, p.groups, p.channels, p.channels
            self._near = image.new_empty(*counts, *image.shape)
        self._near[place] = image

    @property
    def kernels(self) -> int:
        """Number of kernels."""
        return self.precision.kernels

    @property
    def is_complex(self) -> bool:
        """Whether Γ is."""
        return not self.torus.real

    def between(self, found: _Group, part: slice) -> Tensor:
        """Γ between the outputs of each of some sets, (B, count, n, n)."""
        assert self._near is not None
        near = self._near[:, found.group]
        channel, position = found.channel[part], found.position[part]
        index = channel[:, :, None] * near.shape[1] + channel[:, None]
        for a, (reach, size) in enumerate(zip(self.reach, self.torus.coarse, strict=True)):
            apart = position[:, :, None, a] - position[:, None, :, a]
            apart = (apart + size // 2) % size - size // 2
            index = index * (2 * reach + 1) + apart.clamp(-reach, reach) + reach
        return near.flatten(1)[:, index]


def _blocks_of(missing: MissingOutputs, channels: int, reach: int | None) -> list[_Group]:
    """All sets of outputs that are solved for together, those of like sizes in one batch."""
    positions, owner = _sets(missing, channels, reach)
    found: list[_Group] = []
    for group in range(missing.groups if len(owner) else 0):
        where = missing.of(group, positions).T.flatten()  # the channels of a position together
        entry = (where >= 0).nonzero()[:, 0]
        pixel = torch.div(entry, channels, rounding_mode="floor")
        columns = where[entry], entry % channels, positions[pixel]
        found += _batches(group, owner[pixel], columns)
    return found


def _sets(missing: MissingOutputs, channels: int, reach: int | None) -> tuple[Tensor, Tensor]:
    """(n, nd) positions, and the ascending (n,) number of the set that each belongs to."""
    positions, owner = missing.groups_of_holes()
    counts = owner.bincount() * channels
    large = counts > _SMALL_HOLE
    others = []
    for number in large.nonzero()[:, 0].tolist():
        for window in _windows(positions[owner == number], channels):
            # A position may be a hole of one channel and in a row of another one.
            joined = torch.cat([window, missing.rows_beside(window, _BESIDE)]).unique(dim=0)
            fits = missing.most_at(joined) <= LARGEST_BLOCK + _MORE_BESIDE
            others.append(joined if fits else window)
    if reach is not None:
        corner = missing.crossing(reach)
        if 0 < missing.most_at(corner) <= LARGEST_BLOCK:
            others.append(corner)
    small = ~large[owner]
    sizes = torch.tensor([len(other) for other in others], dtype=torch.long, device=owner.device)
    numbers = len(large) + torch.arange(len(others), device=owner.device)
    owner = torch.cat([owner[small], numbers.repeat_interleave(sizes)])
    return torch.cat([positions[small], *others]), owner


def _batches(group: int, owner: Tensor, columns: tuple[Tensor, Tensor, Tensor]) -> Iterator[_Group]:
    """Sets of about the same size side by side.

    owner : (n,) ascending, the set of each output; columns : what else is known of it
    """
    counts = owner.bincount()
    rank = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    size = (counts.clamp(min=1).double().log() / math.log(_STEPS_OF_SIZE)).ceil().long()
    for one in size[counts > 0].unique().tolist():
        members = (size == one) & (counts > 0)
        mine = members[owner]
        at = (members.cumsum(0) - 1)[owner[mine]], rank[mine]
        shape = int(members.sum()), int(counts[members].max())
        where, channel, position = (
            c.new_zeros(*shape, *c.shape[1:]).index_put(at, c[mine]) for c in columns
        )
        used = torch.zeros(shape, dtype=torch.bool, device=owner.device)
        used[at] = True
        yield _Group(group, where, channel, position, used)


def _windows(positions: Tensor, channels: int) -> list[Tensor]:
    """A group of holes, in overlapping windows if it is too large for one block."""
    if len(positions) * channels <= LARGEST_BLOCK:
        return [positions]
    nd = positions.shape[1]
    whole = int((LARGEST_BLOCK / channels) ** (1 / nd))
    overlap = min(_OVERLAP, whole // 4)
    core = max(1, min(_WINDOW, whole - 2 * overlap))
    cell = torch.div(positions - positions.amin(0), core, rounding_mode="floor")
    found = []
    for corner in torch.unique(cell, dim=0):
        start = positions.amin(0) + corner * core
        near = (positions >= start - overlap) & (positions < start + core + overlap)
        found.append(positions[near.all(1)])
    return found
