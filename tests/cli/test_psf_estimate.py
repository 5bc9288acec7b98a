"""`unconv psf estimate`, and `unconv deblur --psf …:auto`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from unconv import psf
from unconv.cli.psf_option import parse_psf
from unconv.pictures import blur
from unconv.psf.estimation import NAMES

from .commands import fail, run, succeed

pytest.importorskip("PIL")
from PIL import Image


def blurred(path: Path, kernel: torch.Tensor, *, colours: bool = False) -> Path:
    """A photograph of 200×200 as it is stored, its surroundings cut off."""
    image = torch.from_numpy(skimage.data.astronaut() / 255).permute(2, 0, 1)[:, :212, 150:362]
    planes = image if colours else image.mean(0, keepdim=True)
    y = blur(planes, kernel, boundary="valid", noise_std=0.004)[:, :200, :200]
    values = (255 * y.clamp(0, 1)).round().byte().numpy()
    Image.fromarray(values.transpose(1, 2, 0).squeeze()).save(path, quality=90)
    return path


@pytest.mark.parametrize("name", ["y.png", "y.jpg"])
def test_estimate(tmp_path: Path, name: str):
    picture = blurred(tmp_path / name, psf.disk(3.6), colours=True)
    facts = succeed("psf", "estimate", picture, "--family", "disk", "-o", tmp_path / "p.npy")
    assert abs(facts["psf_parameters"]["radius"] - 3.6) < 0.15
    assert facts["psf_family"] == "disk"
    assert facts["psf_reliable"] is True
    assert facts["doubts"] == []
    found = np.load(tmp_path / "p.npy")
    assert list(found.shape) == facts["size"]
    assert found.sum() == pytest.approx(1)
    told = run("psf", "estimate", picture, "--family", "disk")
    assert facts["psf_found"] in told.stdout
    assert facts["psf_found"].startswith(f"{facts['psf_typed']} (radius ± ")


@pytest.mark.parametrize("family", NAMES[1:])
def test_what_is_printed_is_a_psf_as_it_is_typed(tmp_path: Path, family: str):
    picture = blurred(tmp_path / "y.png", psf.gaussian(1.7))
    arguments = picture, "--family", family, "-o", tmp_path / "p.npy", "--json"
    facts = json.loads(run("psf", "estimate", *arguments).stdout)
    typed, found = parse_psf(facts["psf_typed"]), torch.from_numpy(np.load(tmp_path / "p.npy"))
    assert typed.shape == found.shape
    assert float((typed - found).norm() / found.norm()) < 2e-3  # of four digits


def test_doubts_are_told(tmp_path: Path):
    picture = blurred(tmp_path / "y.png", torch.ones(1, 1, dtype=torch.float64))
    told = run("psf", "estimate", picture, "--family", "gaussian")
    assert told.exit_code == 0
    assert told.stderr.startswith("warning: psf gaussian:")
    as_json = json.loads(run("psf", "estimate", picture, "--family", "gaussian", "--json").stdout)
    assert as_json["doubts"]
    assert as_json["psf_reliable"] is False


def test_refusals_of_estimate(tmp_path: Path):
    picture = blurred(tmp_path / "y.png", psf.disk(3.6))
    command = "psf", "estimate", picture
    fail(tmp_path, 2, *command, "--family", "disc", says=("family='disc'", "the nearest is 'disk'"))
    fail(tmp_path, 3, *command, "-o", tmp_path / "p.png", says=("is written to .npy .fits",))
    fail(tmp_path, 2, *command, "--noise-std", 5, says=("drowns the picture",))
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "white.png")
    fail(tmp_path, 2, "psf", "estimate", tmp_path / "white.png", says=("even",))


def test_deblur_with_a_psf_that_it_finds(tmp_path: Path):
    picture, output = blurred(tmp_path / "y.jpg", psf.motion(9, 25)), tmp_path / "x.png"
    options = "--psf", "motion:auto", "--prior", "wiener", "--report", tmp_path / "r.html"
    facts = succeed("deblur", picture, "-o", output, *options)
    assert abs(facts["psf_parameters"]["length"] - 9) < 1
    assert abs(facts["psf_parameters"]["angle"] - 25) < 4
    assert facts["psf"] == [5, 9]
    assert facts["psf_found"] in (tmp_path / "r.html").read_text()
    assert output.exists()


def test_many_pictures_have_a_psf_each(tmp_path: Path):
    first = blurred(tmp_path / "a.png", psf.disk(3))
    second = blurred(tmp_path / "b.png", psf.disk(4.5))
    options = "--psf", "disk:auto", "--prior", "wiener", "-o", tmp_path / "out"
    found = json.loads(run("deblur", first, second, *options, "--json").stdout)["pictures"]
    radii = [one["psf_parameters"]["radius"] for one in found]
    assert radii == pytest.approx([3, 4.5], abs=0.15)


def test_refusals_of_deblur(tmp_path: Path):
    sharp = blurred(tmp_path / "y.png", torch.ones(1, 1, dtype=torch.float64))
    command = "deblur", sharp, "-o", tmp_path / "x.png"
    fail(tmp_path, 2, *command, "--psf", "auto", says=("y.png shows no blur", "--psf disk:auto"))
    fail(tmp_path, 2, *command, "--psf", "moton:auto", says=("did you mean motion:auto?",))
    options = "--psf", "disk:auto", "--psf-center"
    fail(tmp_path, 2, *command, *options, says=("is read from the picture",))
