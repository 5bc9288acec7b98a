"""The *dense* rung: any small operator, by the SVD of its matrix.

    A = U Σ Vᴴ,   A⁺ = V Σ⁺ Uᴴ,   (AᴴA + λ)⁻¹Aᴴ = V Σ(Σ² + λ)⁻¹ Uᴴ

Cost: O(m·n·min(m, n)) once, two products with thin matrices an apply.  It is the oracle that the
other rungs are held against, and the answer for every operator too small to deserve better.

Source: Golub & Van Loan, "Matrix Computations", 4th ed., §5.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...numerics.kronecker import AxisSVD, matrix_svds
from ...numerics.memory import return_freed_memory
from ...numerics.precision import double_dtype, real_working_dtype
from ...numerics.threads import singular_values as small_singular_values
from ...operators.convolution import Convolution
from ...operators.linear_operator import LinearOperator
from ..facts import SpectrumSummary
from ..operator import InverseOperator
from ..request import Request
from .filtered import FilterInverse, cut_gains
from .protocol import UNMATCHED, Basis, Diagonal, Few

LIMIT = 1024
"""Largest min(m, n) that `auto` gives to an SVD (about a second on two cores)."""
LAST_RESORT = 4096
"""Largest min(m, n) where the *boundary* rung gave up (an SVD of about half a minute)."""


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung is not taken by itself for `op`, or None."""
    return _too_large(op, LIMIT)


def obstacle_to_last_resort(op: Convolution) -> str | None:
    """Why the rung is not taken for `op` after the *boundary* rung has given up, or None."""
    return _too_large(op, LAST_RESORT)


def _too_large(op: Convolution, limit: int) -> str | None:
    m, n = op.shape
    if min(m, n) > limit:
        return f"min(m, n) = {min(m, n):,} is above {limit:,}; its SVD takes {flops(op):.1e} flop"
    return None


def singular_values(op: Convolution) -> Tensor:
    """All of them, (B, min(m, n)) descending, by LAPACK: 8/3·N³ operations a group and kernel."""
    rows = [  # several groups: one a thread
        (torch.linalg.svdvals(A) if len(A) == 1 else small_singular_values(A)).flatten()
        for A in matrices(op)
    ]
    return torch.stack(rows).sort(1, descending=True).values


def values_memory(op: Convolution) -> int:
    """Bytes of the matrices of one kernel's groups, LAPACK's copy and their making."""
    m, n = op.shape
    return 3 * m * n // op.geometry.groups * (16 if op.dtype.is_complex else 8)


def matrices(op: Convolution) -> Iterator[Tensor]:
    """The matrices of the groups, (g, m/g, n/g) in double, of one kernel after the other.

    A is the direct sum of its groups; each of them is one kernel of a batch.
    """
    wide = double_dtype(op.dtype)
    for b in range(op.batch_size or 1):
        mine = op.of_sample(b)
        weight = mine.weight.detach().to(wide)
        weight = weight.unflatten(0, (op.geometry.groups, -1))
        found = _matrix(mine.with_kernels(weight, groups_apart=True))
        if op.seen is not None:
            rows = op.seen.expand(op.range_shape).reshape(found.shape[0], -1, 1)
            found = found.where(rows, 0)
        yield found


def _matrix(op: Convolution) -> Tensor:
    """A from its shorter side: by rows, which are those of Aᴴ conjugated, where A is wide."""
    if op.shape[0] < op.shape[1]:
        return op.H.to_dense(memory_limit=math.inf).mH
    return LinearOperator.to_dense(op, memory_limit=math.inf)


def side(op: Convolution) -> int:
    """The longer side of the matrix of a group."""
    return max(op.shape) // op.geometry.groups


def departure(op: Convolution) -> None:
    """Nothing is asked of the weight."""


def flops(op: Convolution) -> float:
    """Floating-point operations of the thin SVDs with both factors (divide and conquer)."""
    m, n = op.shape
    small, large = (s / op.geometry.groups for s in sorted((m, n)))
    kind = 4 if op.dtype.is_complex else 1
    return (6.0 * large + 20.0 * small) * small**2 * kind * op.geometry.groups


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the SVDs: A, its copy, U, Vᴴ and LAPACK's workspace, in float64."""
    m, n = op.shape
    entries = (3 * m * n + 5 * min(m, n) ** 2) // op.geometry.groups
    return entries * (16 if op.dtype.is_complex else 8) * (op.batch_size or 1)


def complete_memory(op: Convolution) -> int:
    """Bytes at the peak of SVDs with a square V: those of thin ones, V and its copy."""
    m, n = op.shape
    entries = (3 * m * n + 5 * min(m, n) ** 2 + 2 * n * n) // op.geometry.groups
    return entries * (16 if op.dtype.is_complex else 8) * (op.batch_size or 1)


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one apply to one image)."""
    m, n = op.shape
    per_product = 8 if op.dtype.is_complex else 2
    return flops(op), per_product * float(m + n) * min(m, n) / op.geometry.groups


def factor(op: Convolution, request: Request) -> InverseOperator:
    """SVD of the matrix in double precision."""
    with torch.no_grad():
        U, S, V = _svds(op)
        assert U is not None
        assert V is not None
        values, one = S.flatten(1), S.new_ones(len(S))
        (gains,), summary = cut_gains([values], one, op, request, "SVD of the matrix")
    return DenseInverse(op, (U, gains, V), request, summary)


def _svds(op: Convolution, *, full: bool = False) -> AxisSVD:
    """(B, g, m/g, ·), (B, g, ·) and (B, g, n/g, ·) of every group's matrix, in double precision."""
    A = torch.stack(list(matrices(op)))
    return_freed_memory(A.nbytes)
    return matrix_svds(A, full=full)


def diagonalise(op: Convolution, *, complete: bool = False, few: Few | None = None) -> Diagonal:
    """A = U Σ Vᴴ by LAPACK; see `DiagonalRung`."""
    U, S, V = _svds(op, full=complete and op.shape[0] < op.shape[1])
    assert U is not None
    assert V is not None

    def basis(Q: Tensor, shape: tuple[int, ...]) -> ColumnBasis:
        sigma = torch.nn.functional.pad(S, (0, Q.shape[-1] - S.shape[-1]), value=UNMATCHED)
        sigma = sigma.flatten(1)
        return ColumnBasis(sigma, sigma[0].new_ones(sigma.shape[1]).long(), Q, shape)

    def build(gains: Tensor, request: Request, summary: SpectrumSummary) -> DenseInverse:
        return DenseInverse(op, (U, gains, V), request, summary)

    return Diagonal(basis(U, op.range_shape), basis(V, op.domain_shape), build)


@dataclass(frozen=True)
class ColumnBasis(Basis):
    """Singular vectors of the matrices of all groups, stored as their columns.

    Attributes
    ----------
    Q : (B, g, size, k)
    shape : of one image
    """

    Q: Tensor
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of columns and coefficients."""
        return self.Q.dtype

    def analyse(self, v: Tensor) -> Tensor:
        """Qᴴ v, (N, *shape) -> (N, K)."""
        return _rows_times(v, self.Q.conj())

    def synthesise(self, c: Tensor) -> Tensor:
        """Q c, (N, K) -> (N, *shape)."""
        return _rows_times(c, self.Q.mT).reshape(len(c), *self.shape)

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> ColumnBasis:
        """The basis with its columns passed through `fn`."""
        return replace(self, Q=fn(self.Q))


def _rows_times(v: Tensor, M: Tensor) -> Tensor:
    """Rows of samples times a matrix for each group: (N, …), (B, g, s, k) -> (N, g·k)."""
    B, g, s, k = M.shape
    if B > 1:
        return (v.reshape(B, g, 1, s) @ M).reshape(B, g * k)
    if g == 1:
        return v.reshape(len(v), s) @ M[0, 0]
    return (v.reshape(len(v), g, s).transpose(0, 1) @ M[0]).transpose(0, 1).reshape(len(v), g * k)


class DenseInverse(FilterInverse):
    """A⁺ or a damped inverse as V · diag(gains) · Uᴴ, a pair of matrices for each group.

    U, V : (B, g, m/g, k) and (B, g, n/g, k)
    gains : (B, g·k)
    """

    method = "dense"
    U: Tensor
    gains: Tensor
    V: Tensor

    def __init__(
        self,
        op: Convolution,
        factors: tuple[Tensor, Tensor, Tensor],
        request: Request,
        summary: SpectrumSummary,
    ) -> None:
        super().__init__(op, request, summary)
        real = real_working_dtype(op.dtype)
        U, gains, V = factors
        working = real.to_complex() if op.dtype.is_complex else real
        self.register_buffer("U", U.to(working))
        self.register_buffer("gains", gains.to(real))
        self.register_buffer("V", V.to(working))

    def _filter(self, v: Tensor, *, adjoint: bool) -> Tensor:
        """V · diag(gains) · Uᴴ v; the adjoint exchanges U and V."""
        left, right = (self.V, self.U) if adjoint else (self.U, self.V)
        shape = self.domain_shape if adjoint else self.range_shape
        c = _rows_times(v, left.conj()) * self.gains
        return _rows_times(c, right.mT).reshape(len(v), *shape)
