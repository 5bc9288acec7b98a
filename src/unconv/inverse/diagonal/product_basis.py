"""Singular vectors that are products of vectors along the channels and along every axis.

    A = M ⊗ A₁ ⊗ A₂ ⊗ …,    U = U_M ⊗ U₁ ⊗ U₂ ⊗ …,    A⁺ = V · diag(gains) · Uᴴ

with U_a stored as it is, or as its even and its odd vectors (kronecker.py), and applied one axis
after the other: n^nd · n an apply for axes of n samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...numerics.kronecker import AxisSVD, Products
from ...numerics.precision import real_working_dtype
from ...operators.convolution import Convolution
from ..facts import SpectrumSummary
from ..request import Request
from .filtered import FilterInverse
from .protocol import Basis, Span


@dataclass(frozen=True)
class ProductBasis(Basis):
    """Products of singular vectors of the channels and of every axis.

    Coefficients are (g, k, k₁, k₂, …) in a row, one combination of parities after the other.

    Attributes
    ----------
    factors : the vectors
    shapes : (g, k, k₁, …) of every combination
    """

    factors: Products
    shapes: list[torch.Size]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of vectors and coefficients."""
        channels = self.factors.channels
        assert channels is not None
        return channels.dtype

    def parts(self, c: Tensor) -> list[Tensor]:
        """(N, K) -> (N, g, k, k₁, …) a combination of parities."""
        parts = c.split([shape.numel() for shape in self.shapes], 1)
        pairs = zip(parts, self.shapes, strict=True)
        return [part.unflatten(1, shape) for part, shape in pairs]

    def analyse(self, v: Tensor) -> Tensor:
        """Qᴴ v, (N, *shape) -> (N, K)."""
        parts = [Z.flatten(1) for Z in self.factors.analyse(v)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def synthesise(self, c: Tensor) -> Tensor:
        """Q c, (N, K) -> (N, *shape)."""
        return self.factors.synthesise(self.parts(c))

    def subspace(self, keep: Tensor) -> Span:
        """The span of the entries where `keep` (B, K) is true."""
        mine = self.factors
        if mine.channels is not None and mine.channels.shape[2:] == (1, 1):  # a phase, and its own
            mine = replace(mine, channels=None)
        return Span(replace(self, factors=mine), keep)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> ProductBasis:
        """The basis with its factors passed through `fn`."""
        return replace(self, factors=self.factors.mapped(fn))


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
