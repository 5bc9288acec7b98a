"""Ratios of two runs: what has become worse is told, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.compare import LIMIT, worse


def _run(values: dict[str, float], seconds: float = 1.0) -> dict:
    rows = [[case, "17", f"{seconds:.3g}", f"{v:.4f} !"] for case, v in values.items()]
    header = ["case", "size", "time, s", "ours/floor"]
    return {"blur": {"tables": [{"title": "t", "header": header, "rows": rows}]}}


@pytest.mark.parametrize("seed", range(10))
def test_those_that_grew_by_a_quarter_are_named(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = {f"case {i}": v for i, v in enumerate(rng.uniform(0.5, 40, 6))}
    factors = dict(zip(before, rng.choice([0.5, 1.0, 1.2, 1.3, 3.0], 6), strict=True))
    now = {case: before[case] * factors[case] for case in before}
    told = worse(_run(before), _run(now, seconds=9.0))
    expected = [case for case in before if factors[case] > LIMIT]
    assert [line.split(" · ")[2] for line in told] == expected


def test_what_one_run_lacks_is_passed_over() -> None:
    assert worse(_run({"a": 1.0}), _run({"b": 9.0})) == []
    assert worse({}, _run({"a": 1.0})) == []
    dash = _run({"a": 1.0})
    dash["blur"]["tables"][0]["rows"][0][3] = "–"
    assert worse(dash, _run({"a": 9.0})) == []


def test_rows_with_the_same_words_are_told_apart() -> None:
    def told(*values: float) -> dict:
        rows = [["1×64×256²", str(i), f"{v:.2f}"] for i, v in enumerate(values)]
        return {"a": {"tables": [{"title": "t", "header": ["in", "n", "ours/best"], "rows": rows}]}}

    assert worse(told(1.0, 3.0), told(1.0, 3.0)) == []
    (line,) = worse(told(1.0, 3.0), told(2.0, 3.0))
    assert "2, was 1" in line
    (line,) = worse(told(1.0, 3.0), told(1.0, 9.0))
    assert "row 2 of these" in line


def test_a_ratio_is_worse_when_its_lower_quartile_is() -> None:
    def told(cell: str) -> dict:
        header, rows = ["case", "ours/floor", "solve/(N log₂N), ns"], [["a", cell, "7"]]
        return {"a": {"tables": [{"title": "t", "header": header, "rows": rows}]}}

    assert worse(told("1.00 (0.90–1.10)"), told("1.60 ! (1.20–1.90)")) == []
    assert worse(told("1.00 (0.90–1.10)"), told("1.60 ! (1.30–1.90)")) == [
        "a · t · a · ours/floor: 1.6, was 1"
    ]


def test_a_time_is_no_ratio() -> None:
    def told(cell: str) -> dict:
        header, rows = ["case", "solve/(N log₂N), ns"], [["a", cell]]
        return {"a": {"tables": [{"title": "t", "header": header, "rows": rows}]}}

    assert worse(told("1"), told("9")) == []
