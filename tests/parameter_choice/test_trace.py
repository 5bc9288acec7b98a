"""tr(I − A A_λ⁺), exact and estimated, and trials that are solved, against the matrix."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.parameter_choice.rules import RULES
from unconv.parameter_choice.trace import (
    EXACT_LIMIT,
    exact_trace,
    ghost_count,
    signs,
)
from unconv.parameter_choice.trials import Asked, SolvedTrials

from ..helpers import C128, DOUBLES, F64, randn
from .cases import (
    DAMPS,
    NAMES,
    data_of,
    dense,
    operator,
)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", NAMES)
def test_exact_trace(name, dtype, transposed):
    op = operator(name, dtype, transposed)
    y = data_of(op)
    for damp in DAMPS:
        copies = 1 if op.batch_size else len(y)
        expected = dense(op, y, damp).left
        assert exact_trace(op, damp) * copies == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 3)])
def test_exact_trace_at_every_boundary(mode, stride, shape):
    w = randn(1, 2, *[3] * len(shape))
    op = ConvOperator(w, shape, padding=(1,) * len(shape), stride=stride, padding_mode=mode)
    assert exact_trace(op, 0.3) == pytest.approx(dense(op, data_of(op), 0.3).left / 2, rel=1e-10)


@pytest.mark.parametrize("of_data", DOUBLES)
@pytest.mark.parametrize("method", ["boundary", "krylov"])
@pytest.mark.parametrize("name", ["dense-strided", "dense-reflect", "dense-per sample"])
def test_solved_trials(name, method, of_data):
    op = operator(name)
    y = data_of(op, of_data)
    probes = 12 if op.batch_size else 200  # one kernel per sample: one solve a probe
    asked = Asked(method, 1e9, tol=1e-9, probes=probes, seed=0)
    t, e = SolvedTrials(op, y, RULES["gcv"], asked)(1.0), dense(op, y, 1.0)
    assert (t.residual, t.norm) == pytest.approx(e[:2], rel=1e-8)
    if method == "boundary":
        assert t.left == pytest.approx(e.left, rel=1e-10)
        assert t.probes == ()
    else:
        spread = torch.tensor(t.probes).std() / len(t.probes) ** 0.5
        assert abs(t.left - e.left) < 4 * float(spread)
        assert 0 < float(spread) < 0.2 * e.left


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("name", ["fourier-one", "dense-full", "dense-per sample"])
def test_slope_of_solved_trials(name, dtype):
    op = operator(name, dtype)
    y, h = data_of(op, dtype), 1e-5
    trials = SolvedTrials(op, y, RULES["lcurve"], Asked("boundary", 1e9, 1e-9, 1, 0))
    for damp in DAMPS:
        above, below = (dense(op, y, damp * f).norm for f in (1 + h, 1 - h))
        assert trials(damp).slope == pytest.approx((above - below) / (2 * h * damp), rel=1e-5)


def test_large_boundaries_are_estimated():
    op = ConvOperator(randn(1, 1, 9, 9), (80, 80), padding=4, padding_mode="reflect")
    assert ghost_count(op) > EXACT_LIMIT
    trials = SolvedTrials(op, data_of(op), RULES["gcv"], Asked("auto", 1e9, 1e-3, 3, 0))
    assert not trials.exact
    assert trials.signs.shape == (3, 1, 80, 80)


def test_signs():
    op = operator("dense-per sample", C128)
    z = signs(op, 5, seed=0)
    assert z.shape == (5, 2, *op.range_shape)
    assert z.dtype == C128
    assert torch.equal(z * z, torch.ones_like(z))
    assert torch.equal(z, signs(op, 5, seed=0))
    assert not torch.equal(z, signs(op, 5, seed=1))
    assert abs(float(signs(operator("dense-full", F64), 100, 0).mean())) < 0.05
