"""Turns, their medians and the spread of a ratio; memory that is counted anew."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from benchmarks.common import Ratio, held_memory, medians, peak_memory, ratio, turns


def test_turns_are_counted_after_the_first() -> None:
    calls: list[str] = []
    times = turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4)
    assert calls.count("a") == calls.count("b") == 5
    assert [len(t) for t in times.values()] == [4, 4]
    assert len(turns({"a": lambda: None}, rounds=4, warm=True)["a"]) == 4


def test_one_that_is_slow_has_few_turns() -> None:
    times = turns({"slow": lambda: time.sleep(0.03), "fast": lambda: None}, rounds=9, seconds=0.02)
    assert len(times["slow"]) == 1
    assert len(times["fast"]) >= 5
    assert medians({"slow": lambda: time.sleep(0.03)}, seconds=0.02)["slow"] >= 0.03


@pytest.mark.parametrize("seed", range(5))
def test_the_spread_is_that_within_turns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    floor, other = rng.uniform(1, 2, 41), rng.uniform(0, 1, 41)
    factor = np.linspace(1.0, 1.4, 41)[rng.permutation(41)]
    times = {"ours": list(factor * (floor + other)), "floor": list(floor), "other": list(other)}
    found = ratio(times, "ours", "floor", "other")
    assert found.low == pytest.approx(1.1)
    assert found.high == pytest.approx(1.3)
    middle = np.median(times["ours"]) / (np.median(floor) + np.median(other))
    assert found.value == pytest.approx(middle)


def test_a_ratio_with_its_spread() -> None:
    assert Ratio(1.25, 1.2, 1.31).shown(1.2) == "1.25 ! (1.20–1.31)"
    assert ratio({"ours": [3.0, 5.0], "floor": [2.0]}, "ours", "floor").shown() == "2.00"
    assert Ratio(12.0, 11.0, 13.0).shown(digits=".0f") == "12 (11–13)"


def test_the_peak_of_memory_counts_anew() -> None:
    torch.ones(10_000_000, dtype=torch.float64)
    held = held_memory()
    torch.ones(4_000_000, dtype=torch.float64)
    assert 3e7 < peak_memory() - held < 5e7
