"""`python -m benchmarks`: a process a benchmark, the record of what it printed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench_pictures
from benchmarks.__main__ import BENCHES, PICTURES, QUICK

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_benchmark_has_a_name() -> None:
    files = {path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py")}
    assert files == {*BENCHES}
    assert {*QUICK} < files


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_can_be_begun(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.bench_{name}").main)


@pytest.mark.parametrize("options", [[], ["--all"]])
def test_the_judge_of_pictures_comes_to_an_end(monkeypatch, options: list[str]) -> None:
    def shown(title: str, cases: object) -> dict[str, bench_pictures.Scores]:
        return {"undamaged": bench_pictures.Scores(20.0, 29.0, 27.0, 28.9)}

    monkeypatch.setattr(bench_pictures, "shown", shown)
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    assert bench_pictures.main()


def test_pictures_are_benchmarks() -> None:
    assert {*PICTURES} < {*BENCHES}


def test_a_typo_is_told() -> None:
    done = _run("bler")
    assert done.returncode == 2
    assert "no benchmark 'bler'" in done.stderr


@pytest.mark.slow
def test_tables_are_kept_and_compared(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"
    _run("inverse_kernel", "--json", str(kept))
    told = json.loads(kept.read_text())
    assert told["environment"]["torch"]
    found = told["benchmarks"]["inverse_kernel"]
    assert found["reached"]
    assert found["tables"]
    assert found["peak_bytes"] > 1e8
    done = _run("inverse_kernel", "--against", str(kept))
    assert str(kept) in done.stdout or "was" in done.stdout
