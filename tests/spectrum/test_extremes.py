"""A few values at either end by Lanczos, ghosts and inertia, against the matrix."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import AccuracyWarning, ConvOperator, MemoryLimitError
from unconv.spectrum.block_lanczos import largest_eigenpairs
from unconv.spectrum.values import exact_rung
from unconv.testing import dense_twin

from ..helpers import (
    DOUBLES,
    F64,
    assert_says,
    randn,
    relative,
    undiagonalised,
)
from ..strategies import Case, cases
from .truth import (
    ENDS,
    ROUND_OFF,
    assert_bracket,
    assert_orthonormal,
    assert_triples,
    batched,
    ends,
    matrices,
)

PLUS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)[None, None]


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


@pytest.mark.parametrize(
    "seed", [s if s % 3 == 2 else pytest.param(s, marks=pytest.mark.slow) for s in range(20, 60, 2)]
)
@undiagonalised()
def test_vectors_of_values_too_close_for_an_inverse_to_tell_apart(seed):
    """One tap among small ones: all values nearly alike, and some pairs to 10⁻⁸."""
    generator = torch.Generator().manual_seed(seed)
    K = 10.0 ** -(3 + seed % 4) * torch.randn(1, 1, 2, 3, generator=generator, dtype=F64)
    K[..., 1, 2] = 1
    op = ConvOperator(
        K,
        (10 + seed % 30, 1),
        stride=(1, 2),
        padding=((0, 1), (3, 1)),
        dilation=(2, 1),
        padding_mode="replicate",
    )
    S = torch.linalg.svdvals(dense_twin(op))
    for which in ENDS:
        assert_triples(op, S[None], 3, which, 8e-12)


# --- bounds and limits ----------------------------------------------------------------------------


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


@undiagonalised()
def test_a_warning_where_vectors_did_not_settle(monkeypatch):
    monkeypatch.setattr(largest_eigenpairs, "__kwdefaults__", {"most": 2})
    op = ConvOperator(randn(1, 1, 3, 3), (24, 24), padding=1)
    for which in ENDS:
        with pytest.warns(AccuracyWarning, match="apart.* larger k"):
            op.svd(3, which)
