"""Every inverse of the library, as data: an operator, what is made of it, and its matrix.

`INVERSES` is one table; the laws of test_laws.py run over all of it, and a new inverse gains them
with one line here.  Operators are small and well-conditioned, so that round-off has no excuse.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from unconv import AccuracyWarning, ConvOperator, LinearOperator
from unconv.inverse import request_of
from unconv.regularize.penalty import penalty_operator
from unconv.regularize.shifted import ShiftedInverse
from unconv.testing import dense_twin

from ..helpers import C128, F64, GAP, near_identity, undiagonalised
from ..regularize.wiener.covariance import covariance_of, even_psd, wiener_matrix

DAMP, NOISE, CUT = 0.3, 0.2, 0.05
SIZE = (4, 5)

Make = Callable[[ConvOperator], LinearOperator]
Matrix = Callable[[ConvOperator], Tensor]
Build = Callable[[torch.dtype], ConvOperator]


@dataclass(frozen=True)
class Inverse:
    """One row of the table.

    operator : A, of any dtype
    make : the inverse of A
    matrix : what `make` is in exact arithmetic, (m, n) or one per sample, in double precision
    tol : how far the answers of an iteration may be from it; the direct ones are exact to round-off
    says : every answer comes with a warning that nothing bounds its error
    checks : data that are not finite are refused
    apart : how far the answer for one image may be from that in a batch, where products in single
        precision round by the number of images
    """

    operator: Build
    make: Make
    matrix: Matrix
    tol: float = 1e-12
    says: bool = False
    checks: bool = True
    apart: float = 1e-13

    def heard(self) -> AbstractContextManager:
        """A context for answers."""
        return pytest.warns(AccuracyWarning) if self.says else nullcontext()


# --- operators ------------------------------------------------------------------------------------


def of(*shape: int, size: tuple[int, ...] = SIZE, own: bool = False, **options) -> Build:
    """A kernel (c_out, c_in, *k) near the identity, cond under about 5; `own`: one per sample."""

    def build(dtype: torch.dtype) -> ConvOperator:
        weight = near_identity(*shape, dtype=dtype)
        return ConvOperator(two(weight) if own else weight, size, **options)

    return build


def two(weight: Tensor) -> Tensor:
    return torch.stack([weight, -0.5 * weight.flip(0)])


def outer(c: int, line=(0.125, 1.0, 0.125), mode: str = "symmetric", own: bool = False) -> Build:
    """Channels (c, c) times the outer product of one line with itself."""

    def build(dtype: torch.dtype) -> ConvOperator:
        taps = torch.tensor(line).to(dtype)
        weight = near_identity(c, c, dtype=dtype)[..., None, None] * torch.outer(taps, taps)
        return ConvOperator(two(weight) if own else weight, SIZE, padding=1, padding_mode=mode)

    return build


def alike(build: Build) -> Build:
    """Two groups of channels, with the kernels of the operator both."""

    def grouped(dtype: torch.dtype) -> ConvOperator:
        weight = build(dtype).weight
        return ConvOperator(torch.cat([weight, weight]), SIZE, groups=2, **ZEROS)

    return grouped


def scaled(build: Build, *factors: float) -> Build:
    """The output channels times these factors: 0 takes the rank away, 1e-3 makes a gap."""

    def changed(dtype: torch.dtype) -> ConvOperator:
        op = build(dtype)
        each = torch.tensor(factors, dtype=dtype).reshape(-1, *[1] * (op.weight.ndim - 1))
        return op.with_weight(op.weight * each)

    return changed


def seen(build: Build) -> Build:
    """The operator without some of its outputs, not the same of every channel."""

    def observed(dtype: torch.dtype) -> ConvOperator:
        op = build(dtype)
        mask = torch.ones(op.range_shape, dtype=torch.bool)
        mask[0, 1, 2] = mask[:, -1, 0] = False
        return op.observed(mask)

    return observed


CIRCULAR = {"padding": 1, "padding_mode": "circular"}
ZEROS, REPLICATE = {"padding": 1}, {"padding": 1, "padding_mode": "replicate"}
SQUARE, TALL, WIDE = (2, 2, 3, 3), (3, 2, 3, 3), (2, 3, 3, 3)
HALVING = {"stride": 2, "size": (4, 6)}

circular, zeros, replicate = of(*SQUARE, **CIRCULAR), of(*SQUARE, **ZEROS), of(*SQUARE, **REPLICATE)
own_circular, own_zeros = of(*SQUARE, own=True, **CIRCULAR), of(*SQUARE, own=True, **ZEROS)
cosines, axes = outer(2), outer(2, mode="reflect")
flat_lines = outer(1, line=(1.0, -2.0, 1.0), mode="reflect")  # they lose the constants

# --- what is made of them, and its matrix ---------------------------------------------------------


def pinv(method: str, **options) -> Make:
    return lambda A: A.pinv(method=method, **options)


def damped(method: str, **options) -> Make:
    return lambda A: A.tikhonov(DAMP, method=method, **options)


def shifted(A: ConvOperator) -> LinearOperator:
    """By the factor for a damp that is larger by a third."""
    near = A.tikhonov(4 / 3 * DAMP, method="boundary")
    return ShiftedInverse(A, request_of(DAMP, None, 0.0, 1e9, tol=1e-11), near)


def pinv_matrix(A: ConvOperator, rtol: float = GAP) -> Tensor:
    return torch.linalg.pinv(dense_twin(A), rtol=rtol)


def damped_matrix(A: ConvOperator) -> Tensor:
    M = dense_twin(A)
    return torch.linalg.solve(M.mH @ M + DAMP**2 * torch.eye(M.shape[-1], dtype=M.dtype), M.mH)


def tsvd(A: ConvOperator) -> LinearOperator:
    return A.tsvd(CUT)


tsvd_matrix = partial(pinv_matrix, rtol=CUT)


def gain(s: Tensor) -> Tensor:
    return s / (s**2 + 0.5) + 0.1 * s


def filtered(A: ConvOperator) -> LinearOperator:
    return A.filtered(gain)


def filtered_matrix(A: ConvOperator) -> Tensor:
    U, S, Vh = torch.linalg.svd(dense_twin(A), full_matrices=False)
    return (Vh.mH * gain(S)[..., None, :]) @ U.mH


def penalised(A: ConvOperator, method: str = "auto") -> LinearOperator:
    return A.tikhonov(DAMP, penalty="gradient", maxiter=3000, tol=1e-10, method=method)


def penalised_matrix(A: ConvOperator) -> Tensor:
    M, L = dense_twin(A), dense_twin(penalty_operator(A, "gradient"))
    return torch.linalg.solve(M.mH @ M + DAMP**2 * (L.mH @ L), M.mH)


def stacked(A: ConvOperator, method: str = "auto") -> LinearOperator:
    """[A; damp·L]⁺ itself, whose first columns answer a penalised problem."""
    return penalised(A, method).inner


def by_lsmr(make: Callable[..., LinearOperator]) -> Callable[..., LinearOperator]:
    return partial(make, method="krylov")


def stacked_matrix(A: ConvOperator) -> Tensor:
    M, L = dense_twin(A), dense_twin(penalty_operator(A, "gradient"))
    return torch.linalg.pinv(torch.cat([M, DAMP * L]))


def psd_of(A: ConvOperator) -> Tensor:
    return even_psd(*A.domain_shape[1:])


def covariance(A: ConvOperator) -> Tensor:
    """Between two channels."""
    return torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=F64)


def wiener(A: ConvOperator, R: Callable = lambda A: None) -> LinearOperator:
    return A.wiener(NOISE, psd_of(A), channel_covariance=R(A), tol=1e-9)


def wiener_matrix_of(A: ConvOperator, R: Callable = lambda A: None) -> Tensor:
    M = dense_twin(A)
    S = covariance_of(psd_of(A), A.domain_shape, M.dtype, R(A))
    return wiener_matrix(M, S, NOISE * torch.eye(len(M), dtype=M.dtype))


class Mapped(LinearOperator):
    """What `torch.func.vmap` over the weight makes of an inverse: one kernel per sample."""

    weight: Tensor

    def __init__(self, op: ConvOperator, damp: float, method: str) -> None:
        super().__init__()
        self.one, self.damp, self.method = op.of_sample(0), damp, method
        self.domain_shape, self.range_shape = op.range_shape, op.domain_shape
        self.batch_size = op.batch_size
        self.kinds: set[type] = set()
        self.register_buffer("weight", op.weight)

    def inverse(self, weight: Tensor) -> LinearOperator:
        A = self.one.with_weight(weight)
        return (
            A.tikhonov(self.damp, method=self.method) if self.damp else A.pinv(method=self.method)
        )

    def solve(self, weight: Tensor, v: Tensor, adjoint: bool) -> Tensor:
        inverse = self.inverse(weight)
        self.kinds.add(type(inverse))
        return (inverse.H if adjoint else inverse)(v[None])[0]

    def _matvec(self, x: Tensor) -> Tensor:
        return torch.func.vmap(partial(self.solve, adjoint=False))(self.weight, x)

    def _rmatvec(self, y: Tensor) -> Tensor:
        return torch.func.vmap(partial(self.solve, adjoint=True))(self.weight, y)

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device


def mapped(method: str, damp: float = 0.0) -> Make:
    return lambda A: Mapped(A, damp, method)


def onto_range(A: ConvOperator) -> LinearOperator:
    return A.range_projector()


def onto_null(A: ConvOperator) -> LinearOperator:
    return A.null_projector()


def by_factor(make: Make) -> Make:
    """As if A were too large for its singular vectors."""

    def made(A: ConvOperator) -> LinearOperator:
        with undiagonalised():
            return make(A)

    return made


def range_matrix(A: ConvOperator) -> Tensor:
    U, S, _ = torch.linalg.svd(dense_twin(A), full_matrices=False)
    kept = (GAP * S[..., :1] < S)[..., None, :]
    return (U * kept) @ U.mH


def null_matrix(A: ConvOperator) -> Tensor:
    _, S, Vh = torch.linalg.svd(dense_twin(A), full_matrices=False)
    kept = (GAP * S[..., :1] < S)[..., None, :]
    return torch.eye(Vh.shape[-1], dtype=Vh.dtype) - (Vh.mH * kept) @ Vh


# --- the table ------------------------------------------------------------------------------------

_LOOSE = 1e-6  # of iterations that stop where nothing is gained, or at their tolerance

RUNGS = {
    "fourier": Inverse(circular, pinv("fourier"), pinv_matrix),
    "fourier, damped": Inverse(circular, damped("fourier"), damped_matrix),
    "fourier, tall": Inverse(of(*TALL, **CIRCULAR), pinv("fourier"), pinv_matrix),
    "fourier, wide": Inverse(of(*WIDE, **CIRCULAR), damped("fourier"), damped_matrix),
    "fourier, deficient": Inverse(scaled(circular, 1, 0), pinv("fourier"), pinv_matrix),
    "fourier, strided": Inverse(of(*TALL, **CIRCULAR | HALVING), pinv("fourier"), pinv_matrix),
    "fourier, transposed": Inverse(
        of(2, 3, 2, 2, stride=2, transposed=True), pinv("fourier"), pinv_matrix
    ),
    "cosine": Inverse(cosines, pinv("cosine"), pinv_matrix),
    "cosine, damped": Inverse(cosines, damped("cosine"), damped_matrix),
    "cosine, deficient": Inverse(scaled(cosines, 0, 1), pinv("cosine"), pinv_matrix),
    "separable": Inverse(axes, pinv("separable"), pinv_matrix),
    "separable, damped": Inverse(axes, damped("separable"), damped_matrix),
    "separable, deficient": Inverse(flat_lines, pinv("separable"), pinv_matrix),
    "dense": Inverse(replicate, pinv("dense"), pinv_matrix),
    "dense, damped": Inverse(replicate, damped("dense"), damped_matrix),
    "dense, deficient": Inverse(scaled(replicate, 0, 1), pinv("dense"), pinv_matrix),
    "dense, strided": Inverse(of(*TALL, **ZEROS | HALVING), pinv("dense"), pinv_matrix),
    "completion": Inverse(
        of(*SQUARE, size=(6, 7)), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "completion, wide": Inverse(
        of(*WIDE, size=(6, 7)), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "completion, strided": Inverse(
        of(*SQUARE, stride=2, size=(7, 8)), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "completion, observed": Inverse(
        seen(of(*SQUARE, size=(6, 7))), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "completion, transposed": Inverse(
        of(*SQUARE, transposed=True), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "boundary": Inverse(replicate, pinv("boundary"), pinv_matrix),
    "boundary, damped": Inverse(zeros, damped("boundary"), damped_matrix),
    "boundary, tall": Inverse(of(*TALL, **ZEROS), pinv("boundary"), pinv_matrix),
    "boundary, wide": Inverse(of(*WIDE, **ZEROS), pinv("boundary"), pinv_matrix),
    "boundary, wide, damped": Inverse(of(*WIDE, **REPLICATE), damped("boundary"), damped_matrix),
    "boundary, deficient": Inverse(scaled(zeros, 0, 1), pinv("boundary"), pinv_matrix),
    "boundary, transposed": Inverse(
        of(*TALL, transposed=True, **ZEROS), pinv("boundary"), pinv_matrix
    ),
    "boundary, groups alike": Inverse(alike(zeros), pinv("boundary"), pinv_matrix),
    "dense, groups alike, tall": Inverse(alike(of(*TALL, **ZEROS)), damped("dense"), damped_matrix),
    "boundary, shifted": Inverse(zeros, shifted, damped_matrix, tol=1e-10),
    "boundary, wide, shifted": Inverse(of(*WIDE, **ZEROS), shifted, damped_matrix, tol=1e-10),
    "krylov": Inverse(zeros, pinv("krylov"), pinv_matrix, tol=1e-10, says=True),
    "krylov, damped": Inverse(zeros, damped("krylov", tol=1e-9), damped_matrix, tol=1e-9),
    "krylov, wide": Inverse(of(*WIDE, **ZEROS), damped("krylov", tol=1e-9), damped_matrix, 1e-9),
}

EACH_ITS_OWN = {
    "fourier, own kernels": Inverse(own_circular, pinv("fourier"), pinv_matrix),
    "cosine, own kernels": Inverse(outer(2, own=True), pinv("cosine"), pinv_matrix),
    "separable, own kernels": Inverse(
        outer(2, mode="reflect", own=True), pinv("separable"), pinv_matrix
    ),
    "dense, own kernels": Inverse(own_zeros, damped("dense"), damped_matrix),
    "completion, own kernels": Inverse(
        of(*SQUARE, own=True, size=(6, 7)), damped("completion", tol=1e-10), damped_matrix, 1e-9
    ),
    "boundary, own kernels": Inverse(own_zeros, pinv("boundary"), pinv_matrix),
    "krylov, own kernels": Inverse(own_zeros, damped("krylov", tol=1e-9), damped_matrix, 1e-9),
    "mapped": Inverse(of(2, 2, 3, size=(6,), own=True, **CIRCULAR), mapped("fourier"), pinv_matrix),
    "mapped, damped": Inverse(
        of(1, 1, 3, size=(6,), own=True, **ZEROS), mapped("boundary", DAMP), damped_matrix
    ),
}

REGULARISED = {
    "tsvd": Inverse(scaled(circular, 1, 1e-3), tsvd, tsvd_matrix),
    "filtered, fourier": Inverse(circular, filtered, filtered_matrix),
    "filtered, cosine": Inverse(cosines, filtered, filtered_matrix),
    "filtered, separable": Inverse(axes, filtered, filtered_matrix),
    "filtered, dense": Inverse(replicate, filtered, filtered_matrix),
    "penalised": Inverse(zeros, penalised, penalised_matrix),
    "penalised, completed": Inverse(of(*SQUARE), penalised, penalised_matrix, 1e-8, apart=1e-9),
    "stacked, completed": Inverse(of(*SQUARE), stacked, stacked_matrix, 1e-8, apart=1e-9),
    "penalised, iterated": Inverse(of(*SQUARE), by_lsmr(penalised), penalised_matrix, _LOOSE),
    "stacked, iterated": Inverse(of(*SQUARE), by_lsmr(stacked), stacked_matrix, _LOOSE),
    "Wiener, by frequency": Inverse(circular, wiener, wiener_matrix_of),
    "Wiener, channels": Inverse(
        circular, partial(wiener, R=covariance), partial(wiener_matrix_of, R=covariance)
    ),
    "Wiener, by completion": Inverse(of(*SQUARE, size=(6, 7)), wiener, wiener_matrix_of, 1e-8),
    "Wiener, observed": Inverse(seen(of(*SQUARE, size=(6, 7))), wiener, wiener_matrix_of, 1e-8),
    "Wiener, iterated": Inverse(zeros, wiener, wiener_matrix_of, _LOOSE),
}

PROJECTORS = {
    "range, by frequency": Inverse(scaled(circular, 1, 0), onto_range, range_matrix, checks=False),
    "null, by frequency": Inverse(of(*WIDE, **CIRCULAR), onto_null, null_matrix, checks=False),
    "range, by axes": Inverse(flat_lines, onto_range, range_matrix, checks=False),
    "null, by axes": Inverse(flat_lines, onto_null, null_matrix, checks=False),
    "range, by vectors": Inverse(scaled(zeros, 0, 1), onto_range, range_matrix, checks=False),
    "null, by vectors": Inverse(of(*WIDE, **ZEROS), onto_null, null_matrix, checks=False),
    "range, by factor": Inverse(
        scaled(zeros, 0, 1), by_factor(onto_range), range_matrix, checks=False
    ),
    "null, by factor": Inverse(of(*WIDE, **ZEROS), by_factor(onto_null), null_matrix, checks=False),
    "range, whole": Inverse(zeros, by_factor(onto_range), range_matrix, checks=False),
    "null, empty": Inverse(zeros, by_factor(onto_null), null_matrix, checks=False),
}

INVERSES = RUNGS | EACH_ITS_OWN | REGULARISED | PROJECTORS


@cache
def operator(name: str, dtype: torch.dtype = F64) -> ConvOperator:
    """A of a row; in single precision it is that of double precision, rounded."""
    op = INVERSES[name].operator(C128 if dtype.is_complex else F64)
    return op.with_weight(op.weight.to(dtype))


@cache
def inverse(name: str, dtype: torch.dtype = F64) -> LinearOperator:
    """The inverse of a row, factored once for all laws; they change copies only."""
    return INVERSES[name].make(operator(name, dtype))


@cache
def matrix(name: str, dtype: torch.dtype = F64) -> Tensor:
    """The matrix of a row."""
    return INVERSES[name].matrix(operator(name, dtype))
