"""What users of torch.nn expect of data: one image without a batch axis, channels last, halves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unconv
from unconv import ConvOperator
from unconv.nn import (
    InvertibleConv2d,
    PinvConv1d,
    PinvConv2d,
    TikhonovConv2d,
    WienerConv2d,
)
from unconv.testing import dense_twin

from .helpers import F64, HALVES, data, randn, relative
from .strategies import cases, is_small

PINV = {1: unconv.conv1d_pinv, 2: unconv.conv2d_pinv, 3: unconv.conv3d_pinv}
ADJOINT = {1: unconv.conv1d_adjoint, 2: unconv.conv2d_adjoint, 3: unconv.conv3d_adjoint}


def same(alone: torch.Tensor, batch: torch.Tensor) -> bool:
    """Whether an image by itself came back as the one image of a batch."""
    return relative(alone, batch[0]) < 1e-12


@given(cases(per_sample=False))
@settings(max_examples=15)
def test_methods_take_one_image_alone(case):
    op = case.operator()
    x, y = data(op.domain_shape, op, 1), data(op.range_shape, op, 1)
    assert same(op(x[0]), op(x))
    assert same(op.H(y[0]), op.H(y))
    assert same(op.gram(x[0]), op.gram(x))
    assert relative(op.weight_gradient(x[0], y[0]), op.weight_gradient(x, y)) < 1e-12
    if not is_small(op):
        return
    inverse = op.tikhonov(0.5)
    assert same(inverse(y[0]), inverse(y))
    assert same(inverse.H(x[0]), inverse.H(x))
    assert same(op.prox(x[0], y[0], 0.5), op.prox(x, y, 0.5))
    for options in ({}, {"penalty": "gradient"}):
        found, expected = op.lstsq(y[0], 0.5, **options), op.lstsq(y, 0.5, **options)
        assert same(found.solution, expected.solution)
        assert torch.equal(found.certificate.converged, expected.certificate.converged)


@given(cases(per_sample=False, transposed=False, flip=False))
@settings(max_examples=15)
def test_functions_take_one_image_alone(case):
    op = case.operator()
    if not is_small(op):
        return
    nd, y = op.geometry.nd, data(op.range_shape, op, 1)
    options = {k: v for k, v in case.options.items() if k != "flip"}
    options["input_shape"] = case.input_shape
    assert same(ADJOINT[nd](y[0], op.weight, **options), op.H(y))
    assert same(PINV[nd](y[0], op.weight, damp=0.5, **options), op.tikhonov(0.5)(y))
    assert same(unconv.tikhonov(y[0], op.weight, 0.5, **options), op.tikhonov(0.5)(y))
    assert same(unconv.lstsq(y[0], op.weight, 0.5, **options).solution, op.tikhonov(0.5)(y))


def test_a_weight_with_an_axis_more_than_the_data():
    """One image, or one kernel a sample; `input_shape` tells where both fit."""
    y, weight = randn(3, 8, 9), randn(3, 2, 3, 3)
    assert unconv.tikhonov(y, weight, 0.5, padding=1).shape == (2, 8, 9)
    each = randn(4, 3, 2, 3)
    op = ConvOperator(each, (9,), padding=1)
    y = randn(4, 3, 9)
    assert relative(unconv.tikhonov(y, each, 0.5, padding=1), op.tikhonov(0.5)(y)) < 1e-12
    y, weight = randn(3, 3, 9), randn(3, 3, 3, 3)  # of height 3, or three rows
    assert unconv.tikhonov(y, weight, 0.5, padding=1).shape == (3, 3, 9)
    image = unconv.tikhonov(y, weight, 0.5, padding=1, input_shape=(3, 9))
    assert same(image, unconv.tikhonov(y[None], weight, 0.5, padding=1))
    with pytest.raises(ValueError, match="one image without N"):
        unconv.tikhonov(randn(9), weight, 0.5)
    with pytest.raises(ValueError, match="one kernel for each of 4 samples"):
        unconv.conv1d_pinv(randn(3, 9), each, padding=1)
    with pytest.raises(ValueError, match="one kernel for each of 4 samples"):
        op(randn(2, 9))


@pytest.mark.parametrize("kind", [PinvConv1d, PinvConv2d, TikhonovConv2d, WienerConv2d])
def test_layers_take_one_image_alone(kind):
    layer = kind(2, 3, 3, padding=1, dtype=F64)
    y = randn(1, 3, *(7, 6)[: kind.nd])
    assert same(layer(y[0]), layer(y))
    mask = torch.ones(y.shape[2:], dtype=torch.bool)
    mask[2] = False
    assert same(layer(y[0], observed=mask), layer(y, observed=mask))


@pytest.mark.parametrize("masked", [False, True])
def test_invertible_layers_take_one_image_alone(masked):
    layer, x = InvertibleConv2d(2, 3, masked=masked, dtype=F64), randn(1, 2, 6, 5)
    (y, log_det), (expected, of_batch) = layer(x[0]), layer(x)
    assert same(y, expected)
    assert log_det == of_batch
    assert same(layer.inverse(y), x)


def test_varying_blurs_take_one_image_alone():
    A = unconv.ConvolutionProduct(randn(2, 3).abs(), (torch.tensor([0.0, 4.0]),), (9,))
    x, y = randn(1, *A.domain_shape), randn(1, *A.range_shape)
    assert same(A(x[0]), A(x))
    assert same(A.tikhonov(0.5)(y[0]), A.tikhonov(0.5)(y))
    assert same(A.lstsq(y[0], 0.5).solution, A.lstsq(y, 0.5).solution)


@pytest.mark.parametrize("nd", [2, 3])
def test_channels_last_are_kept(nd):
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[nd]
    op = ConvOperator(randn(3, 2, *[3] * nd), (5, 6, 4)[:nd], padding=1)
    x = randn(2, *op.domain_shape).to(memory_format=layout)
    y = op(x).detach().requires_grad_()
    answers = {
        "A": y,
        "Aᴴ": op.H(y),
        "A⁺": op.pinv()(y),
        "damped": op.tikhonov(0.5)(y),
        "on the gradient": op.tikhonov(0.5, penalty="gradient")(y),
        "certified": op.lstsq(y, 0.5).solution,
        "on the gradient, certified": op.lstsq(y, 0.5, penalty="gradient").solution,
        "prox": op.prox(x, y, 0.5),
        "one call": unconv.tikhonov(y, op.weight, 0.5, padding=1),
    }
    for name, found in answers.items():
        assert found.is_contiguous(memory_format=layout), name
    found = op.tikhonov(0.5)(y)
    found.square().sum().backward()
    plain = y.detach().contiguous().requires_grad_()
    expected = op.tikhonov(0.5)(plain)
    assert expected.is_contiguous()
    assert relative(found, expected) == 0
    expected.square().sum().backward()
    assert relative(y.grad, plain.grad) < 1e-13


@given(cases(per_sample=False), st.sampled_from(HALVES))
@settings(max_examples=15)
def test_halves_are_computed_in_single_precision(case, dtype):
    """All rounding is that of data and answer; the same numbers in float64 know no other."""
    if case.dtype.is_complex:
        return
    op = case.operator(dtype)
    eps, A = torch.finfo(dtype).eps, dense_twin(op)
    x, y = data(op.domain_shape, op), data(op.range_shape, op)
    for found, matrix, given_ in ((op(x), A, x), (op.H(y), A.mT, y)):
        assert found.dtype == dtype
        assert relative(found.flatten(1), given_.double().flatten(1) @ matrix.mT) < eps
    if not is_small(op):
        return
    gram = A.mT @ A + 0.25 * torch.eye(A.shape[1], dtype=F64)
    expected = torch.linalg.solve(gram, A.mT @ y.double().flatten(1).mT).mT
    leaf = op.weight.clone().requires_grad_()
    for found in (
        op.with_weight(leaf).tikhonov(0.5)(y),
        op.lstsq(y, 0.5).solution,
        op.lstsq(y[0], 0.5).solution[None].expand(2, *op.domain_shape),
    ):
        assert found.dtype == dtype
        assert relative(found[0].flatten(), expected[0]) < eps
    certificate = op.lstsq(y, 0.5).certificate
    assert bool(certificate.converged.all())
    (gradient,) = torch.autograd.grad(op.with_weight(leaf).tikhonov(0.5)(y).sum(), leaf)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("dtype", HALVES)
def test_plans_and_layers_say_and_keep_halves(dtype):
    op = ConvOperator(randn(2, 2, 3, 3, dtype=dtype), (8, 8), padding=1)
    assert op.plan(damp=0.5).factor_dtype in (torch.float32, F64)
    y = randn(2, 2, 8, 8, dtype=dtype)
    for kind in (PinvConv2d, TikhonovConv2d, WienerConv2d):
        layer = kind(2, 2, 3, padding=1, dtype=dtype)
        layer(y).sum().backward()
        assert layer(y).dtype == layer.weight.grad.dtype == dtype
    for masked in (False, True):
        flow = InvertibleConv2d(2, 3, masked=masked, dtype=dtype)
        assert relative(flow.inverse(flow(y)[0]), y) < 4 * torch.finfo(dtype).eps
