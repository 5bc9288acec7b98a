"""Operators that a unitary transform makes block-diagonal: one small matrix per frequency.

    C = 𝓣ᴴ · C(ω) · 𝓣,      C(ω) = U(ω) Σ(ω) V(ω)ᴴ,      A = C, or A = Cᴴ for a transposed operator

𝓣 is the Fourier transform (fourier.py) or the cosine transform (cosine.py), up to a unit.  The
convolution C leads from a *fine* grid to a *coarse* one, stride times smaller; a singular vector of
A is one of a block, spread over its grid by the wave of that frequency.

Where a frequency is its own conjugate the block of a real operator is real, and so are the vectors
that are taken here.

Cost: the SVDs of all blocks, F·c³, then a transform and F·c² an apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...grid.torus import multiply
from ...numerics.precision import real_working_dtype
from ...numerics.threads import singular_values
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary
from ..request import Request
from .blocks import BlockInverse, decomposed
from .filtered import FilterInverse
from .protocol import UNMATCHED, Basis, Diagonal, Few


@dataclass(frozen=True)
class Waves:
    """The transform 𝓣 of one operator's grids.

    Attributes
    ----------
    shape : stored frequencies an axis
    method : name of the rung that inverts by it
    """

    shape: tuple[int, ...]
    method: ClassVar[str]

    @property
    def unit(self) -> float:
        """What `analyse` has to be multiplied by to be unitary."""
        return 1.0

    def analyse(self, v: Tensor, *, fine: bool) -> Tensor:
        """(N, channels, *grid) -> (N, channels·phases, *shape)."""
        raise NotImplementedError

    def synthesise(self, V: Tensor, *, fine: bool) -> Tensor:
        """The inverse of `analyse`."""
        raise NotImplementedError

    def counts(self, device: torch.device) -> Tensor:
        """(F,) how often each stored frequency stands in the whole spectrum."""
        return torch.ones(math.prod(self.shape), dtype=torch.long, device=device)

    def symmetrize_(self, blocks: Tensor) -> None:
        """Make blocks (F, …) at ω and −ω conjugates of each other, in place, if A is real."""


class WaveInverse(FilterInverse):
    """A⁺ or a damped inverse of a block-diagonal operator: 𝓣, one block per frequency, 𝓣ᴴ.

    blocks : (F, B, g, c, r), the inverses of those of C, the convolution that A is or that A is the
        adjoint of; they lead from its coarse grid to its fine one
    """

    blocks: Tensor

    def __init__(
        self, op: Convolution, waves: Waves, found: BlockInverse, request: Request
    ) -> None:
        super().__init__(op, request, found.summary)
        self.method, self.waves, self.transposed = waves.method, waves, op.transposed
        self.register_buffer("blocks", found.inverse)

    def _filter(self, v: Tensor, *, adjoint: bool) -> Tensor:
        turned = adjoint != self.transposed
        V = multiply(self.blocks, self.waves.analyse(v, fine=turned), adjoint=turned)
        return self.waves.synthesise(V, fine=not turned)


@dataclass(frozen=True)
class WaveSpan:
    """The span of some vectors of a basis of waves, as one projector Q·diag(keep)·Qᴴ a block."""

    waves: Waves
    fine: bool
    blocks: Tensor  # (F, B, g, s, s)

    def project(self, v: Tensor) -> Tensor:
        """The part of v in it, (N, *shape) -> (N, *shape)."""
        V = multiply(self.blocks, self.waves.analyse(v, fine=self.fine))
        return self.waves.synthesise(V, fine=self.fine)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> WaveSpan:
        """The subspace with its blocks passed through `fn`."""
        return replace(self, blocks=fn(self.blocks))


@dataclass(frozen=True)
class WaveBasis(Basis):
    """Left or right singular vectors of all blocks, spread over a grid by their waves.

    Coefficients are (g, k, F) in a row: k vectors of a block, one after the other all frequencies.

    Attributes
    ----------
    fine : the vectors are right ones of C, and live on its fine grid
    Q : (F, B, g, s, k) with orthonormal columns
    """

    waves: Waves
    fine: bool
    Q: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of vectors and coefficients: complex under the Fourier transform."""
        return self.Q.dtype

    def analyse(self, v: Tensor) -> Tensor:
        """Qᴴ v, (N, *shape) -> (N, K): the transform, then Qᴴ of every frequency."""
        V = self.waves.analyse(v, fine=self.fine)
        return multiply(self.Q, V * self.waves.unit, adjoint=True).flatten(1)

    def synthesise(self, c: Tensor) -> Tensor:
        """Q c, (N, K) -> (N, *shape): Q of every frequency, then the transform back."""
        C = (c / self.waves.unit).reshape(len(c), -1, *self.waves.shape)
        V = multiply(self.Q, C).flatten(2)
        self.waves.symmetrize_(V.movedim(2, 0))  # what one of ±ω says, it says for both
        return self.waves.synthesise(V.unflatten(2, self.waves.shape), fine=self.fine)

    def subspace(self, keep: Tensor) -> WaveSpan:
        """The span of the entries where `keep` (B, K) is true."""
        P = self.times(keep) @ self.Q.mH
        self.waves.symmetrize_(P)
        return WaveSpan(self.waves, self.fine, P)

    def times(self, gains: Tensor) -> Tensor:
        """Q·diag(gains) of every block, (B, K) -> (F, B, g, s, k)."""
        F, B, g, _, k = self.Q.shape
        return self.Q * gains.view(B, g, k, F).movedim(-1, 0)[..., None, :]

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> WaveBasis:
        """The basis with its vectors passed through `fn`."""
        return replace(self, Q=fn(self.Q))


def diagonalise_blocks(
    op: Convolution,
    waves: Waves,
    blocks: Tensor,
    scale: Tensor,
    *,
    complete: bool = False,
    few: Few | None = None,
) -> Diagonal:
    """U, Σ and V of an operator whose convolution C has these blocks, in units of the scale.

    Parameters
    ----------
    blocks : (F, B, g, r, c); those that must be real are made so in place
    scale : (B,)
    complete, few : as in `DiagonalRung.diagonalise`
    """
    r, c = blocks.shape[-2:]
    counts, real = waves.counts(blocks.device), None
    if blocks.is_complex() and not op.dtype.is_complex:
        real = counts == 1  # a frequency that is its own conjugate
        blocks[real] = blocks[real].real.to(blocks.dtype)
    square = complete and (r > c if op.transposed else c > r)
    if few is None or min(r, c) == 1:
        U, S, V = _svds(blocks, real, square)
    else:
        U, S, V = _few_svds(blocks, real, counts, few)
    S = (S * scale[:, None, None]).permute(1, 2, 3, 0)  # (B, g, p, F)

    def basis(Q: Tensor, fine: bool) -> WaveBasis:
        g, k = Q.shape[2], Q.shape[4]
        sigma = pad(S, (0, 0, 0, k - S.shape[2]), value=UNMATCHED).flatten(1)
        return WaveBasis(sigma, counts.repeat(g * k), waves, fine, Q)

    coarse, fine = basis(U, False), basis(V, True)

    def build(gains: Tensor, request: Request, summary: SpectrumSummary) -> WaveInverse:
        X = fine.times(gains) @ coarse.Q.mH
        waves.symmetrize_(X)
        real = real_working_dtype(op.dtype)
        X = X.to(real.to_complex() if X.is_complex() else real)
        return WaveInverse(op, waves, BlockInverse(X, summary), request)

    data, domain = (fine, coarse) if op.transposed else (coarse, fine)
    return Diagonal(data, domain, build)


def _svds(blocks: Tensor, real: Tensor | None, square: bool) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of all blocks (F, B, g, r, c); real ones at the frequencies (F,) that ask for it."""
    U, S, V = decomposed(blocks, full=square)
    lapack = square or min(blocks.shape[-2:]) > 1  # which may give a real block complex vectors
    if lapack and real is not None and bool(real.any()):
        Ur, Sr, Vr = decomposed(blocks[real].real, full=square)
        U[real], S[real], V[real] = Ur.to(U.dtype), Sr, Vr.to(V.dtype)
    return U, S, V


def _few_svds(
    blocks: Tensor, real: Tensor | None, counts: Tensor, few: Few
) -> tuple[Tensor, Tensor, Tensor]:
    """All singular values of one kernel; the vectors of other frequencies than asked for are 0."""
    F, B, g, r, c = blocks.shape
    p = min(r, c)
    S = singular_values(blocks.reshape(-1, r, c)).view(F, B, g, p)
    mine = S[counts > 0].flatten()
    last = mine.topk(min(few.k, len(mine)), largest=few.largest).values[-1]
    wanted = (last <= S if few.largest else last >= S).flatten(1).any(1)
    U, V = blocks.new_zeros(F, B, g, r, p), blocks.new_zeros(F, B, g, c, p)
    U[wanted], _, V[wanted] = _svds(blocks[wanted], None if real is None else real[wanted], False)
    return U, S, V


def complete_svd_memory(op: Convolution) -> int:
    """Bytes of all blocks with complete SVDs, copies of LAPACK, labels and their order."""
    g, points = op.geometry, math.prod(a.m for a in op.geometry.axes)
    r, c = (math.prod(shape) // (points * g.groups) for shape in (op.range_shape, op.domain_shape))
    parts = 2 if op.dtype.is_complex else 1
    return 8 * parts * points * g.groups * (3 * r * c + 2 * c * c) + 48 * sum(op.shape)
