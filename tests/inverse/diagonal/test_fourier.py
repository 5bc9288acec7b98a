"""The fourier rung against the matrix, and where its spectrum vanishes exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

import unconv.inverse.diagonal.filtered
from unconv import ConvOperator
from unconv.testing import dense_twin, penrose_errors

from ...helpers import (
    C128,
    F64,
    GAP,
    apply_matrix,
    data,
    has_gap,
    near_identity,
    randn,
    relative,
)
from ...strategies import Case, circulant_cases


def circular(weight: torch.Tensor, size: tuple[int, ...], **options) -> ConvOperator:
    padding = [((k - 1) // 2, k // 2) for k in weight.shape[-len(size) :]]
    return ConvOperator(weight, size, **{"padding": padding} | options, padding_mode="circular")


@given(circulant_cases())
@settings(max_examples=80)
def test_equals_the_matrix_and_the_dense_rung(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    pinv = op.pinv()
    assert pinv.method == "fourier"
    X = torch.linalg.pinv(A, rtol=GAP)
    assert relative(pinv.to_dense(), X) < 1e-10
    rank = torch.linalg.matrix_rank(A, rtol=GAP).reshape(-1)
    assert pinv.summary.rank.tolist() == rank.tolist()
    assert pinv.summary.dropped.tolist() == (min(op.shape) - rank).tolist()
    y, dense = data(op.range_shape, op), op.pinv(method="dense")
    assert relative(pinv(y), apply_matrix(X, y, op.domain_shape)) < 1e-10
    assert relative(pinv(y), dense(y)) < 1e-10
    x = data(op.domain_shape, op)
    assert relative(pinv.H(x), dense.H(x)) < 1e-10


@given(circulant_cases())
@settings(max_examples=60)
def test_damped_equals_the_normal_equations(case: Case):
    op = case.operator()
    A = dense_twin(op).numpy()
    damp = 0.2 * float(np.linalg.norm(A, 2, axis=(-2, -1)).max()) + 1e-3
    inverse = op.tikhonov(damp)
    assert inverse.method == "fourier"
    AH = A.conj().swapaxes(-1, -2)
    expected = np.linalg.solve(AH @ A + damp**2 * np.eye(A.shape[-1]), AH)
    assert relative(inverse.to_dense(), torch.from_numpy(expected)) < 1e-12
    assert inverse.summary.rank is None


@given(circulant_cases())
@settings(max_examples=60)
def test_summary_bounds_the_spectrum(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    S = torch.linalg.svdvals(A).reshape(op.batch_size or 1, -1)
    summary = op.pinv().summary
    smallest = torch.where(GAP * S[:, :1] < S, S, torch.inf).amin(1)
    assert (summary.norm <= S[:, 0] * (1 + 1e-12)).all()
    assert (summary.norm >= 0.9 * S[:, 0]).all()
    assert (summary.floor <= smallest * (1 + 1e-9)).all()
    damped = op.tikhonov(0.5).summary
    assert (damped.floor <= (S.amin(1) ** 2 + 0.25).sqrt() * (1 + 1e-9)).all()


# --- the half spectrum, column by column ----------------------------------------------------------


@pytest.mark.parametrize("last", range(1, 9))
@pytest.mark.parametrize("first", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("channels", [(1, 1), (2, 2), (4, 1), (1, 2), (3, 4)])
def test_half_spectrum(last, first, stride, channels):
    coarse = (last,) if first is None else (first, last)
    size = tuple(stride * M for M in coarse)
    w = randn(*channels, *[3] * len(size), seed=last)
    op = circular(w, size, stride=stride)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    pinv = op.pinv(rtol=1e-9)
    expected = torch.linalg.pinv(A, rtol=1e-9)
    assert int(pinv.summary.rank) == int((1e-9 * S[0] < S).sum())
    assert relative(pinv.to_dense(), expected) < 1e-13 * float(S[0] / S[1e-9 * S[0] < S][-1])


# --- spectra that vanish exactly ------------------------------------------------------------------

PLUS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)
BOX = torch.ones(3, 3, dtype=F64)
# zeros of 1 + 2cos(2πi/n) + 2cos(2πj/m): cos a + cos b = −1/2
PLUS_ZEROS = {
    (3, 3): 0,
    (4, 4): 0,
    (5, 5): 8,  # cos 72° + cos 144° = −1/2
    (6, 6): 4,  # cos 60° + cos 180°
    (8, 8): 0,
    (10, 10): 8,
    (12, 12): 12,  # also cos 90° + cos 120°
    (4, 6): 6,
    (6, 4): 6,
    (4, 3): 4,
    (3, 4): 4,
    (5, 6): 0,
    (1, 3): 0,
    (2, 6): 2,  # cos 180° + cos 60°
    (6, 2): 2,
    (1, 1): 0,
}
# zeros of (1 + 2cos a)(1 + 2cos b): two of every three where 3 | n
BOX_ZEROS = {
    (n, m): n * m - (n - 2 * (n % 3 == 0)) * (m - 2 * (m % 3 == 0))
    for n, m in itertools.product((1, 2, 3, 4, 6, 7, 9), repeat=2)
}
LINES = [
    ([1, 1], 6, 1),  # Nyquist
    ([1, 1], 7, 0),
    ([1, -1], 6, 1),  # the mean
    ([1, -1], 7, 1),
    ([1, 0, 1], 8, 2),
    ([1, 0, 1], 4, 2),
    ([1, 0, -1], 8, 2),
    ([1, 0, -1], 7, 1),
    ([1, 1, 1], 6, 2),
    ([1, 1, 1], 9, 2),
    ([1, 1, 1, 1], 8, 3),
    ([1, 2, 1], 8, 1),
    ([1, -2, 1], 5, 1),
    ([1, 1], 2, 1),
    ([1, -1], 1, 1),
]
SINGULAR = [
    *[(PLUS[None, None], size, zeros) for size, zeros in PLUS_ZEROS.items()],
    *[(BOX[None, None], size, zeros) for size, zeros in BOX_ZEROS.items()],
    *[(torch.tensor([[taps]], dtype=F64), (n,), zeros) for taps, n, zeros in LINES],
]


def assert_rank(op: ConvOperator, rank: int, method: str) -> None:
    pinv = op.pinv(method=method)
    assert pinv.summary.rank.tolist() == [rank]
    assert pinv.summary.dropped.tolist() == [min(op.shape) - rank]
    assert float(pinv.summary.gap) > 1e10
    expected = torch.linalg.pinv(dense_twin(op), rtol=1e-10)
    assert relative(pinv.to_dense(), expected) < 1e-12
    assert max(penrose_errors(op, pinv)) < 1e-12


@pytest.mark.parametrize("method", ["fourier", "dense"])
@pytest.mark.parametrize(
    ("weight", "size", "zeros"),
    SINGULAR,
    ids=[f"{int(w.abs().sum())}{list(w.shape[2:])}-{s}" for w, s, _ in SINGULAR],
)
def test_rank_by_hand(weight, size, zeros, method):
    op = circular(weight, size)
    assert_rank(op, op.shape[0] - zeros, method)


def channel_mix(taps: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    return mix[(..., *[None] * taps.ndim)] * taps


@pytest.mark.parametrize("method", ["fourier", "dense"])
@pytest.mark.parametrize("size", [(6, 6), (5, 6), (6, 5), (3, 2)])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (3, 1), (1, 3)])
def test_rank_by_hand_with_channels(shape, size, method):
    weight = channel_mix(BOX, randn(*shape))
    rank = min(shape) * (size[0] * size[1] - BOX_ZEROS.get(size, 0))
    if size not in BOX_ZEROS:
        n, m = size
        rank = min(shape) * (n - 2 * (n % 3 == 0)) * (m - 2 * (m % 3 == 0))
    assert_rank(circular(weight, size), rank, method)


@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_rank_by_hand_of_other_structures(method):
    line = torch.tensor([1.0, 1, 1], dtype=F64)
    deficient = channel_mix(torch.tensor([0.3, 1.0, 0.2], dtype=F64), torch.ones(3, 3, dtype=F64))
    assert_rank(circular(deficient, (7,)), 7, method)  # channel matrix of rank 1
    groups = torch.stack([line[None], torch.tensor([[1.0, -1, 0]]), torch.tensor([[0, 2.0, 0]])])
    assert_rank(circular(groups.double(), (6,), groups=3), 4 + 5 + 6, method)
    cube = torch.ones(1, 1, 3, 3, 3, dtype=F64)
    assert_rank(circular(cube, (3, 4, 6)), 1 * 4 * 4, method)
    turn = torch.exp(
        2j * torch.pi * torch.arange(3, dtype=F64) / 3
    )  # shifts the zeros, one to the mean
    assert_rank(circular((line * turn)[None, None], (6,)), 4, method)
    assert_rank(circular((line * turn)[None, None], (7,)), 6, method)
    # a delta at stride 2 reads every second sample: rank m, the rest never seen
    assert_rank(circular(torch.ones(1, 1, 1, dtype=F64), (8,), stride=2, padding=0), 4, method)
    # two channels out of one coarse one, the second a copy
    copied = torch.ones(2, 1, 2, dtype=F64)
    assert_rank(circular(copied, (8,), stride=2, padding=0), 4, method)
    dilated = torch.ones(1, 1, 3, dtype=F64)
    assert_rank(circular(dilated, (9,), dilation=2, padding=2), 7, method)
    assert_rank(circular(dilated, (9,), dilation=3, padding=3), 3, method)
    aliased = torch.ones(1, 1, 6, dtype=F64)  # longer than the grid: twice the box of three
    assert_rank(circular(aliased, (3,), padding=((2, 3),)), 1, method)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_rank_by_hand_at_any_scale(factor, method):
    assert_rank(circular(factor * BOX[None, None], (6, 9)), 4 * 7, method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16])
def test_rank_by_hand_in_low_precision(dtype):
    op = circular(BOX[None, None].to(dtype), (6, 9))
    assert op.pinv().summary.rank.tolist() == [28]


def test_deconvolution_of_a_box_removes_only_what_it_cannot_see():
    op = circular(BOX[None, None], (6, 6))
    x = randn(1, 1, 6, 6)
    pinv = op.pinv()
    seen = pinv(op(x))
    assert relative(op(seen), op(x)) < 1e-13
    assert torch.linalg.norm(seen) < torch.linalg.norm(x)
    assert relative(pinv(op(seen)), seen) < 1e-13


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float32, 2e-6),
        (torch.complex64, 2e-6),
        (torch.float16, 1e-3),
        (torch.bfloat16, 8e-3),
    ],
)
@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_low_precision_against_double(dtype, tolerance, method):
    wide = C128 if dtype.is_complex else F64
    op = circular(near_identity(3, 3, 3, 3, dtype=dtype), (8, 7))
    y = randn(2, *op.range_shape, dtype=dtype)
    exact = op.with_weight(op.weight.to(wide)).pinv(method=method)(y.to(wide))
    found = op.pinv(method=method)(y)
    assert found.dtype == dtype
    assert relative(found, exact) < tolerance
    x, certificate = op.lstsq(y, method=method)
    assert torch.equal(x, found)
    assert certificate.converged.all()


def test_large_batches_go_in_slices(monkeypatch):
    op = circular(near_identity(2, 2, 3), (8,))
    pinv = op.pinv()
    y = randn(7, 2, 8)
    whole = pinv(y)
    monkeypatch.setattr(unconv.inverse.diagonal.filtered, "BATCH_BYTES", 2 * 8 * 8 * 3)
    assert relative(pinv(y), whole) < 1e-15


@pytest.mark.slow
@given(circulant_cases())
@settings(max_examples=2000)
def test_equals_the_matrix_at_length(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    assert relative(op.pinv().to_dense(), torch.linalg.pinv(A, rtol=GAP)) < 1e-10
