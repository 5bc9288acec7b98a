"""The *dense* rung: any small operator, by the SVD of its matrix.

    A = U Σ Vᴴ,   A⁺ = V Σ⁺ Uᴴ,   (AᴴA + λ)⁻¹Aᴴ = V Σ(Σ² + λ)⁻¹ Uᴴ

Cost: O(m·n·min(m, n)) once, two products with thin matrices an apply.  It is the oracle that the
other rungs are held against, and the answer for every operator too small to deserve better.

Source: Golub & Van Loan, "Matrix Computations", 4th ed., §5.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...numerics.memory import return_freed_memory
from ...numerics.precision import double_dtype, real_working_dtype
from ...numerics.threads import singular_values as small_singular_values
from ...operators.convolution import Convolution
from ...operators.linear_operator import LinearOperator
from ..facts import SpectrumSummary, least_above_zero
from ..operator import InverseOperator
from ..request import Request

LIMIT = 1024
"""Largest min(m, n) that `auto` gives to an SVD (about a second on two cores)."""
LAST_RESORT = 4096
"""The same where the ghosts do not resolve the small singular values (about half a minute)."""


def obstacle(op: Convolution, request: Request) -> str | None:
    """Why the rung is not taken by itself for `op`, or None."""
    return _too_large(op, LIMIT)


def obstacle_to_last_resort(op: Convolution) -> str | None:
    """The same after the *boundary* rung has given up."""
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
    """Of one kernel after the other, the matrices of its groups, (g, m/g, n/g) in double precision.

    A is the direct sum of its groups; each of them is one kernel of a batch.
    """
    wide = double_dtype(op.dtype)
    for b in range(op.batch_size or 1):
        mine = op.of_sample(b)
        weight = mine.weight.detach().to(wide)
        weight = weight.unflatten(0, (op.geometry.groups, -1))
        yield _matrix(mine.with_kernels(weight, groups_apart=True))


def _matrix(op: Convolution) -> Tensor:
    """A from its shorter side: by rows, which are those of Aᴴ conjugated, where A is wide."""
    if op.shape[0] < op.shape[1]:
        return op.H.to_dense(memory_limit=math.inf).mH
    return LinearOperator.to_dense(op, memory_limit=math.inf)


def flops(op: Convolution) -> float:
    """Floating-point operations of the thin SVD with both factors (divide and conquer)."""
    m, n = op.shape
    small, large = sorted((m, n))
    return (6.0 * large + 20.0 * small) * small**2 * (4 if op.dtype.is_complex else 1)


def memory(op: Convolution, request: Request) -> int:
    """Bytes at the peak of the SVD: A, its copy, U, Vᴴ and LAPACK's workspace, in float64."""
    m, n = op.shape
    entries = 3 * m * n + 5 * min(m, n) ** 2
    return entries * (16 if op.dtype.is_complex else 8) * (op.batch_size or 1)


def operations(op: Convolution, request: Request) -> tuple[float, float]:
    """Floating-point operations of (the factorisation, one apply to one image)."""
    m, n = op.shape
    per_product = 8 if op.dtype.is_complex else 2
    return flops(op), per_product * float(m + n) * min(m, n)


def factor(op: Convolution, request: Request) -> InverseOperator:
    """SVD of the matrix in double precision."""
    with torch.no_grad():
        U, S, Vh = spectral_factors(op)
        sigma_max = S[:, 0]
        keep = request.cutoff(op, sigma_max)[:, None] < S
        safe = torch.where(keep, S, 1.0)
        gains = torch.where(keep, 1 / (safe + request.damp * (request.damp / safe)), 0.0)
        lost = torch.where(keep, 0.0, S).amax(1)
        smallest = torch.where(keep, S, torch.inf).amin(1)
        if request.damp:  # directions with σ = 0 are curved by damp² alone
            smallest = torch.where(keep.all(1), smallest, 0.0)
    summary = SpectrumSummary(
        norm=sigma_max,
        floor=torch.hypot(smallest, torch.full_like(smallest, request.damp)),
        rank=None if request.damp else keep.sum(1),
        gap=torch.where((lost > 0) & (request.damp == 0), smallest / lost, torch.inf),
        rank_how="not needed: damp > 0" if request.damp else "SVD of the matrix",
        dropped=torch.zeros_like(keep.sum(1)) if request.damp else (~keep).sum(1),
        above_zero=least_above_zero(S, request.undamped().cutoff(op, sigma_max)),
    )
    return DenseInverse(op, (U, gains, Vh), request, summary)


def spectral_factors(op: Convolution) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, Vᴴ) of each kernel's matrix, thin, in double precision; (B, ·, ·)."""
    A = _matrix(op.in_double())
    return_freed_memory(A.nbytes)
    U, S, Vh = torch.linalg.svd(A if A.ndim == 3 else A[None], full_matrices=False)
    return U, S, Vh


class DenseInverse(InverseOperator):
    """A⁺ or a damped inverse as V · diag(gains) · Uᴴ."""

    method = "dense"
    U: Tensor
    gains: Tensor
    Vh: Tensor

    def __init__(
        self,
        op: Convolution,
        factors: tuple[Tensor, Tensor, Tensor],
        request: Request,
        summary: SpectrumSummary,
    ) -> None:
        super().__init__(op, request, summary)
        real = real_working_dtype(op.dtype)
        U, gains, Vh = factors
        working = real.to_complex() if op.dtype.is_complex else real
        self.register_buffer("U", U.to(working))
        self.register_buffer("gains", gains.to(real))
        self.register_buffer("Vh", Vh.to(working))

    @property
    def device(self) -> torch.device:
        """Device of the factor."""
        return self.U.device

    def _solve(self, y: Tensor) -> Tensor:
        return self._filter(y, self.U, self.Vh.mH, self.range_shape)

    def _solve_adjoint(self, x: Tensor) -> Tensor:
        return self._filter(x, self.Vh.mH, self.U, self.domain_shape)

    def _filter(self, v: Tensor, left: Tensor, right: Tensor, shape: tuple[int, ...]) -> Tensor:
        """right · diag(gains) · leftᴴ v, row vectors a sample."""
        rows = v.reshape(-1, 1, left.shape[-2]) if self.batch_size else v.flatten(1)[None]
        out = ((rows @ left.conj()) * self.gains[:, None]) @ right.mT
        return out.reshape(len(v), *shape)
