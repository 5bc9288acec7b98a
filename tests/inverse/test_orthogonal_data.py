"""Data orthogonal to the range of A are found exactly, and their solution is zero."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse.orthogonal_data import annihilated

from ..helpers import C128, DOUBLES, F64, doubled, engine, randn

DTYPES = (torch.float32, F64, torch.complex64, C128)


@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.sampled_from(["direct", "fft"]))
@settings(max_examples=40)
def test_annihilated_is_exact(seed, dtype, way):
    """Cancellations of random numbers are found, and one unit in the last place undoes them."""
    wide = doubled(torch.zeros(1, dtype=dtype)).dtype
    weight = randn(1, 2, 3, dtype=dtype, seed=seed).expand(2, 2, 3).to(wide)
    op = ConvOperator(weight / weight.abs().max(), (7,), padding=1)
    half = randn(3, 1, 7, dtype=dtype, seed=seed + 1).to(wide)
    y = torch.cat([half, -half], 1) / half.abs().amax()
    y[1] = 0
    y[2, 0, 3] = y[2, 0, 3] * (1 + 2.0**-50)
    with engine(way):
        assert annihilated(op, y).tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_solution_that_is_zero_has_a_derivative_all_the_same(dtype):
    """x = A⁺y is linear in y, also at the y whose round-off is replaced by zero."""
    op = ConvOperator(torch.tensor([[[0.1]], [[0.1]]], dtype=dtype), (5,))
    half = randn(1, 1, 5, dtype=dtype)
    y = torch.cat([half, -half], 1).requires_grad_()
    x, certificate = op.lstsq(y)
    assert not x.any()
    assert certificate.error_bound.tolist() == [0]
    gradient = torch.autograd.grad(x.real.sum(), y)[0]
    assert torch.allclose(gradient, torch.full_like(gradient, 5))
