"""Kernels without zero slices are the same operators, with fewer ghosts where padding copies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.convolve import grouped
from unconv.inverse.boundary.sizes import sizes_of
from unconv.inverse.boundary.zero_slices import needed_geometry, without_zero_slices
from unconv.testing import dense_twin

from ...helpers import F64, randn, relative
from ...strategies import Case, cases


def with_zero_slices(op: ConvOperator, ends: list[int]) -> ConvOperator:
    """Bit 1: zeros in the first slice of an axis, bit 2: in the last one."""
    weight = op.weight.clone()
    for dim, end in zip(range(-op.geometry.nd, 0), ends, strict=False):
        for bit, index in ((1, 0), (2, -1)):
            if end & bit:
                weight.select(dim, index).zero_()
    return op.with_weight(weight)


@given(
    cases(transposed=False, per_sample=False, flip=False),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_the_matrix_stays(case: Case, ends: list[int]):
    op = with_zero_slices(case.operator(), ends)
    assume(bool(op.weight.any()))
    geometry, weight = without_zero_slices(op.geometry, grouped(op.weight, op.geometry))
    assert [a.k for a in geometry.axes] == list(weight.shape[4:])
    assert geometry.domain_shape == op.geometry.domain_shape
    assert geometry.range_shape == op.geometry.range_shape
    smaller = op.with_weight(weight.flatten(1, 2)[0])
    smaller.geometry = geometry
    assert relative(dense_twin(smaller), dense_twin(op)) < 1e-14


@pytest.mark.parametrize("mode", ["symmetric", "reflect", "replicate"])
def test_causal_kernels_have_fewer_ghosts(mode):
    weight = randn(1, 1, 5, 5)
    weight[..., 3:, :] = 0
    op = ConvOperator(weight, (32, 32), padding=2, padding_mode=mode)
    whole, needed = (sizes_of(g, real=True) for g in (op.geometry, needed_geometry(op)))
    assert needed.unknowns(0.0) < 0.8 * whole.unknowns(0.0)
    assert needed.square == whole.square


def test_a_zero_kernel_and_one_without_values_stay():
    op = ConvOperator(torch.zeros(1, 1, 3, 3, dtype=F64), (8, 8), padding=1)
    assert needed_geometry(op) == op.geometry
    op = ConvOperator(torch.empty(1, 1, 3, 3, device="meta"), (8, 8), padding=1)
    assert needed_geometry(op) == op.geometry
