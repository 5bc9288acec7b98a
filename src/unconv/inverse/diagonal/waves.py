"""Operators that a unitary transform makes block-diagonal: one small matrix a frequency.

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
from typing import Protocol

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
from .protocol import UNMATCHED, Diagonal, in_group


class Waves(Protocol):
    """The transform 𝓣 of one operator's grids.

    Attributes
    ----------
    method : name of the rung
    shape : stored frequencies an axis
    unit : what makes `analyse` unitary
    """

    @property
    def method(self) -> str:
        """Name of the rung that inverts by it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Stored frequencies an axis."""

    @property
    def unit(self) -> float:
        """What `analyse` has to be multiplied by to be unitary."""

    def analyse(self, v: Tensor, *, fine: bool) -> Tensor:
        """(N, channels, *grid) -> (N, channels·phases, *shape)."""

    def synthesise(self, V: Tensor, *, fine: bool) -> Tensor:
        """The inverse of `analyse`."""

    def counts(self, device: torch.device) -> Tensor:
        """(F,) how often each stored frequency stands in the whole spectrum."""

    def symmetrize_(self, blocks: Tensor) -> None:
        """Make blocks (F, …) those of a real operator, if the operator is real, in place."""

    def fields(self, frequency: Tensor, coefficients: Tensor, *, fine: bool) -> Tensor:
        """Waves of unit length: (q,) and (q, channels·phases) -> (q, channels, *grid)."""


class WaveInverse(FilterInverse):
    """A⁺ or a damped inverse of a block-diagonal operator: 𝓣, one block a frequency, 𝓣ᴴ.

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
        """The same subspace with its blocks passed through `fn`."""
        return replace(self, blocks=fn(self.blocks))


def _svds(blocks: Tensor, real: Tensor | None, square: bool) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of all blocks (F, B, g, r, c); real ones at the frequencies (F,) that ask for it."""
    U, S, V = decomposed(blocks, full=square)
    if real is not None and bool(real.any()):
        Ur, Sr, Vr = decomposed(blocks[real].real, full=square)
        U[real], S[real], V[real] = Ur.to(U.dtype), Sr, Vr.to(V.dtype)
    return U, S, V


class ChosenBlocks:
    """The blocks of one kernel, decomposed only where vectors are asked for.

    What was decomposed is remembered: U and V of a block have to come from one SVD, or tied vectors
    would not belong together.
    """

    def __init__(self, blocks: Tensor, real: Tensor | None, square: bool) -> None:
        self.blocks, self.real, self.square = blocks, real, square
        self._known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def vectors(self, frequency: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """U (q, r, k) and V (q, c, k) of some blocks."""
        key = (*frequency.tolist(), *group.tolist())
        if key not in self._known:
            real = None if self.real is None else self.real[frequency]
            U, _, V = _svds(self.blocks[frequency, 0, group][:, None, None], real, self.square)
            self._known[key] = U[:, 0, 0], V[:, 0, 0]
        return self._known[key]


@dataclass(frozen=True)
class WaveBasis:
    """Left or right singular vectors of all blocks, spread over a grid by their waves.

    Coefficients are (g, k, F) in a row: k vectors of a block, one after the other all frequencies.

    Attributes
    ----------
    fine : the vectors are right ones of C, and live on its fine grid
    labels : (B, g, k, F) singular values, UNMATCHED for vectors of a complete basis
    counts : (K,) how many singular values each entry stands for
    vectors_of
        (F, B, g, s, k) with orthonormal columns, or the blocks to take a few of them from, which
        then are all that may be asked for
    """

    waves: Waves
    fine: bool
    labels: Tensor
    counts: Tensor
    vectors_of: Tensor | ChosenBlocks

    @property
    def sigma(self) -> Tensor:
        """(B, K) singular values, in no order; UNMATCHED for vectors of a complete basis."""
        return self.labels.flatten(1)

    @property
    def Q(self) -> Tensor:
        """(F, B, g, s, k) with orthonormal columns."""
        assert isinstance(self.vectors_of, Tensor)
        return self.vectors_of

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors and coefficients: complex under the Fourier transform."""
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

    def vectors(self, index: Tensor) -> Tensor:
        """The vectors of entries (q,); complex ones where an entry stands for ω and −ω."""
        _, g, k, F = self.labels.shape
        f, i, group = index % F, index // F % k, index // (F * k)
        if isinstance(self.vectors_of, Tensor):
            Q = self.vectors_of[f, 0, group]
        else:
            Q = self.vectors_of.vectors(f, group)[self.fine]
        q = torch.arange(len(index), device=index.device)
        w = self.waves.fields(f, Q[q, :, i], fine=self.fine)
        return in_group(w, group, g)

    def subspace(self, keep: Tensor) -> WaveSpan:
        """The span of the entries where `keep` (B, K) is true."""
        kept = keep.view(self.labels.shape).movedim(-1, 0)
        P = (self.Q * kept[..., None, :]) @ self.Q.mH
        self.waves.symmetrize_(P)
        return WaveSpan(self.waves, self.fine, P)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> WaveBasis:
        """The same basis with its vectors passed through `fn`."""
        return replace(self, vectors_of=fn(self.Q))


def diagonalise_blocks(
    op: Convolution, waves: Waves, blocks: Tensor, scale: Tensor, *, complete: bool, few: bool
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
    sources: tuple[Tensor, Tensor] | tuple[ChosenBlocks, ChosenBlocks]
    if few:
        S = singular_values(blocks.reshape(-1, r, c)).view(*blocks.shape[:3], min(r, c))
        chosen = ChosenBlocks(blocks, real, square)
        sources = chosen, chosen
    else:
        U, S, V = _svds(blocks, real, square)
        sources = U, V
    S = (S * scale[:, None, None]).permute(1, 2, 3, 0)  # (B, g, p, F)

    def basis(size: int, source: Tensor | ChosenBlocks, fine: bool) -> WaveBasis:
        k = size if square else min(r, c)
        labels = pad(S, (0, 0, 0, k - S.shape[2]), value=UNMATCHED)
        return WaveBasis(waves, fine, labels, counts.repeat(labels.shape[1] * k), source)

    coarse, fine = basis(r, sources[0], False), basis(c, sources[1], True)

    def build(gains: Tensor, request: Request, summary: SpectrumSummary) -> WaveInverse:
        X = (fine.Q * gains.view(S.shape).movedim(-1, 0)[..., None, :]) @ coarse.Q.mH
        waves.symmetrize_(X)
        real = real_working_dtype(op.dtype)
        X = X.to(real.to_complex() if X.is_complex() else real)
        return WaveInverse(op, waves, BlockInverse(X, summary), request)

    data, domain = (fine, coarse) if op.transposed else (coarse, fine)
    return Diagonal(data, domain, build)


def complete_svd_memory(op: Convolution) -> int:
    """Bytes of all blocks with complete SVDs, copies of LAPACK, labels and their order."""
    g, points = op.geometry, math.prod(a.m for a in op.geometry.axes)
    r, c = (math.prod(shape) // (points * g.groups) for shape in (op.range_shape, op.domain_shape))
    parts = 2 if op.dtype.is_complex else 1
    return 8 * parts * points * g.groups * (3 * r * c + 2 * c * c) + 48 * sum(op.shape)
