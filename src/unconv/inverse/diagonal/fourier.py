"""The *fourier* rung: circular convolutions, exactly, by one small inverse per frequency.

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
from dataclasses import dataclass

import torch
from torch import Tensor

from ...convolve import grouped
from ...grid.modes import MODES
from ...grid.torus import Torus
from ...numerics.norms import in_unit
from ...numerics.precision import double_dtype, real_working_dtype
from ...operators.convolution import Convolution
from ..facts import UNSEEN, image_bytes
from ..operator import InverseOperator
from ..request import Request
from .blocks import all_singular_values, invert_blocks, setup_bytes
from .protocol import Diagonal, Few
from .waves import WaveInverse, Waves, complete_svd_memory, diagonalise_blocks

# Images that a solve and its proof (probe.py, inverse/certificate.py) hold at once, as measured.
_WAVE_PROOF, _COMPLEX_PROOF = 8.5, 10.3


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung cannot serve `op`, or None."""
    if op.seen is not None:
        return UNSEEN
    for i, a in enumerate(op.geometry.axes):
        if not (a.on_torus or MODES[a.mode].periodic):
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
    images = _COMPLEX_PROOF if op.dtype.is_complex else _WAVE_PROOF
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
    return WaveInverse(op, waves_of(torus), found, request)


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


def singular_values(op: Convolution) -> Tensor:
    """All of them, those of all blocks, (B, min(m, n)) descending.

    F·c³ operations: a real operator pays for half of its frequencies, each pair ±ω once.
    """
    blocks, scale = blocks_of(op)
    return all_singular_values(blocks, torus_of(op).multiplicity(op.device)) * scale[:, None]


def values_memory(op: Convolution) -> int:
    """Bytes of `singular_values`: the blocks, their transposition, slices at work, the values."""
    F, B, g, r, c = block_shape(op)
    return 16 * F * B * g * (5 * r * c // 2 + 4 * min(r, c)) + 2**24


def side(op: Convolution) -> int:
    """The longer side of a block."""
    return max(block_shape(op)[3:])


def departure(op: Convolution) -> None:
    """A circular operator is block-circulant whatever its weight."""


def complete_memory(op: Convolution) -> int:
    """Bytes at the peak of complete SVDs of all blocks."""
    return complete_svd_memory(op)


def diagonalise(op: Convolution, *, complete: bool = False, few: Few | None = None) -> Diagonal:
    """A = U Σ Vᴴ by the SVDs of all blocks; see `DiagonalRung`."""
    waves = waves_of(torus_of(op))
    return diagonalise_blocks(op, waves, *blocks_of(op), complete=complete, few=few)


@dataclass(frozen=True)
class FourierWaves(Waves):
    """The Fourier transform of a periodic grid, of the phases of its fine samples."""

    torus: Torus
    method = "fourier"

    @property
    def unit(self) -> float:
        """1/√n for n coarse samples, which makes `analyse` unitary."""
        return math.prod(self.torus.coarse) ** -0.5

    def analyse(self, v: Tensor, *, fine: bool) -> Tensor:
        """Data on the fine or the coarse grid -> frequencies."""
        return self.torus.transform(self.torus.to_phases(v) if fine else v)

    def synthesise(self, V: Tensor, *, fine: bool) -> Tensor:
        """The inverse of `analyse`."""
        v = self.torus.inverse_transform(V)
        return self.torus.from_phases(v) if fine else v

    def counts(self, device: torch.device) -> Tensor:
        """(F,) how often each stored frequency stands in the whole spectrum: 0, 1 or 2."""
        return self.torus.multiplicity(device)

    def symmetrize_(self, blocks: Tensor) -> None:
        """Make blocks (F, …) those of a real operator, if this one is real, in place."""
        self.torus.symmetrize_(blocks)


def waves_of(torus: Torus) -> FourierWaves:
    """The transform of a grid."""
    return FourierWaves(torus.spectrum_shape, torus)
