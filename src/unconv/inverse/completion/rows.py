"""Whole rows of missing outputs along an axis, which are circulant over the other axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .circulant import Circulant
from .definite import invert
from .missing import MissingOutputs

_EVEN = 1e-12  # of its largest, to which q is even


class Rows(nn.Module):
    """The inverse of q on the rows of one group of channels along one axis.

    The block T of a frequency of the other axes is Hermitian, and real where q is even along the
    rows' axis.  Where q is even along the first of two other axes, opposite frequencies along it
    share a block.

    Buffers: where (s·others,), used the same, False where something was seen after all, None if
    nowhere; inverse (B, F′, s, s), transposed, with the scale of the inverse transform, F′
    frequencies of the other axes, of opposite ones the first; pair (2F′,) the frequencies that each
    block serves, and back (F,) where each frequency stands among these, None if it is one each.
    """

    where: Tensor
    used: Tensor | None
    inverse: Tensor
    pair: Tensor | None
    back: Tensor | None

    def __init__(
        self, missing: MissingOutputs, axis: int, group: int, precision: Circulant
    ) -> None:
        super().__init__()
        strip, self.axis, self.group = missing.strip(axis, group), axis, group
        self.count, self.others = len(strip), tuple(strip.shape[1:])
        self.real, self.kernels = precision.torus.real, precision.kernels
        used = strip.flatten() >= 0
        self.register_buffer("where", strip.flatten().clamp(min=0))
        self.register_buffer("used", None if bool(used.all()) else used)
        self._channels, index = missing.rows[axis][group].T
        lags = (index[:, None] - index) % precision.torus.coarse[axis]
        self._lags, self._which = torch.unique(lags, return_inverse=True)

    def lines(self, channels: int) -> Tensor:
        """Room for Γ between channels at all lags of the rows, (B, F′, r, r, L)."""
        others = [*self.others]
        if self.real and others:
            others[-1] = others[-1] // 2 + 1
        shape = (self.kernels, math.prod(others), channels, channels, len(self._lags))
        dtype = torch.complex128 if others or not self.real else torch.float64
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
        s, r, L = self.count, *lines.shape[3:]
        flat = lines.flatten(2).flatten(0, 1)
        if flat.is_complex() and bool(flat.imag.abs().amax() <= _EVEN * flat.real.abs().amax()):
            flat = flat.real.contiguous()
        if flat.is_complex():  # the transposed of a Hermitian inverse is that of the conjugate
            flat, working = flat.conj().resolve_conj(), working.to_complex()
        entries = ((self._channels[:, None] * r + self._channels) * L + self._which).flatten()
        inverse = flat.new_empty(len(flat), s, s, dtype=working)
        invert(lambda part: flat[part][:, entries].unflatten(1, (s, s)), inverse)
        inverse /= math.prod(self.others)
        self.register_buffer("inverse", inverse.unflatten(0, lines.shape[:2]))

    def _without_opposites(self, lines: Tensor) -> Tensor:
        """The lines without the second of two opposite frequencies, if q is even along an axis."""
        self.register_buffer("pair", None)
        self.register_buffer("back", None)
        if len(self.others) < 2 or self.others[0] < 2:
            return lines
        size = self.others[0]
        along, half = lines.unflatten(1, (size, -1)), size // 2 + 1
        first, opposite = along[:, 1:half], along[:, 1 - half :].flip(1)
        if not bool((first - opposite).abs().amax() <= _EVEN * along.abs().amax()):
            return lines
        number = torch.arange(lines.shape[1], device=lines.device).reshape(size, -1)
        index = torch.arange(size, device=lines.device)
        self.pair = torch.stack([number[:half], number[-index[:half] % size]], -1).flatten()
        second = index >= half
        block = number[torch.where(second, -index % size, index)]
        self.back = (2 * block + second[:, None]).flatten()
        return along[:, :half].flatten(1, 2)

    def forward(self, r: Tensor) -> Tensor:
        """(N, K) -> (N, the places of `where`)."""
        N = len(r)
        strip = r.gather(1, self.where.expand(N, -1))
        strip = strip if self.used is None else strip * self.used
        strip = strip.reshape(N, self.count, *self.others)
        if not self.others:
            strip = self._solve(strip[..., None])
        else:
            Z = self._transform(strip)
            Z = self._solve(Z.flatten(2)).unflatten(2, Z.shape[2:])
            dims = tuple(range(-len(self.others), 0))
            inverse = torch.fft.irfftn if self.real else torch.fft.ifftn
            strip = inverse(Z, s=self.others, dim=dims, norm="forward")
        strip = strip.reshape(N, -1)
        return strip if self.used is None else strip * self.used

    def _solve(self, Z: Tensor) -> Tensor:
        """The inverse of each frequency's block on (N, s, F).

        Vectors are rows: times a small matrix they take half of what the matrix times columns does
        (MKL, 26 rows).
        """
        N, s, _ = Z.shape
        apart = Z.is_complex() and not self.inverse.is_complex()  # real and imaginary parts
        parts, n = (torch.view_as_real(Z), 2) if apart else (Z[..., None], 1)
        rows = parts.permute(2, 0, 3, 1).contiguous()  # (F, N, parts, s)
        if self.pair is not None:
            rows = rows.index_select(0, self.pair)
        # (B, F′, frequencies of a block · images of a kernel · parts, s)
        given = rows.reshape(self.inverse.shape[1], -1, self.kernels, N // self.kernels * n, s)
        solved = given.movedim(2, 0).flatten(2, 3) @ self.inverse
        solved = solved.unflatten(2, given.shape[1:2] + given.shape[3:4]).movedim(0, 2)
        rows = solved.reshape(rows.shape)
        if self.back is not None:
            rows = rows.index_select(0, self.back)
        rows = rows.permute(1, 3, 0, 2)
        return torch.view_as_complex(rows.contiguous()) if n == 2 else rows[..., 0]

    def _transform(self, lines: Tensor) -> Tensor:
        dims = tuple(range(-len(self.others), 0))
        return (torch.fft.rfftn if self.real else torch.fft.fftn)(lines, dim=dims)
