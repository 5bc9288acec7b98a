"""Minima and crossings of functions of the damp."""

from __future__ import annotations

import math

import pytest

from unconv.parameter_choice.search import crossing, grid, lowest

GRID = grid(1e-4, 10, 9)


def counted(function):
    calls: list[float] = []

    def call(damp: float) -> float:
        calls.append(damp)
        return function(damp)

    return call, calls


@pytest.mark.parametrize("damp", [3e-4, 0.01, 0.77, 1.9])
@pytest.mark.parametrize("unit", [1.0, 1e-100, 1e100])
def test_a_minimum(damp, unit):
    f, calls = counted(lambda d: math.log(d / unit / damp) ** 2)
    found = lowest(f, [unit * d for d in GRID], refine=4)
    assert found.damp / unit == pytest.approx(damp, rel=0.02)
    assert found.failure is None
    assert len(calls) <= len(GRID) + 5
    assert len(set(calls)) == len(calls)


def test_the_lower_of_two_minima():
    def f(damp: float) -> float:
        v = math.log(damp)
        return min((v + 5) ** 2, (v - 1) ** 2 + 0.5)

    assert lowest(f, GRID).damp == pytest.approx(math.exp(-5), rel=0.01)
    assert lowest(f, GRID, patience=1).damp == pytest.approx(math.e, rel=0.01)


def test_patience_spares_small_damps():
    f, calls = counted(lambda d: math.log(d) ** 2)
    lowest(f, GRID, patience=1)
    assert min(calls) > 0.05


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda d: d, "smallest damp"),
        (lambda d: -d, "largest damp"),
        (lambda d: 3.0, "flat"),
        (lambda d: math.nan, "flat"),
        (lambda d: math.inf, "flat"),
    ],
)
def test_no_minimum(f, says):
    found = lowest(f, GRID)
    assert says in found.failure
    assert found.damp in GRID


def test_infinite_values_are_never_lowest():
    def f(damp: float) -> float:
        return math.inf if damp < 0.02 else math.nan if damp > 5 else math.log(damp) ** 2

    assert lowest(f, GRID).damp == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("damp", [3e-4, 0.01, 0.77, 5.0])
def test_a_crossing(damp):
    f, calls = counted(lambda d: (d / damp) ** 1.5)
    found = crossing(f, GRID, refine=4)
    assert found.damp == pytest.approx(damp, rel=1e-3)
    assert found.failure is None
    assert len(set(calls)) == len(calls)


def test_no_crossing():
    assert "below the noise" in crossing(lambda d: 0.5, GRID).failure
    assert "exceeds the noise" in crossing(lambda d: 2.0, GRID).failure
    assert crossing(lambda d: math.inf, GRID).damp == GRID[-1]
