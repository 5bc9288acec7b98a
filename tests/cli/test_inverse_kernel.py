"""`unconv inverse-kernel`: the library's figures, a kernel and a picture of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from PIL import Image

from unconv import psf
from unconv.cli import inverse_kernel as command
from unconv.fir import inverse_kernel

from .commands import contents, fail, run, succeed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("plus.npy", np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], float))
    np.save("nan.npy", np.full((3, 3), np.nan))
    Path("text.npy").write_text("no array")
    (tmp_path / "folder.npy").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ((), {}),
        (("--delay", "best"), {"delay": "best"}),
        (("--delay", "3,4"), {"delay": (3, 4)}),
        (("--damp", "0.1"), {"damp": 0.1}),
    ],
)
def test_is_that_of_the_library(folder, options, arguments):
    facts = succeed("inverse-kernel", "disk:1.5", "--size", "7x9", "-o", "g.npy", *options)
    found = inverse_kernel(psf.disk(1.5), (7, 9), **arguments)
    assert np.array_equal(np.load("g.npy"), found.weight[0, 0].numpy())
    assert facts["residual"] == float(found.residual)
    assert facts["noise_gain"] == float(found.noise_gain)
    assert facts["delay"] == list(found.delay)
    assert facts["advice"] == list(found.advice)


def test_plus_kernel(folder):
    facts = succeed("inverse-kernel", "plus.npy", "--size", "31x31", "-o", "g.npy")
    assert facts["residual"] == pytest.approx(0.226503, abs=5e-7)
    assert facts["halos"] == {"0.1": 15, "0.01": 15, "0.001": 15}
    assert facts["smallest_response"] < 1e-12
    assert np.load("g.npy").shape == (31, 31)
    assert np.load("g.npy").dtype == np.float64


def test_json_schema(folder):
    facts = succeed(
        "inverse-kernel", "gaussian:0.5", "--size", "5x5", "-o", "g.npy", "--plot", "g.png"
    )
    assert facts.keys() == {
        *("psf", "size", "delay", "side", "damp", "method", "residual", "noise_gain"),
        *("smallest_response", "smallest_response_at", "zeros", "advice", "halos"),
        *("output", "plot"),
    }
    assert facts["zeros"] == []


def test_table(folder):
    result = run("inverse-kernel", "plus.npy", "--size", "3x3")
    assert result.exit_code == 0
    for part in ("residual", "0.590937", "noise gain", "zeros of |F|", "halo", "advice 1"):
        assert part in result.stdout
    assert {p.name for p in folder.iterdir()} == {"plus.npy", "nan.npy", "text.npy", "folder.npy"}


@pytest.mark.parametrize("arguments", [("plus.npy", "31x31"), ("gaussian:0.5", "1x1")])
def test_picture(folder, arguments):
    kernel, size = arguments
    succeed("inverse-kernel", kernel, "--size", size, "--plot", "g.PNG")
    with Image.open("g.PNG") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1400, 1000)
        assert len(picture.convert("L").getcolors()) > 50


def test_help_shows_the_formula_and_a_command():
    result = run("inverse-kernel", "--help")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "argmin ‖psf ∗ g − δ‖²" in said
    assert "Example: unconv inverse-kernel " in said


def test_files_are_written_whole_or_not_at_all(folder, monkeypatch):
    def interrupt(file, *_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "draw", interrupt)
    arguments = "disk:1", "--size", "3x3", "-o", "g.npy", "--plot", "g.png"
    Path("g.png").write_bytes(b"old")
    fail(folder, 130, "inverse-kernel", *arguments, says=("nothing was written",))


def test_unknown_option_names_the_right_one(folder):
    before = contents(folder)
    result = run("inverse-kernel", "disk:1", "--sise", "3x3", "-o", "g.npy")
    assert result.exit_code == 2
    assert "--size" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("disk:1", "--size", "3"), 2, ("--size '3'", "31x31")),
        (("disk:1", "--size", "3x"), 2, ("'3x'", "whole numbers")),
        (("disk:1", "--size", "3x-3"), 2, ("'3x-3'",)),
        (("disk:1", "--size", "0x3"), 2, ("(0, 3)", "at least 1")),
        (("disk:1", "--size", "3x3", "--delay", "9,9"), 2, ("(9, 9)", "outside")),
        (("disk:1", "--size", "3x3", "--delay", "middle"), 2, ("--delay 'middle'", "15,15")),
        (("disk:1", "--size", "3x3", "--damp", "-1"), 2, ("damp=-1.0",)),
        (("disk:1", "--size", "90000x90000"), 4, ("GB", "smaller size")),
        (("disk:1", "--size", "9x9", "--memory-limit", "0B"), 4, ("memory_limit=0 B",)),
        (("gausian:2", "--size", "3x3"), 2, ("did you mean gaussian:SIGMA?",)),
        (("missing.npy", "--size", "3x3"), 2, ("neither a file",)),
        (("text.npy", "--size", "3x3"), 3, ("text.npy",)),
        (("nan.npy", "--size", "3x3"), 3, ("NaN",)),
        (("disk:1", "--size", "3x3", "-o", "g.png"), 3, ("'g.png'", "end it in .npy")),
        (("disk:1", "--size", "3x3", "--plot", "g.npy"), 3, ("'g.npy'", "end it in .png")),
        (("disk:1", "--size", "3x3", "-o", "nowhere/g.npy"), 3, ("create it first",)),
        (("disk:1", "--size", "3x3", "-o", "folder.npy"), 3, ("is a directory",)),
    ],
)
def test_failures(folder, arguments, code, says):
    fail(folder, code, "inverse-kernel", *arguments, says=says)


@pytest.mark.parametrize("name", ["a$x_{$b.npy", "x" * 90 + ".npy"])
def test_title_of_any_name(folder, name):
    np.save(name, np.ones((3, 3)))
    succeed("inverse-kernel", name, "--size", "3x3", "--plot", "a.png")


def test_the_kernel_undoes_a_blur(folder):
    """As a true convolution, beside the true convolution of `unconv blur`."""
    succeed("inverse-kernel", "gaussian:0.5", "--size", "15x15", "-o", "g.npy")
    g, f = torch.from_numpy(np.load("g.npy")), psf.gaussian(0.5)
    x = torch.rand(1, 1, 40, 40, dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, f.flip(0, 1)[None, None])
    z = torch.nn.functional.conv2d(y, g.flip(0, 1)[None, None])
    middle = slice(9, 31)  # 2 + 7 samples less on each side
    assert (z - x[..., middle, middle]).abs().max() < 1e-3
