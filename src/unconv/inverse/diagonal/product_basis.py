"""Singular vectors that are products of vectors along the channels and along every axis.

    A = M ⊗ A₁ ⊗ A₂ ⊗ …,    U = U_M ⊗ U₁ ⊗ U₂ ⊗ …,    A⁺ = V · diag(gains) · Uᴴ

with U_a stored as it is, or as its even and its odd vectors (kronecker.py), and applied one axis
after the other: n^nd · n an apply for axes of n samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from ...numerics.kronecker import AxisSVD, Products, whole_columns
from ...numerics.precision import real_working_dtype
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary
from ..request import Request
from .filtered import FilterInverse
from .protocol import Span, in_group


@dataclass(frozen=True)
class ProductBasis:
    """Products of singular vectors of the channels and of every axis.

    Coefficients are (g, k, k₁, k₂, …) in a row, one combination of parities after the other.

    Attributes
    ----------
    vectors_of : the factors
    labels : (B, g, k, k₁, …) singular values a combination; UNMATCHED where a factor has none
    """

    vectors_of: Products
    labels: list[Tensor]

    @property
    def sigma(self) -> Tensor:
        """(B, K) singular values, in no order; UNMATCHED for vectors of a complete basis."""
        return torch.cat([S.flatten(1) for S in self.labels], 1)

    @property
    def counts(self) -> Tensor:
        """(K,) ones: every entry stands for its own singular value."""
        sigma = self.sigma
        return torch.ones(sigma.shape[1], dtype=torch.long, device=sigma.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors and coefficients."""
        channels = self.vectors_of.channels
        return self.labels[0].dtype if channels is None else channels.dtype

    def parts(self, c: Tensor) -> list[Tensor]:
        """(N, K) -> (N, g, k, k₁, …) a combination of parities."""
        sizes = [S[0].numel() for S in self.labels]
        pairs = zip(c.split(sizes, 1), self.labels, strict=True)
        return [part.unflatten(1, S.shape[1:]) for part, S in pairs]

    def analyse(self, v: Tensor) -> Tensor:
        """Qᴴ v, (N, *shape) -> (N, K)."""
        parts = [Z.flatten(1) for Z in self.vectors_of.analyse(v)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def synthesise(self, c: Tensor) -> Tensor:
        """Q c, (N, K) -> (N, *shape)."""
        return self.vectors_of.synthesise(self.parts(c))

    def vectors(self, index: Tensor) -> Tensor:
        """Outer products of the columns of entries (q,), as (q, *shape); of one kernel."""
        group, at = self._position(index)
        mine, like = self.vectors_of, self.labels[0]
        out = None
        for i, factors in enumerate(((mine.channels,), *mine.axes)):
            columns = whole_columns(factors, like.shape[2 + i], like)[0]  # (g or 1, n, k)
            column = columns[group if len(columns) > 1 else torch.zeros_like(group), :, at[i]]
            if out is None:
                out = column
            else:
                out = out[..., None] * column.reshape(len(column), *[1] * (out.ndim - 1), -1)
        assert out is not None
        return in_group(out, group, mine.groups)

    def _position(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Group and columns of entries, those of odd vectors behind those of the even ones."""
        axes, first = self.vectors_of.axes, 0
        group, at = torch.empty_like(index), [torch.empty_like(index) for _ in range(1 + len(axes))]
        combinations = product(*(range(len(axis)) for axis in axes))
        for parities, S in zip(combinations, self.labels, strict=True):
            mine = ((first <= index) & (index < first + S.numel())).nonzero()[:, 0]
            group[mine], at[0][mine], *rest = torch.unravel_index(index[mine] - first, S.shape[1:])
            for a, (parity, column) in enumerate(zip(parities, rest, strict=True)):
                behind = self.labels[0].shape[3 + a] if parity else 0
                at[1 + a][mine] = column + behind
            first += S.numel()
        return group, at

    def subspace(self, keep: Tensor) -> Span:
        """The span of the entries where `keep` (B, K) is true."""
        mine = self.vectors_of
        if mine.channels is not None and mine.channels.shape[2:] == (1, 1):  # a phase, and its own
            mine = replace(mine, channels=None)
        return Span(replace(self, vectors_of=mine), keep)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> ProductBasis:
        """The same basis with its factors passed through `fn`."""
        return replace(self, vectors_of=self.vectors_of.mapped(fn))


class SeparableInverse(FilterInverse):
    """A⁺ or a damped inverse as V · diag(gains) · Uᴴ, both Kronecker products.

    Buffers: `gains0`, … one a combination of parities, (B, g, r, r₁, r₂, …); `U<axis>_<parity>`
    and `V<axis>_<parity>` of every distinct axis; `U_channels` and `V_channels`, unless one
    channel goes to one and its phase is in the gains.
    """

    method = "separable"

    def __init__(
        self,
        op: Convolution,
        svds: tuple[AxisSVD, list[list[AxisSVD]]],
        gains: list[Tensor],
        request: Request,
        summary: SpectrumSummary,
    ) -> None:
        super().__init__(op, request, summary)
        real = real_working_dtype(op.dtype)
        working = real.to_complex() if op.dtype.is_complex else real
        channels, axes = svds

        def keep(name: str, value: Tensor | None) -> None:
            self.register_buffer(name, None if value is None else value.to(working))

        alike = [[other is axis for other in axes].index(True) for axis in axes]
        for i in set(alike):
            for parity, svd in enumerate(axes[i]):
                keep(f"U{i}_{parity}", svd.U)
                keep(f"V{i}_{parity}", svd.V)
        single = op.geometry.c_in == op.geometry.c_out == op.geometry.groups
        keep("U_channels", None if single else channels.U)
        keep("V_channels", None if single else channels.V)
        for i, gain in enumerate(gains):
            if single:  # the matrix of one channel is a size, in the gains, and a sign or phase
                gain = gain * _phase(channels)[(..., *[None] * len(axes))].conj()
            self.register_buffer(f"gains{i}", gain.to(working if single else real))
        self.groups, self.combinations = op.geometry.groups, len(gains)
        pairs = zip(alike, axes, strict=True)
        self.names = [[f"{i}_{parity}" for parity in range(len(axis))] for i, axis in pairs]

    def _filter(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """V · diag(gains) · Uᴴ v; the adjoint exchanges U and V and conjugates the gains."""
        left, right = ("V", "U") if adjoint else ("U", "V")
        gains = [self.get_buffer(f"gains{i}") for i in range(self.combinations)]
        parts = self._vectors(left).analyse(v)
        pairs = zip(parts, gains, strict=True)
        parts = [Z * (gain.conj() if adjoint else gain) for Z, gain in pairs]
        return self._vectors(right).synthesise(parts)

    def _vectors(self, side: str) -> Products:
        stored = self._buffers
        axes = tuple(tuple(stored[side + name] for name in axis) for axis in self.names)
        return Products(self.groups, stored[f"{side}_channels"], axes)


def _phase(channels: AxisSVD) -> Tensor:  # (B, g, 1, 1) matrices -> (B, g, 1)
    assert channels.U is not None
    assert channels.V is not None
    return (channels.U * channels.V.conj())[:, :, 0]
