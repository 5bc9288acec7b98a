"""On a GPU: the same answers as on the CPU, from every rung and from a factor that was moved."""

from __future__ import annotations

import copy
import os
from contextlib import nullcontext

import pytest
import torch

from unconv import ConvOperator, InverseOperator, psf, richardson_lucy
from unconv.testing import dot_test

from .helpers import (
    C128,
    F64,
    data,
    near_identity,
    relative,
)
from .inverse.rung_operators import every_rung, served, warned, weight_for

DEVICE = os.environ.get("UNCONV_TEST_DEVICE", "cuda")  # "cpu" tries the tests themselves
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs CUDA"
)

dtypes = pytest.mark.parametrize("dtype", [torch.float32, F64, C128], ids=str)
TOLERANCE = {torch.float32: 1e-3, F64: 1e-8, C128: 1e-8}
SHAPES = {"square": (2, 2, 3, 3), "tall": (3, 2, 3, 3), "wide": (2, 3, 3, 3)}


def on_gpu(op: ConvOperator) -> ConvOperator:
    return copy.deepcopy(op).to(DEVICE)


def inverse_of(op: ConvOperator, damp: float, method: str) -> InverseOperator:
    return op.tikhonov(damp, method=method) if damp else op.pinv(method=method)


@dtypes
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric", "circular"])
@pytest.mark.parametrize("k", [3, 15])
def test_forward_and_adjoint(mode, k, dtype):
    weight = weight_for("dense", (4, 3, k, k), dtype)
    there = ConvOperator(weight, (32, 30), padding=k // 2, padding_mode=mode)
    here = ConvOperator(weight.to(DEVICE), (32, 30), padding=k // 2, padding_mode=mode)
    x, y = data(there.domain_shape, there), data(there.range_shape, there, seed=2)
    limit = 1e-5 if dtype == torch.float32 else 1e-13
    assert relative(here(x.to(DEVICE)).cpu(), there(x)) < limit
    assert relative(here.H(y.to(DEVICE)).cpu(), there.H(y)) < limit
    assert dot_test(here) < limit


@every_rung
@dtypes
@pytest.mark.parametrize("damp", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_rung(method, dtype, damp, shape):
    if method in ("cosine", "separable", "krylov") and shape != "square":
        pytest.skip("one matrix for both sides is enough here")
    if method == "separable" and dtype == torch.float32 and not damp:
        pytest.skip("its condition number is that of float32")
    weight = weight_for(method, SHAPES[shape], dtype)
    if method == "krylov":
        weight = near_identity(2, 2, 3, 3, dtype=dtype)
    there = served(method, weight, (12, 11))
    here = on_gpu(there)
    y = data(there.range_shape, there)
    with nullcontext() if damp else warned(method):
        inverse = inverse_of(here, damp, method)
        expected = inverse_of(there, damp, method)
        found = inverse(y.to(DEVICE))
        assert found.device.type == DEVICE
        assert found.dtype == y.dtype
        tolerance = TOLERANCE[dtype]
        assert relative(found.cpu(), expected(y)) < tolerance
        b = data(there.domain_shape, there, seed=3)
        assert relative(inverse.H(b.to(DEVICE)).cpu(), expected.H(b)) < tolerance
        assert relative(expected.to(DEVICE)(y.to(DEVICE)).cpu(), found.cpu()) < tolerance
        solution, certificates = here.lstsq(y.to(DEVICE), damp, method=method)
    assert relative(solution.cpu(), found.cpu()) < tolerance
    assert all(c.method == method for c in certificates)


@every_rung
def test_gradient_in_the_data(method):
    weight = weight_for(method, (2, 2, 3, 3))
    if method == "krylov":
        weight = near_identity(2, 2, 3, 3)
    op = on_gpu(served(method, weight))
    y = data(op.range_shape, op).to(DEVICE).requires_grad_()
    inverse = inverse_of(op, 0.5, method)
    inverse(y).square().sum().backward()
    assert y.grad is not None
    assert relative(y.grad.cpu(), 2 * inverse.H(inverse(y.detach())).cpu()) < 1e-5


def test_a_cut_off_on_the_boundary_rung():
    weight = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)[None, None]
    there = ConvOperator(weight, (23, 23), padding=1)
    here = ConvOperator(weight.to(DEVICE), (23, 23), padding=1)
    y = data(there.range_shape, there)
    expected = there.pinv(method="dense")
    found = here.pinv(method="boundary")
    assert int(found.summary.rank) == int(expected.summary.rank) < 23 * 23
    assert relative(found(y.to(DEVICE)).cpu(), expected(y)) < 1e-7


@pytest.mark.skipif(DEVICE == "cpu", reason="one device")
def test_data_and_weight_on_two_devices_are_refused():
    op = ConvOperator(weight_for("dense", (2, 2, 3, 3)).to(DEVICE), (8, 8), padding=1)
    y = data(op.range_shape, op)
    with pytest.raises((RuntimeError, ValueError, TypeError), match="cuda"):
        op.pinv()(y)
    with pytest.raises((RuntimeError, ValueError, TypeError), match="cuda"):
        op(y)


@pytest.mark.parametrize("holes", [False, True])
def test_penalty_with_natural_edges(holes):
    there = ConvOperator(weight_for("dense", (1, 1, 5, 5), F64), (30, 33))
    here = ConvOperator(there.weight.detach().to(DEVICE), (30, 33))
    if holes:
        seen = torch.rand(there.range_shape[1:], generator=torch.Generator().manual_seed(0)) > 0.1
        there, here = there.observed(seen), here.observed(seen.to(DEVICE))
    y = data(there.range_shape, there)
    options = {"penalty": "gradient", "method": "completion"}
    found, certificate = here.lstsq(y.to(DEVICE), 0.1, **options)
    assert certificate.converged.all() or holes
    assert relative(found.cpu(), there.lstsq(y, 0.1, **options).solution) < 2e-6


@pytest.mark.parametrize("stop", ["discrepancy", "thinning", None])
@pytest.mark.parametrize("tv", [0.0, 0.03])
def test_counts(stop, tv):
    there = ConvOperator(psf.gaussian(1.5)[None, None], (40, 36), padding="same")
    here = on_gpu(there)
    x = torch.rand(2, 1, 40, 36, dtype=F64, generator=torch.Generator().manual_seed(0)) ** 4
    y = torch.poisson(there(100 * x) + 1, torch.Generator().manual_seed(1))
    options = {"background": 1.0, "stop": stop, "tv": tv, "maxiter": 30}
    found = richardson_lucy(here, y.to(DEVICE), **options)
    assert found.solution.device.type == found.iterations.device.type == DEVICE
    expected = richardson_lucy(there, y, **options)
    if stop != "thinning":  # which draws other numbers on another device
        assert found.iterations.tolist() == expected.iterations.tolist()
        assert relative(found.solution.cpu(), expected.solution) < 1e-8
    assert bool((found.solution >= 0).all())
