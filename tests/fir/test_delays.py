"""The best delay: all of them one by one, and the search where there are too many."""

from __future__ import annotations

import itertools

import pytest
import torch

from unconv.fir import delays, errors_by_delay, inverse_kernel
from unconv.fir.problem import pose

from ..helpers import C128, randn

SHAPES = [((1, 1, 4), (6,)), ((2, 1, 3, 2), (2, 2)), ((1, 2, 2, 3), (3, 3)), ((2, 2, 2), (3,))]


@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_errors_are_those_of_each_delay(shape, size, damp):
    f = randn(*shape, dtype=C128)
    errors = errors_by_delay(f, size, damp=damp)
    for d in itertools.product(*map(range, errors.shape)):
        g = inverse_kernel(f, size, delay=d, damp=damp)
        expected = float(g.residual**2 + damp**2 * g.noise_gain**2)
        assert float(errors[d]) == pytest.approx(expected, abs=1e-12)
    best = inverse_kernel(f, size, delay="best", damp=damp).delay
    assert float(errors[best]) == pytest.approx(float(errors.min()), rel=1e-8, abs=1e-19)


def test_nearest_to_the_centre_among_equals():
    assert inverse_kernel(torch.tensor([1.0]), (5,), delay="best").delay == (2,)
    assert inverse_kernel(randn(3, 1, 3, 3), 7, delay="best").delay == (4, 4)


@pytest.mark.parametrize("damp", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (1, 2, 2, 3)])
def test_sketch(shape, damp):
    problem = pose(randn(*shape), (17, 16))
    inverse = problem.factor(damp, 1e9, 1)
    every = list(itertools.product(*map(range, problem.full)))
    errors = delays.exact_errors(problem, inverse, every).reshape(problem.full)
    sketch = delays.sketched_errors(problem, inverse)
    spread = (sketch / errors - 1).std()
    assert spread < 1.5 * (2 / delays.SKETCHES) ** 0.5


@pytest.mark.parametrize("damp", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_search(seed, damp, monkeypatch):
    """Where the sketch decides what is looked at, the best delay or one as good is found."""
    f = randn(1, 1, 3, 4, seed=seed)
    errors = errors_by_delay(f, 24, damp=damp)
    monkeypatch.setattr(delays, "EXHAUSTIVE", 0)
    found = inverse_kernel(f, 24, delay="best", damp=damp)
    assert float(errors[found.delay]) <= 1.02 * float(errors.min())


def test_search_is_never_worse_than_the_centre(monkeypatch):
    monkeypatch.setattr(delays, "EXHAUSTIVE", 0)
    monkeypatch.setattr(delays, "_SKETCHED", 1)
    f = torch.ones(2, 2, dtype=torch.float64)
    best, center = (inverse_kernel(f, 12, delay=d).residual for d in ("best", "center"))
    assert best <= center * (1 + 1e-12)


def test_small_batches_change_nothing(monkeypatch):
    f = randn(2, 2, 3)
    whole = errors_by_delay(f, 5)
    monkeypatch.setattr(delays, "_RIGHT_SIDES_BYTES", 1)
    assert torch.allclose(errors_by_delay(f, 5), whole)
