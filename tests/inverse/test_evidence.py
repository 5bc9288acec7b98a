"""Error bounds against solutions in 80 digits, of operators drawn to defeat them."""

from __future__ import annotations

import math
import random

import mpmath
import pytest
import torch
from torch import Tensor

from unconv import ConvOperator, LinearOperator
from unconv.inverse import AccuracyWarning
from unconv.inverse.certificate import certify
from unconv.psf import gaussian

from ..helpers import (
    C128,
    F64,
    doubled,
    engine,
    randn,
    relative,
)

RUNGS = ("fourier", "cosine", "separable", "dense", "boundary", "krylov")
KINDS = ("plain", "near-dependent rows", "near-dependent columns", "dependent rows")
DTYPES = (torch.float32, F64, torch.complex64, C128)


def drawn(method: str, seed: int) -> tuple[ConvOperator, Tensor, float, float | None]:
    """(operator, data, damp, tol); few outputs or few unknowns, so that 80 digits are quick."""
    rng = random.Random(f"{method} {seed}")
    kind, dtype = rng.choice(KINDS), rng.choice(DTYPES)
    wide = doubled(torch.zeros(1, dtype=dtype)).dtype
    few, many, k = rng.choice((2, 3)), rng.choice((2, 3, 5, 12)), rng.choice((1, 3))
    out, into = (few, many) if rng.random() < 0.7 else (many, few)
    weight = randn(out, into, k, dtype=wide, seed=seed)
    if method == "separable":
        weight = weight.sum(2, keepdim=True) * randn(k, dtype=wide, seed=seed + 1)
    if method == "cosine":
        weight = weight + weight.flip(2)
    if kind == "near-dependent rows":
        weight[0] = weight[1] + 10.0 ** rng.uniform(-15, -1) * weight[0]
    if kind == "near-dependent columns":
        weight[:, 0] = weight[:, 1] + 10.0 ** rng.uniform(-15, -1) * weight[:, 0]
    if kind == "dependent rows":
        weight[0] = 2 * weight[1]
    mode = {"fourier": "circular", "cosine": "symmetric"}.get(method, "zeros")
    size = (4,) if min(out, into) == 2 else (3,)
    op = ConvOperator(weight.to(dtype), size, padding=k // 2, padding_mode=mode)
    norm = float(torch.linalg.matrix_norm(LinearOperator.to_dense(op.in_double()), 2))
    damp = 0.0 if rng.random() < 0.6 else norm * 10.0 ** rng.uniform(-13, 3)
    if method == "krylov":
        damp = norm * 10.0 ** rng.uniform(-4, 2)
    y = randn(2, *op.range_shape, dtype=dtype, seed=seed + 2)
    if rng.random() < 0.5:
        y = op(randn(2, *op.domain_shape, dtype=dtype, seed=seed + 3))
    return op, y, damp, rng.choice((None, None, 1e-3, 1e-9))


def exact_matrix(op: ConvOperator) -> mpmath.matrix:
    """A in 80 digits: where a tap meets itself at an edge, in three parts whose sums are exact."""
    rest, found, unit = doubled(op.weight), None, 2.0 ** math.frexp(float(op.weight.abs().max()))[1]
    with engine("direct"):
        for bits in (18, 36, None):
            part = torch.view_as_real(rest) if rest.is_complex() else rest
            if bits is not None:
                part = (part / (unit * 2.0**-bits)).round() * (unit * 2.0**-bits)
            part = torch.view_as_complex(part.contiguous()) if rest.is_complex() else part
            matrix = high_precision(LinearOperator.to_dense(op.with_weight(part)))
            found, rest = matrix if found is None else found + matrix, rest - part
    return found


def high_precision(t: Tensor) -> mpmath.matrix:
    """(m, n) -> mpmath, exactly."""
    return mpmath.matrix(
        [[mpmath.mpmathify(v) for v in row] for row in doubled(t).resolve_conj().tolist()]
    )


def exact_solution(A: mpmath.matrix, y: Tensor, damp: float) -> mpmath.matrix:
    """(AᴴA + λ)⁻¹Aᴴy on the smaller side; λ = 10⁻⁵⁰ stands for the limit 0."""
    y = high_precision(y.flatten()[:, None])
    λ = mpmath.mpf(damp) ** 2 if damp else mpmath.mpf(10) ** -50
    if A.rows < A.cols:
        return A.H * mpmath.lu_solve(A * A.H + λ * mpmath.eye(A.rows), y)
    return mpmath.lu_solve(A.H * A + λ * mpmath.eye(A.cols), A.H * y)


def true_error(x: Tensor, best: mpmath.matrix) -> float:
    difference = mpmath.norm(high_precision(x.flatten()[:, None]) - best)
    return float(difference / mpmath.norm(best))


def exact_rank(op: ConvOperator) -> int:
    """Of a draw: nothing but rows or columns that are multiples of each other reduces it."""
    out, into, length = *op.weight.shape[:2], op.domain_shape[1]
    w = op.weight
    out -= any(torch.equal(w[0], factor * w[1]) for factor in (1, 2))
    into -= torch.equal(w[:, 0], w[:, 1])
    return length * min(out, into)


@pytest.mark.filterwarnings("ignore::unconv.inverse.AccuracyWarning")
@pytest.mark.parametrize("method", RUNGS)
def test_no_bound_is_false(method):
    """n > rank, dependent and nearly dependent rows and columns, any damp, four dtypes."""
    checked = certified = 0
    with mpmath.workdps(80):
        for seed in range(24):
            op, y, damp, tol = drawn(method, seed)
            x, found = op.lstsq(y, damp, method=method, tol=tol)
            assert torch.equal(found.converged, found.error_bound <= found.tolerance)
            if not damp and int(found.rank[0]) != exact_rank(op):
                continue  # cut at round-off: the 80 digits are of another problem
            A = exact_matrix(op)
            for i in range(2):
                error = true_error(x[i], exact_solution(A, y[i], damp))
                assert error <= float(found.error_bound[i]), (seed, i)
                checked, certified = checked + 1, certified + bool(found.converged[i])
    assert checked > 30
    assert certified > checked / 2  # a bound of inf would prove nothing


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("method", ["fourier", "dense"])
@pytest.mark.parametrize("smallness", [1e-3, 1e-6, 1e-9, 1e-12])
def test_the_null_space_is_seen(method, smallness, dtype):
    """From 2 to 30 channels, one row next to dependent: round-off leaves the row space."""
    weight = randn(2, 30, 3)
    weight[1] = weight[0] + smallness * weight[1]
    op = ConvOperator(weight.to(dtype), (4,), padding=1, padding_mode="circular")
    y = randn(3, *op.range_shape, dtype=dtype)
    x, found = op.lstsq(y, method=method)
    if int(found.rank[0]) < op.shape[0]:
        return  # a row that float32 cannot tell from the other
    with mpmath.workdps(80):
        A = exact_matrix(op)
        for i in range(3):
            error = true_error(x[i], exact_solution(A, y[i], 0.0))
            assert error <= float(found.error_bound[i])
    if dtype == F64 and smallness > 1e-10:
        assert found.converged.all()
        assert (found.error_bound < 1e-12 / smallness).all()


@pytest.mark.parametrize("damp", [1e-9, 1e-4, 0.3])
@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_a_null_space_part_that_was_added(method, damp):
    """A residual does not change by it, and a damped gradient hardly."""
    op = ConvOperator(randn(1, 3, 3), (8,), padding=1, padding_mode="circular")
    y = randn(1, *op.range_shape)
    null = torch.linalg.svd(LinearOperator.to_dense(op))[2][-1].reshape(1, *op.domain_shape)
    for inverse in (op.pinv(method=method), op.tikhonov(damp, method=method)):
        best = inverse(y)
        for size in (1e-8, 1e-3):
            x = best + size * torch.linalg.norm(best) * null
            found = certify(op, inverse, x, y)
            assert float(found.error_bound) >= 0.999 * size
            assert not found.converged.any()
            if damp < 1e-3:
                assert float(found.error_bound) < 2 * size


# --- solutions that are exactly right -------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::unconv.inverse.AccuracyWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["auto", *(r for r in RUNGS if r != "cosine")])
@pytest.mark.parametrize("damp", [0.0, 0.1])
def test_data_orthogonal_to_the_range(method, dtype, damp):
    """[w; w] x ≈ [y; −y]: x* = 0, without round-off and without an infinite relative error."""
    weight = randn(1, 1, 3, dtype=doubled(torch.zeros(1, dtype=dtype)).dtype).to(dtype)
    mode = "circular" if method == "fourier" else "zeros"
    op = ConvOperator(weight.expand(2, 1, 3), (9,), padding=1, padding_mode=mode)
    half = randn(2, 1, 9, dtype=dtype, seed=4)
    x, found = op.lstsq(torch.cat([half, -half], 1), damp, method=method)
    assert not x.any()
    assert found.error_bound.tolist() == [0, 0]
    assert found.converged.all()


@pytest.mark.parametrize("method", ["dense", "separable", "krylov"])
def test_data_nearly_orthogonal_to_the_range(method):
    """Nothing is known of an x* that is round-off, and the sentence says why."""
    op = ConvOperator(randn(4, 1, 1), (6,))
    U = torch.linalg.svd(LinearOperator.to_dense(op))[0]
    y = U[:, -1].reshape(1, 4, 6)
    with pytest.warns(AccuracyWarning):
        x, found = op.lstsq(y, 0.1 * (method == "krylov"), method=method)
    assert float(x.abs().max()) < 1e-15
    assert not found.converged.any()
    if method != "krylov":
        assert "orthogonal to the range" in found.advice


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", RUNGS)
def test_a_zero_operator_with_damping(method, dtype):
    mode = {"fourier": "circular", "cosine": "symmetric"}.get(method, "zeros")
    op = ConvOperator(torch.zeros(2, 2, 3, dtype=dtype), (6,), padding=1, padding_mode=mode)
    x, found = op.lstsq(randn(2, 2, 6, dtype=dtype), 0.1, method=method)
    assert not x.any()
    assert found.error_bound.tolist() == [0, 0]
    assert found.converged.all()


# --- float32 --------------------------------------------------------------------------------------


def test_what_float32_allows_is_named():
    """A condition of 1e6 lets the rounding of float32 data decide a digit; float64 data do not."""
    kernel = gaussian(1.7).sum(0).to(torch.float32)
    op = ConvOperator(kernel[None, None], (64,), padding=len(kernel) // 2)
    y = op(randn(2, 1, 64, dtype=torch.float32))
    _, found = op.lstsq(y)
    assert ((found.error_bound > 1e-4) & (found.error_bound < 1)).all()
    assert found.converged.all()
    assert "float32" in found.tolerance_how
    assert "may be far off" not in found.advice
    assert f"allow {found.tolerance.max():.1e}" in found.advice
    with pytest.warns(AccuracyWarning, match="with the rounding of float32"):
        asked = op.lstsq(y, tol=1e-4).certificate  # of the solver; factors are kept in float32
    assert asked.tolerance.max() < found.tolerance.max()
    assert "tol=0.0001, which was asked for, with the rounding of float32" in asked.tolerance_how
    assert torch.equal(asked.converged, asked.error_bound <= asked.tolerance)
    asked = op.lstsq(y.double(), tol=1e-4).certificate
    assert asked.converged.all()
    assert asked.tolerance.tolist() == [1e-4, 1e-4]
    with pytest.warns(AccuracyWarning, match="above tol=1e-15"):
        asked = op.lstsq(y.double(), tol=1e-15).certificate
    assert not asked.converged.any()
    assert "is above tol=1e-15, which was asked for; use more damp" in asked.advice


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_an_iteration_without_damping_claims_nothing(dtype):
    op = ConvOperator(torch.ones(1, 1, 1, dtype=dtype), (6,))
    y = randn(2, 1, 6, dtype=dtype)
    with pytest.warns(AccuracyWarning, match="no bound of the error is known"):
        x, found = op.lstsq(y, method="krylov", tol=1e-3)
    assert relative(x, y) < 1e-6
    assert not found.converged.any()
    assert "no bound of the error is known" in found.advice
    damped = op.lstsq(y, 0.1, method="krylov", tol=1e-3).certificate
    assert damped.converged.all()
    assert (damped.error_bound < 1e-3).all()
