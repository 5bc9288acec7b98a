"""The *fourier* rung: circular convolutions, exactly, by one small inverse a frequency.

On its own periodic grid A is block-diagonal: Y(ω) = C(ω) X(ω) with one block of
(c_out/g) × (s^nd·c_in/g) a frequency and group (torus.py), so

    A⁺ = 𝓕⁻¹ · C(ω)⁺ · 𝓕,      (AᴴA + λ)⁻¹Aᴴ = 𝓕⁻¹ · (CᴴC + λ)⁻¹Cᴴ · 𝓕,

every block cut against the one global σ_max.  Blocks are inverted by LU where they are square and
by QR otherwise; only a block that could hold a singular value under the cut-off (judged by
σ_min ≥ 1/‖C⁻¹‖_F) pays for an SVD.  Damping enters as QR of [C; √λ·I].  No singular value is ever
squared: the Gram matrix would lose half of the digits.

Cost: F·c³ once, then one FFT pair and F·c² an apply; memory F·c² complex numbers.
Not for: ghosts or missing outputs (any other boundary, stride that does not divide the size).

Source: Sedghi, Gupta & Long, "The singular values of convolutional layers", ICLR 2019, §2, extended
to strides, groups, dilation and rectangular blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.torus import Torus, multiply
from ...numerics.norms import in_unit
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import image_bytes
from ..operator import InverseOperator
from ..request import Request
from .blocks import (
    BlockInverse,
    all_singular_values,
    invert_blocks,
    setup_bytes,
)

# Larger batches go in slices: buffers above 32 MiB are fresh memory every time, a third slower.
_SLICE_BYTES = 16 * 2**20
# Images that a solve and its proof (probe.py, certificate.py) hold at once, as measured.
_PROOF, _COMPLEX_PROOF = 8.5, 10.3


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    for i, a in enumerate(op.geometry.axes):
        if a.mode != "circular" and not a.on_torus:
            return f"the boundary is {a.mode!r}, not 'circular'"
        if not a.on_torus:
            return (
                f"axis {i} is not its own periodic grid: {a.m} outputs of stride {a.stride} "
                f"against {a.n} samples"
            )
    return None


def torus_of(op: Convolution) -> Torus:
    """The periodic grid of a circular operator."""
    axes = op.geometry.axes
    coarse, stride = tuple(a.m for a in axes), tuple(a.stride for a in axes)
    return Torus(coarse, stride, real=not op.dtype.is_complex)


def block_shape(op: Convolution) -> tuple[int, int, int, int, int]:
    """(F, B, g, r, c) of the blocks of `op`, without computing them."""
    g, torus = op.geometry, torus_of(op)
    rows, columns = g.c_out // g.groups, g.c_in // g.groups * torus.phases
    return torus.frequencies, op.batch_size or 1, g.groups, rows, columns


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the factorisation and its proof."""
    images = _COMPLEX_PROOF if op.dtype.is_complex else _PROOF
    F, B, g, r, c = block_shape(op)
    entry = real_working_dtype(op.dtype).to_complex().itemsize
    kept, setup = setup_bytes(F * B * g, r, c, 16, entry, request.damp)
    return max(setup, kept + int(images * image_bytes(op)))


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one apply to one image)."""
    F, B, g, r, c = block_shape(op)
    points = F * (2 if torus_of(op).real else 1)
    fft = 5 * points * max(points, 2).bit_length() * g * (r + c) / 2
    return 8 * F * B * g * max(r, c) * min(r, c) ** 2 * 3, fft + 8 * F * g * r * c


def factor(op: Convolution, request: Request) -> InverseOperator:
    """Invert the block of every frequency."""
    torus = torus_of(op)
    working = real_working_dtype(op.dtype).to_complex()
    with torch.no_grad():
        blocks, scale = blocks_of(op)
        counts = torus.multiplicity(blocks.device)
        found = invert_blocks(blocks, scale, counts, op, request, working)
        torus.symmetrize_(found.inverse)
    return FourierInverse(op, torus, found, request)


def blocks_of(op: Convolution) -> tuple[Tensor, Tensor]:
    """C(ω) at every stored frequency, (F, B, g, r, c) in units of (B,).

    A transposed operator is A = Cᵀ = (conj C)ᴴ; the blocks are those of conj C.
    """
    taps = op.taps.detach()
    if op.transposed:
        taps = taps.conj().resolve_conj()
    weight = grouped(taps.to(double_dtype(taps.dtype)), op.geometry)
    weight, unit = in_unit(weight)  # the result must not depend on the weight's unit
    return torus_of(op).spectrum(weight, op.geometry), unit


def multiplicity(op: Convolution) -> Tensor:
    """How often each stored frequency counts, (F,)."""
    return torus_of(op).multiplicity(op.device)


def singular_values(op: Convolution) -> Tensor:
    """All of them, those of all blocks, (B, min(m, n)) descending.

    F·c³ operations: a real operator pays for half of its frequencies, each pair ±ω once.
    """
    blocks, scale = blocks_of(op)
    return all_singular_values(blocks, multiplicity(op)) * scale[:, None]


def values_memory(op: Convolution) -> int:
    """Bytes of `singular_values`: the blocks, their transposition, slices at work, the values."""
    F, B, g, r, c = block_shape(op)
    return 16 * F * B * g * (5 * r * c // 2 + 4 * min(r, c)) + 2**24


def analyse(op: Convolution, v: Tensor, *, fine: bool) -> Tensor:
    """Data on the domain's grid of C (`fine`) or on its outputs' -> frequencies."""
    torus = torus_of(op)
    return torus.transform(torus.to_phases(v) if fine else v)


def synthesise(op: Convolution, V: Tensor, *, fine: bool) -> Tensor:
    """The inverse of `analyse`."""
    torus = torus_of(op)
    v = torus.inverse_transform(V)
    return torus.from_phases(v) if fine else v


def symmetrize_(op: Convolution, blocks: Tensor) -> None:
    """Make blocks those of a real operator, if A is one, in place."""
    torus_of(op).symmetrize_(blocks)


def fields(op: Convolution, frequency: Tensor, coefficients: Tensor, *, fine: bool) -> Tensor:
    """Orthonormal waves: coefficients (q, channels·phases) at q stored frequencies, in space.

    A wave of a real operator that stands for the pair ±ω stays complex: its real and imaginary
    parts, times √2, are one singular vector each.
    """
    torus = torus_of(op)
    waves = coefficients
    index = torch.unravel_index(frequency, torus.spectrum_shape)
    for a, M in enumerate(torus.coarse):
        turns = index[a][:, None] * torch.arange(M, device=frequency.device) % M
        angle = turns.double() * (2 * math.pi / M)
        wave = torch.polar(torch.full_like(angle, M**-0.5), angle)
        waves = waves[..., None] * wave.reshape(len(wave), *[1] * (waves.ndim - 1), M)
    return torus.from_phases(waves) if fine else waves


class FourierInverse(InverseOperator):
    """A⁺ or a damped inverse of a block-circulant operator, one block a frequency."""

    method = "fourier"
    blocks: Tensor

    def __init__(
        self,
        op: Convolution,
        torus: Torus,
        found: BlockInverse,
        request: Request,
    ) -> None:
        super().__init__(op, request, found.summary)
        self.torus, self.transposed = torus, op.transposed
        self.register_buffer("blocks", found.inverse)  # (F, B, g, c, r)

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.blocks.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._in_slices(y, to_fine=not self.transposed)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._in_slices(x, to_fine=self.transposed)

    def _in_slices(self, v: Tensor, to_fine: bool) -> Tensor:
        turn = self._coarse_to_fine if to_fine else self._fine_to_coarse
        count = max(1, _SLICE_BYTES // max(1, v[:1].numel() * v.element_size()))
        if self.batch_size or len(v) <= count:
            return turn(v)
        return torch.cat([turn(part) for part in v.split(count)])

    def _coarse_to_fine(self, y: Tensor) -> Tensor:
        torus = self.torus
        X = multiply(self.blocks, torus.transform(y))
        return torus.from_phases(torus.inverse_transform(X))

    def _fine_to_coarse(self, x: Tensor) -> Tensor:
        torus = self.torus
        X = torus.transform(torus.to_phases(x))
        return torus.inverse_transform(multiply(self.blocks, X, adjoint=True))
