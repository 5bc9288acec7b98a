"""`unconv psf match`: the library's figures, and a kernel in a file of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from unconv import psf
from unconv.pictures.formats.kernels import read_kernel

from ..commands import fail, run, succeed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    a, b = psf.gaussian(1.3), psf.disk(3)
    a[3, 1] *= 1.2  # no symmetry hides a flip
    np.save("a.npy", a.numpy())
    np.savetxt("b.csv", b.numpy(), delimiter=",")
    np.save("offset.npy", (4000 * psf.gaussian(1.5) / psf.gaussian(1.5).max() + 100).numpy())
    return tmp_path


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ((), {}),
        (("--size", "9x11"), {"size": (9, 11)}),
        (("--damp", "0.1"), {"damp": 0.1}),
        (("--voxel-a", "0.2", "--voxel-b", "0.2"), {}),
    ],
)
def test_is_that_of_the_library(folder, options, arguments):
    facts = succeed("psf", "match", "a.npy", "b.csv", "-o", "k.npy", *options)
    found = psf.match(torch.from_numpy(np.load("a.npy")), psf.disk(3), **arguments)
    assert np.allclose(np.load("k.npy"), found.kernel.numpy(), rtol=1e-9, atol=1e-12)
    assert facts["size"] == list(found.size)
    for name in ("residual", "error", "noise_gain", "sum"):
        assert facts[name] == pytest.approx(float(getattr(found, name)))


@pytest.mark.parametrize("name", ["k.npy", "k.fits", "k.tif", "k.csv", "k.txt"])
def test_every_file_is_read_back_to_the_bit(folder, name):
    if name == "k.fits":
        pytest.importorskip("astropy")
    facts = succeed("psf", "match", "a.npy", "b.csv", "-o", name)
    succeed("psf", "match", "a.npy", "b.csv", "-o", "again.npy")
    assert facts["output"] == name
    assert np.array_equal(read_kernel(name), np.load("again.npy"))


def test_the_smallest_size_for_an_error(folder):
    facts = succeed("psf", "match", "gaussian:1", "gaussian:2", "--error", 0.01)
    found = psf.smallest_match(psf.gaussian(1), psf.gaussian(2), 0.01)
    assert facts["size"] == list(found.size)
    assert facts["error"] <= 0.01


def test_table(folder):
    result = run("psf", "match", "gaussian:1", "gaussian:2")
    assert result.exit_code == 0
    for part in ("noise gain", "sum", "error", "17 x 17", "‖a ∗ g − b‖"):
        assert part in result.stdout


def test_what_is_wrong_with_a_psf_is_told_once(folder):
    result = run("psf", "match", "offset.npy", "gaussian:0.4")
    assert result.exit_code == 0
    assert result.stderr.count("warning: ") == 2
    assert "--psf-background auto takes it off" in result.stderr
    assert "psf b: it is 1.1 × 1.1 samples wide" in result.stderr
    result = run("psf", "match", "offset.npy", "gaussian:2", "--psf-background", "auto")
    assert result.stderr == ""


def test_help_shows_the_formula_and_a_command():
    said = " ".join(run("psf", "match", "--help").stdout.split())
    assert "argmin ‖a ∗ g − b‖²" in said
    assert "Example: unconv psf match " in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("a.npy", "b.csv", "--size", "9"), 2, ("--size '9'", "31x31")),
        (("a.npy", "b.csv", "--size", "9x8"), 2, ("odd sizes",)),
        (("a.npy", "b.csv", "--size", "9x9", "--error", "0.1"), 2, ("one of them",)),
        (("a.npy", "b.csv", "--error", "0"), 2, ("error=0",)),
        (("a.npy", "b.csv", "--damp", "-1"), 2, ("damp",)),
        (("a.npy", "b.csv", "--voxel-a", "1"), 2, ("voxel_a alone",)),
        (("a.npy", "b.csv", "-o", "k.png"), 3, ("k.png", ".npy")),
        (("a.npy", "b.csv", "-o", "nowhere/k.npy"), 3, ("create it first",)),
        (("a.npy", "missing.npy"), 2, ("neither a file",)),
        (("gaussian:1", "gaussian:2", "--psf-center"), 2, ("are for psfs in files",)),
        (("a.npy", "b.csv", "--size", "90001x90001"), 4, ("smaller size",)),
    ],
)
def test_failures(folder, arguments, code, says):
    fail(folder, code, "psf", "match", *arguments, says=says)
