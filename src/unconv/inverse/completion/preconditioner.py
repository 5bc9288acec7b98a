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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...numerics.threads import ENTRIES_A_SLICE, run_in_slices
from ..facts import CannotServeError
from .missing import Missing
from .precision import Precision

LARGEST_BLOCK = 1500
"""Unknowns of a dense block: its inverse is read at every step."""

_WINDOW, _OVERLAP = 24, 8  # samples a side, and around it
# Holes of more outputs are solved for with the rows that are no more than so many samples away, if
# these are not too many: 40² at a corner of 512² takes 276 steps without, 46 with them.
_SMALL_HOLE, _BESIDE, _MORE_BESIDE = 40, 12, 1000
_FILLED_AT_ONCE = 2**21  # of matrices of blocks that are filled and inverted at once
_EVEN = 1e-12  # of its largest, to which q is even
_STEPS_OF_SIZE = 1.25  # blocks of sizes within this factor are inverted together


class Preconditioner(nn.Module):
    """An approximate inverse of q on the missing outputs, symmetric and positive definite.

    reach : samples around the corners that are solved for with them; None for no corners
    working : real dtype in which it is kept and applied; it is computed in double precision
    """

    def __init__(
        self, precision: Precision, missing: Missing, reach: int | None, working: torch.dtype
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


class Rows(nn.Module):
    """The inverse of q on the rows of one group of channels along one axis.

    The block T of a frequency of the other axes is Hermitian.  Where all rows are of one channel
    and lie evenly, reversal conjugates it, and in sums and differences of opposite rows, the latter
    times −i, it is real: T⁻¹ = Q (QᴴTQ)⁻¹ Qᴴ, with columns e + ē and i(e − ē) of Q.  Where q is
    even along the first of two other axes, opposite frequencies along it share a block.

    Buffers: where (s·others,), inverse (B, F′, s, s) transposed, with the scale of the inverse
    transform, F′ frequencies of the other axes, of opposite ones the first.
    """

    where: Tensor
    inverse: Tensor

    def __init__(self, missing: Missing, axis: int, group: int, precision: Precision) -> None:
        super().__init__()
        strip, self.axis, self.group = missing.strip(axis, group), axis, group
        self.count, self.others = len(strip), tuple(strip.shape[1:])
        self.real, self.kernels = precision.torus.real, precision.kernels
        channel, index = missing.rows[axis][group].T
        even = bool((index + index.flip(0) == index[0] + index[-1]).all())
        halved = even and bool((channel == channel[0]).all()) and self._is_complex
        self._pairs = self.count // 2 if halved else 0
        if halved:  # opposite rows at the same places of two halves
            strip = torch.cat([strip[: -self._pairs], strip[-self._pairs :].flip(0)])
        self.register_buffer("where", strip.flatten())
        self._channels, self._apart = channel, index[:, None] - index
        lags = self._apart.abs() if halved else self._apart % precision.torus.coarse[axis]
        self._lags, self._which = torch.unique(lags, return_inverse=True)

    @property
    def _is_complex(self) -> bool:
        return bool(self.others) or not self.real

    def lines(self, channels: int) -> Tensor:
        """Room for Γ between channels at all lags of the rows, (B, F′, r, r, L)."""
        others = [*self.others]
        if self.real and others:
            others[-1] = others[-1] // 2 + 1
        shape = (self.kernels, math.prod(others), channels, channels, len(self._lags))
        dtype = torch.complex128 if self._is_complex else torch.float64
        return torch.empty(shape, dtype=dtype, device=self.where.device)

    def fill(self, lines: Tensor, place: tuple[int, ...], image: Tensor) -> None:
        """Enter Γ between two channels, an image of the grid."""
        b, group, o, i = place
        if group == self.group:
            found = image.movedim(self.axis, 0).index_select(0, self._lags)
            lines[b, :, o, i] = self._transform(found).flatten(1).T if self.others else found

    def invert(self, lines: Tensor, working: torch.dtype) -> None:
        """Factor and invert the blocks, which are made a few at a time."""
        lines = self._without_opposites(lines)
        s, flat = self.count, lines.flatten(2).flatten(0, 1)
        if self._pairs:
            flat, kind = torch.view_as_real(flat).flatten(1), working
            make = partial(_sums, flat, self._real_entries())
        else:
            kind = working.to_complex() if flat.is_complex() else working
            r, L = lines.shape[3:]
            pair = self._channels[:, None] * r + self._channels
            make = partial(_picked, flat, (pair * L + self._which).flatten())
        inverse = flat.new_empty(len(flat), s, s, dtype=kind)
        _invert(lambda part: make(part).unflatten(1, (s, s)), inverse)
        inverse /= math.prod(self.others)
        self.register_buffer("inverse", inverse.mT.unflatten(0, lines.shape[:2]).contiguous())

    def _without_opposites(self, lines: Tensor) -> Tensor:
        """Of two opposite frequencies along the first of two other axes the first, if q is even."""
        self._half = 0
        if len(self.others) < 2 or self.others[0] < 2:
            return lines
        along = lines.unflatten(1, (self.others[0], -1))
        half = self.others[0] // 2 + 1
        first, opposite = along[:, 1:half], along[:, 1 - half :].flip(1)
        if not bool((first - opposite).abs().amax() <= _EVEN * along.abs().amax()):
            return lines
        self._half = half
        return along[:, :half].flatten(1, 2)

    def _real_entries(self) -> tuple[Tensor, ...]:
        """Of QᴴTQ: two places in the (real, imaginary) parts of a line, and their factors, (s²,).

        With t the entries of 2T between e and f, and m those between ē and f, it is Re(t + m)
        between two sums, Re(t − m) between two differences, Im(t − m) between a difference and a
        sum, −Im(t + m) the other way; half of it for the middle row, which is its own opposite.
        """
        s, p = self.count, self._pairs
        e = torch.arange(s - p, device=self.where.device)
        e = torch.cat([e, e[:p]])
        is_difference = torch.arange(s, device=e.device) >= s - p
        imaginary = is_difference[:, None] != is_difference
        found = []
        for row, sign in ((e, 2.0), (s - 1 - e, -2.0)):
            which, apart = self._which[row[:, None], e], self._apart[row[:, None], e]
            factor = torch.where(is_difference[:, None], sign, 2.0).double().expand(s, s).clone()
            factor[imaginary] *= apart[imaginary].sign()
            factor[imaginary & is_difference] *= -1.0
            factor *= torch.where(2 * e == s - 1, 0.5, 1.0)
            factor *= torch.where(2 * e == s - 1, 0.5, 1.0)[:, None]
            found += [(2 * which + imaginary).flatten(), factor.flatten()]
        return tuple(found)

    def forward(self, r: Tensor) -> Tensor:
        """(N, K) -> (N, the places of `where`)."""
        N = len(r)
        strip = r.gather(1, self.where.expand(N, -1)).reshape(N, self.count, *self.others)
        self._fold_(strip)
        if not self.others:
            self._solve_(strip[..., None])
        else:
            Z = self._transform(strip).contiguous()
            self._solve_(Z)
            dims = tuple(range(-len(self.others), 0))
            inverse = torch.fft.irfftn if self.real else torch.fft.ifftn
            strip = inverse(Z, s=self.others, dim=dims, norm="forward")
        self._fold_(strip)
        return strip.reshape(N, -1)

    def _fold_(self, strip: Tensor) -> None:
        """a + b and a − b in the places of opposite rows a and b."""
        if self._pairs:
            a, b = strip[:, : self._pairs], strip[:, -self._pairs :]
            a.add_(b)
            torch.sub(a, b, alpha=2, out=b)

    def _solve_(self, Z: Tensor) -> None:
        """The inverse of each frequency's block on (N, s, *F′), in place.

        Vectors are rows: two of them times a small matrix take little more than half of what the
        matrix times two columns does (MKL, 26 rows).
        """
        plain = not Z.is_complex() or self.inverse.is_complex()
        parts = Z[..., None] if plain else torch.view_as_real(Z)
        parts = parts.movedim((0, -1, 1), (-3, -2, -1))  # (*F′, N, parts, s)
        sides, half = (2, self._half) if self._half else (1, len(parts))
        V = parts.new_empty(half, *parts.shape[1:-2], sides, *parts.shape[-2:])
        self._turn(parts[:half], V[..., 0, :, :], 1)
        if self._half:
            V[0, ..., 1, :, :] = 0  # it is its own opposite
            self._turn(parts[1 - half :].flip(0), V[1:, ..., 1, :, :], 1)
        rows = V.flatten(0, -5).unflatten(1, (self.kernels, -1)).movedim(1, 0)
        solved = rows.flatten(2, -2) @ self.inverse  # (B, F′, N/B · sides · parts, s)
        V = solved.reshape(rows.shape).movedim(0, 1).reshape(V.shape)
        self._turn(V[..., 0, :, :], parts[:half], -1)
        if self._half:
            self._turn(V[1:, ..., 1, :, :].flip(0), parts[1 - half :], -1)

    def _turn(self, given: Tensor, out: Tensor, sign: int) -> None:
        """(…, parts, s), of which the differences are multiplied by −i, or by i if sign is −1."""
        sums = self.count - self._pairs
        out[..., :sums] = given[..., :sums]
        if self._pairs:
            torch.mul(given[..., 1, sums:], sign, out=out[..., 0, sums:])
            torch.mul(given[..., 0, sums:], -sign, out=out[..., 1, sums:])

    def _transform(self, lines: Tensor) -> Tensor:
        dims = tuple(range(-len(self.others), 0))
        return (torch.fft.rfftn if self.real else torch.fft.fftn)(lines, dim=dims)


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
            _invert(filled.flatten(0, 1).__getitem__, inverses.flatten(0, 1))
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

    def __init__(self, precision: Precision, lists: Sequence[_Group]) -> None:
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


def _blocks_of(missing: Missing, channels: int, reach: int | None) -> list[_Group]:
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


def _sets(missing: Missing, channels: int, reach: int | None) -> tuple[Tensor, Tensor]:
    """(n, nd) positions, and the ascending (n,) number of the set that each belongs to."""
    positions, owner = missing.groups_of_holes()
    counts = owner.bincount() * channels
    large = counts > _SMALL_HOLE
    others = []
    for number in large.nonzero()[:, 0].tolist():
        for window in _windows(positions[owner == number], channels):
            beside = missing.rows_beside(window, _BESIDE)
            fits = (len(window) + len(beside)) * channels <= LARGEST_BLOCK + _MORE_BESIDE
            others.append(torch.cat([window, beside]) if fits else window)
    if reach is not None:
        corner = missing.crossing(reach)
        if 0 < len(corner) * channels <= LARGEST_BLOCK:
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


def _sums(parts: Tensor, entries: tuple[Tensor, ...], part: slice) -> Tensor:
    """Sums of two multiples of entries of each line."""
    first, factor, second, other = entries
    mine = parts[part]
    return mine[:, first].mul_(factor).addcmul_(mine[:, second], other)


def _picked(lines: Tensor, entries: Tensor, part: slice) -> Tensor:
    """Entries of each line."""
    return lines[part][:, entries]


def _invert(make: Callable[[slice], Tensor], inverse: Tensor) -> None:
    """The inverses (count, n, n) of Hermitian positive definite matrices, made slice by slice."""
    count, n, _ = inverse.shape
    failed = torch.zeros(count, dtype=torch.bool)

    def work(part: slice) -> None:
        factor, info = torch.linalg.cholesky_ex(make(part))
        failed[part] = (info != 0).cpu()
        if not bool(failed[part].any()):
            inverse[part] = torch.cholesky_inverse(factor)

    step = max(1, ENTRIES_A_SLICE // (n * n))
    if step > 1 or count >= 4 * torch.get_num_threads():
        run_in_slices(work, count, step, inverse.device)
    else:  # large ones, on all threads
        for i in range(count):
            work(slice(i, i + 1))
    if bool(failed.any()):
        raise CannotServeError("the precision of its missing outputs is not definite to round-off")
