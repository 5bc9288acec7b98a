"""`unconv psf check`: the library's figures, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from unconv import psf

from ..commands import fail, run, succeed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", psf.gaussian(1.5).numpy())
    np.save("bad.npy", (psf.gaussian(1.5) + 0.002).numpy())
    return tmp_path


def test_a_good_one(folder):
    facts = succeed("psf", "check", "good.npy")
    found = psf.check(psf.gaussian(1.5))
    assert facts["doubts"] == {}
    assert facts["size"] == [13, 13]
    assert facts["width"] == pytest.approx(found.width)
    assert facts["nyquist"] == pytest.approx(found.nyquist)
    assert run("psf", "check", "good.npy").stdout.split()[-2:] == ["doubts", "none"]


def test_a_doubtful_one(folder):
    result = run("psf", "check", "bad.npy")
    assert result.exit_code == 5
    assert "background" in result.stdout
    assert result.stderr.startswith("warning: psf bad.npy: its rim is 2.8 % of its peak")
    assert "psf.without_background" in result.stderr
    result = run("psf", "check", "bad.npy", "--json")
    assert result.exit_code == 5
    assert set(json.loads(result.stdout)["doubts"]) == {"background"}


def test_failures(folder):
    fail(folder, 3, "psf", "check", "missing.npy", says=("missing.npy",))
    np.save("zero.npy", np.zeros((3, 3)))
    fail(folder, 2, "psf", "check", "zero.npy", says=("no positive sample",))


def test_help_names_the_commands():
    result = run("psf", "--help")
    assert result.exit_code == 0
    for part in ("check", "match", "Exit codes"):
        assert part in result.output
