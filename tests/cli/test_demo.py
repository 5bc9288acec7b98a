"""`unconv demo`: a photograph, blurred and restored, in one figure."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")
pytest.importorskip("matplotlib")
pytest.importorskip("skimage")

from unconv.cli import demo

from .test_common import contents, fail, run, succeed

KEYS = {
    "picture",
    "psf",
    "noise_std",
    "damp",
    "seconds",
    "blurred",
    "restored",
    "error_bound",
    "converged",
    "figure",
}


@pytest.fixture
def small(monkeypatch):
    """The middle 64 × 60 pixels of every photograph."""
    whole = demo._photograph
    monkeypatch.setattr(demo, "_photograph", lambda name: whole(name)[:, 100:164, 200:260])


@pytest.mark.parametrize(("picture", "planes"), [("camera", 1), ("astronaut", 3)])
def test_demo(tmp_path: Path, small, picture, planes):
    figure = tmp_path / "figure.png"
    facts = succeed("demo", "-o", figure, "--picture", picture, "--psf", "disk:2")
    assert facts.keys() == KEYS
    assert facts["restored"]["psnr"] > facts["blurred"]["psnr"] + 0.5
    assert 0 < facts["blurred"]["ssim"] < 1
    assert 0 < facts["restored"]["ssim"] < 1
    assert facts["converged"] is True
    assert len(facts["error_bound"]) == planes
    assert (facts["picture"], facts["psf"], facts["noise_std"]) == (picture, "disk:2", 0.005)
    assert facts["figure"] == str(figure)
    assert facts["damp"] > 0
    assert facts["seconds"] > 0
    head = figure.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (1485, 979)
    assert [*contents(tmp_path)] == ["figure.png"]


def test_table(tmp_path: Path, small, monkeypatch):
    monkeypatch.setattr(demo, "comparison", lambda file, title, panels: file.write(b"figure"))
    result = run("demo", "-o", tmp_path / "figure.PNG", "--picture", "coffee")
    assert result.exit_code == 0
    assert result.stderr == ""
    for part in ("coffee", "motion:15,30", "psnr", "ssim", "damp"):
        assert part in result.stdout


@pytest.mark.parametrize("name", demo.PICTURES)
def test_photographs(name):
    x = demo._photograph(name)
    assert x.dtype == torch.float64
    assert x.shape[0] == (1 if name == "camera" else 3)
    assert 0 <= float(x.min()) < 0.1 < 0.9 < float(x.max()) <= 1


def test_scores():
    x = torch.from_numpy(np.random.default_rng(0).random((3, 16, 16)))
    near = demo._scores(x, x + 1e-6 * (0.5 - x).sign())
    assert near["psnr"] == pytest.approx(120)
    assert near["ssim"] == pytest.approx(1)
    far = demo._scores(torch.zeros_like(x), torch.full_like(x, 0.1))
    assert far["psnr"] == pytest.approx(20)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("-o", "out.jpg"), 3, ("'out.jpg'", "end it in .png")),
        (("-o", "out"), 3, ("'out'", "end it in .png")),
        (("-o", "nowhere/out.png"), 3, ("nowhere", "create it first")),
        (("--picture", "camra"), 2, ("'camra'", "astronaut, camera, chelsea, coffee")),
        (("--psf", "gausian:2"), 2, ("did you mean gaussian:SIGMA?",)),
        (("--psf", "disk:40"), 2, ("81 × 81", "64 × 60")),
        (("--noise-std", "-1"), 2, ("noise_std=-1.0", ">= 0")),
        (("--noise-std", "inf"), 2, ("noise_std=inf", ">= 0")),
    ],
)
def test_failures(tmp_path: Path, monkeypatch, small, options, code, says):
    monkeypatch.chdir(tmp_path)
    Path("demo.png").write_bytes(b"old")
    fail(tmp_path, code, "demo", *options, says=says)


def test_interrupted(tmp_path: Path, monkeypatch, small):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "comparison", interrupt)
    (tmp_path / "a.png").write_bytes(b"old")
    fail(tmp_path, 130, "demo", "-o", tmp_path / "a.png", says=("nothing was written",))


@pytest.mark.parametrize("name", ["folder.png", "x" * 300 + ".png"])
def test_output_that_cannot_be_written(tmp_path: Path, monkeypatch, small, name):
    monkeypatch.setattr(demo, "comparison", lambda file, title, panels: file.write(b"figure"))
    (tmp_path / "folder.png").mkdir()
    fail(tmp_path, 3, "demo", "-o", tmp_path / name, says=(name,))


def test_psf_file_with_dollars(tmp_path: Path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    np.save("a$x_{$b.npy", np.ones((3, 3)))
    succeed("demo", "-o", "demo.png", "--psf", "a$x_{$b.npy")


def test_nothing_to_restore(tmp_path: Path, small, monkeypatch):
    monkeypatch.setattr(demo, "comparison", lambda file, title, panels: file.write(b"figure"))
    options = "--picture", "camera", "--psf", "disk:0.3", "--noise-std", 0
    facts = succeed("demo", "-o", tmp_path / "figure.png", *options)
    assert facts["blurred"]["psnr"] != float("inf")
