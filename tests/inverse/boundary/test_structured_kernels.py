"""Kernels whose null vectors hide: zero rows, masks, causal taps, integers, dependent channels.

The *boundary* rung answers for small operators here, against the SVD of the matrix; the cases that
were once certified and wrong are asked as they were, by `auto`.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import unconv
from unconv import ConvOperator
from unconv.inverse import AccuracyWarning
from unconv.testing import dense_twin

from ...helpers import F64, randn, relative
from ...strategies import Case, cases

EPS = torch.finfo(F64).eps


class Truth:
    """A⁺ from the SVD of the matrix, and whether the spectrum leaves its rank in doubt."""

    def __init__(self, op: ConvOperator, rtol: float | None = None) -> None:
        U, S, Vh = torch.linalg.svd(dense_twin(op), full_matrices=False)
        tau = (max(op.shape) * EPS if rtol is None else rtol) * float(S[0])
        self.rank = int((tau < S).sum())
        self.in_doubt = bool(((1e-2 * tau < S) & (1e3 * tau > S)).any())
        r = self.rank
        self.X = (Vh[:r].mH / S[:r]) @ U[:, :r].mH
        self.cond = float(S[0] / S[r - 1]) if r else 1.0

    def solve(self, op: ConvOperator, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.X.mT).reshape(len(y), *op.domain_shape)


def structured(op: ConvOperator, kind: str, seed: int) -> ConvOperator:
    """The operator with its kernel masked, rounded or made dependent."""
    weight, nd = op.weight.clone(), op.geometry.nd
    last = weight.flatten(-nd)
    match kind:
        case "zero slice":
            weight.select(-1 - seed % nd, -(seed // 3 % 2)).zero_()
        case "causal":
            last[..., last.shape[-1] // 2 + 1 :] = 0
        case "masked":
            last[..., last.shape[-1] // 2 :] = 0
        case "integers":
            weight = torch.view_as_real(weight) if weight.is_complex() else weight
            weight = (2 * weight).round()
            weight = torch.view_as_complex(weight) if op.dtype.is_complex else weight
        case "sum zero":
            weight -= weight.mean(tuple(range(-nd, 0)), keepdim=True)
        case "dependent":
            weight[-1] = weight[0] * (1 + 10.0 ** -(seed % 9) * (seed % 2))
    return op.with_weight(weight.flatten(-nd).reshape(op.weight.shape))


KINDS = ["zero slice", "causal", "masked", "integers", "sum zero", "dependent"]


def assert_right_or_refused(case: Case, kind: str) -> None:
    op = structured(case.operator(), kind, case.seed)
    truth = Truth(op)
    y = randn(2, *op.range_shape, dtype=op.dtype, seed=case.seed + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        try:
            x, found = op.lstsq(y, method="boundary")
        except ValueError:
            assert truth.in_doubt or truth.cond > 1e5
            return
        again = op.pinv(method="boundary")(y)
    if truth.in_doubt or not op.weight.any():
        return
    assert found.rank.tolist() == [truth.rank] * 2
    expected = truth.solve(op, y)
    assert relative(x, expected) < 1e3 * EPS * truth.cond
    assert relative(again, expected) < 1e3 * EPS * truth.cond


DRAWS = cases(per_sample=False), st.sampled_from(KINDS)


@given(*DRAWS)
@settings(max_examples=40)
def test_structured_kernels(case: Case, kind: str):
    assert_right_or_refused(case, kind)


@pytest.mark.slow
@given(*DRAWS)
@settings(max_examples=5000)
def test_structured_kernels_at_length(case: Case, kind: str):
    assert_right_or_refused(case, kind)


def kernel(rows: list) -> Tensor:
    return torch.tensor(rows, dtype=F64)[None, None]


def unread() -> Tensor:
    weight = torch.zeros(2, 1, 4, dtype=F64)
    weight[0, 0, 2], weight[1, 0, 3] = 1, 2
    return weight


ONCE_WRONG = {
    "replicate": (kernel([3, 2, 5]), (1025,), {"padding": 1, "padding_mode": "replicate"}, 1024),
    "zero row, 33": (kernel([[1, 0, -1], [-2, 0, -1], [0, 0, 0]]), (33, 33), {"padding": 1}, 1056),
    "unread pixel": (unread(), (1100,), {"padding": ((1, 2),)}, 1099),
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_certified_and_wrong(name):
    weight, shape, options, rank = ONCE_WRONG[name]
    op = ConvOperator(weight, shape, **options)
    truth = Truth(op)
    assert truth.rank == rank
    y = op(randn(1, *op.domain_shape))
    x, found = op.lstsq(y)
    assert found.rank.tolist() == [rank]
    assert found.converged.all()
    error = relative(x, truth.solve(op, y))
    assert error < 1e-12
    assert op.cond() == math.inf
    assert op.matrix_rank() == rank


def test_values_that_come_down_to_round_off():
    """Singular values next to the cut-off: an answer of some digits, not one that is off by 2."""
    op = ConvOperator(kernel([[1, 1, 1], [1, 2, 2], [0, 0, 0]]), (34, 34), padding=1)
    truth = Truth(op)
    y = op(randn(1, *op.domain_shape))
    expected = truth.solve(op, y)
    allowed = 1e3 * EPS * truth.cond
    assert relative(op.pinv()(y), expected) < allowed
    assert relative(unconv.conv2d_pinv(y, op.weight, padding=1), expected) < allowed
    assert relative(unconv.nn.PinvConv2d.from_conv(_conv(op))(y), expected) < allowed


def _conv(op: ConvOperator) -> torch.nn.Conv2d:
    layer = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=F64)
    layer.weight.data.copy_(op.weight)
    return layer


def test_hundreds_of_dropped_vectors_of_a_wide_operator():
    weight = randn(3, 1, 3, 3)
    weight[0] = weight[1] + 1e-10 * weight[0]
    op = ConvOperator(weight, (360, 3))
    truth = Truth(op, rtol=1e-6)
    y = randn(1, *op.range_shape, seed=1)
    x, found = op.lstsq(y, rtol=1e-6)
    assert found.rank.tolist() == [truth.rank]
    assert relative(x, truth.solve(op, y)) < 1e-12
