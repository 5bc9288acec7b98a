"""Many damps at one factorisation: each solution is that of its own."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.parameter_choice import tikhonov_path

from ..helpers import DOUBLES, data, randn, relative
from ..regularize.test_filters import OPERATORS, cosine, operator, separable

DAMPS = [1e-6, 0.3, 10.0]


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", OPERATORS)
def test_each_damp(name, dtype):
    op = operator(name, dtype)
    y = data(op.range_shape, op)
    for damp, x in zip(DAMPS, tikhonov_path(op, y, DAMPS), strict=True):
        assert relative(x, op.tikhonov(damp)(y)) < 1e-8


@pytest.mark.parametrize("make", [separable, cosine])
def test_axes_and_cosines(make):
    op = make(torch.float64)
    y = data(op.range_shape, op)
    for damp, x in zip(DAMPS[1:], tikhonov_path(op, y, DAMPS[1:]), strict=True):
        assert relative(x, op.tikhonov(damp)(y)) < 1e-10


def test_singular_values_of_zero_and_dtypes():
    K = torch.tensor([[[1.0, 2.0, 1.0]]])
    op = ConvOperator(K, (8,), padding=1, padding_mode="circular")
    y = data(op.range_shape, op)
    (x,) = tikhonov_path(op, y, [1e-3])
    assert x.dtype == torch.float32
    assert relative(x, op.tikhonov(1e-3)(y)) < 1e-5
    (z,) = tikhonov_path(op, torch.complex(y, y), [1e-3])
    assert relative(z, torch.complex(x, x)) < 1e-5
    (w,) = tikhonov_path(op, y, [1e-3], memory_limit=1e5)
    assert relative(w, x) < 1e-4


def test_bad_damps_are_refused_at_once():
    op = operator("fourier", torch.float64)
    with pytest.raises(ValueError, match="damp=0"):
        tikhonov_path(op, data(op.range_shape, op), [0.1, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        tikhonov_path(op, randn(*op.range_shape)[None] * float("nan"), [0.1])
