"""Complete real orthonormal bases of singular vectors, applied without their matrices.

    circular, symmetric    A = 𝓕⁻¹ C(ω) 𝓕:  waves, mixed within each frequency by the SVD of C(ω)
    separable              A = M ⊗ A₁ ⊗ …:  products of the singular vectors of M, A₁, …

A real operator has C(−ω) = conj C(ω): of each pair ±ω one frequency is stored, and √2·Re and √2·Im
of a coefficient are two real coordinates.  A frequency that is its own conjugate has a real block,
whose SVD is taken in real numbers, and one coordinate.

V is complete, n × n; U has at least the min(m, n) columns that have a singular value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..convolve import grouped
from ..grid.torus import multiply
from ..inverse.diagonal.outer_product import axis_matrix, nearest_outer_product
from ..numerics.kronecker import contract
from ..numerics.precision import real_working_dtype
from ..numerics.threads import run_in_slices
from ..operators.convolution import Convolution

UNMATCHED, ABSENT = -1.0, -math.inf
"""Labels of a coordinate without singular value, and of an entry that is no coordinate."""

_SLICE_BYTES = 4 * 2**20  # blocks that are decomposed at once, with copies of LAPACK in the cache


class Basis(Protocol):
    """Qᵀ and Q for a matrix Q with orthonormal columns (and empty ones, labelled ABSENT)."""

    def analyse(self, v: Tensor) -> Tensor:
        """Qᵀ v, (N, *shape) -> (N, K)."""

    def synthesise(self, z: Tensor) -> Tensor:
        """Q z, (N, K) -> (N, *shape)."""


class Side(NamedTuple):
    """A basis and its labels (K,): σ ≥ 0, UNMATCHED or ABSENT.

    Entries that belong together stand in the same order on both sides.
    """

    basis: Basis
    labels: Tensor


# --- blocks of frequencies
@dataclass(frozen=True)
class Waves:
    """A basis of waves: coordinates (g·k, F), or (g·k, F, 2) where a frequency stands for ±ω.

    Attributes
    ----------
    rung : the way to diagonalise the operator, as its module `fourier` or `cosine`
    fine : which of the grids of C the vectors live on
    grid : stored frequencies an axis
    Q : (F, 1, g, c, k) with orthonormal columns
    size : (F,) of the coordinate of a coefficient of one
    """

    rung: Any
    op: Convolution
    fine: bool
    grid: tuple[int, ...]
    Q: Tensor
    size: Tensor

    def analyse(self, v: Tensor) -> Tensor:
        """Qᵀ v: transform, then Qᴴ of every frequency."""
        X = self.rung.analyse(self.op, v, fine=self.fine)
        Z = multiply(self.Q, X, adjoint=True).flatten(2) * self.size
        return (torch.view_as_real(Z) if Z.is_complex() else Z).flatten(1)

    def synthesise(self, z: Tensor) -> Tensor:
        """Q z: Q of every frequency, then the transform back."""
        F, _, g, _, k = self.Q.shape
        Z = z.reshape(len(z), g * k, F, -1)
        Z = (torch.view_as_complex(Z) if self.Q.is_complex() else Z[..., 0]) / self.size
        X = multiply(self.Q, Z.unflatten(2, self.grid)).flatten(2)
        self.rung.symmetrize_(self.op, X.movedim(2, 0))  # one of ±ω had no coordinates
        out: Tensor = self.rung.synthesise(self.op, X.unflatten(2, self.grid), fine=self.fine)
        return out


def wave_sides(rung: Any, op: Convolution) -> tuple[Side, Side]:
    """U and V of an operator that `fourier` or `cosine` serves."""
    blocks, scale = rung.blocks_of(op)  # (F, 1, g, r, c)
    if op.transposed:  # A = (conj C)ᴴ
        blocks = blocks.mH
    counts = rung.multiplicity(op)
    U, S, V = _complete_svds(blocks[:, 0].resolve_conj(), counts == 1)
    pairs = blocks.is_complex()
    present = torch.stack([counts > 0, counts > 1], 1)[:, : 2 if pairs else 1]
    axes = op.geometry.axes
    grid = rung.torus_of(op).spectrum_shape if pairs else tuple(a.n for a in axes)
    real = real_working_dtype(op.dtype)
    length = counts.sum() if pairs else 1  # the DCT is orthonormal, torch's FFT is not
    size = (counts.clamp(min=1).double() / length).sqrt().to(real)

    def side(Q: Tensor, fine: bool) -> Side:
        padded = pad(S * scale, (0, Q.shape[-1] - S.shape[-1]), value=UNMATCHED)  # (F, g, k)
        labels = torch.where(present, padded.permute(1, 2, 0)[..., None], ABSENT).flatten()
        Q = Q.to(real.to_complex() if pairs else real)[:, None]
        return Side(Waves(rung, op, fine, grid, Q, size), labels)

    return side(U, op.transposed), side(V, not op.transposed)


def _complete_svds(blocks: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U thin and V complete of all blocks, real ones where the blocks are.

    (F, g, r, c) and (F,) -> (F, g, r, p), (F, g, p), (F, g, c, c) with p = min(r, c)
    """
    F, g, r, c = blocks.shape
    flat, p = blocks.reshape(-1, r, c), min(r, c)
    U, V = flat.new_empty(len(flat), r, p), flat.new_empty(len(flat), c, c)
    S = flat.new_empty(len(flat), p, dtype=flat.dtype.to_real())

    def decompose(part: slice) -> None:
        U[part], S[part], Vh = torch.linalg.svd(flat[part], full_matrices=r < c)
        V[part] = Vh.mH

    step = max(1, _SLICE_BYTES // (flat.element_size() * c * max(r, c)))
    run_in_slices(decompose, len(flat), step, flat.device)
    U, S, V = (t.unflatten(0, (F, g)) for t in (U, S, V))
    if blocks.is_complex() and bool(real.any()):
        Ur, Sr, Vr = torch.linalg.svd(blocks[real].real, full_matrices=r < c)
        U[real], S[real], V[real] = Ur.to(U.dtype), Sr, Vr.mT.to(V.dtype)
    return U, S, V


# --- products of axes
@dataclass(frozen=True)
class Products:
    """A basis of products of vectors, one per axis: coordinates (g, k, k₁, k₂, …).

    Attributes
    ----------
    matrices : (1, g or 1, size, k) of the channels and of every axis, orthogonal
    groups : g
    """

    matrices: list[Tensor]
    groups: int

    def analyse(self, v: Tensor) -> Tensor:
        """Qᵀ v: Qᵀ of the channels and of every axis in turn."""
        X = v.unflatten(1, (self.groups, -1))
        for dim, Q in enumerate(self.matrices, start=2):
            X = contract(X, Q.mT, dim)
        return X.flatten(1)

    def synthesise(self, z: Tensor) -> Tensor:
        """Q z: Q of the channels and of every axis in turn."""
        X = z.reshape(len(z), self.groups, *(Q.shape[-1] for Q in self.matrices))
        for dim, Q in enumerate(self.matrices, start=2):
            X = contract(X, Q, dim)
        return X.flatten(1, 2)


def product_sides(op: Convolution) -> tuple[Side, Side]:
    """U and V of an operator that `separable` serves, both complete."""
    found = nearest_outer_product(grouped(op.taps.detach(), op.geometry))
    axes, kernels = op.geometry.axes, found.kernels
    svds = [_complete_svd(found.channels, op.transposed)]
    for i, axis in enumerate(axes):
        alike = (j for j in range(i) if axes[j] == axis and torch.equal(kernels[j], kernels[i]))
        j = next(alike, i)
        A = axis_matrix(axis, kernels[i])
        svds.append(svds[1 + j] if j < i else _complete_svd(A, op.transposed))
    real = real_working_dtype(op.dtype)

    def side(matrices: list[Tensor]) -> Side:
        labels = found.scale.reshape(1, 1).expand(1, op.geometry.groups)  # (1, g)
        for (_, S, _), Q in zip(svds, matrices, strict=True):
            # nan stays nan in every product, with zero too
            S = pad(S, (0, Q.shape[-1] - S.shape[-1]), value=math.nan)
            labels = torch.einsum("bg...,bgk->bg...k", labels, S.expand(1, labels.shape[1], -1))
        basis = Products([Q.to(real) for Q in matrices], op.geometry.groups)
        return Side(basis, labels.flatten().nan_to_num(nan=UNMATCHED))

    return side([U for U, _, _ in svds]), side([V for _, _, V in svds])


def _complete_svd(A: Tensor, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    U, S, Vh = torch.linalg.svd(A.mT if transposed else A, full_matrices=True)
    return U, S, Vh.mT
