"""(AᴴA + damp²)⁻¹Aᴴ of varying blurs, and its certificate, against dense solves."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from unconv import AccuracyWarning, ProductConvolution
from unconv.testing import dot_test

from .test_blur import BOUNDARIES, KINDS, drawn


def dense_solution(A, y, damp):
    M = A.to_dense()
    normal = M.mT @ M + damp**2 * torch.eye(M.shape[1], dtype=M.dtype)
    return torch.linalg.solve(normal, M.mT @ y.flatten(1).mT).mT.reshape(len(y), *A.domain_shape)


def some(by_source=True, **options):
    psfs = torch.rand(2, 2, 3, 4, dtype=torch.float64)
    nodes = torch.tensor([0.0, 7.0]), torch.tensor([0.0, 6.0])
    return KINDS[by_source](psfs, nodes, (10, 11), **options)


@pytest.mark.parametrize("by_source", KINDS)
@pytest.mark.parametrize(("padding", "mode"), BOUNDARIES)
def test_solutions_keep_their_bounds(by_source, padding, mode):
    draw = random.Random(f"{by_source}{padding}{mode}")
    for nd in (1, 2, 2, 3):
        psfs, nodes, n = drawn(draw, nd, padding)
        size = 10 ** draw.uniform(-20, 20)
        A = KINDS[by_source](psfs * size, nodes, n, padding=padding, padding_mode=mode)
        y = torch.randn(2, *A.range_shape, dtype=torch.float64) * 10 ** draw.uniform(-20, 20)
        if draw.random() < 0.4 and y[0].numel() > 4:
            A = A.observed(torch.rand(A.range_shape) < 0.8)
        damp, tol = size * 10 ** draw.uniform(-1.5, 1.5), 10 ** draw.uniform(-9, -3)
        x, found = A.lstsq(y, damp, tol=tol)
        exact = dense_solution(A, A._masked(y), damp)
        error = (x - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
        assert bool(found.converged.all())
        assert bool((found.error_bound <= tol).all())
        assert bool((error <= found.error_bound + 1e-11).all())
        assert found.method == "krylov"
        assert len(found) == 2
        assert found[1].damp == damp


def test_damping_far_beyond_the_operator():
    A, y = some(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    x, found = A.lstsq(y, 1e9)
    assert torch.allclose(x, A.H(y) / 1e18, rtol=1e-6)
    assert bool(found.converged.all())


def test_the_inverse_is_an_operator():
    A = some()
    B = A.tikhonov(0.7, tol=1e-11)
    exact = torch.linalg.solve(
        A.gram.to_dense() + 0.49 * torch.eye(110, dtype=torch.float64), A.to_dense().mT
    )
    assert (B.to_dense() - exact).abs().max() < 1e-10
    assert (B.H.to_dense() - exact.mT).abs().max() < 1e-10
    assert dot_test(B) < 1e-10
    y = torch.randn(1, 1, 8, 8, dtype=torch.complex128)
    assert (B(y).flatten() - exact.to(y.dtype) @ y.flatten()).abs().max() < 1e-10


def test_gradient_in_the_data():
    B = some().tikhonov(1.0, tol=1e-12)
    y = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(B, (y,), fast_mode=True)
    assert torch.autograd.gradgradcheck(B, (y,), fast_mode=True)


def test_single_precision():
    A = some()
    y = torch.rand(2, 1, 8, 8)
    x, found = copy.deepcopy(A).float().lstsq(y, 0.5)
    assert x.dtype == torch.float32
    assert bool(found.converged.all())
    exact = dense_solution(A, y.double(), 0.5)
    assert (x - exact).norm() < 1e-6 * exact.norm()
    B = A.tikhonov(0.5).float()
    assert B(y).dtype == torch.float32
    assert (B(y) - exact).norm() < 1e-6 * exact.norm()


def test_zero_and_empty_data():
    A = some()
    x, found = A.lstsq(torch.zeros(1, 1, 8, 8, dtype=torch.float64), 0.1)
    assert not x.any()
    assert float(found.error_bound) == 0
    assert bool(found.converged)
    x, found = A.lstsq(torch.zeros(0, 1, 8, 8, dtype=torch.float64), 0.1)
    assert x.shape == (0, 1, 10, 11)
    assert len(found) == 0


def test_a_blur_of_nothing():
    A = ProductConvolution(torch.zeros(1, 3).double(), (torch.tensor([0.0]),), (9,))
    x, found = A.lstsq(torch.ones(1, 1, 7).double(), 0.1)
    assert not x.any()
    assert bool(found.converged.all())


def test_one_iteration_says_so():
    A, y = some(), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    with pytest.warns(AccuracyWarning, match="stopped after 1 iterations"):
        x, found = A.lstsq(y, 0.01, maxiter=1)
    error = (x - dense_solution(A, y, 0.01)).norm() / dense_solution(A, y, 0.01).norm()
    assert not bool(found.converged)
    assert float(found.error_bound) >= float(error)
    assert "stopped after 1" in found.advice


def test_fewer_iterations_than_without_a_preconditioner():
    """The surroundings are unknown, which a preconditioner must not take for well known."""
    side = torch.arange(13.0, dtype=torch.float64) - 6
    psfs = torch.stack([torch.exp(-side.square() / 2 / s**2) for s in (0.8, 1.2, 1.8, 2.4, 3.0)])
    psfs = psfs / psfs.sum(1, keepdim=True)
    A = ProductConvolution(psfs, (torch.linspace(0, 187, 5),), (200,))
    y = A(torch.randn(1, 1, 200, dtype=torch.float64).cumsum(-1))
    _, found = A.lstsq(y, 0.03)
    B = A.tikhonov(0.03)
    B.P = lambda g: g
    assert int(found.iterations) < 0.5 * int(B.solution(y)[1].iterations)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"damp": 0.0}, ValueError, "damp=0"),
        ({"damp": "1"}, TypeError, "damp"),
        ({"tol": 0}, ValueError, "tol"),
        ({"maxiter": 0}, ValueError, "maxiter"),
        ({"y": torch.rand(1, 1, 9, 9)}, ValueError, "expected a tensor of shape"),
        ({"y": torch.full((1, 1, 8, 8), torch.nan)}, ValueError, "NaN"),
    ],
)
def test_wrong_calls(change, error, match):
    arguments = {"y": torch.rand(1, 1, 8, 8), "damp": 0.1, **change}
    with pytest.raises(error, match=match):
        some().lstsq(**arguments)
