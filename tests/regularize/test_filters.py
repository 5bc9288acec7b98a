"""Filtered inverses against U, S and V of the dense matrix."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.regularize.filters import landweber, showalter
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    assert_says,
    data,
    randn,
    relative,
)

OPERATORS = {
    "fourier": ((3, 2, 3, 3), (6, 5), {"padding": "same", "padding_mode": "circular"}),
    "strided": ((3, 2, 4), (8,), {"padding": ((1, 1),), "padding_mode": "circular", "stride": 2}),
    "transposed": ((3, 2, 2), (4,), {"stride": 2, "transposed": True}),
    "groups": ((4, 1, 3), (9,), {"padding": 1, "padding_mode": "circular", "groups": 2}),
    "own kernels": ((2, 2, 2, 3), (7,), {"padding": 1, "padding_mode": "circular"}),
    "dense": ((2, 2, 3, 3), (5, 4), {"padding": 1}),
}


def operator(name: str, dtype) -> ConvOperator:
    shape, size, options = OPERATORS[name]
    if name == "groups":
        shape = (4, 2, 3)
    return ConvOperator(randn(*shape, dtype=dtype), size, **options)


def separable(dtype) -> ConvOperator:
    line = torch.tensor([1.0, 3.0, 2.0]).to(dtype)
    return ConvOperator(torch.outer(line, line)[None, None], (14, 13), padding=1)


def cosine(dtype) -> ConvOperator:
    K = randn(2, 2, 3, 3, dtype=dtype)
    K = K + K.flip(-1)
    return ConvOperator(K + K.flip(-2), (12, 11), padding=1, padding_mode="symmetric")


def assert_filters(op: ConvOperator, gain) -> None:
    A = dense_twin(op)
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    X = (Vh.mH * gain(S)[..., None, :]) @ U.mH
    found = op.filtered(gain)
    assert relative(found.to_dense(), X) < 1e-11
    assert relative(found.H.to_dense(), X.mH) < 1e-11


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", OPERATORS)
def test_any_filter(name, dtype):
    assert_filters(operator(name, dtype), lambda s: s / (s**2 + 0.3))


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("make", [separable, cosine])
def test_where_axes_or_cosines_diagonalise(make, dtype):
    op = make(dtype)
    assert op.filtered(showalter(1.0)).method == make.__name__
    assert_filters(op, showalter(2.0))


@pytest.mark.parametrize("name", ["fourier", "dense"])
def test_landweber_is_the_iteration(name):
    op = operator(name, C128)
    y = data(op.range_shape, op)
    step = 1 / float(op.norm()) ** 2
    x = torch.zeros(2, *op.domain_shape, dtype=C128)
    for _ in range(7):
        x = x + step * op.H(y - op(x))
    assert relative(op.filtered(landweber(7, step))(y), x) < 1e-12


def test_small_singular_values_lose_no_digits():
    s = torch.tensor([1e-9, 1e-3, 1.0, 1.3], dtype=torch.float64)
    # k·ω·σ(1 − (k − 1)·ω·σ²/2 + …)
    assert relative(landweber(3, 1.0)(s[:1]), 3 * s[:1]) < 1e-15
    assert relative(showalter(3.0)(s[:1]), 3 * s[:1]) < 1e-15
    assert relative(landweber(3, 1.0)(s[1:]), (1 - (1 - s[1:] ** 2) ** 3) / s[1:]) < 1e-9


def test_float32():
    op = operator("fourier", torch.float32)
    y = data(op.range_shape, op)
    found = op.filtered(showalter(1.0))(y)
    assert found.dtype == torch.float32
    wide = op.with_weight(op.weight.double()).filtered(showalter(1.0))(y.double())
    assert relative(found, wide) < 1e-6


def test_errors():
    op = operator("fourier", torch.float64)
    for gain, words in (
        (lambda s: 1 / (s - s), ["finite", "σ = 0"]),
        (lambda s: s.sum(), ["same shape"]),
        (landweber(2, 1e3), ["diverge", "2/σ_max²"]),
    ):
        with pytest.raises(ValueError, match=r"filter|step") as error:
            op.filtered(gain)
        assert_says(error, *words)
    large = ConvOperator(randn(1, 1, 3, 3), (64, 64), padding=1)
    with pytest.raises(NotImplementedError, match=r"tikhonov\(\)"):
        large.filtered(showalter(1.0))
    with pytest.raises(ValueError, match="steps=0"):
        landweber(0, 1.0)
    with pytest.raises(ValueError, match="a finite number > 0"):
        showalter(-1.0)


def test_a_filter_vanishes_at_zero():
    """Where σ = 0, A does not tell which u belongs to which v."""
    k = randn(1, 2, 3)
    op = ConvOperator(torch.cat([k, 2 * k]), (6,), padding=1, padding_mode="circular")
    with pytest.raises(ValueError, match=r"f\(0\) = 0"):
        op.filtered(torch.cos)
    op.filtered(lambda s: s / (s**2 + 0.1))


def test_what_is_not_differentiable_says_so():
    op = operator("fourier", torch.float64)
    theta = torch.tensor(0.1, requires_grad=True)
    with pytest.raises(NotImplementedError, match="differentiable"):
        op.filtered(lambda s: s / (s**2 + theta))
    with pytest.raises(TypeError, match="function"):
        op.filtered("tikhonov")
    with pytest.raises(NotImplementedError, match="memory_limit"):
        op.filtered(showalter(1.0), memory_limit=10)
