"""Products beyond working precision, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from unconv import ConvOperator
from unconv.spectrum.accurate_product import AccurateProduct, _cut
from unconv.testing import dense_twin

from ..helpers import (
    DOUBLES,
    F64,
    randn,
)


@pytest.mark.parametrize("adjoint", [False, True])
def test_products_beyond_working_precision(adjoint):
    """A z of a vector that A all but annihilates, against rational arithmetic."""
    op = ConvOperator(randn(3, 3, 3), (6,), padding=1)
    A = dense_twin(op).mT if adjoint else dense_twin(op)
    z = torch.linalg.svd(A[:-1]).Vh[-1].reshape(1, 3, 6)
    terms = [[Fraction(a) * Fraction(x) for a, x in zip(row, z.ravel().tolist(), strict=True)]
             for row in A.tolist()]  # fmt: skip
    exact = torch.tensor([float(sum(row)) for row in terms], dtype=F64).reshape(1, 3, 6)
    product = AccurateProduct(op)
    plain, found = (op.H(z), product.rmatvec(z)) if adjoint else (op(z), product.matvec(z))
    assert (plain - exact).abs().amax() > 1e-17
    assert (found - exact).abs().amax() < 1e-24 + 1e-15 * exact.abs().amax()
    cancelled = exact.abs() < 1e-14
    assert ((found - exact).abs() < 1e-6 * exact.abs())[cancelled].all()


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("size", [1.0, 1e-200, 1e200])
def test_parts_of_a_tensor_sum_up_to_it(dtype, size):
    t = randn(5, 7, dtype=dtype) * size
    first, second, third = _cut(t, 20)
    assert torch.equal(first + second + third, t)
    assert third.abs().amax() < 2e-12 * t.abs().amax()
