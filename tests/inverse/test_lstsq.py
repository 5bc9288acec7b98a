"""op.lstsq: NumPy's least squares and SciPy's damping, with the evidence beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from scipy.sparse.linalg import lsqr

from unconv import ConvOperator, LstsqResult
from unconv.inverse.lstsq import in_precision_of
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    F64,
    GAP,
    data,
    has_gap,
    near_identity,
    randn,
    relative,
)
from ..strategies import Case, cases


def circular(dtype=F64, **options) -> ConvOperator:
    w = near_identity(2, 2, 3, dtype=dtype)
    return ConvOperator(w, (6,), padding=1, padding_mode="circular", **options)


@given(cases(per_sample=False))
@settings(max_examples=60)
def test_equals_numpy_lstsq(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    y = data(op.range_shape, op, N=3)
    result = op.lstsq(y)
    assert isinstance(result, LstsqResult)
    solution, certificate = result
    expected, _, rank, _ = np.linalg.lstsq(A.numpy(), y.flatten(1).mT.numpy(), rcond=GAP)
    assert relative(solution.flatten(1).mT, torch.from_numpy(expected)) < 1e-10
    assert certificate.rank.tolist() == [rank] * 3
    assert certificate.converged.all()


@pytest.mark.parametrize("damp", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_damp_is_that_of_scipy(damp, mode):
    op = ConvOperator(randn(2, 1, 3, 3), (5, 6), padding=1, padding_mode=mode)
    y = randn(1, *op.range_shape)
    expected = lsqr(dense_twin(op).numpy(), y.flatten().numpy(), damp, 1e-15, 1e-15)[0]
    found = op.lstsq(y, damp)
    assert relative(found.solution.flatten(), torch.from_numpy(expected)) < 1e-10
    assert found.certificate.damp == damp
    assert found.certificate.rank is None
    assert "damp > 0" in found.certificate.rank_how
    assert relative(op.tikhonov(damp)(y), found.solution) < 1e-14


def test_minimum_norm_where_many_solutions_fit():
    op = ConvOperator(randn(1, 2, 3), (6,))  # 4 equations, 12 unknowns
    y = randn(2, 1, 4)
    x = op.lstsq(y).solution
    assert relative(op(x), y) < 1e-13
    A = dense_twin(op)
    null = torch.eye(12, dtype=F64) - torch.linalg.pinv(A) @ A
    assert float(torch.linalg.norm(x.flatten(1) @ null)) < 1e-12 * float(torch.linalg.norm(x))


@pytest.mark.parametrize("transposed", [False, True])
def test_subtract_bias_gives_the_layers_input(transposed):
    kind = torch.nn.ConvTranspose1d if transposed else torch.nn.Conv1d
    layer = kind(2, 3, 3, padding=1).double()
    op = ConvOperator.from_module(layer, (9,))
    x = randn(4, 2, 9)
    with torch.no_grad():
        y = layer(x)
    before = y.clone()
    found, certificate = op.lstsq(y, subtract_bias=True)
    assert relative(found, x) < 1e-10
    assert (certificate.residual < 1e-12).all()
    assert torch.equal(y, before)
    assert relative(op.lstsq(y).solution, x) > 1e-3


def test_subtract_bias_in_three_axes():
    layer = torch.nn.Conv3d(1, 4, 2).double()
    op = ConvOperator.from_module(layer, (3, 4, 3))
    x = randn(2, 1, 3, 4, 3)
    with torch.no_grad():
        assert relative(op.lstsq(layer(x), subtract_bias=True).solution, x) < 1e-9


def test_subtract_bias_without_one():
    with pytest.raises(ValueError, match="has no bias; leave it out"):
        circular().lstsq(randn(1, 2, 6), subtract_bias=True)


@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        (torch.float32, F64, F64),
        (F64, torch.float32, F64),
        (torch.float32, C128, C128),
        (torch.float16, F64, F64),
        (torch.complex64, F64, C128),
        (torch.float16, torch.float16, torch.float16),
        (torch.float16, torch.bfloat16, torch.float32),
    ],
)
def test_factor_is_as_precise_as_the_result(own, other, result):
    op = circular(own)
    y = randn(2, 2, 6, dtype=other)
    found = op.lstsq(y).solution
    assert found.dtype == result
    A = dense_twin(op).to(C128)
    expected = y.to(C128).flatten(1) @ torch.linalg.inv(A).mT
    eps = torch.finfo(result).eps
    assert relative(found.flatten(1), expected if result.is_complex else expected.real) < 8 * eps
    precise = in_precision_of(op, y)
    assert precise.dtype.is_complex == own.is_complex  # a real operator stays real
    assert in_precision_of(precise, y) is precise


def test_one_kernel_a_sample():
    op = ConvOperator(randn(3, 2, 2, 3), (6,), padding=1)
    y = randn(3, 2, 6)
    found = op.lstsq(y)
    for i in range(3):
        one = ConvOperator(op.weight[i], (6,), padding=1).lstsq(y[i : i + 1])
        assert relative(found.solution[i], one.solution[0]) < 1e-10
        assert found.certificate[i].rank == one.certificate[0].rank


@pytest.mark.parametrize(
    "y",
    [
        randn(3, 6),
        randn(1, 3, 6),
        randn(1, 2, 5),
        torch.ones(1, 2, 6).long(),
        randn(1, 2, 6).numpy(),
    ],
)
def test_wrong_data(y):
    with pytest.raises((ValueError, TypeError), match=r"expected a tensor|the input must"):
        circular().lstsq(y)


def test_nothing_is_remembered():
    op, y = circular(), randn(1, 2, 6)
    first = op.lstsq(y).solution
    op.lstsq(y, 5.0, method="dense")
    assert torch.equal(op.lstsq(y).solution, first)
