"""Completion against dense solves of (AAᴴ + damp²) on the outputs that were seen."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from unconv import AccuracyWarning, ConvOperator, psf
from unconv.inverse import request_of
from unconv.inverse.completion.sizes import cost, structure
from unconv.inverse.completion.system import CompletionInverse, factor
from unconv.inverse.request import Request

from ...helpers import F64, randn, relative
from .drawn import drawn

TOL = 1e-10


def inverse_of(op: ConvOperator, damp: float, tol: float = TOL, **options) -> CompletionInverse:
    request = request_of(damp, None, 0.0, 2**33, tol=tol, method="completion", **options)
    found = factor(op, request)
    assert isinstance(found, CompletionInverse)
    return found


def damped(A: torch.Tensor, damp: float) -> torch.Tensor:
    """(AᴴA + damp²)⁻¹Aᴴ of matrices (N, m, n), by the SVD."""
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return Vh.mH @ ((S / (S.square() + damp**2))[..., None] * U.mH)


def in_more_digits(A: torch.Tensor, damp: float, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """x = (AᴴA + damp²)⁻¹Aᴴy for rows of y and x, refined with residuals in extended precision.

    That of an SVD is off by 1e-12 where the bounds are 1e-13.
    """
    found = []
    for matrix, data, start in zip(A.expand(len(y), -1, -1), y, x, strict=True):
        gram = matrix.mH @ matrix + damp**2 * torch.eye(matrix.shape[1], dtype=A.dtype)
        wide = np.clongdouble if A.is_complex() else np.longdouble
        M, b, z = (t.resolve_conj().numpy().astype(wide) for t in (matrix, data, start))
        for _ in range(3):
            left = M.conj().T @ (b - M @ z) - wide(damp) ** 2 * z
            step = torch.linalg.solve(gram, torch.from_numpy(left.astype(start.numpy().dtype)))
            z = z + step.numpy().astype(wide)
        found.append(torch.from_numpy(z.astype(start.numpy().dtype)))
    return torch.stack(found)


@pytest.mark.parametrize("seed", range(60))
def test_against_a_dense_solve(seed):
    case = drawn(seed)
    check(case.op, case.damp, case)


@pytest.mark.parametrize("seed", range(1000, 1015))
def test_transposed(seed):
    case = drawn(seed, transposed=True)
    check(case.op, case.damp, case)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 3000, 50))
def test_a_thousand_draws(first):
    for seed in range(first, first + 50):
        case = drawn(seed)
        if structure(case.op) is None:  # else nothing is missing
            check(case.op, case.damp, case)


def check(op, damp, case):
    """Solution, adjoint, certificate; a bound is loose or right, never false."""
    y, v = case.images(op.range_shape), case.images(op.domain_shape, seed=1)
    X = damped(case.matrices(), damp)
    exact = (X @ y.flatten(1)[..., None])[..., 0]
    exact = in_more_digits(case.matrices(), damp, y.flatten(1), exact).reshape(v.shape)
    back = (X.mH @ v.flatten(1)[..., None])[..., 0].reshape(y.shape)
    found = inverse_of(op, damp)
    assert relative(found(y), exact) < 1e-10
    assert relative(found.H(v), back) < 1e-10
    x, certificate = op.lstsq(y, damp, method="completion", tol=1e-6)
    error = (x - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert (error <= certificate.error_bound * (1 + 1e-9) + 1e-15).all()
    assert (certificate.error_bound <= 1e-6).all()
    assert certificate.converged.all()


@pytest.mark.parametrize("mode", ["valid", "circular"])
@pytest.mark.parametrize("hole", ["single", "random", "line", "row and column", "blob", "corner"])
def test_steps_with_holes(mode, hole):
    """At noise of 1 % no shape of holes takes more than 40 steps."""
    n = 64
    K = psf.disk(3.0).double()[None, None]
    options = {} if mode == "valid" else {"padding": "same", "padding_mode": "circular"}
    op = ConvOperator(K, (n, n), **options)
    mask = torch.ones(op.range_shape[1:], dtype=torch.bool)
    i, j = torch.meshgrid(*(torch.arange(m) for m in mask.shape), indexing="ij")
    torch.manual_seed(0)
    if hole == "single":
        mask[20, 30] = False
    elif hole == "random":
        mask = torch.rand(mask.shape) > 0.2
    elif hole == "line":
        mask[(i - j).abs() < 1] = False
    elif hole == "row and column":
        mask[:, 17] = mask[30] = False
    elif hole == "blob":
        mask[(i - 30) ** 2 + (j - 25) ** 2 < 100] = False
    else:
        mask[:14, :14] = False
    B = op.observed(mask)
    y = B(torch.rand(1, 1, n, n, dtype=F64))
    _, certificate = B.lstsq(y, 0.1, method="completion", tol=1e-6)
    assert certificate.converged.all()
    assert int(certificate.iterations) <= 40


def test_what_stands_in_unseen_data_is_without_effect():
    op = ConvOperator(randn(1, 1, 3, 3), (12, 11))
    mask = torch.rand(op.range_shape[1:]) > 0.2
    B, y = op.observed(mask), randn(1, *op.range_shape)
    other = torch.where(mask, y, 1e6)
    for method in ("completion", "dense", "krylov"):
        assert (
            relative(B.tikhonov(0.5, method=method)(other), B.tikhonov(0.5, method=method)(y))
            < 1e-5
        )


def test_units():
    """Weights and data of any size are solved as those of order one."""
    op, y = ConvOperator(randn(2, 1, 3, 3), (9, 8)), randn(2, 2, 7, 6)
    x = inverse_of(op, 0.3)(y)
    for weight, data in ((1e-150, 1.0), (1e150, 1.0), (1.0, 1e-200), (1.0, 1e200), (1e-150, 1e100)):
        scaled = inverse_of(op.with_weight(op.weight * weight), 0.3 * weight)(y * data)
        assert relative(scaled * weight / data, x) < 1e-9


def test_what_falls_short_says_so():
    op = ConvOperator(psf.disk(3.0).double()[None, None], (40, 40))
    y = randn(1, *op.range_shape)
    found = inverse_of(op, 1e-3, tol=1e-9, maxiter=5)
    with pytest.warns(AccuracyWarning, match=r"stopped after 5 steps with error_bound"):
        found(y)
    with pytest.warns(AccuracyWarning):
        _, certificate = op.lstsq(y, 1e-3, method="completion", tol=1e-9, maxiter=5)
    assert not certificate.converged.any()


def test_a_zero_image_and_an_empty_batch():
    op = ConvOperator(randn(1, 1, 3, 3), (9, 8))
    found = inverse_of(op, 0.3)
    assert not found(torch.zeros(2, *op.range_shape, dtype=F64)).any()
    assert found(torch.zeros(0, *op.range_shape, dtype=F64)).shape == (0, *op.domain_shape)


@pytest.mark.parametrize(
    ("options", "damp", "sentence"),
    [
        ({"padding": 1}, 0.1, "its padding invents pixels"),
        ({"padding": "same", "padding_mode": "circular"}, 0.1, "none of its outputs is missing"),
        ({}, 0.0, "damp > 0"),
    ],
)
def test_refusals(options, damp, sentence):
    op = ConvOperator(randn(1, 1, 3, 3), (9, 8), **options)
    with pytest.raises(ValueError, match=sentence):
        op.lstsq(randn(1, *op.range_shape), damp, method="completion")


@pytest.mark.parametrize("damp", [1e-8, 1e-11])
def test_round_off_is_part_of_the_proof(damp):
    """Where rounding decides, the answer is right or comes with a warning."""
    torch.manual_seed(0)
    op = ConvOperator(randn(1, 1, 3, 3), (9, 10)).observed(torch.rand(7, 8) > 0.2)
    v = randn(1, *op.domain_shape)
    found = inverse_of(op, damp * float(op.norm()), tol=1e-6)
    rows = op.seen.flatten()  # zero rows would give the oracle singular values of round-off
    X = damped(op.to_dense()[rows][None], damp * float(op.norm()))[0]
    exact = torch.zeros(len(rows), dtype=F64)
    exact[rows] = X.mH @ v.flatten()
    exact = exact.reshape(1, *op.range_shape)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        u = found.H(v)
    assert heard or relative(u, exact) < 1e-5


def test_wiener_with_next_to_no_noise_is_right_or_warns():
    op, y = ConvOperator(randn(1, 1, 3, 3), (20, 20)), randn(1, 1, 18, 18)
    A = op.to_dense()
    for noise in (1e-6, 1e-10, 1e-16, 1e-20, 1e-30):
        exact = A.mT @ torch.linalg.solve(
            A @ A.mT + noise * torch.eye(len(A), dtype=F64), y.flatten()
        )
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            x = op.wiener(noise, 1.0)(y)
        assert heard or relative(x.flatten(), exact) < 1e-5
    for noise, signal in ((1e160, 1e-160), (1e-300, 1e300)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            op.wiener(noise, signal)(y)


def test_corners_are_solved_for_where_they_pay():
    op = ConvOperator(psf.disk(7.0)[None, None], (526, 526))
    damp = 0.01 * float(op.weight.sum())
    assert cost(op, Request(damp=damp, expected_solves=1)).reach is None
    assert cost(op, Request(damp=damp, expected_solves=1000)).reach is not None
