"""What the command says of the data, apart from whether the equations were solved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from unconv.pictures.formats import Picture, write_picture
from unconv.pictures.restoration import blur
from unconv.psf import gaussian

from .commands import run, succeed

CORNERS = (200, 260), (300, 320)
CAMERA = torch.from_numpy(data.camera() / 255.0)


@pytest.fixture(params=CORNERS)
def blurred(request, tmp_path: Path) -> Path:
    """A part of a photograph, blurred by a Gaussian of 2 pixels, with noise of 1 %."""
    a, b = request.param
    scene = CAMERA[None, a : a + 120, b : b + 120]
    seen = blur(scene, gaussian(2.0), boundary="valid", noise_std=0.01, seed=a)
    path = tmp_path / "blurred.npy"
    write_picture(path, Picture(seen.numpy(), None, np.dtype("float64"), {}))
    return path


def test_the_data_agree_with_the_true_psf(blurred, tmp_path):
    facts = succeed("deblur", blurred, "-o", tmp_path / "x.npy", "--psf", "gaussian:2")
    assert facts["verdict"] == "the data agree: what is left looks like noise, the psf is plausible"
    assert facts["equations_solved"] is True


@pytest.mark.parametrize("psf", ["gaussian:5", "motion:21,45"])
def test_solved_equations_of_a_wrong_psf_are_doubtful(blurred, tmp_path, psf):
    """To round-off, with a picture that is no good: the terminal says both."""
    arguments = "deblur", blurred, "-o", tmp_path / "x.npy", "--psf", psf, "--prior", "wiener"
    result = run(*arguments)
    assert result.exit_code == 0
    assert "doubtful: " in result.stdout
    assert "equations solved" in result.stdout
    assert "the equations are solved to" in result.stdout
    assert "converged" not in result.stdout + result.stderr


def test_a_damp_of_its_own_judges_the_residual_alone(blurred, tmp_path):
    for damp, white in (("0.06", True), ("3", False)):
        arguments = "--psf", "gaussian:2", "--prior", "damp", "--damp", damp
        facts = succeed("deblur", blurred, "-o", tmp_path / "x.npy", *arguments)
        assert facts["verdict"].endswith("prior 'damp' does not judge the psf")
        assert white or "does not look like noise" in facts["verdict"]
        assert facts["advice"].startswith("the equations are solved to")
