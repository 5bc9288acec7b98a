"""Whole rows of missing outputs along an axis, which are circulant over the other axes."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from .circulant import Circulant
from .definite import invert
from .missing import Missing

_EVEN = 1e-12  # of its largest, to which q is even


class Rows(nn.Module):
    """The inverse of q on the rows of one group of channels along one axis.

    The block T of a frequency of the other axes is Hermitian.  Where all rows are of one channel
    and lie evenly, reversal conjugates it, and in sums and differences of opposite rows, the latter
    times −i, it is real: T⁻¹ = Q (QᴴTQ)⁻¹ Qᴴ, with columns e + ē and i(e − ē) of Q.  Where q is
    even along the first of two other axes, opposite frequencies along it share a block.

    Buffers: where (s·others,), used the same, False where something was seen after all, None if
    nowhere; inverse (B, F′, s, s) transposed, with the scale of the inverse transform, F′
    frequencies of the other axes, of opposite ones the first.
    """

    where: Tensor
    used: Tensor | None
    inverse: Tensor

    def __init__(self, missing: Missing, axis: int, group: int, precision: Circulant) -> None:
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
        used = strip.flatten() >= 0
        self.register_buffer("where", strip.flatten().clamp(min=0))
        self.register_buffer("used", None if bool(used.all()) else used)
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
        invert(lambda part: make(part).unflatten(1, (s, s)), inverse)
        inverse /= math.prod(self.others)
        if inverse.is_complex():
            inverse = inverse.mT.contiguous()
        self.register_buffer("inverse", inverse.unflatten(0, lines.shape[:2]))

    def _without_opposites(self, lines: Tensor) -> Tensor:
        """The lines without the second of two opposite frequencies, if q is even along an axis."""
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
        """The entries of QᴴTQ: two places in the parts of a line, and their factors, (s²,) each.

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
        strip = r.gather(1, self.where.expand(N, -1))
        strip = strip if self.used is None else strip * self.used
        strip = strip.reshape(N, self.count, *self.others)
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
        strip = strip.reshape(N, -1)
        return strip if self.used is None else strip * self.used

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


def _sums(parts: Tensor, entries: tuple[Tensor, ...], part: slice) -> Tensor:
    """Sums of two multiples of entries of each line."""
    first, factor, second, other = entries
    mine = parts[part]
    return mine[:, first].mul_(factor).addcmul_(mine[:, second], other)


def _picked(lines: Tensor, entries: Tensor, part: slice) -> Tensor:
    """Entries of each line."""
    return lines[part][:, entries]
