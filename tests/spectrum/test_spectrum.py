"""Spectra against the matrix: values, vectors, rank, determinant, brackets."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator, MemoryLimitError
from unconv.convolve.bounds import kernel_bound
from unconv.spectrum.extremes import Extremes
from unconv.spectrum.values import exact_rung
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    F64,
    assert_says,
    data,
    doubled,
    randn,
    relative,
    undiagonalised,
)
from ..strategies import Case, cases
from .truth import ENDS, EVERY, ROUND_OFF, assert_bracket, assert_triples, batched, ends, matrices

# --- rungs that know all values -------------------------------------------------------------------


@given(EVERY)
@settings(max_examples=60)
def test_values_and_vectors_of_every_rung(case: Case):
    op = case.operator()
    S = torch.linalg.svdvals(matrices(op))
    found = op.svdvals(bracket=True)
    assert found.value.dtype == F64
    # Where all taps fall into the padding A is zero, and round-off is that of the taps.
    size = torch.where(S[:, :1] > 0, S[:, :1], op.weight.abs().amax().double())
    assert ((batched(op, found.value) - S).abs() <= ROUND_OFF * size).all()
    assert_bracket(found, op, S, size)
    assert ((batched(op, found.upper - found.lower)) <= 1e-13 * size).all()
    k = max(1, S.shape[1] // 2)
    for which in ENDS:
        assert torch.equal(op.svdvals(k, which), batched_ends(op, found.value, k, which))
        assert_triples(op, S, k, which, 1e-11)


def batched_ends(op: ConvOperator, S: Tensor, k: int, which: str) -> Tensor:
    found = ends(batched(op, S), k, which)
    return found if op.batch_size else found[0]


@given(EVERY, st.sampled_from([0.0, 0.3]))
@settings(max_examples=40)
def test_norm_cond_rank_and_determinant(case: Case, damp: float):
    op = case.operator()
    A = matrices(op)
    assert_scalars(op, A, damp)


def assert_scalars(op: ConvOperator, A: Tensor, damp: float) -> None:
    S = torch.linalg.svdvals(A)
    assume(bool((S[:, 0] > 0).all()))
    assert ((batched(op, op.norm()) / S[:, 0] - 1).abs() <= 1e-8).all()
    ratio = S / S[:, :1]
    cond = batched(op, op.cond())
    regular = ratio[:, -1] > 1e-5
    assert ((cond * ratio[:, -1] - 1).abs()[regular] <= 1e-8).all()
    assert (cond > 1e5 * (1 - 1e-8))[~regular].all()
    rank = op.matrix_rank(rtol=1e-8, bracket=True)
    clear = ((ratio > 1e-7) | (ratio < 1e-9)).all(1)
    expected = (ratio > 1e-8).sum(1)
    assert torch.equal(batched(op, rank.value)[clear], expected[clear])
    assert (batched(op, rank.lower) <= expected)[clear].all()
    assert (batched(op, rank.upper) >= expected)[clear].all()
    found = batched(op, op.logabsdet(damp))
    if damp:
        eye = torch.eye(A.shape[-1], dtype=A.dtype)
        expected = torch.linalg.slogdet(A.mH @ A + damp**2 * eye)[1] / 2
        regular = torch.ones_like(regular)
    else:
        expected = S.log().sum(1)
    error = (found - expected).abs() / (1 + expected.abs())
    assert (error[regular] <= 1e-9).all()


# --- Lanczos, ghosts and inertia ------------------------------------------------------------------


@given(cases(), st.sampled_from([0.0, 0.3]))
@settings(max_examples=6)
@undiagonalised()
def test_scalars_without_a_diagonalisation(case: Case, damp: float):
    op = case.operator()
    with suppress(NotImplementedError):  # the determinant on a singular grid
        assert_scalars(op, matrices(op), damp)


@pytest.mark.parametrize(
    ("kernel", "shape"),
    [
        (torch.tensor([[[1.0, -2, 1]]], dtype=F64), (24,)),
        (torch.ones(1, 1, 4, 4, dtype=F64), (12, 12)),
        (torch.ones(1, 1, 3, dtype=F64), (24,)),
    ],
)
def test_rank_of_circular_differences_and_boxes(kernel, shape):
    op = ConvOperator(kernel, shape, padding="same", padding_mode="circular")
    assert exact_rung(op, math.inf, 1).__name__.endswith("fourier")
    assert op.matrix_rank() == torch.linalg.matrix_rank(dense_twin(op))
    P = op.null_projector()
    x = data(op.domain_shape, op)
    assert relative(P(P(x)), P(x), 1.0) < 1e-14
    assert torch.linalg.norm(op(P(x))) < 1e-13
    assert int(torch.linalg.matrix_rank(P.to_dense())) == op.shape[1] - int(op.matrix_rank())


# --- bounds and limits ----------------------------------------------------------------------------


@given(cases())
@settings(max_examples=40)
def test_the_bounds_hold(case: Case):
    op = case.operator()
    S = torch.linalg.svdvals(matrices(op))[:, 0]
    for b, sigma in enumerate(S.tolist()):
        ends = Extremes(op.of_sample(b), math.inf)
        assert ends.count.bound_of_norm()[0] * ends.p.scale >= sigma * (1 - 1e-13)
        sums = kernel_bound(ends.p.weight, op.geometry).amax() * ends.p.scale
        assert sums >= sigma * (1 - 1e-13)


def test_float32_weights_that_are_outer_products_but_for_rounding():
    k = torch.tensor([0.1, 0.3, 0.6, 0.3, 0.1])
    op = ConvOperator((k[:, None] * k)[None, None], (20, 20), padding=2, padding_mode="reflect")
    assert exact_rung(op, math.inf, 1).__name__.endswith("separable")
    S = torch.linalg.svdvals(dense_twin(op).double())
    found = op.svdvals(bracket=True)
    assert found.value.dtype == F64
    assert (found.lower <= S).all()
    assert (found.upper >= S).all()
    assert found.upper[0] / found.lower[0] < 1 + 1e-6


def test_asking_for_everything_of_what_is_too_large():
    op = ConvOperator(randn(4, 4, 3, 3), (48, 48), padding=1)
    with pytest.raises(MemoryLimitError) as error:
        op.svdvals()
    assert_says(error, "9,216", "ask for k")


@pytest.mark.parametrize("k", [0, -1, 28])
def test_numbers_of_values_that_do_not_exist(k):
    op = ConvOperator(randn(1, 1, 3), (27,), padding=1)
    for ask in (op.svdvals, op.svd):
        with pytest.raises(ValueError, match="between 1 and") as error:
            ask(k)
        assert_says(error, f"k={k}", "27")


def test_other_arguments_that_make_no_sense():
    op = ConvOperator(randn(1, 1, 3), (27,), padding=1)
    with pytest.raises(ValueError, match="use one of 'largest', 'smallest'"):
        op.svdvals(1, "middle")
    with pytest.raises(TypeError, match="integer"):
        op.svd(1.0)
    with pytest.raises(ValueError, match="damp=-1"):
        op.logabsdet(-1)
    with pytest.raises(ValueError, match="rtol"):
        op.matrix_rank(rtol=math.nan)
    with pytest.raises(TypeError, match="memory_limit"):
        op.norm(memory_limit="much")
    broken = ConvOperator(torch.full((1, 1, 3), math.nan), (27,), padding=1)
    for ask in (broken.norm, broken.svdvals, broken.logabsdet, broken.null_projector):
        with pytest.raises(ValueError, match="NaN"):
            ask()


# --- shapes and dtypes ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
@pytest.mark.parametrize("mode", ["circular", "zeros"])
def test_results_are_in_double_precision(dtype, mode):
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (8,), padding=1, padding_mode=mode)
    S = torch.linalg.svdvals(dense_twin(op.with_weight(doubled(op.weight))))
    assert relative(op.svdvals(), S) < 1e-13
    assert op.norm().dtype == op.cond().dtype == op.logabsdet().dtype == F64
    assert op.svd(2).U.dtype == (C128 if dtype.is_complex else F64)
    P = op.range_projector()
    assert P(data(op.range_shape, op)).dtype == dtype


def test_one_kernel_a_sample_puts_a_batch_axis_in_front():
    op = ConvOperator(randn(3, 2, 2, 3), (8,), padding=1)
    assert op.svdvals().shape == (3, 16)
    assert op.svdvals(2, "smallest").shape == (3, 2)
    for scalar in (op.norm(), op.cond(), op.matrix_rank(), op.logabsdet(), op.logabsdet(0.1)):
        assert scalar.shape == (3,)
    U, S, V = op.svd(2)
    assert U.shape == V.shape == (3, 2, 2, 8)
    assert S.shape == (3, 2)


@pytest.mark.parametrize("scale", [1e-170, 1e150])
def test_the_unit_of_the_weight_does_not_matter(scale):
    for mode in ("circular", "zeros", "symmetric"):
        op = ConvOperator(randn(2, 2, 3), (8,), padding=1, padding_mode=mode)
        scaled = op.with_weight(op.weight * scale)
        assert relative(scaled.svdvals() / scale, op.svdvals()) < 1e-13
        assert scaled.matrix_rank() == op.matrix_rank()
        assert relative(scaled.cond(), op.cond()) < 1e-10


@undiagonalised()
def test_the_zero_kernel():
    op = ConvOperator(torch.zeros(2, 3, 3, dtype=F64), (8,), padding=1)
    assert not op.svdvals(3, "smallest", bracket=True).upper.any()
    assert op.norm() == 0
    assert op.matrix_rank() == 0
    assert op.cond() == math.inf
    assert op.svd(2).U.shape == (2, 2, 8)
