"""The nearest outer product, and the matrix of one axis."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from unconv.inverse.diagonal.outer_product import OuterProduct, axis_matrix, nearest_outer_product
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    randn,
    relative,
)
from ...strategies import Case, cases


def whole(found: OuterProduct) -> torch.Tensor:
    weight = found.channels * found.scale[:, None, None, None]
    for k in found.kernels:
        weight = torch.einsum("bg...,bgk->bg...k", weight, k.expand(*weight.shape[:2], -1))
    return weight


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("unit", [1.0, 1e-170, 1e170])
def test_finds_the_factors(dtype, unit):
    weight = randn(2, 3, 2, 4, dtype=dtype) * unit
    for a, k in enumerate((3, 1, 5)):
        weight = torch.einsum("bg...,bgk->bg...k", weight, randn(2, 3, k, dtype=dtype, seed=a))
    found = nearest_outer_product(weight)
    assert float(found.error.max()) < 1e-14
    assert relative(whole(found) / unit, weight / unit) < 1e-14
    assert [k.shape for k in found.kernels] == [(2, 3, 3), (1, 1, 1), (2, 3, 5)]
    for k in found.kernels:
        assert relative(torch.linalg.vector_norm(k, dim=2), torch.ones(k.shape[:2])) < 1e-15


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-9])
def test_error_is_the_distance_from_the_nearest(error):
    """In 2-D the truncated SVD is the nearest; one power step comes within error²."""
    clean = torch.outer(randn(6), randn(5, seed=1))
    weight = clean + error * randn(6, 5, seed=2)
    S = torch.linalg.svdvals(weight)
    expected = float(S[1:].norm() / S.norm())
    found = nearest_outer_product(weight[None, None, None, None])
    assert abs(float(found.error) / expected - 1) < 1e-4


def test_kernels_alike_but_for_rounding_become_equal():
    line = torch.tensor([1.0, 2.5, 1.0], dtype=F64) / 3
    rows = torch.stack([s * torch.outer(line, line) for s in (0.299, -0.587, 0.114)])
    weight = rows[None, :, None, None]
    weight = weight * (1 + 1e-16 * randn(*weight.shape))
    first, second = nearest_outer_product(weight).kernels
    assert first.shape == (1, 1, 3)
    assert torch.equal(first, first.flip(2))
    assert torch.equal(first, second)


def test_zeros_and_values_that_are_not_finite():
    weight = torch.zeros(1, 2, 1, 1, 3, 3, dtype=C128)
    weight[0, 1] = 1
    found = nearest_outer_product(weight)
    assert found.error.max() < 1e-15
    assert relative(whole(found), weight) < 1e-15
    weight[0, 0, 0, 0, 1, 1] = torch.inf
    assert nearest_outer_product(weight).error[0, 0].isnan()


@given(cases(dims=(1,), per_sample=False, transposed=False, flip=False))
def test_axis_matrix_is_the_matrix(case: Case):
    op = case.operator()
    axis = op.geometry.axes[0]
    block = dense_twin(op)[: axis.m, : axis.n]  # first output of the first input channel
    assert relative(axis_matrix(axis, op.weight[0, 0]), block) < 1e-14
