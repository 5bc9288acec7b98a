"""`unconv demo`: a photograph, blurred and restored, in one figure."""

from __future__ import annotations

import struct
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")
pytest.importorskip("matplotlib")
pytest.importorskip("skimage")

from unconv.cli import demo

from .commands import contents, fail, run, succeed

KEYS = {
    "picture",
    "psf",
    "noise_std",
    "noise",
    "seconds",
    "blurred",
    "circular",
    "valid",
    "method",
    "iterations",
    "error_bound",
    "equations_solved",
    "figure",
}


@pytest.fixture
def small(monkeypatch):
    """The middle 64 × 60 pixels of every photograph."""
    whole = demo._photograph
    monkeypatch.setattr(demo, "_photograph", lambda name: whole(name)[:, 100:164, 200:260])


trial_once = cache(demo._trial)


@pytest.fixture
def once(monkeypatch, small):
    """Each trial is restored once, for all tests of what is told and drawn of it."""
    monkeypatch.setattr(demo, "_trial", trial_once)


@pytest.mark.parametrize(("picture", "planes"), [("camera", 1), ("astronaut", 3)])
def test_demo(tmp_path: Path, small, picture, planes):
    figure = tmp_path / "figure.png"
    options = "--picture", picture, "--psf", "disk:2", "--noise-std", 0.005
    facts = succeed("demo", "-o", figure, *options)
    assert facts.keys() == KEYS
    better, worse = facts["valid"], facts["circular"]
    assert better["psnr"] > facts["blurred"]["psnr"] + 0.5
    assert better["psnr"] > worse["psnr"] + 0.5
    assert better["psnr_edges"] > worse["psnr_edges"] + 2
    for scores in (facts["blurred"], better, worse):
        assert 0 < scores["ssim"] < 1
    assert facts["equations_solved"] is True
    assert len(facts["error_bound"]) == planes
    assert (facts["picture"], facts["psf"], facts["noise_std"]) == (picture, "disk:2", 0.005)
    assert facts["figure"] == str(figure)
    assert facts["noise"].startswith("white noise, 0.005")
    assert facts["seconds"] > 0
    head = figure.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (1540, 924)
    assert [*contents(tmp_path)] == ["figure.png"]


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are a word."""
    for name in ("comparison", "overview"):
        monkeypatch.setattr(demo, name, lambda file, title, trials: file.write(b"figure"))


def test_table(tmp_path: Path, once, undrawn):
    result = run("demo", "-o", tmp_path / "figure.PNG", "--picture", "coffee")
    assert result.exit_code == 0
    assert result.stderr == ""
    for part in ("coffee", "motion:15,30", "psnr", "psnr_edges", "ssim", "noise", "valid"):
        assert part in result.stdout


def test_all(tmp_path: Path, once):
    figure = tmp_path / "figure.png"
    facts = succeed("demo", "--all", "-o", figure)
    assert facts.keys() == {"trials", "noise_std", "figure"}
    crossed = [(t["picture"], t["psf"]) for t in facts["trials"]]
    assert crossed == [*product(demo.ALL_PICTURES, demo.ALL_PSFS)]
    for trial in facts["trials"]:
        assert trial.keys() == KEYS - {"noise_std", "figure"}
    head = figure.read_bytes()[:24]
    assert struct.unpack(">II", head[16:]) == (1980, 913)


def test_all_as_a_table(tmp_path: Path, once, undrawn):
    result = run("demo", "--all", "-o", tmp_path / "figure.png")
    assert result.exit_code == 0
    assert result.stderr == ""
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["picture", "psf", "blurred", "circular", "valid", "noise", "seconds"] in rows
    for pair in product(demo.ALL_PICTURES, demo.ALL_PSFS):
        assert sum(tuple(row[:2]) == pair for row in rows) == 1


def test_not_proven(tmp_path: Path, small, undrawn, monkeypatch):
    monkeypatch.setattr("unconv.pictures.restoration.TOL", 0.0)
    result = run("demo", "-o", tmp_path / "figure.png", "--psf", "disk:2")
    assert result.exit_code == 5
    assert (tmp_path / "figure.png").read_bytes() == b"figure"


@pytest.mark.parametrize("name", demo.PICTURES)
def test_photographs(name):
    x = demo._photograph(name)
    assert x.dtype == torch.float64
    assert x.shape[0] == (1 if name == "camera" else 3)
    assert 0 <= float(x.min()) < 0.1 < 0.9 < float(x.max()) <= 1


def test_scores():
    x = torch.from_numpy(np.random.default_rng(0).random((3, 16, 16)))
    near = demo._scores(x, x + 1e-6 * (0.5 - x).sign(), (1, 1))
    assert near["psnr"] == pytest.approx(120)
    assert near["psnr_edges"] == pytest.approx(120)
    assert near["ssim"] == pytest.approx(1)
    far = demo._scores(torch.zeros_like(x), torch.full_like(x, 0.1), (1, 1))
    assert far["psnr"] == pytest.approx(20)


def test_scores_near_the_edges():
    x = torch.zeros(1, 20, 30).double()
    middle, edge = x.clone(), x.clone()
    middle[:, 3, 5] = edge[:, 2, 15] = 1
    inside, outside = (demo._scores(x, y, (3, 5)) for y in (middle, edge))
    assert inside["psnr"] == outside["psnr"] == pytest.approx(10 * np.log10(600))
    assert inside["psnr_edges"] == np.inf
    assert outside["psnr_edges"] == pytest.approx(10 * np.log10(600 - 14 * 20))
    assert demo._scores(x, edge, (20, 30))["psnr_edges"] == outside["psnr"]


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("-o", "out.jpg"), 3, ("'out.jpg'", "end it in .png")),
        (("-o", "out"), 3, ("'out'", "end it in .png")),
        (("-o", "nowhere/out.png"), 3, ("nowhere", "create it first")),
        (("--picture", "camra"), 2, ("'camra'", "astronaut, camera, chelsea, coffee")),
        (("--psf", "gausian:2"), 2, ("did you mean gaussian:SIGMA?",)),
        (("--psf", "disk:40"), 2, ("81 × 81", "64 × 60")),
        (("--all", "--picture", "camera"), 2, ("leave out --picture and --psf",)),
        (("--all", "--psf", "disk:2"), 2, ("leave out --picture and --psf",)),
        (("--noise-std", "-1"), 2, ("noise_std=-1.0", ">= 0")),
        (("--noise-std", "inf"), 2, ("noise_std=inf", ">= 0")),
    ],
)
def test_failures(tmp_path: Path, monkeypatch, small, options, code, says):
    monkeypatch.chdir(tmp_path)
    Path("demo.png").write_bytes(b"old")
    fail(tmp_path, code, "demo", *options, says=says)


def test_interrupted(tmp_path: Path, monkeypatch, once):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "comparison", interrupt)
    (tmp_path / "a.png").write_bytes(b"old")
    fail(tmp_path, 130, "demo", "-o", tmp_path / "a.png", says=("nothing was written",))


@pytest.mark.parametrize("name", ["folder.png", "x" * 300 + ".png"])
def test_output_that_cannot_be_written(tmp_path: Path, small, undrawn, name):
    (tmp_path / "folder.png").mkdir()
    fail(tmp_path, 3, "demo", "-o", tmp_path / name, says=(name,))


def test_psf_file_with_dollars(tmp_path: Path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    np.save("a$x_{$b.npy", np.ones((3, 3)))
    succeed("demo", "-o", "demo.png", "--psf", "a$x_{$b.npy")


def test_nothing_to_restore(tmp_path: Path, small, undrawn):
    options = "--picture", "camera", "--psf", "disk:0.3", "--noise-std", 0
    facts = succeed("demo", "-o", tmp_path / "figure.png", *options)
    assert facts["blurred"]["psnr"] is None  # no error at all, and JSON has no infinity
