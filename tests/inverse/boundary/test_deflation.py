"""Counting and taking out the smallest singular values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse.boundary.candidates import regular_form
from unconv.inverse.boundary.deflation import Deflation, Triples, count_above
from unconv.inverse.boundary.forms import SquareForm
from unconv.inverse.boundary.problem import prepare
from unconv.inverse.request import Request
from unconv.testing import dense_twin

from ...helpers import (
    DOUBLES,
    F64,
    randn,
    relative,
)
from ...strategies import Case, cases
from .ghost_parts import parts_of


def counted(op: ConvOperator, tau: float) -> int:
    _, torus, blocks, ghosts = parts_of(op)
    return count_above(tau, torus, blocks, ghosts)


def assert_counts(op: ConvOperator, ratio: float) -> None:
    S = torch.linalg.svdvals(dense_twin(op))
    tau = ratio * float(S[0])
    assume(bool(((S / tau - 1).abs() > 1e-6).all()))
    assert counted(op, tau) == int((tau < S).sum())


@given(cases(transposed=False, per_sample=False), st.floats(-3, -0.5))
@settings(max_examples=100)
def test_the_count_is_that_of_the_matrix(case: Case, exponent: float):
    assert_counts(case.operator(), 10**exponent)


@pytest.mark.slow
@given(cases(transposed=False, per_sample=False), st.floats(-3, -0.5))
@settings(max_examples=3000)
def test_the_count_is_that_of_the_matrix_at_length(case: Case, exponent: float):
    assert_counts(case.operator(), 10**exponent)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("channels", [(1, 1), (3, 2), (2, 3)])
def test_counts_at_every_threshold(mode, stride, dtype, channels):
    weight = randn(*channels, 3, 3, dtype=dtype)
    op = ConvOperator(weight, (7, 6), padding=1, stride=stride, padding_mode=mode)
    S = torch.linalg.svdvals(dense_twin(op))
    for ratio in (1e-3, 1e-2, 0.03, 0.1, 0.3):
        tau = ratio * float(S[0])
        assert counted(op, tau) == int((tau < S).sum())


@pytest.mark.parametrize("dtype", DOUBLES)
def test_taking_out_what_is_known(dtype):
    """A⁺ = its part on the triples + A⁺ of the rest; a gain of zero drops the direction."""
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (5,), padding=1)
    A = dense_twin(op)
    U, S, Vh = torch.linalg.svd(A)
    k = 3
    triples = Triples(
        U.mT[-k:].flip(0).reshape(k, 2, 5),
        S[-k:].flip(0),
        Vh.conj()[-k:].flip(0).reshape(k, 2, 5),
    )
    gains = torch.tensor([0.0, *(1 / triples.S[1:]).tolist()], dtype=F64)
    deflation = Deflation(triples, gains)
    X = torch.linalg.pinv(A)
    y = randn(4, 2, 5, dtype=dtype)
    dropped = torch.linalg.pinv(A, rtol=float(S[-1] / S[0]) * (1 + 1e-9))
    for adjoint, inverse, cut in ((False, X, dropped), (True, X.mH, dropped.mH)):
        rest, apart = deflation.take_out(y, adjoint=adjoint)
        found = (rest.flatten(1) @ inverse.mT).reshape(y.shape) + apart
        assert relative(found.flatten(1), y.flatten(1) @ cut.mT) < 1e-11
    f, g = deflation.without(y, y)
    again = deflation.without(f, g)
    assert relative(again[0], f) < 1e-14
    assert relative(again[1], g) < 1e-14


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_a_square_form_without_a_few_triples(dtype, careful):
    """With gains of 1/σ it is A⁻¹ still, with gains of 0 a pseudo-inverse."""
    op = ConvOperator(randn(2, 2, 3, 3, dtype=dtype), (6, 5), padding=1)
    A = dense_twin(op)
    U, S, Vh = torch.linalg.svd(A)
    k = 3
    triples = Triples(
        U.mT[-k:].reshape(k, *op.range_shape), S[-k:], Vh.conj()[-k:].reshape(k, *op.domain_shape)
    )
    form = regular_form(prepare(op, Request(), 1))
    assert isinstance(form, SquareForm)
    y, x = randn(2, *op.range_shape, dtype=dtype), randn(2, *op.domain_shape, dtype=dtype)
    unit = prepare(op, Request(), 1).scale
    for gains, X in (
        (unit / S[-k:], torch.linalg.inv(A)),
        (torch.zeros(k, dtype=F64), torch.linalg.pinv(A, atol=float((S[-k] * S[-k - 1]).sqrt()))),
    ):
        form.take_out(Deflation(triples, gains))
        found = form.pinv(y, careful=careful).value / unit
        turned = form.pinv_adjoint(x, careful=careful).value / unit
        assert relative(found.flatten(1), y.flatten(1) @ X.mT) < 1e-12
        assert relative(turned.flatten(1), x.flatten(1) @ X.conj()) < 1e-12
