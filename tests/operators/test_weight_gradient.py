"""W against autograd through the operator itself, by every engine, and as a bilinear map."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given

from unconv import ConvOperator
from unconv.convolve import choice

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    assert_differentiable,
    assert_says,
    data,
    randn,
    relative,
)
from ..strategies import Case, cases


@pytest.mark.parametrize("engine", ["a product a tap", "one product", "FFT"])
@given(case=cases())
def test_is_the_gradient_of_the_form(engine, case: Case):
    op = case.operator()
    weight = op.weight.clone().requires_grad_()
    x = data(op.domain_shape, op)
    y = data(op.range_shape, op)
    live = op.with_weight(weight)
    (expected,) = torch.autograd.grad(live(x), weight, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "many_taps", lambda *_: engine == "FFT")
        if engine == "a product a tap":
            patch.setattr(sys.modules["unconv.convolve.kernel_gradient"], "_TOGETHER", 0)
        found = op.weight_gradient(x, y)
    assert found.dtype == weight.dtype
    assert relative(found, expected) < 1e-12 or expected.abs().max() < 1e-12


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("per_sample", [False, True])
def test_complex_data_of_a_real_kernel(per_sample, transposed):
    weight = randn(*(2,) * per_sample, 2, 2, 3, 3).requires_grad_()
    op = ConvOperator(weight, (5, 6), padding=1, padding_mode="zeros", transposed=transposed)
    x, y = randn(2, *op.domain_shape, dtype=C128), randn(2, *op.range_shape, dtype=C128, seed=1)
    (expected,) = torch.autograd.grad(op(x), weight, y)
    assert relative(op.weight_gradient(x, y), expected) < 1e-13
    mixed = op.weight_gradient(x.real, y)
    assert relative(mixed, op.weight_gradient(x.real, y.real)) < 1e-13


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2}, {"transposed": True}])
def test_derivatives(options, dtype):
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (6,), flip=True, **options)
    x = data(op.domain_shape, op).requires_grad_()
    y = data(op.range_shape, op).requires_grad_()
    assert_differentiable(op.weight_gradient, (x, y))


def test_vmap_over_either_side():
    op = ConvOperator(randn(2, 1, 3), (6,), padding=1)
    x, y = randn(3, 2, 1, 6), randn(3, 2, 2, 6, seed=1)
    for dims in ((0, 0), (None, 0), (0, None)):
        a, b = (t if d is not None else t[0] for t, d in zip((x, y), dims, strict=True))
        found = torch.func.vmap(op.weight_gradient, dims)(a, b)
        expected = [
            op.weight_gradient(x[i * (dims[0] == 0)], y[i * (dims[1] == 0)]) for i in range(3)
        ]
        assert torch.equal(found, torch.stack(expected))


def test_an_empty_batch():
    op = ConvOperator(randn(2, 1, 3), (6,), padding=1)
    W = op.weight_gradient(torch.zeros(0, 1, 6, dtype=F64), torch.zeros(0, 2, 6, dtype=F64))
    assert W.shape == op.weight.shape
    assert not W.any()


def test_large_batches_are_summed_in_parts(monkeypatch):
    op = ConvOperator(randn(2, 1, 3), (6,), padding=1)
    x, y = randn(5, 1, 6), randn(5, 2, 6, seed=1)
    whole = op.weight_gradient(x, y)
    monkeypatch.setattr("unconv.numerics.memory.SLAB_BYTES", 1)
    assert relative(op.weight_gradient(x, y), whole) < 1e-14


def test_bad_shapes_are_refused():
    op = ConvOperator(randn(2, 1, 3), (6,), padding=1)
    with pytest.raises(ValueError, match="expected a tensor of shape") as error:
        op.weight_gradient(randn(1, 2, 6), randn(1, 2, 6))
    assert_says(error, "(N, 1, 6)", "(1, 2, 6)")
