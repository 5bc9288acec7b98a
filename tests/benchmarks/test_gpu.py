"""The benchmark of GPUs: says that there is none, and runs on the CPU."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gpu
from unconv.inverse.plan import LADDER


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_one_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 0
    assert "no GPU" in capsys.readouterr().out


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--tiny"]) == 0
    told = capsys.readouterr().out
    assert "all figures reached" in told
    assert "!" not in told


def test_every_rung_is_there() -> None:
    assert {case.rung for case in gpu.cases()} == {rung.name for rung in LADDER}


def test_a_wrong_answer_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in gpu.cases() if case.rung == "dense")
    monkeypatch.setattr(gpu, "cases", lambda: [case])
    monkeypatch.setattr(gpu, "relative_error", lambda found, true: 2e-3)
    assert not gpu.rungs("cpu", tiny=True)
    assert not gpu.adjoints("cpu", tiny=True)
