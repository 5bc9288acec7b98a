"""Fourier transforms that know only thin strips of the grid.

Ghosts (the samples where a convolution differs from its periodic grid, see
inverse/boundary/ghosts.py) touch a few samples T_a of one axis a and all of the others.  Along a,
|T_a| columns of the DFT matrix do what an FFT would do for all samples; the other axes take FFTs of
|T_a| lines instead of M_a:

    values:   spectrum --(|T_a| × M_a matrix along a)--> lines --(inverse FFT)--> T_a × other axes
    sources:  the adjoint, without the factors 1/M of the inverse transform

For a real grid the half spectrum is summed with weights 1, 2, …, 2 (, 1), and the real part taken
at the end: what is left out is the conjugate of what is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .torus import Torus


@dataclass(frozen=True)
class Slab:
    """The thin part of a periodic grid that holds the samples `kept` (T,) of one axis alone."""

    torus: Torus
    axis: int
    kept: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the slab: those of the grid, the axis shrunk to its kept samples."""
        sizes = list(self.torus.coarse)
        sizes[self.axis] = len(self.kept)
        return tuple(sizes)

    def values(self, U: Tensor) -> Tensor:  # (N, C, *spectrum) -> (N, C, *shape)
        """Values on the slab of a grid with this spectrum: the inverse transform, there alone."""
        torus, a, nd = self.torus, self.axis, len(self.torus.coarse)
        half = torus.real and a == nd - 1
        E = self._roots(U) / torus.coarse[a]
        if half:
            E = E * self._weights(U)
        lines = torch.tensordot(U, E, dims=([2 + a], [1])).movedim(-1, 2 + a)
        others = tuple(2 + d for d in range(nd) if d != a)
        sizes = tuple(torus.coarse[d - 2] for d in others)
        if torus.real and not half:
            return torch.fft.irfftn(lines, s=sizes, dim=others) if others else lines
        lines = torch.fft.ifftn(lines, dim=others) if others else lines
        return lines.real if torus.real else lines

    def spectrum(self, values: Tensor) -> Tensor:  # (N, C, *shape) -> (N, C, *spectrum)
        """The spectrum of a grid that is zero off the slab, from its values on it."""
        torus, a, nd = self.torus, self.axis, len(self.torus.coarse)
        others = tuple(2 + d for d in range(nd) if d != a)
        if torus.real and a != nd - 1:
            lines = torch.fft.rfftn(values, dim=others)
        else:
            lines = torch.fft.fftn(values, dim=others) if others else values
            lines = lines.to(values.dtype.to_complex())
        E = self._roots(lines).conj().resolve_conj()
        return torch.tensordot(lines, E, dims=([2 + a], [0])).movedim(-1, 2 + a)

    def _roots(self, like: Tensor) -> Tensor:  # (T, F) e^{2πi ω j / M}
        M = self.torus.coarse[self.axis]
        F = self.torus.spectrum_shape[self.axis]
        turns = self.kept[:, None] * torch.arange(F, device=self.kept.device) % M
        angle = turns.double() * (2 * math.pi / M)
        return torch.polar(torch.ones_like(angle), angle).to(like.dtype.to_complex())

    def _weights(self, like: Tensor) -> Tensor:  # (F,)
        M = self.torus.coarse[self.axis]
        weights = torch.full((M // 2 + 1,), 2.0, dtype=like.real.dtype, device=like.device)
        weights[0] = 1
        if M % 2 == 0:
            weights[-1] = 1
        return weights
