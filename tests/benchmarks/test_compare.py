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
