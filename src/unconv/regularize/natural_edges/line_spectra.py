"""Spectra of rows that are missing: of most channels some whole lines, which need no large FFTs.

An image that vanishes but on s lines along an axis a of M samples has the spectrum

    Y(k, κ) = Σ_i exp(−2πi k·i/M) ŷ_i(κ),      ŷ_i: transforms of the lines over the other axes,

a product with s columns of the DFT matrix of the axis.  The adjoint product tells what an image is
on the lines, from its spectrum.  Differences miss a few lines at the seam of the grid, the outputs
of A a whole frame: only the latter are worth an FFT of the grid.

Of a real grid the last axis keeps half of its frequencies, which stand for the others too: along
it the adjoint counts them twice, but for frequencies that are their own conjugate, and takes the
real part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...grid.torus import Torus
from ...inverse.completion.missing import MissingOutputs

_MOST_LINES = 24  # of a channel, above which an FFT of the grid is cheaper


class LineSpectra(nn.Module):
    """Spectra of images that vanish but on some places, and images on these places.

    Parameters
    ----------
    torus : the grid, stride 1
    places : of which the vectors (N, K) are, in their order
    """

    full: Tensor
    inside: Tensor
    grid: Tensor

    def __init__(self, torus: Torus, places: MissingOutputs) -> None:
        super().__init__()
        self.torus, self.count = torus, len(places)
        own = places.where // math.prod(torus.coarse)  # channel of each place
        lines: list[_Lines] = []
        free = torch.ones_like(own, dtype=torch.bool)  # places that no line has yet
        for channel in range(places.channels if len(torus.coarse) > 1 else 0):
            found = places.lines_of(channel)
            if found is not None and 0 < sum(len(p) for p, _ in found) <= _MOST_LINES:
                lines += [
                    _Lines(torus, channel, a, index, place, free)
                    for a, (index, place) in enumerate(found)
                    if len(index)
                ]
        self.lines = nn.ModuleList(lines)
        full = own[free].unique()  # channels that take an FFT of the grid
        self.channels, self.fewer = places.channels, len(full)
        at = own.new_zeros(places.channels)
        at[full] = torch.arange(len(full), device=own.device)
        first = (at[own] - own)[free] * math.prod(torus.coarse)
        self.register_buffer("full", full)
        self.register_buffer("inside", free.nonzero()[:, 0])
        self.register_buffer("grid", places.where[free] + first)

    def room(self, u: Tensor) -> Tensor:
        """Memory for the spectrum of vectors like u."""
        kind, shape = u.dtype.to_complex(), (len(u), self.channels, *self.torus.spectrum_shape)
        return torch.empty(shape, dtype=kind, device=u.device)

    def spectrum(self, u: Tensor, room: Tensor) -> Tensor:
        """(N, K) -> (N, g·r, *spectrum), in the memory given for it."""
        Y = room.zero_()
        if self.fewer:
            image = u.new_zeros(len(u), self.fewer, *self.torus.coarse)
            image.view(len(u), -1).index_copy_(1, self.grid, u[:, self.inside])
            Y.index_copy_(1, self.full, self.torus.transform(image))
        for part in self.lines:
            assert isinstance(part, _Lines)
            part.add_spectrum(u, Y)
        return Y

    def image(self, Y: Tensor) -> Tensor:
        """(N, g·r, *spectrum) -> (N, K): the image on the places."""
        kind = Y.dtype.to_real() if self.torus.real else Y.dtype
        u = torch.empty(len(Y), self.count, dtype=kind, device=Y.device)
        if self.fewer:
            image = self.torus.inverse_transform(Y.index_select(1, self.full))
            u.index_copy_(1, self.inside, image.reshape(len(Y), -1).index_select(1, self.grid))
        for part in self.lines:
            assert isinstance(part, _Lines)
            part.read(Y, u)
        return u


class _Lines(nn.Module):
    """The lines of a channel along an axis, (s, *others), but for places that others have.

    Buffers: place (n,) in the vector and at (n,) in the lines laid flat; columns of the DFT matrix
    and its inverse in double precision, (F, s) for F frequencies of the axis; of the last (s, F).
    """

    place: Tensor
    at: Tensor
    forward_columns: Tensor
    inverse_columns: Tensor

    def __init__(
        self, torus: Torus, channel: int, axis: int, index: Tensor, place: Tensor, free: Tensor
    ) -> None:
        super().__init__()
        self.torus, self.channel, self.axis = torus, channel, axis
        self.shape = tuple(place.shape)
        place = place.flatten()
        mine = (place >= 0) & free[place.clamp(min=0)]
        free[place[mine]] = False
        self.register_buffer("place", place[mine])
        self.register_buffer("at", mine.nonzero()[:, 0])
        M, F = torus.coarse[axis], torus.spectrum_shape[axis]
        frequency = torch.arange(F, device=index.device)
        turns = (frequency[:, None] * index % M).double() * (2 * math.pi / M)
        columns = torch.polar(torch.ones_like(turns), -turns)
        self.is_last = axis == len(torus.coarse) - 1
        self.halved = torus.real and self.is_last
        back = columns.conj().resolve_conj() / M
        if self.halved:
            own = (frequency == 0) | (2 * frequency == M)
            back = back * torch.where(own, 1.0, 2.0)[:, None]
        if self.is_last:  # (s, F), beside the axis that they multiply: a third of the time
            columns, back = columns.T.contiguous(), back.T.contiguous()
        self.register_buffer("forward_columns", columns)
        self.register_buffer("inverse_columns", back)

    @property
    def _others(self) -> tuple[int, ...]:
        return tuple(range(2, 1 + len(self.torus.coarse)))

    def add_spectrum(self, u: Tensor, Y: Tensor) -> None:
        """Add what is on these lines."""
        lines = u.new_zeros(len(u), math.prod(self.shape))
        lines.index_copy_(1, self.at, u.index_select(1, self.place))
        lines = lines.unflatten(1, self.shape)
        real = self.torus.real and not self.halved
        T = (torch.fft.rfftn if real else torch.fft.fftn)(lines, dim=self._others)
        T = T.movedim(1, 1 + self.axis)
        columns, found = self.forward_columns.to(T.dtype), Y[:, self.channel]
        if self.is_last:
            found.add_(T @ columns)
        else:
            found = found.flatten(2 + self.axis)
            found.add_(columns @ T.flatten(2 + self.axis))

    def read(self, Y: Tensor, u: Tensor) -> None:
        """Write what an image is on these lines into u."""
        given, columns = Y[:, self.channel], self.inverse_columns.to(Y.dtype)
        if self.is_last:
            lines = (columns @ given.mT).movedim(-2, 1)
        else:
            lines = columns.T @ given.flatten(2 + self.axis)
            lines = lines.unflatten(2 + self.axis, given.shape[2 + self.axis :])
            lines = lines.movedim(1 + self.axis, 1)
        sizes = self.shape[1:]
        if self.torus.real and not self.halved:
            lines = torch.fft.irfftn(lines, s=sizes, dim=self._others)
        else:
            lines = torch.fft.ifftn(lines, s=sizes, dim=self._others)
            lines = lines.real if self.torus.real else lines
        u.index_copy_(1, self.place, lines.flatten(1).index_select(1, self.at))
