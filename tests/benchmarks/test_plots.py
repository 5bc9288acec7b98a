"""Growth tables drawn: what is in the file is in the picture, and a file without one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import plots
from benchmarks.bench_growth import BESIDE_TITLE, METHODS

ROOT = Path(__file__).parents[2]
HEAD = ["channels", "size", "N", "method", *plots.PANELS, "relative error"]


def _told(rows: list[list[str]]) -> dict[str, Any]:
    table = {"title": BESIDE_TITLE, "header": HEAD, "rows": rows}
    environment = {"date": "2030-01-31", "processor": "one", "torch": "2"}
    return {"environment": environment, "benchmarks": {"growth": {"tables": [table]}}}


def _rows() -> list[list[str]]:
    return [
        [
            c,
            f"{n}²",
            f"{n * n:,}",
            method,
            f"{n / 1e3}",
            "–" if method == "PARDISO" else "2",
            "0",
            "–",
        ]
        for c in ("1", "8")
        for method in METHODS
        for n in (32, 64)
    ]


def test_cells_become_points() -> None:
    rows = plots.growth_rows(_told(_rows()))
    found = plots.curves(rows, "8", "set-up and one solve, s")
    assert set(found) == set(METHODS) <= set(plots.COLOURS)
    assert found["SuperLU"] == [(1024.0, 0.032), (4096.0, 0.064)]
    assert "PARDISO" not in plots.curves(rows, "8", "next solve, ms")
    assert plots.curves(rows, "1", "peak, MB")["unconv"] == [(1024.0, 1.0), (4096.0, 1.0)]


def test_a_file_is_drawn(tmp_path: Path) -> None:
    kept, out = tmp_path / "bench.json", tmp_path / "growth.png"
    kept.write_text(json.dumps(_told(_rows())))
    command = [sys.executable, "-m", "benchmarks.plots", str(kept), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(out) in done.stdout
    with Image.open(out) as picture:
        assert picture.size == (1000, 1000)


def test_a_file_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="benchmarks growth --json"):
        plots.growth_rows({"benchmarks": {"blur": {"tables": []}}})
