"""C on the periodic grid: Fourier transforms, phases and the spectrum of a kernel.

On a periodic grid of N = s·M samples per axis, correlation with stride s is block-diagonal after
the fine samples are dealt into s^nd interleaved phases x_r[j] = x[s·j + r] on the coarse grid of M:

    y[i] = Σ_t w[t] x[s·i + d·t − p],     d·t − p = s·q_t + r_t,  0 ≤ r_t < s
    Y(ω) = Σ_t w[t] e^{+2πi ω q_t / M} X_{r_t}(ω)

so each coarse frequency ω has one (c_out/g) × (s^nd · c_in/g) block per group.  Kernels longer than
the grid alias harmlessly: q_t counts modulo M.

Cost of the spectrum: the taps enter one axis at a time as products with k columns of the DFT
matrix, O(k · M^nd) per pair of channels, which for small kernels is less than a zero-padded FFT;
long kernels take that FFT along their axis.

Real data keep the half spectrum of the last axis (M//2 + 1 columns).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import Axis, Geometry

_MATRIX_TAPS = 24  # above, and for few columns, an FFT of the axis is cheaper than DFT matrices


@dataclass(frozen=True, slots=True)
class Torus:
    """A periodic grid: coarse sizes M, strides s and whether the half spectrum suffices."""

    coarse: tuple[int, ...]
    stride: tuple[int, ...]
    real: bool

    @property
    def fine(self) -> tuple[int, ...]:
        """Samples of the domain's grid, N = s·M."""
        return tuple(s * m for s, m in zip(self.stride, self.coarse, strict=True))

    @property
    def phases(self) -> int:
        """Number of interleaved phases, s^nd."""
        return math.prod(self.stride)

    @property
    def spectrum_shape(self) -> tuple[int, ...]:
        """Stored frequencies an axis."""
        if not self.real:
            return self.coarse
        return (*self.coarse[:-1], self.coarse[-1] // 2 + 1)

    @property
    def frequencies(self) -> int:
        """Number of stored frequencies."""
        return math.prod(self.spectrum_shape)

    def transform(self, y: Tensor) -> Tensor:  # (N, C, *<=coarse) -> (N, C, *spectrum)
        """Fourier transform of coarse data, zero-padded to the grid."""
        dims = tuple(range(-len(self.coarse), 0))
        transform = torch.fft.rfftn if self.real else torch.fft.fftn
        return transform(y, s=self.coarse, dim=dims)

    def inverse_transform(
        self, spectrum: Tensor, *, scaled: bool = False
    ) -> Tensor:  # -> (N, C, *coarse)
        """Inverse of `transform` on the whole grid, of a spectrum that may be scaled already."""
        dims = tuple(range(-len(self.coarse), 0))
        transform = torch.fft.irfftn if self.real else torch.fft.ifftn
        return transform(spectrum, s=self.coarse, dim=dims, norm="forward" if scaled else None)

    def to_phases(self, x: Tensor) -> Tensor:  # (N, C, *<=fine) -> (N, C·phases, *<=coarse)
        """Deal fine samples into their phases; channels stay outermost."""
        if self.phases == 1:
            return x
        nd = len(self.coarse)
        behind = [(-n) % s for n, s in zip(x.shape[2:], self.stride, strict=True)]
        x = torch.nn.functional.pad(x, [p for b in reversed(behind) for p in (0, b)])
        pairs = zip(x.shape[2:], self.stride, strict=True)
        x = x.reshape(*x.shape[:2], *(v for n, s in pairs for v in (n // s, s)))
        coarse_dims, phase_dims = range(2, 2 + 2 * nd, 2), range(3, 3 + 2 * nd, 2)
        return x.permute(0, 1, *phase_dims, *coarse_dims).flatten(1, 1 + nd)

    def from_phases(self, x: Tensor) -> Tensor:  # (N, C·phases, *coarse) -> (N, C, *fine)
        """Inverse of `to_phases` on the whole grid."""
        if self.phases == 1:
            return x
        nd = len(self.coarse)
        x = x.unflatten(1, (-1, *self.stride))
        order = [d for a in range(nd) for d in (2 + nd + a, 2 + a)]
        return x.permute(0, 1, *order).reshape(x.shape[0], x.shape[1], *self.fine)

    def spectrum(self, weight: Tensor, geometry: Geometry) -> Tensor:
        """The blocks of C at every stored frequency.

        Parameters
        ----------
        weight : (B, g, c_out/g, c_in/g, *k), floating point or complex
        geometry
            Dilation and `before` of each axis place the taps.

        Returns
        -------
        (F, B, g, c_out/g, c_in/g · phases), complex.  Blocks of one entry lie frequency-last in
        memory, beside the data that they multiply; larger ones frequency-first, as batches of
        matrices want them.
        """
        nd = len(self.coarse)
        taps = weight.to(weight.dtype.to_complex())
        frequency_first = math.prod(weight.shape[2:4]) * self.phases > 1
        if frequency_first:
            taps = taps.movedim(tuple(range(-nd, 0)), tuple(range(nd))).contiguous()
        done = 1  # entries of the axes that are frequencies already
        for a in range(nd) if frequency_first else reversed(range(nd)):
            k = geometry.axes[a].k
            ahead = done if frequency_first else taps.numel() // k // done
            taps = self._along_axis(taps.reshape(ahead, k, -1), a, geometry)
            done *= self.stride[a] * self.spectrum_shape[a]
        if not frequency_first:
            return taps.reshape(*weight.shape[:4], self.frequencies).movedim(-1, 0)
        split = [v for s, f in zip(self.stride, self.spectrum_shape, strict=True) for v in (s, f)]
        taps = taps.reshape(*split, *weight.shape[:4])
        phase_dims, frequency_dims = range(0, 2 * nd, 2), range(1, 2 * nd, 2)
        taps = taps.permute(*frequency_dims, *range(2 * nd, 2 * nd + 4), *phase_dims)
        return taps.flatten(0, nd - 1).flatten(4)

    def taps(self, blocks: Tensor, geometry: Geometry) -> Tensor:
        """The taps of kernels with these blocks, as `spectrum` places them.

        Of blocks that have more than these taps, such as those of a correlation of two images, the
        others are left out: the adjoint of `spectrum`, on the scale of an inverse transform.  Axis
        after axis is reduced to k samples, by products as in `spectrum`: half the time of an
        inverse transform.

        Parameters
        ----------
        blocks : (rows, c·phases, *spectrum), complex
        geometry
            Taps, dilation and `before` of each axis.

        Returns
        -------
        (rows, c, *k), real if the torus is.
        """
        lines = blocks.reshape(-1, *self.stride, *self.spectrum_shape)
        for a in range(len(self.coarse)):
            lines = self._taps_along(lines, a, geometry)  # (k of this axis, rows, those left)
            lines = lines.flatten(0, 1)
        shape = tuple(axis.k for axis in reversed(geometry.axes))
        taps = lines.reshape(*shape, len(blocks), -1)
        return taps.permute(-2, -1, *reversed(range(len(shape))))

    def multiplicity(self, device: torch.device) -> Tensor:
        """How often each stored frequency stands in the whole spectrum, (F,) integers.

        Half spectrum: 2 for a frequency that stands for its conjugate too; in the self-conjugate
        columns (0 and the Nyquist frequency of the last axis) one of each conjugate pair stands
        for both and the other counts 0; 1 where a frequency is its own conjugate.
        """
        count = torch.full(self.spectrum_shape, 2 if self.real else 1, device=device)
        for column in self._self_conjugate_columns():
            index = torch.arange(count[..., column].numel(), device=device)
            index = index.reshape(count.shape[:-1])
            mirror = self._mirror(index)
            count[..., column] = (index <= mirror).long() + (index < mirror).long()
        return count.flatten()

    def symmetrize_(self, blocks: Tensor) -> None:
        """Make blocks (F, ...) those of a real operator, in place.

        Round-off and cut-offs may treat ω and −ω differently; the frequency that `multiplicity`
        counts decides for both, and a frequency that is its own conjugate becomes real.
        """
        grid = blocks.unflatten(0, self.spectrum_shape)
        nd = len(self.coarse)
        for column in self._self_conjugate_columns():
            values = grid.select(nd - 1, column)
            shape = values.shape[: nd - 1]
            index = torch.arange(shape.numel(), device=blocks.device).reshape(shape)
            mirror = self._mirror(index).flatten()
            lead = index.flatten() <= mirror
            flat = values.reshape(-1, *blocks.shape[1:])
            lead = lead.reshape(-1, *[1] * (flat.ndim - 1))
            flat = torch.where(lead, flat, flat[mirror].conj())
            own = (index.flatten() == mirror).reshape(lead.shape)
            flat = torch.where(own, flat.real.to(flat.dtype), flat)
            grid.select(nd - 1, column).copy_(flat.reshape(values.shape))

    def _self_conjugate_columns(self) -> list[int]:
        M = self.coarse[-1]
        return [] if not self.real else [0] if M % 2 or M == 1 else [0, M // 2]

    @staticmethod
    def _mirror(index: Tensor) -> Tensor:  # the entry of −ω, axis by axis
        if index.ndim == 0:
            return index
        dims = tuple(range(index.ndim))
        return index.flip(dims).roll([1] * index.ndim, dims)

    def _along_axis(self, taps: Tensor, a: int, geometry: Geometry) -> Tensor:
        """Turn the k taps of (ahead, k, rest) into s·F phases and frequencies, phases outermost."""
        axis, s, M, F = geometry.axes[a], self.stride[a], self.coarse[a], self.spectrum_shape[a]
        turns, phase = _places(axis, s, taps.device)
        if axis.k > min(_MATRIX_TAPS, taps.numel() // axis.k):
            ahead, _, rest = taps.shape
            lines = taps.new_zeros(ahead, s * M, rest).index_add(1, phase * M + turns % M, taps)
            lines = torch.fft.ifft(lines.unflatten(1, (s, M)), dim=2, norm="forward")
            return lines[:, :, :F].flatten(1, 2)
        E = _waves(F, M, turns).to(taps.dtype)
        mine = torch.arange(s, device=taps.device)[:, None] == phase  # (s, k)
        return (mine[:, None] * E).flatten(0, 1) @ taps

    def _taps_along(self, lines: Tensor, a: int, geometry: Geometry) -> Tensor:
        """(rows, s, later strides, F, later frequencies) -> (k, rows, …) without s and F."""
        axis, M, F = geometry.axes[a], self.coarse[a], self.spectrum_shape[a]
        later = len(self.coarse) - 1 - a
        turns, phase = _places(axis, self.stride[a], lines.device)
        dim, real = 2 + later, self.real and later == 0
        if axis.k > _MATRIX_TAPS:
            if real:
                lines = torch.fft.irfft(lines, n=M, dim=dim).index_select(dim, -turns % M)
            else:
                lines = torch.fft.fft(lines, dim=dim, norm="forward").index_select(dim, turns % M)
        else:
            E = _waves(F, M, -turns).div_(M)
            if real:  # a frequency stands for its conjugate, but for those of two columns
                E[1 : (M + 1) // 2] *= 2
            E = E.to(lines.dtype)
            flat = lines.reshape(-1, F, math.prod(lines.shape[dim + 1 :]))
            product = E.mT @ flat if later else flat[..., 0] @ E
            lines = product.reshape(*lines.shape[:dim], axis.k, *lines.shape[dim + 1 :])
            lines = lines.real if real else lines
        lines = lines.movedim(dim, 0)  # (k, rows, s, …)
        if self.stride[a] == 1:
            return lines[:, :, 0]
        return lines[torch.arange(axis.k, device=lines.device), :, phase]


def _places(axis: Axis, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(q, r) of every tap of an axis: it reads sample q of phase r beside the output's own."""
    offset = torch.arange(axis.k, device=device) * axis.dilation - axis.before
    turns = torch.div(offset, stride, rounding_mode="floor")
    return turns, offset - stride * turns


def _waves(F: int, M: int, turns: Tensor) -> Tensor:
    """e^{2πi ω q/M} for ω < F and every q, of exact angles, (F, k) complex128."""
    angles = (torch.arange(F, device=turns.device)[:, None] * turns % M).double()
    angles *= 2 * math.pi / M
    return torch.polar(torch.ones_like(angles), angles)


def multiply(blocks: Tensor, X: Tensor, *, adjoint: bool = False) -> Tensor:
    """Every frequency's block times every frequency's vector.

    Parameters
    ----------
    blocks : (F, B, g, r, c)
        B = 1, or one set of blocks per sample.
    X : (N, g·c, *spectrum), complex; adjoint: (N, g·r, *spectrum)
    adjoint
        Multiply by the conjugate transposes.

    Returns
    -------
    (N, g·r, *spectrum); adjoint: (N, g·c, *spectrum)
    """
    F, B, g, r, c = blocks.shape
    N, spectrum = X.shape[0], X.shape[2:]
    if adjoint and r == c == 1:
        return multiply(blocks.conj().resolve_conj(), X)
    if r == c == 1:
        return X * blocks[..., 0, 0].permute(1, 2, 0).reshape(B, g, *spectrum)
    if B > 1:
        parts = zip(blocks.split(1, 1), X.split(1), strict=True)
        return torch.cat([multiply(block, x, adjoint=adjoint) for block, x in parts])
    if (
        adjoint
    ):  # Bᴴ x = conj(conj(x)ᵀ B)ᵀ: the much larger blocks are neither conjugated nor turned
        X = X.conj().reshape(N, g, r, F).permute(3, 1, 0, 2).contiguous()
        Y = (X.resolve_conj() @ blocks[:, 0]).conj()  # (F, g, N, c)
        return Y.permute(2, 1, 3, 0).reshape(N, g * c, *spectrum).resolve_conj()
    # Contiguous vectors: batched products of strided ones are eight times slower.
    X = X.reshape(N, g, c, F).permute(3, 1, 2, 0).contiguous()
    Y = blocks[:, 0] @ X  # (F, g, r, N)
    return Y.permute(3, 1, 2, 0).reshape(N, g * r, *spectrum)
