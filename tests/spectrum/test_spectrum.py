"""Spectra against the matrix: values, vectors, rank, determinant, projectors, brackets."""

from __future__ import annotations

import copy
import math
import pickle
from contextlib import suppress
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import AccuracyWarning, ConvOperator, MemoryLimitError
from unconv.convolve.bounds import kernel_bound
from unconv.spectrum import values
from unconv.spectrum.accurate_product import AccurateProduct, _cut
from unconv.spectrum.block_lanczos import largest_eigenpairs
from unconv.spectrum.extremes import Extremes
from unconv.spectrum.values import exact_rung
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    apply_matrix,
    assert_says,
    data,
    doubled,
    randn,
    relative,
    undiagonalised,
)
from ..inverse.diagonal.test_cosine import cosine_cases
from ..inverse.diagonal.test_separable import separable_cases
from ..strategies import Case, cases, circulant_cases

ENDS = ("largest", "smallest")
EVERY = st.one_of(cases(), circulant_cases(), cosine_cases(), separable_cases())
ROUND_OFF = 1e-12  # of σ_max
PLUS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)[None, None]


def matrices(op: ConvOperator) -> Tensor:  # (B, m, n)
    A = dense_twin(op)
    return A if op.batch_size else A[None]


def batched(op: ConvOperator, t: Tensor) -> Tensor:
    return t if op.batch_size else t[None]


def ends(S: Tensor, k: int, which: str) -> Tensor:
    return S[:, :k] if which == "largest" else S[:, S.shape[1] - k :]


def assert_orthonormal(t: Tensor) -> None:
    t = t.flatten(1)
    assert relative(t.conj() @ t.mT, torch.eye(len(t), dtype=t.dtype), 1.0) <= ROUND_OFF


def assert_triples(op: ConvOperator, S: Tensor, k: int, which: str, tol: float) -> None:
    """A V = U S, Aᴴ U = V S, orthonormal on the shorter side, in the dtype of the operator."""
    U, s, V = (batched(op, t) for t in op.svd(k, which))
    expected = ends(S, k, which)
    assert s.shape == expected.shape
    for b in range(len(U)):
        A = op.of_sample(b)
        size = float(S[b, 0]) or 1.0
        assert U.dtype == V.dtype == doubled(op.weight).dtype
        assert float((s[b] - expected[b]).abs().max()) <= ROUND_OFF * size
        SU, SV = (s[b].reshape(-1, *[1] * (U.ndim - 2)) * t[b] for t in (U, V))
        assert relative(A(V[b]), SU, size) <= tol
        assert relative(A.H(U[b]), SV, size) <= tol
        assert_orthonormal(V[b] if op.shape[0] >= op.shape[1] else U[b])


def assert_bracket(found: values.Bracket, op: ConvOperator, truth: Tensor, size: Tensor) -> None:
    """The truth itself is known to round-off only."""
    lower, upper = batched(op, found.lower), batched(op, found.upper)
    assert (lower <= truth + 1e-13 * size).all(), found.how
    assert (upper >= truth - 1e-13 * size).all(), found.how


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


# --- Lanczos, ghosts and inertia ------------------------------------------------------------------


@given(cases())
@settings(max_examples=6)
@undiagonalised()
def test_a_few_values_at_either_end(case: Case):
    op = case.operator()
    S = torch.linalg.svdvals(matrices(op))
    assume(bool((S[:, 0] > 0).all()))
    k = min(3, S.shape[1])
    for which in ENDS:
        found = op.svdvals(k, which, bracket=True)
        expected = ends(S, k, which)
        error = (batched(op, found.value) - expected).abs()
        assert (error <= ROUND_OFF * S[:, :1]).all()
        assert_bracket(found, op, expected, S[:, :1])
        width = batched(op, found.upper - found.lower)
        resolved = torch.where(expected > 1e-6 * S[:, :1], 1e-5 * expected, 2e-6 * S[:, :1])
        assert (width <= resolved).all(), found.how
        assert_triples(op, S, k, which, 1e-9)


def assert_small_end(op: ConvOperator) -> None:
    """Right to a few eps·σ_max where the matrix knows no better, and inside its own bracket."""
    S = torch.linalg.svdvals(dense_twin(op))
    round_off = 1e-14 * S[0]
    U, found, V = op.svd(3, "smallest")
    proven = op.svdvals(3, "smallest", bracket=True)
    assert ((found - S[-3:]).abs() <= round_off + 1e-9 * S[-3:]).all()
    assert (proven.lower <= found).all()
    assert (found <= proven.upper).all()
    assert_bracket(proven, op, S[-3:], S[:1])
    cond, proven = op.cond(), op.cond(bracket=True)
    assert proven.lower <= cond <= proven.upper
    cutoff = max(op.shape) * torch.finfo(F64).eps * S[0]
    if S[-1] > cutoff + round_off:
        assert abs(S[-1] * cond / S[0] - 1) <= 1e-8 + 2 * round_off / S[-1]
    elif S[-1] < cutoff - round_off:
        assert cond == math.inf
    assert_orthonormal(U)
    assert_orthonormal(V)
    assert torch.linalg.norm(op(V).flatten(1) - found[:, None] * U.flatten(1)) <= 1e-9 * S[0]
    assert torch.linalg.norm(op.H(U).flatten(1) - found[:, None] * V.flatten(1)) <= 1e-9 * S[0]


def test_the_smallest_of_values_that_the_factor_does_not_tell_apart():
    """Two of eight values under 1e-7·σ_max are 7.7e-11 and 1.4e-11; no other way knows them."""
    generator = torch.Generator().manual_seed(10)
    _, kernel = (torch.randn(1, 1, 3, 3, generator=generator).double() for _ in range(2))
    assert_small_end(ConvOperator(kernel, (36, 36), padding=1))


@st.composite
def nearly_singular_operators(draw: st.DrawFn) -> ConvOperator:
    """Kernels with zero rows, last taps or sums, nearly dependent channels; every boundary."""
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "symmetric")))
    shape = draw(st.sampled_from(((23,), (40,), (6, 9), (11, 8))))
    c_out, c_in = draw(st.sampled_from(((1, 1), (2, 2), (2, 2), (2, 3), (3, 2), (1, 2))))
    dtype = draw(st.sampled_from([*DOUBLES, F64]))
    weight = randn(c_out, c_in, *[3] * len(shape), dtype=dtype, seed=draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(("integers", "row", "last", "sum", "causal", "channels")))
    if kind == "integers":
        weight = (3 * weight).real.round().to(dtype)
    elif kind == "row":
        weight.select(2, draw(st.integers(0, 2))).zero_()
    elif kind == "last":
        weight.flatten(2)[..., -1] = 0
    elif kind == "sum":
        weight -= weight.flatten(2).mean(2).reshape(c_out, c_in, *[1] * len(shape))
    elif kind == "causal":
        weight.flatten(2)[..., 3 ** len(shape) // 2 + 1 :] = 0
    else:
        small = 10.0 ** -draw(st.integers(6, 17))
        weight[-1] = 2 * weight[0] + small * weight[-1]
    assume(bool(weight.any()))
    weight = weight * 10.0 ** draw(st.integers(-6, 6))
    padding = draw(st.sampled_from((0, 1, 2)))
    return ConvOperator(weight, shape, padding=padding, padding_mode=mode)


@given(nearly_singular_operators())
@settings(max_examples=4)
@undiagonalised()
def test_the_small_end_of_nearly_singular_operators(op: ConvOperator):
    assert_small_end(op)


@pytest.mark.slow
@given(nearly_singular_operators())
@settings(max_examples=150)
@undiagonalised()
def test_the_small_end_of_many_nearly_singular_operators(op: ConvOperator):
    assert_small_end(op)


@undiagonalised()
def test_null_vectors_of_a_transposed_tap_whose_outputs_are_clipped():
    op = ConvOperator(randn(1, 1, 1), (3,), stride=2, padding=1, transposed=True)
    assert_small_end(op)
    assert op.cond() == math.inf
    for which in ENDS:
        assert_triples(op, torch.linalg.svdvals(matrices(op)), 3, which, 1e-12)
        for side in op.svd(3, which)[::2]:
            assert_orthonormal(side)


@given(cases(), st.sampled_from([0.0, 0.3]))
@settings(max_examples=6)
@undiagonalised()
def test_scalars_without_a_diagonalisation(case: Case, damp: float):
    op = case.operator()
    with suppress(NotImplementedError):  # the determinant on a singular grid
        assert_scalars(op, matrices(op), damp)


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


@pytest.mark.parametrize("n", [11, 23])
def test_rank_of_an_exactly_singular_kernel(n):
    op = ConvOperator(PLUS, (n, n), padding=1)
    expected = int(torch.linalg.matrix_rank(dense_twin(op)))
    assert expected == n * n - 2
    assert op.matrix_rank() == expected
    assert op.logabsdet() == -math.inf
    assert op.cond() == math.inf


@pytest.mark.parametrize("n", [11, 23])
@undiagonalised()
def test_its_rank_is_proven_by_inertia(n):
    op = ConvOperator(PLUS, (n, n), padding=1)
    rank = op.matrix_rank(bracket=True)
    assert rank.value == rank.lower == rank.upper == n * n - 2
    assert "inertia finds 2" in rank.how
    assert op.logabsdet() == -math.inf
    assert op.cond(bracket=True).upper == math.inf
    _, S, V = op.svd(3, "smallest")
    assert S[1] < 1e-14 < 1e-3 < S[0]
    assert torch.linalg.norm(op(V[1:])) < 1e-14


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


@pytest.mark.parametrize("dtype", DOUBLES)
def test_extremes_of_a_layer_with_zero_padding(dtype):
    """8 → 8 channels on 16 × 16: above the limit of the dense rung, within reach of LAPACK."""
    op = ConvOperator(randn(8, 8, 3, 3, dtype=dtype), (12, 12), padding=1)
    assert exact_rung(op, math.inf, 1) is None
    S = torch.linalg.svdvals(dense_twin(op))
    found = op.cond(bracket=True)
    assert found.lower <= S[0] / S[-1] <= found.upper
    assert found.upper - found.lower <= 1e-6 * found.value
    assert relative(op.svdvals(4), S[:4]) < 1e-13
    assert relative(op.svdvals(4, "smallest"), S[-4:]) < 1e-10
    assert relative(op.logabsdet(), S.log().sum()) < 1e-12


# --- the iteration --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("k", [1, 5, 9, 40])
def test_largest_eigenpairs(dtype, k):
    Q, _ = torch.linalg.qr(randn(40, 40, dtype=dtype))
    eigenvalues = torch.linspace(1, 0, 40, dtype=F64)
    T = (Q * eigenvalues) @ Q.mH
    found = largest_eigenpairs(lambda v: v @ T.mT, (40,), k, Q, rtol=1e-11)
    assert found.converged
    assert relative(found.values, eigenvalues[:k]) < 1e-13
    W = found.vectors
    assert relative(W @ T.mT, found.values[:, None] * W) < 1e-10
    assert relative(W.conj() @ W.mT, torch.eye(k, dtype=dtype)) < 1e-13


@pytest.mark.parametrize("seed", range(20))
def test_largest_eigenvalue_beside_one_that_is_nearly_alike(seed):
    generator = torch.Generator().manual_seed(seed)
    apart = 10 ** -(7 + float(torch.rand(1, generator=generator)))
    d = torch.rand(300, generator=generator, dtype=F64) * 0.95
    d[torch.randperm(300, generator=generator)[:2]] = torch.tensor([1.0, 1 - apart], dtype=F64)
    found = largest_eigenpairs(lambda v: d * v, (300,), 1, d, rtol=1e-8)
    assert found.converged
    assert 1 - 1e-9 <= float(found.values) <= 1 + 1e-14


def test_multiple_eigenvalues_are_found_as_often_as_they_are():
    d = torch.cat([torch.ones(11, dtype=F64), torch.linspace(0.99, 0.1, 500, dtype=F64)])
    found = largest_eigenpairs(lambda v: d * v, (511,), 12, d, rtol=1e-10)
    assert relative(found.values, d[:12]) < 1e-13


def test_an_iteration_that_is_cut_short_says_so():
    d = torch.linspace(1, 0, 500, dtype=F64)
    found = largest_eigenpairs(lambda v: d * v, (500,), 2, d, rtol=1e-12, most=3)
    assert not found.converged
    assert (found.values <= d[:2]).all()


# --- bounds and limits ----------------------------------------------------------------------------


@given(cases())
@settings(max_examples=40)
def test_the_bounds_hold(case: Case):
    op = case.operator()
    S = torch.linalg.svdvals(matrices(op))[:, 0]
    for b, sigma in enumerate(S.tolist()):
        ends = Extremes(op.of_sample(b), math.inf)
        assert ends._bound()[0] * ends.p.scale >= sigma * (1 - 1e-13)
        sums = kernel_bound(ends.p.weight, op.geometry).amax() * ends.p.scale
        assert sums >= sigma * (1 - 1e-13)


@undiagonalised()
def test_without_memory_for_the_ghosts_there_is_a_bracket():
    op = ConvOperator(randn(8, 8, 3, 3), (12, 12), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    little = 1.5e6
    with pytest.raises(MemoryLimitError) as error:
        op.svdvals(1, "smallest", memory_limit=little)
    assert_says(error, "memory_limit=1.5 MB", "bracket=True")
    low = op.svdvals(1, "smallest", bracket=True, memory_limit=little)
    assert low.lower == 0
    assert low.upper >= S[-1]
    high = op.norm(bracket=True, memory_limit=little)
    assert high.lower <= S[0] <= high.upper <= 1.2 * S[0]
    assert "from above" in high.how
    assert op.cond(bracket=True, memory_limit=little).upper == math.inf
    with pytest.raises(MemoryLimitError):
        op.matrix_rank(memory_limit=1e5)
    with pytest.raises(MemoryLimitError):
        op.norm(memory_limit=1e3)


@undiagonalised()
def test_a_warning_where_lanczos_did_not_settle(monkeypatch):
    monkeypatch.setattr("unconv.spectrum.extremes._OF_VALUES", 0.0)
    monkeypatch.setattr("unconv.spectrum.block_lanczos._DEPENDENT", 0.0)
    monkeypatch.setattr(largest_eigenpairs, "__kwdefaults__", {"most": 3})
    op = ConvOperator(randn(1, 1, 3, 3), (24, 24), padding=1)
    with pytest.warns(AccuracyWarning, match="bracket=True"):
        op.norm()


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


def test_a_real_projector_takes_complex_vectors_and_the_weight_keeps_its_gradient():
    weight = torch.nn.Parameter(randn(2, 3, 3))
    op = ConvOperator(weight, (8,), padding=1, padding_mode="circular")
    P, x = op.null_projector(), randn(2, 3, 8, dtype=C128)
    assert relative(P(x), torch.complex(P(x.real), P(x.imag))) < 1e-15
    assert not op.norm().requires_grad
    with torch.inference_mode():
        frozen = ConvOperator(randn(2, 3, 3), (8,), padding=1, padding_mode="circular")
        assert relative(frozen.svdvals(), op.svdvals()) < 1e-15


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
