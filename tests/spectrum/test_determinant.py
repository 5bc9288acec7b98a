"""log |det A| against 200 digits: where A is all but singular it is right, −inf, or refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.grid.modes import MODES
from unconv.inverse.diagonal import dense
from unconv.spectrum import determinant, values
from unconv.spectrum.exact_determinant import (
    ExactMatrix,
    is_singular,
    log_abs_det,
    log_abs_det_in_integers,
)
from unconv.spectrum.triangular import triangular_log_det
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    assert_says,
    randn,
)

DAMPS = (0.0, 0.0, 0.0, 0.1, 1e-5, 1e-9, 1e-12)
PLUS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)[None, None]


@contextmanager
def only_ghosts() -> Iterator[None]:
    """No matrix and nothing that diagonalises."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "RUNGS", {"dense": dense})
        patch.setattr(values, "VALUES_LIMIT", 0)
        patch.setattr(dense, "LIMIT", 0)
        patch.setattr(determinant, "MATRIX_LIMIT", 0)
        yield


def in_many_digits(A: Tensor, damp: float) -> float:
    """½ log det(AᴴA + damp²), or Σ log σ."""
    m, n = A.shape
    with mpmath.workdps(400):
        M = mpmath.matrix(A.tolist())
        if damp:
            M = M.H * M + mpmath.mpf(damp) ** 2 * mpmath.eye(n)
        elif m != n:
            M = M.H * M if m > n else M * M.H
        half = 1 if m == n and not damp else 2
        try:
            found = abs(mpmath.det(M))
        except TypeError:  # a column of zeros
            return -math.inf
        regular = damp or found > mpmath.mpf(10) ** -380
        return float(mpmath.log(found) / half) if regular else -math.inf


def exact(t: Tensor, bits: int) -> Tensor:
    """t to so few bits that sums of a few are doubles."""
    if t.is_complex():
        return torch.complex(exact(t.real, bits), exact(t.imag, bits))
    return (t * 2**bits).round() / 2**bits


@st.composite
def hard_operators(draw: st.DrawFn) -> ConvOperator:
    """Zero rows and last taps, sums of zero, causal or nearly so, nearly dependent channels."""
    mode = draw(st.sampled_from(("zeros", *MODES)))
    shape = draw(st.sampled_from(((7,), (16,), (24,), (3, 4), (5, 5))))
    c_out, c_in = draw(st.sampled_from(((1, 1), (1, 1), (2, 2), (1, 2), (2, 1))))
    dtype = draw(st.sampled_from((F64, F64, C128)))
    size = (c_out, c_in, *[3] * len(shape))
    weight = exact(randn(*size, dtype=dtype, seed=draw(st.integers(0, 999))), 10)
    kind = draw(st.sampled_from(("integers", "row", "last", "sum", "causal", "near", "channels")))
    taps, half = weight.flatten(2), 3 ** len(shape) // 2
    if kind == "integers":
        weight = (3 * weight).real.round().to(dtype)
    elif kind == "row":
        weight.select(2, draw(st.integers(0, 2))).zero_()
    elif kind == "last":
        taps[..., -1] = 0
    elif kind == "sum":
        taps[..., -1] = -taps[..., :-1].sum(-1)
    elif kind in ("causal", "near"):
        taps[..., half + 1 :] *= 0.0 if kind == "causal" else 2.0 ** -draw(st.integers(6, 38))
    else:
        weight[-1] = 2 * weight[0] + 2.0 ** -draw(st.integers(8, 38)) * weight[-1]
    turned = draw(st.sampled_from((False, False, False, True)))
    return ConvOperator(
        weight.transpose(0, 1).contiguous() if turned else weight,
        shape,
        padding=draw(st.sampled_from((1, 1, 1, 2))),
        stride=draw(st.sampled_from((1, 1, 1, 2))),
        padding_mode=mode,
        flip=draw(st.booleans()),
        transposed=turned,
    )


def assert_right(op: ConvOperator, damp: float, *, may_refuse: bool) -> None:
    expected = in_many_digits(dense_twin(op), damp)
    try:
        found = float(op.logabsdet(damp))
    except NotImplementedError as refusal:
        assert may_refuse, expected
        assert "double precision" in str(refusal)  # noqa: PT017
        return
    if expected == -math.inf:
        assert found == expected
    else:
        assert abs(found - expected) <= min(1e-3, 1e-6 * (1 + abs(expected)))


@given(hard_operators(), st.sampled_from(DAMPS))
@settings(max_examples=12)
def test_hard_operators(op: ConvOperator, damp: float):
    assert_right(op, damp, may_refuse=False)


@given(hard_operators(), st.sampled_from(DAMPS))
@settings(max_examples=12)
@only_ghosts()
def test_hard_operators_on_the_ghosts(op: ConvOperator, damp: float):
    assert_right(op, damp, may_refuse=True)


@pytest.mark.slow
@given(hard_operators(), st.sampled_from(DAMPS), st.booleans())
@settings(max_examples=400)
def test_many_hard_operators(op: ConvOperator, damp: float, ghosts: bool):
    if ghosts:
        with only_ghosts():
            assert_right(op, damp, may_refuse=True)
    else:
        assert_right(op, damp, may_refuse=False)


@pytest.mark.parametrize("ghosts", [False, True])
def test_channels_that_are_nearly_dependent(ghosts):
    """576 pixels, as many singular values near 1e-9: the squares of them are round-off."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 2, 3, 3, dtype=F64, generator=generator)
    weight[1] = 2 * weight[0] + 1e-9 * weight[1]
    op = ConvOperator(weight, (8, 8) if ghosts else (10, 10), padding=2)
    expected = torch.linalg.svdvals(dense_twin(op)).log().sum()
    if ghosts:
        with only_ghosts(), pytest.raises(NotImplementedError) as error:
            op.logabsdet()
        assert_says(error, "round-off", "give damp > 0")
    else:
        assert abs(op.logabsdet() - expected) <= 1e-4


@pytest.mark.parametrize("damp", [1e-9, 1e-3])
@only_ghosts()
def test_taps_that_sum_to_zero_on_the_ghosts(damp):
    """C is singular at frequency 0 of every grid; A is not."""
    kernel = randn(1, 1, 3, 3)
    kernel -= kernel.mean()
    op = ConvOperator(kernel, (12, 12), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    for d in (0.0, damp * float(S[0])):
        expected = torch.hypot(S, torch.full_like(S, d)).log().sum()
        assert abs(op.logabsdet(d) - expected) <= 1e-6


# --- causal kernels


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(2000,), (40, 30), (9, 8, 7)])
def test_a_causal_kernel_has_the_determinant_of_its_centre(shape, groups, dtype):
    nd = len(shape)
    for signs, order in itertools.product(
        itertools.product((1, -1), repeat=nd), itertools.permutations(range(nd))
    ):
        weight = randn(4, 4 // groups, *[3] * nd, dtype=dtype)
        for tap in itertools.product(range(3), repeat=nd):
            first = next((signs[a] * (tap[a] - 1) for a in order if tap[a] != 1), 0)
            if first < 0:
                weight[(..., *tap)] = 0
        op = ConvOperator(weight, shape, padding="same", groups=groups, dilation=2)
        centre = weight[(..., *[1] * nd)].unflatten(0, (groups, -1))
        expected = math.prod(shape) * torch.linalg.slogdet(centre)[1].sum()
        assert abs(op.logabsdet() - expected) <= 1e-12 * abs(expected) + 1e-9
        weight[(..., *[1] * nd)] = 0
        assert ConvOperator(weight, shape, padding="same", groups=groups).logabsdet() == -math.inf


def test_what_is_not_causal():
    taps = randn(1, 1, 3, 3)
    assert triangular_log_det(ConvOperator(taps, (8, 8), padding=1)) is None
    taps[:, :, 1:] = 0
    taps[:, :, 1, 1] = 1
    for options in (
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 2},
        {"padding": 1, "stride": 2},
    ):
        assert triangular_log_det(ConvOperator(taps, (8, 8), **options)) is None
    assert ConvOperator(taps, (80, 80), padding=1).logabsdet() == 0


def test_the_matrix_of_a_causal_tap_may_be_ill_conditioned():
    centre = randn(3, 3)
    centre[2] = centre[0] + centre[1] + 2.0**-48 * centre[2]
    weight = torch.zeros(3, 3, 3, dtype=F64)
    weight[..., 0], weight[..., 1] = randn(3, 3, seed=1), centre
    expected = 50 * in_many_digits(centre, 0.0)
    assert abs(ConvOperator(weight, (50,), padding=1).logabsdet() - expected) <= 1e-9


# --- proofs


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("N", [1, 5, 70, 150])
def test_singular_matrices_are_told_by_primes(N, dtype):
    A = exact(randn(N, N, dtype=dtype), 12)
    zero = torch.zeros_like(A)
    assert not is_singular(ExactMatrix(A, zero))
    assert is_singular(ExactMatrix(A @ torch.diag(torch.arange(N)).to(dtype), zero))
    A[-1] = A[:-1].sum(0)
    assert is_singular(ExactMatrix(A, zero))
    delta = zero.clone()
    delta[0, 0] = 2.0**-200
    assert not is_singular(ExactMatrix(A, delta))
    assert is_singular(ExactMatrix(A[:, : N // 2 + 1], zero[:, : N // 2 + 1])) == (N == 1)


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("power", [0, 20, 36, 42])
def test_determinants_of_ill_conditioned_matrices(power, dtype):
    A = exact(randn(24, 24, dtype=dtype), 10)
    A[-1] = A[:-1].sum(0) + 2.0**-power * A[-1]
    matrix = ExactMatrix(A, torch.zeros_like(A))
    expected = in_many_digits(A, 0.0)
    value, error = log_abs_det(matrix)
    assert abs(value - expected) <= error + 1e-12 <= 1e-6
    assert abs(log_abs_det_in_integers(matrix) - expected) <= 1e-12 * abs(expected)


@pytest.mark.parametrize("n", [11, 23])
def test_minus_infinity_is_proven_or_refused(n):
    op = ConvOperator(PLUS, (n, n), padding=1)
    assert op.logabsdet() == -math.inf
    with only_ghosts(), pytest.raises(NotImplementedError, match="give damp > 0"):
        op.logabsdet()
    assert math.isfinite(op.logabsdet(0.1))


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("mode", [m for m in MODES if m != "zeros"])
def test_constants_that_are_annihilated_prove_a_singular_operator_of_any_size(mode, dtype):
    weight = exact(randn(2, 2, 3, 3, dtype=dtype), 20)
    weight[..., 2, 2] -= weight.sum((2, 3)) - torch.ones(2, 2)  # all channels to their sum
    op = ConvOperator(weight, (100, 90), padding=1, padding_mode=mode)
    assert op.logabsdet() == -math.inf
    assert op.with_weight(weight.conj().resolve_conj() * 2.0**-560).logabsdet() == -math.inf


@pytest.mark.parametrize("scale", [1e-170, 1e150])
def test_the_unit_of_the_weight_shifts_the_logarithm(scale):
    op = ConvOperator(randn(2, 2, 3), (8,), padding=1)
    shifted = op.with_weight(op.weight * scale).logabsdet()
    assert abs(shifted - op.logabsdet() - 16 * math.log(scale)) <= 1e-9
