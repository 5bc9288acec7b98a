"""Projectors on range and null space against the matrix."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from unconv import ConvOperator

from ..helpers import (
    C128,
    apply_matrix,
    data,
    randn,
    relative,
    undiagonalised,
)
from ..strategies import Case, cases
from .truth import EVERY, ROUND_OFF, matrices


@given(EVERY)
@settings(max_examples=40)
def test_projectors(case: Case):
    op = case.operator()
    assert_projectors(op, matrices(op), 1e-8)


def assert_projectors(op: ConvOperator, A: Tensor, rtol: float) -> None:
    """P = Pᴴ = P² and A P = 0, against the singular vectors of the matrix."""
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    ratio = S / torch.where(S[:, :1] > 0, S[:, :1], 1.0)
    assume(bool(((ratio > 1e3 * rtol) | (ratio < 1e-3 * rtol)).all()))
    keep = (ratio > rtol)[:, None].to(A.dtype)
    onto, kept = (U * keep) @ U.mH, (Vh.mH * keep) @ Vh
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    null = (op.null_projector(rtol=rtol), eye - kept, data(op.domain_shape, op))
    for P, expected, x in (
        null,
        (op.range_projector(rtol=rtol), onto, data(op.range_shape, op)),
    ):
        assert P.H is P
        Px = P(x)
        assert relative(Px, apply_matrix(expected, x, P.range_shape), 1.0) <= 1e-9 * len(
            x[0].ravel()
        )
        assert relative(P(Px), Px, torch.linalg.norm(x)) <= ROUND_OFF
        z = data(P.domain_shape, op, seed=7)
        assert relative((P(z).conj() * x).sum(), (z.conj() * Px).sum(), 1.0) <= 1e-9 * x.numel()
    P, _, x = null
    zero = torch.zeros(len(x), *op.range_shape, dtype=x.dtype)
    assert relative(op(P(x)), zero, max(float(S.amax()), 1e-300)) <= 10 * rtol


@given(cases())
@settings(max_examples=6)
@undiagonalised()
def test_projectors_without_a_diagonalisation(case: Case):
    op = case.operator()
    A = matrices(op)
    S = torch.linalg.svdvals(A)
    ratio = S / S[:, :1]
    assume(bool((S[:, 0] > 0).all() and ((ratio > 1e-4) | (ratio < 1e-14)).all()))
    assert_projectors(op, A, 1e-9)


@pytest.mark.parametrize("condition", [1e2, 1e6])
@undiagonalised()
def test_null_space_of_an_ill_conditioned_operator(condition):
    weight = randn(2, 3, 3, 3)
    weight[1] = weight[0] + weight[1] / condition
    op = ConvOperator(weight, (10, 9), padding=1)
    P, x = op.null_projector(), data(op.domain_shape, op)
    assert float(op.cond()) > condition
    assert relative(P(P(x)), P(x)) <= 1e-13
    assert torch.linalg.norm(op(P(x))) <= 1e-14 * op.norm() * torch.linalg.norm(x)
    Q, y = op.H.H.range_projector(), data(op.range_shape, op)  # of full rank: everything
    assert torch.equal(Q(y), y)


def test_a_real_projector_takes_complex_vectors_and_the_weight_keeps_its_gradient():
    weight = torch.nn.Parameter(randn(2, 3, 3))
    op = ConvOperator(weight, (8,), padding=1, padding_mode="circular")
    P, x = op.null_projector(), randn(2, 3, 8, dtype=C128)
    assert relative(P(x), torch.complex(P(x.real), P(x.imag))) < 1e-15
    assert op.norm().requires_grad
    with torch.inference_mode():
        frozen = ConvOperator(randn(2, 3, 3), (8,), padding=1, padding_mode="circular")
        assert relative(frozen.svdvals(), op.svdvals()) < 1e-15


@pytest.mark.parametrize("kind", ["blocks", "axes", "vectors", "factor", "whole"])
def test_projectors_are_modules(kind):
    weight = {"axes": torch.ones(1, 1, 3, 3)}.get(kind, randn(1, 2, 3, 3)).double()
    size = {"axes": (41, 41), "factor": (40, 40), "whole": (40, 40)}.get(kind, (6, 6))
    mode = "circular" if kind == "blocks" else "zeros"
    op = ConvOperator(weight, size, padding=1, padding_mode=mode)
    P = op.range_projector() if kind == "whole" else op.null_projector()
    x = randn(2, *P.domain_shape)
    expected = P(x)
    for copied in (copy.deepcopy(P), pickle.loads(pickle.dumps(P))):
        assert torch.equal(copied(x), expected)
    assert torch.equal(copy.deepcopy(P).double()(x), expected)
    single = copy.deepcopy(P).to(torch.float32)
    assert single.dtype == torch.float32
    assert single(x.float()).dtype == torch.float32
    assert relative(single(x.float()), expected) < 1e-6
