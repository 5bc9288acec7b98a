"""`unconv psf points`: the library's psf of a picture of beads, a table and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from PIL import Image

from unconv import psf

from ...psf.points.beads import picture, scattered
from ..commands import fail, run, succeed

PLACES = scattered((90, 100), 7, 18, seed=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    counts = picture((90, 100), (1.4, 1.8), PLACES).numpy()
    np.save("beads.npy", counts)
    Image.fromarray(counts.astype(np.uint16)).save("beads.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(
        "rgb.png"
    )
    np.save("dark.npy", np.ones((50, 50)))
    return tmp_path


@pytest.mark.parametrize("name", ["beads.npy", "beads.png"])
def test_is_that_of_the_library(folder, name):
    facts = succeed("psf", "points", name, "--size", "13", "-o", "psf.npy", "--plot", "psf.png")
    found = psf.from_points(torch.from_numpy(np.load("beads.npy")), size=13)
    assert np.load("psf.npy") == pytest.approx(found.psf.numpy(), abs=1e-4)
    assert facts["fwhm"] == pytest.approx(found.fwhm, abs=0.02)
    assert facts["fluxes"] == pytest.approx(found.fluxes.tolist(), rel=1e-3)
    assert facts["points"] == 7
    assert facts["refused"] == []
    with Image.open("psf.png") as figure:
        assert figure.size == (1400, 1000)
    assert {p.name for p in folder.iterdir()} >= {"psf.npy", "psf.png"}


def test_table(folder):
    result = run("psf", "points", "beads.npy", "--size", "9")
    assert result.exit_code == 0
    for words in ("fwhm, vertical", "fwhm, horizontal", "points used", "of the light", "samples"):
        assert words in result.stdout
    assert "larger size" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("dark.npy",), 2, ("no point of light",)),
        (("rgb.png", "--size", "9"), 2, ("has colours", "grey")),
        (("beads.npy", "--size", "8"), 2, ("odd",)),
        (("beads.npy", "-o", "psf.png"), 3, ("is written to .npy .fits",)),
        (("beads.npy", "--plot", "psf.jpg"), 3, ("end it in .png",)),
        (("none.npy",), 3, ("none.npy",)),
        (("beads.npy", "--saturation", "much"), 2, ("--saturation",)),
    ],
)
def test_refused(folder, arguments, code, says):
    fail(folder, code, "psf", "points", *arguments, says=says)
