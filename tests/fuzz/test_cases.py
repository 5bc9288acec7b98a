"""Draws that once failed, and the oracle that judges them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unconv.inverse.request import default_rtol

from .case import Case
from .checks import CHECKS, examine
from .draws import draw
from .oracle import Oracle, matrices
from .run import KEPT

CASES = [Case.from_json(line) for line in KEPT.read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c.family}" for i, c in enumerate(CASES)])
def test_what_once_failed(case):
    report = examine(case)
    assert not report.failures


@pytest.mark.parametrize("seed", range(40))
def test_a_draw_is_a_function_of_its_seed(seed):
    case = draw(seed)
    assert case == draw(seed)
    assert Case.from_json(case.to_json()).operator().shape == case.operator().shape
    assert set(case.checks) <= set(CHECKS)


def seeds(fast: int, all_of_them: int) -> list:
    """The first draws, and under slow the rest."""
    rest = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(fast, all_of_them)]
    return [*range(fast), *rest]


@pytest.mark.parametrize("seed", seeds(30, 60))
def test_the_oracle_has_the_matrix(seed):
    """Loops over the taps against the library's own dense matrix."""
    assert not examine(draw(seed).only("matrix")).failures


@pytest.mark.parametrize("seed", seeds(12, 25))
def test_the_precise_answers_are_those_of_float64(seed):
    """To what conditioning lets float64 know, for both sides and kept ranks."""
    case = draw(seed)
    rtol = default_rtol(case.operator()) if case.rtol is None else case.rtol
    for high, low, added in matrices(case):
        o = Oracle(high, low, added, case.damp, rtol)
        precise = o.precise(o.rank) if o.norm and o.p <= 40 else None
        if precise is None:
            continue
        rng = np.random.default_rng(seed)
        y, x = rng.standard_normal(o.m), rng.standard_normal(o.n)
        for v, adjoint in ((y, False), (x, True)):
            rough = o.adjoint(o.rank, v) if adjoint else o.pinv(o.rank, v)
            exact = precise.adjoint(v) if adjoint else precise.pinv(v)
            doubt = 64 * o.doubt(o.rank, v, rough, adjoint=adjoint)
            assert np.linalg.norm(exact - rough) <= doubt


def test_the_oracle_cuts_where_it_is_told():
    """A⁺ of rank 2 of a matrix with σ = (1, 1e-3, 1e-9), to the last digit."""
    Q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0].numpy()
    A = Q @ np.diag([1, 1e-3, 1e-9]) @ Q[::-1].T
    o = Oracle(A, np.zeros_like(A), 0.0, 0.0, 1e-6)
    precise = o.precise(2)
    assert o.rank == 2
    assert precise is not None
    y = np.array([1.0, 2.0, 3.0])
    expected = (Q[::-1][:, :2] / [1, 1e-3]) @ (Q[:, :2].T @ y) * o.unit
    assert np.linalg.norm(precise.pinv(y) - expected) < 1e-11 * np.linalg.norm(expected)
