"""Picard coefficients, and every trial made of them, against the matrix."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.inverse.diagonal.rungs import RUNGS, diagonal_rung
from unconv.parameter_choice.picard import picard
from unconv.parameter_choice.trials import PicardTrials

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    randn,
    relative,
)
from .cases import (
    DAMPS,
    NAMES,
    data_of,
    dense,
    operator,
)


@pytest.mark.parametrize("of_data", DOUBLES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", NAMES)
def test_sums_of_one_vector(name, dtype, transposed, of_data):
    op = operator(name, dtype, transposed)
    rung, y = diagonal_rung(op), data_of(op, of_data)
    assert rung == name.partition("-")[0]
    trials = PicardTrials(picard(op, y, rung))
    for damp in DAMPS:
        t, expected = trials(damp), dense(op, y, damp)
        assert (t.residual, t.norm, t.left) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_slope(name):
    op = operator(name)
    y, h = data_of(op), 1e-5
    trials = PicardTrials(picard(op, y, diagonal_rung(op)))
    for damp in DAMPS:
        above, below = (trials(damp * f).norm for f in (1 + h, 1 - h))
        assert trials(damp).slope == pytest.approx((above - below) / (2 * h * damp), rel=1e-6)


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", NAMES)
def test_energy_and_singular_values(name, dtype):
    op = operator(name, dtype)
    y = data_of(op, C128)
    p = picard(op, y, diagonal_rung(op))
    energy = (p.power * p.counts).sum(1) + p.outside
    assert relative(energy, y.abs().square().flatten(1).sum(1)) < 1e-13
    A = op.to_dense()
    expected = torch.linalg.svdvals(A if A.ndim == 3 else A[None])
    for found, S in zip(p.sigma, expected, strict=True):
        every = found.repeat_interleave(p.counts).sort(descending=True).values
        assert relative(every[: S.shape[0]], S) < 1e-12
        assert every[S.shape[0] :].sum() == 0


@pytest.mark.parametrize("rung", [r for r in RUNGS if r != "cosine"])
def test_rungs_agree(rung):
    """A circular Gaussian is served by all but the cosines."""
    k = torch.exp(-(torch.linspace(-1, 1, 5, dtype=F64) ** 2))
    w = (k[:, None] * k)[None, None]
    op = ConvOperator(w, (10, 9), padding=2, padding_mode="circular")
    y = data_of(op)
    found, expected = (PicardTrials(picard(op, y, r))(0.1) for r in (rung, "dense"))
    assert found[:5] == pytest.approx(expected[:5], rel=1e-10)


def test_an_axis_in_two_halves():
    """Long axes of the separable rung are split by parity."""
    w = torch.tensor([1.0, 2.0, 1.0], dtype=F64)[None, None]
    op = ConvOperator(w, (301,), padding=1)
    y = data_of(op)
    found, expected = (PicardTrials(picard(op, y, r))(0.1) for r in ("separable", "dense"))
    assert found[:5] == pytest.approx(expected[:5], rel=1e-10)


def test_a_column_of_zeros():
    """A frequency that A loses altogether: the data there are residual."""
    w = torch.zeros(2, 1, 1, 2, dtype=F64)
    w[..., 0], w[..., 1] = 1, -1
    op = ConvOperator(w, (4, 6), padding=((0, 0), (0, 1)), padding_mode="circular")
    y = data_of(op)
    trials = PicardTrials(picard(op, y, "fourier"))
    assert trials(0.1)[1:3] == pytest.approx(dense(op, y, 0.1)[:2], rel=1e-10)
    assert trials(0.1).left == pytest.approx(dense(op, y, 0.1).left, rel=1e-10)


def test_memory_limit_and_other_operators():
    op = operator("fourier-one")
    assert diagonal_rung(op, memory_limit=10) is None
    assert diagonal_rung(ConvOperator(randn(1, 1, 3, 3), (64, 64), padding=1)) is None


def test_arguments_are_untouched():
    op = operator("fourier-channels")
    y = data_of(op)
    before, weight = y.clone(), op.weight.clone()
    picard(op, y, "fourier")
    assert torch.equal(y, before)
    assert torch.equal(op.weight, weight)
