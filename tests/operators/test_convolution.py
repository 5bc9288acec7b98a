"""ConvOperator is torch's layer, and its adjoint is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from torch import nn

from unconv import ConvOperator
from unconv.testing import dense_twin, dot_test

from ..helpers import (
    C128,
    F64,
    ROUND_OFF,
    SINGLES,
    assert_says,
    data,
    randn,
    relative,
    scale_of,
)
from ..strategies import Case, cases

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LAYER = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LAYER_TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NUMPY_NAME = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
NUMPY_PAD = {"zeros": {"mode": "constant"}, "symmetric": {"mode": "symmetric"}}
NUMPY_PAD |= {"antireflective": {"mode": "reflect", "reflect_type": "odd"}}
NUMPY_PAD |= {ours: {"mode": theirs} for ours, theirs in NUMPY_NAME.items()}
TORCH_FORMS = ("valid", "same", "int", "tuple")
TORCH_MODES = ("zeros", "circular", "reflect", "replicate")
TYPES = [F64, C128, *SINGLES]

same_on_even = pytest.mark.filterwarnings("ignore:Using padding='same' with even")


def assert_equal_to(op: ConvOperator, x: torch.Tensor, expected: torch.Tensor) -> None:
    y = op(x)
    assert y.dtype == expected.dtype
    assert y.device == x.device
    assert relative(y, expected, scale_of(op, x)) < ROUND_OFF[y.dtype]


def torch_options(case: Case) -> dict:
    names = ("stride", "padding", "dilation", "groups")
    return {name: case.options[name] for name in names}


@same_on_even
@given(
    cases(
        modes=("zeros",),
        forms=TORCH_FORMS,
        transposed=False,
        per_sample=False,
        flip=False,
        dtypes=TYPES,
    )
)
@settings(max_examples=60)
def test_forward_is_torch_conv(case: Case):
    op = case.operator()
    x = data(op.domain_shape, op)
    assert_equal_to(op, x, CONV[op.geometry.nd](x, op.weight, None, **torch_options(case)))


@given(
    cases(
        modes=("zeros",),
        forms=("int", "tuple"),
        transposed=True,
        per_sample=False,
        flip=False,
        dtypes=TYPES,
    )
)
@settings(max_examples=60)
def test_forward_is_torch_conv_transpose(case: Case):
    op = case.operator()
    x = data(op.domain_shape, op)
    options = torch_options(case) | {"output_padding": case.options["output_padding"]}
    assert_equal_to(op, x, CONV_TRANSPOSE[op.geometry.nd](x, op.weight, None, **options))


@given(cases(transposed=False, per_sample=False, flip=False, dtypes=TYPES))
@settings(max_examples=60)
def test_forward_is_torch_conv_of_numpy_pad(case: Case):
    """All modes, all forms of padding: pad by NumPy, then a valid torch convolution."""
    op = case.operator()
    x = data(op.domain_shape, op)
    pairs = [(0, 0), (0, 0), *((a.before, a.after) for a in op.geometry.axes)]
    mode = case.options["padding_mode"]
    padded = torch.from_numpy(np.pad(x.numpy(), pairs, **NUMPY_PAD[mode]))
    options = torch_options(case) | {"padding": 0}
    assert_equal_to(op, x, CONV[op.geometry.nd](padded, op.weight, None, **options))


@same_on_even
@given(
    cases(
        modes=TORCH_MODES,
        forms=TORCH_FORMS,
        transposed=False,
        per_sample=False,
        flip=False,
        dtypes=[F64, torch.float32],
    )
)
@settings(max_examples=60)
def test_from_module(case: Case):
    op = case.operator()
    axes = op.geometry.axes
    if case.options["padding_mode"] == "circular":  # torch wraps once at most
        assume(all(max(a.before, a.after) <= a.n for a in axes))
    layer = LAYER[op.geometry.nd](
        op.domain_shape[0],
        op.range_shape[0],
        tuple(a.k for a in axes),
        padding_mode=case.options["padding_mode"],
        dtype=op.dtype,
        **torch_options(case),
    )
    A = ConvOperator.from_module(layer, case.input_shape)
    assert A.weight is layer.weight
    assert dict(A.named_parameters())["bias"] is layer.bias
    x = data(A.domain_shape, A)
    bias = layer.bias.reshape(-1, *[1] * op.geometry.nd)
    assert torch.equal(A.bias, bias)
    assert_equal_to(A, x, layer(x) - bias)
    assert dot_test(A) < ROUND_OFF[A.dtype] * 10


@given(
    cases(
        modes=("zeros",),
        forms=("int", "tuple"),
        transposed=True,
        per_sample=False,
        flip=False,
        dtypes=[F64, torch.float32],
    )
)
def test_from_transposed_module(case: Case):
    op = case.operator()
    axes = op.geometry.axes
    layer = LAYER_TRANSPOSE[op.geometry.nd](
        op.domain_shape[0],
        op.range_shape[0],
        tuple(a.k for a in axes),
        output_padding=case.options["output_padding"],
        bias=False,
        dtype=op.dtype,
        **torch_options(case),
    )
    A = ConvOperator.from_module(layer, case.input_shape)
    assert A.bias is None
    x = data(A.domain_shape, A)
    assert_equal_to(A, x, layer(x))


@given(cases(per_sample=True))
def test_one_kernel_a_sample_is_a_loop(case: Case):
    op = case.operator()
    x, y = data(op.domain_shape, op), data(op.range_shape, op)
    for i in range(op.batch_size):
        one = ConvOperator(op.weight[i], case.input_shape, **case.options)
        assert relative(op(x)[i : i + 1], one(x[i : i + 1]), scale_of(op, x)) < 1e-14
        assert relative(op.H(y)[i : i + 1], one.H(y[i : i + 1]), scale_of(op, y)) < 1e-14


@given(cases(flip=False))
def test_flip_is_convolution(case: Case):
    op = case.operator()
    dims = tuple(range(-op.geometry.nd, 0))
    true = ConvOperator(op.weight.flip(dims), case.input_shape, **case.options | {"flip": True})
    x = data(op.domain_shape, op)
    assert torch.equal(true(x), op(x))


def test_flip_is_numpy_convolve():
    w, x = randn(1, 1, 4), randn(1, 1, 7, seed=1)
    op = ConvOperator(w, (7,), padding="full", flip=True)
    expected = np.convolve(x[0, 0].numpy(), w[0, 0].numpy(), "full")
    np.testing.assert_allclose(op(x)[0, 0].numpy(), expected, rtol=1e-13)


@given(cases(transposed=False))
def test_transposed_is_the_transpose(case: Case):
    op = case.operator()
    m = op.range_shape[1:]
    extra = [a.n - ((a.m - 1) * a.stride + a.extent - a.before - a.after) for a in op.geometry.axes]
    limits = [max(a.stride, a.dilation) for a in op.geometry.axes]
    assert all(0 <= e < s for e, s in zip(extra, limits, strict=True))
    options = case.options | {"transposed": True, "output_padding": tuple(extra)}
    turned = ConvOperator(op.weight, m, **options)
    assert (turned.domain_shape, turned.range_shape) == (op.range_shape, op.domain_shape)
    assert relative(turned.to_dense(), dense_twin(op).mT) < 1e-14


@pytest.mark.parametrize("n", range(5, 11))
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_adjoint_of_strides_has_the_domains_shape(n, stride):
    """torch needs output_padding for this; the operator knows its domain."""
    op = ConvOperator(randn(2, 3, 3, 3), (n, n + 1), stride=stride, padding=1)
    y = randn(4, *op.range_shape)
    assert op.H(y).shape == (4, 3, n, n + 1)
    assert dot_test(op) < 1e-13


# --- the exact gradient statement ---------------------------------------------------------------

LAYERS = [
    (nn.Conv2d(3, 4, 3, padding=1), (6, 7)),
    (nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 2), groups=2), (7, 8)),
    (nn.Conv2d(2, 2, 3, padding="same", padding_mode="reflect"), (6, 5)),
    (nn.Conv3d(2, 3, 3, padding=1), (4, 5, 4)),
    (nn.Conv3d(2, 3, (1, 2, 3), stride=(1, 2, 2), dilation=2), (4, 6, 7)),
    (nn.Conv1d(2, 3, 5, padding=2, padding_mode="circular"), (9,)),
    (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (4, 5)),
]


@pytest.mark.parametrize(("layer", "size"), LAYERS, ids=repr)
def test_gradient_of_half_the_squared_residual(layer, size):
    layer = layer.double()
    op = ConvOperator.from_module(layer, size)
    x = randn(2, *op.domain_shape).requires_grad_()
    y = randn(2, *op.range_shape, seed=1)
    (0.5 * (layer(x) - y).square().sum()).backward()
    for gradient in (op.H(op(x) + op.bias - y), op.residual_gradient(x, y)):
        assert relative(gradient, x.grad) < 1e-14


@same_on_even
@given(
    cases(modes=TORCH_MODES, forms=("int", "valid"), flip=False, dtypes=[F64, C128]),
    st.integers(0, 2**20),
)
def test_a_bias_goes_by_channels_whatever_the_width(case: Case, seed: int):
    """The last axis is as long as there are output channels in many of these draws."""
    op = case.operator()
    channels, width = op.range_shape[0], op.range_shape[-1]
    bias = randn(channels, dtype=op.dtype, seed=seed)
    op = ConvOperator(op.weight, case.input_shape, bias=bias, **case.options)
    x, y = data(op.domain_shape, op), data(op.range_shape, op)
    layer = torch.stack([one + b for one, b in zip(op(x).unbind(1), bias, strict=True)], 1)
    assert relative(op.affine(x), layer, scale_of(op, x)) < 1e-14
    assert relative(op(x) + op.bias, layer, scale_of(op, x)) < 1e-14
    wanted = op.H(layer - y)
    assert relative(op.residual_gradient(x, y), wanted, scale_of(op, x) + 1) < 1e-13
    event(f"the width is the number of channels: {width == channels}")


def test_where_nothing_was_seen_neither_bias_nor_data_count():
    mask = randn(4, 4) > 0
    op = ConvOperator(randn(4, 2, 3, 3), (6, 6), bias=randn(4)).observed(mask)
    x, y = randn(1, 2, 6, 6, seed=1).requires_grad_(), randn(1, 4, 4, 4, seed=2)
    (0.5 * (op.affine(x) - y)[..., mask].square().sum()).backward()
    assert not op.affine(x)[..., ~mask].any()
    assert relative(op.residual_gradient(x, y.where(mask, torch.nan)), x.grad) < 1e-14
    plain = ConvOperator(op.weight, (6, 6))
    assert torch.equal(plain.affine(x), plain(x))
    with pytest.raises(
        ValueError,
        match=r"of x, and y is \(2, 4, .*give one y for each x",
    ):
        plain.residual_gradient(x, y.repeat(2, 1, 1, 1))


# --- nothing is touched, everything repeats -------------------------------------------------------


@given(cases(dtypes=[F64, C128, torch.float32, torch.bfloat16]))
def test_arguments_are_untouched_and_bits_repeat(case: Case):
    op = case.operator()
    x, y = data(op.domain_shape, op), data(op.range_shape, op)
    before = [t.clone() for t in (op.weight, x, y)]
    first, second = (op(x), op.H(y)), (op(x), op.H(y))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(before, (op.weight, x, y), strict=True):
        assert torch.equal(a, b)
    assert op(x).data_ptr() != x.data_ptr()


@given(cases())
def test_layout_of_the_input_does_not_matter(case: Case):
    op = case.operator()
    x = data(op.domain_shape, op)
    strided = torch.stack([x, x], -1)[..., 0]
    assert not strided.is_contiguous() or strided.numel() <= 1
    assert relative(op(strided), op(x), scale_of(op, x)) < 1e-14
    lazy = x.conj() if x.is_complex() else -x
    assert relative(op(lazy), op(lazy.clone().resolve_conj()), scale_of(op, x)) < 1e-14


def test_parameters_and_buffers():
    w = nn.Parameter(randn(2, 1, 3))
    op = ConvOperator(w, (5,), bias=randn(2))
    assert dict(op.named_parameters()) == {"weight": w}
    assert set(op.state_dict()) == {"weight", "bias"}
    op(randn(1, 1, 5)).sum().backward()
    assert w.grad is not None


def test_with_weight_keeps_every_option():
    options = {"stride": 2, "padding": 1, "padding_mode": "reflect", "flip": True, "groups": 2}
    op = ConvOperator(randn(2, 1, 3), (7,), bias=randn(2), **options)
    w = randn(2, 1, 3, dtype=C128, seed=5)
    other = op.with_weight(w)
    assert other.weight is w
    assert other.state_dict()["bias"].data_ptr() == op.state_dict()["bias"].data_ptr()
    assert torch.equal(other.bias, op.bias)
    assert relative(other.to_dense(), dense_twin(ConvOperator(w, (7,), **options))) < 1e-14
    assert op.dtype == F64


def test_print_shows_the_options():
    op = ConvOperator(randn(4, 1, 3, 2), (8, 7), stride=2, padding="full", groups=2)
    text = repr(op)
    for part in ("ConvOperator", "(2, 8, 7) -> (4, 5, 4)", "kernel=(3, 2)", "stride=(2, 2)"):
        assert part in text
    assert "padding=((2, 2), (1, 1))" in text


# --- refusals -------------------------------------------------------------------------------------

K = randn(4, 2, 3, 3)
REFUSED = [
    (lambda: ConvOperator(K, 5), TypeError, ["input_shape=5", "tuple", "(128, 128)"]),
    (lambda: ConvOperator(K, ()), ValueError, ["has 0 axes", "1, 2 or 3"]),
    (lambda: ConvOperator(K, (5, 5, 5, 5)), ValueError, ["has 4 axes", "without batch"]),
    (lambda: ConvOperator(K[0, 0], (5, 5)), ValueError, ["(3, 3)", "expected 4 axes", "or 5"]),
    (lambda: ConvOperator(K, (5, 5, 5)), ValueError, ["(4, 2, 3, 3)", "expected 5 axes"]),
    (lambda: ConvOperator(K, (5, 5.0)), TypeError, ["input_shape", "5.0", "integer"]),
    (lambda: ConvOperator(K, (5, 0)), ValueError, ["input_shape=(5, 0)", "at least 1"]),
    (lambda: ConvOperator(K.long(), (5, 5)), TypeError, ["weight", "int64", ".float()"]),
    (lambda: ConvOperator(K.numpy(), (5, 5)), TypeError, ["weight", "ndarray", "as_tensor"]),
    (
        lambda: ConvOperator(K, (5, 5), bias=randn(3)),
        ValueError,
        ["bias must have shape (4,)", "got (3,)"],
    ),
    (lambda: ConvOperator(K, (5, 5), bias=randn(4, 1)), ValueError, ["(4,)", "got (4, 1)"]),
    (lambda: ConvOperator(K, (5, 5), bias=1.0), TypeError, ["bias", "float", "as_tensor"]),
    (
        lambda: ConvOperator(K, (5, 5), transposed=True, bias=randn(4)),
        ValueError,
        ["bias must have shape (2,)", "got (4,)"],
    ),
    (
        lambda: ConvOperator.from_module(nn.Linear(3, 3), (5,)),
        TypeError,
        ["nn.Conv1d", "nn.ConvTranspose3d", "got Linear"],
    ),
    (
        lambda: ConvOperator(randn(8, 3, 3, 3), (5, 5), groups=3),
        ValueError,
        ["groups=3 must divide out_channels=8; use 1, 2, 4 or 8."],
    ),
]


@pytest.mark.parametrize(("call", "kind", "parts"), REFUSED)
def test_refused(call, kind, parts):
    with pytest.raises(kind) as error:
        call()
    assert_says(error, *parts)


def test_unknown_keywords_are_errors():
    with pytest.raises(TypeError, match="strides"):
        ConvOperator(K, (5, 5), strides=2)


# --- one kernel for all channels: what the sentences advise, tried


@given(cases(dtypes=[F64], per_sample=False), st.integers(2, 4))
@settings(max_examples=30)
def test_one_kernel_for_all_channels(case: Case, C: int):
    nd = len(case.input_shape)
    k = randn(*case.operator().weight.shape[-nd:])
    options = case.options | {"groups": 1}
    A = ConvOperator(k[None, None], case.input_shape, **options)
    x = randn(2, C, *A.domain_shape[1:])
    with pytest.raises(ValueError, match="for one kernel k for all") as error:
        A(x)
    assert_says(
        error,
        "x.flatten(0, 1)[:, None]",
        f"k[None, None].expand({C}, 1, *k.shape) with groups={C}",
    )
    apart = A(x.flatten(0, 1)[:, None])
    weight = k[None, None].expand(C, 1, *k.shape)
    together = ConvOperator(weight, case.input_shape, **options | {"groups": C})(x)
    assert relative(apart.reshape(together.shape), together, scale_of(A, x)) < 1e-14
    with pytest.raises(ValueError, match="of a kernel alone make k") as error:
        ConvOperator(k, case.input_shape, **options)
    assert_says(error, f"k[None, None].expand(C, 1, {', '.join(map(str, k.shape))}) with groups=C")
    with pytest.raises(ValueError, match=rf"use 1, or weight\.expand\({C}, 1, "):
        ConvOperator(k[None, None], case.input_shape, **options | {"groups": C})
