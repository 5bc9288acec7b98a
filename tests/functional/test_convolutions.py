"""The one-call functions are the operator's, with conv_transpose's idea of a size."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
import torch.nn.functional as F

import unconv
from unconv import ConvOperator
from unconv.inverse import AccuracyWarning

from ..helpers import (
    C128,
    F64,
    assert_says,
    near_identity,
    randn,
    relative,
)

ADJOINT = {1: unconv.conv1d_adjoint, 2: unconv.conv2d_adjoint, 3: unconv.conv3d_adjoint}
PINV = {1: unconv.conv1d_pinv, 2: unconv.conv2d_pinv, 3: unconv.conv3d_pinv}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

OPTIONS = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "stride": 2},
    {"stride": 3, "dilation": 2, "padding": 1, "groups": 2},
]
every_case = pytest.mark.parametrize(
    ("nd", "options"), list(itertools.product((1, 2, 3), OPTIONS)), ids=str
)


@every_case
def test_default_size_is_that_of_conv_transpose(nd, options):
    w = randn(2, 3, *[3] * nd)
    y = randn(2, 2, *[3] * nd, seed=1)
    expected = CONV_TRANSPOSE[nd](y, w, **options)
    found = ADJOINT[nd](y, w, **options)
    assert relative(found, expected) < 1e-14
    assert PINV[nd](y, w, **options).shape == expected.shape


@every_case
@pytest.mark.parametrize("dtype", [F64, C128])
def test_adjoint_and_pinv_of_the_operator(nd, options, dtype):
    size = (7, 6, 4)[:nd]
    w = randn(2, 3, *[3] * nd, dtype=dtype)
    op = ConvOperator(w, size, **options)
    y = randn(2, *op.range_shape, dtype=dtype)
    given_size = options | {"input_shape": size}
    assert torch.equal(ADJOINT[nd](y, w, **given_size), op.H(y))
    assert torch.equal(PINV[nd](y, w, **given_size), op.pinv()(y))
    damped = PINV[nd](y, w, damp=0.3, **given_size)
    assert torch.equal(damped, op.tikhonov(0.3)(y))


@pytest.mark.parametrize("nd", [1, 2, 3])
def test_pinv_solves_least_squares(nd):
    size = (5, 4, 3)[:nd]
    w = randn(4, 2, *[2] * nd)
    x = randn(2, 2, *size)
    y = CONV[nd](x, w, padding=1)
    assert relative(PINV[nd](y, w, padding=1), x) < 1e-12
    y = y + randn(*y.shape, seed=7)
    z = PINV[nd](y, w, padding=1)
    gradient = ADJOINT[nd](CONV[nd](z, w, padding=1) - y, w, padding=1)
    assert relative(gradient, torch.zeros_like(gradient), torch.linalg.norm(y)) < 1e-12


@pytest.mark.parametrize("nd", [1, 2, 3])
@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate", "symmetric"])
def test_modes_and_own_kernels(nd, mode):
    size = (5, 4, 3)[:nd]
    w = randn(2, 3, 2, *[3] * nd)
    op = ConvOperator(w, size, padding=1, padding_mode=mode)
    x = randn(2, 2, *size)
    y = op(x)
    options = {"padding": 1, "padding_mode": mode}
    assert torch.equal(ADJOINT[nd](y, w, **options), op.H(y))
    assert relative(PINV[nd](y, w, **options), op.pinv()(y)) < 1e-14


@pytest.mark.parametrize("padding", ["valid", "same", "full", ((0, 2), (1, 0)), (1, 0)])
def test_all_forms_of_padding(padding):
    w = randn(3, 2, 3, 2)
    op = ConvOperator(w, (6, 5), padding=padding)
    y = randn(1, *op.range_shape)
    assert torch.equal(unconv.conv2d_adjoint(y, w, padding=padding), op.H(y))
    assert unconv.conv2d_pinv(y, w, padding=padding).shape == (1, 2, 6, 5)


def test_rtol_and_method_pass_through():
    w = randn(1, 1, 3)
    op = ConvOperator(w, (9,), padding=1, padding_mode="circular")
    y = randn(2, 1, 9)
    options = {"padding": 1, "padding_mode": "circular"}
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):  # values lie close to 0.5
        found = unconv.conv1d_pinv(y, w, rtol=0.5, method="dense", **options)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        expected = op.pinv(rtol=0.5, method="dense")(y)
    assert torch.equal(found, expected)
    assert relative(found, op.pinv()(y)) > 1e-3


@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        (torch.float32, F64, F64),
        (F64, torch.float32, F64),
        (torch.float32, torch.complex64, torch.complex64),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ],
)
def test_result_dtype(own, other, result):
    w, y = near_identity(2, 2, 3, dtype=own), randn(1, 2, 6, dtype=other)
    assert unconv.conv1d_adjoint(y, w, padding=1).dtype == result
    x = unconv.conv1d_pinv(y, w, padding=1)
    assert x.dtype == result
    assert result == torch.result_type(w, y)
    wide = unconv.conv1d_pinv(y.to(C128), w.to(F64), padding=1)
    assert relative(x, wide if result.is_complex else wide.real) < 8 * torch.finfo(result).eps


@pytest.mark.parametrize("nd", [1, 2, 3])
def test_signatures_begin_as_torch(nd):
    names = ["weight", "stride", "padding", "dilation", "groups"]
    for function in (ADJOINT[nd], PINV[nd]):
        parameters = list(inspect.signature(function).parameters)
        assert parameters[0] == "y"
        assert parameters[1:6] == names
        assert function.__name__ in unconv.__all__


def test_gradients_as_the_operators():
    w, y = randn(2, 1, 3).requires_grad_(), randn(1, 2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y, w: unconv.conv1d_adjoint(y, w), (y, w))
    assert torch.autograd.gradcheck(lambda y, w: unconv.conv1d_pinv(y, w), (y, w))
    damp = torch.tensor(0.5, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *p: unconv.conv1d_pinv(*p[:2], damp=p[2]), (y, w, damp))
    assert torch.autograd.gradcheck(unconv.tikhonov, (y, w, damp))


W, Y = randn(2, 3, 3), randn(1, 2, 4)
REFUSED = [
    (lambda f: f(Y[0, 0], W), ValueError, ["(4,)", "(N, channels", "y[None]"]),
    (lambda f: f(Y[..., None], W), ValueError, ["(1, 2, 4, 1)", "(N, channels"]),
    (lambda f: f(randn(1, 3, 4), W), ValueError, ["(N, 2, 4)", "(1, 3, 4)"]),
    (lambda f: f(Y, W, input_shape=(9,)), ValueError, ["(N, 2, 7)", "(1, 2, 4)", "input_shape"]),
    (lambda f: f(Y, W, input_shape=(2,)), ValueError, ["output would be empty"]),
    (lambda f: f(Y, W, padding=3), ValueError, ["no input has the output size", "input_shape"]),
    (lambda f: f(Y, W, groups=3), ValueError, ["groups=3 must divide out_channels=2; use 1 or 2."]),
    (lambda f: f(Y.long(), W), TypeError, ["y must be floating point", "int64"]),
    (lambda f: f(Y, W.long()), TypeError, ["weight must be floating point", "int64"]),
    (lambda f: f(Y.numpy(), W), TypeError, ["y must be a torch.Tensor", "ndarray"]),
    (lambda f: f(Y, W.to("meta")), ValueError, ["cpu", "meta", ".to(device)"]),
    (lambda f: f(Y, W[0]), ValueError, ["weight has shape (3, 3)", "expected 3 axes"]),
    (lambda f: f(Y, W[0, 0]), ValueError, ["weight has shape (3,)", "expected 3 axes"]),
    (lambda f: f(Y, W, padding_mode="mirror"), ValueError, ["'mirror' is not known"]),
    (lambda f: f(Y, W, stride=(1, 2)), ValueError, ["stride=(1, 2)"]),
    (lambda f: f(Y, W, transposed=True), TypeError, ["transposed"]),
]


@pytest.mark.parametrize("function", [unconv.conv1d_adjoint, unconv.conv1d_pinv])
@pytest.mark.parametrize(("call", "kind", "parts"), REFUSED)
def test_refused(function, call, kind, parts):
    with pytest.raises(kind) as error:
        call(function)
    assert_says(error, *parts)


@pytest.mark.parametrize("nd", [1, 2, 3])
def test_weight_of_another_dimension(nd):
    with pytest.raises(ValueError, match="weight has shape"):
        PINV[nd](randn(1, 2, *[4] * nd), randn(2, 2, *[3] * (nd - 1)))
