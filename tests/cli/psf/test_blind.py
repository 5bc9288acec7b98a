"""`unconv psf blind`, and `unconv deblur --psf blind:SIZE`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from unconv.pictures import blur
from unconv.psf.free_form import one_picture

from ..commands import fail, run

pytest.importorskip("PIL")
from PIL import Image

HOOK = torch.tensor([[3.0, 1, 0], [0, 2, 0], [0, 1, 3]], dtype=torch.float64)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A part of a photograph, blurred; families, which take half of the time, are not asked."""
    monkeypatch.setattr(one_picture, "_RIVALS", ())
    scene = torch.from_numpy(skimage.data.camera()[80:202, 150:272] / 255.0)[None]
    y = blur(scene, HOOK / HOOK.sum(), boundary="valid", noise_std=0.003)
    path = tmp_path / "y.png"
    Image.fromarray((255 * y[0].clamp(0, 1)).round().byte().numpy()).save(path)
    return path


def told(*command: object) -> dict:
    """With what is doubted on the other stream."""
    result = run(*command, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_blind(tmp_path: Path, picture: Path):
    facts = told("psf", "blind", picture, "--size", "5", "-o", tmp_path / "p.npy")
    found = np.load(tmp_path / "p.npy")
    assert facts["psf_family"] == "free-form"
    assert facts["psf_found"] == "free-form, 5 x 5"
    assert facts["size"] == [5, 5]
    assert found.shape == (5, 5)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert facts["psf_reliable"] == (not facts["doubts"])


def test_deblur(tmp_path: Path, picture: Path):
    facts = told(
        "deblur", picture, "-o", tmp_path / "x.png", "--psf", "blind:5", "--prior", "wiener"
    )
    assert facts["psf_family"] == "free-form"
    assert facts["psf"] == [5, 5]


def test_refusals(tmp_path: Path, picture: Path):
    deblur = "deblur", picture, "-o", tmp_path / "x.png", "--psf"
    for text in ("blind:x", "blind"):
        fail(tmp_path, 2, *deblur, text, says=(text, "blind:SIZE"))
    fail(tmp_path, 2, *deblur, "blind:8", says=("size=8", "odd"))
    fail(tmp_path, 2, *deblur, "blind:9", "--psf-center", says=("read from the picture",))
    fail(tmp_path, 2, "psf", "blind", picture, "--size", "99", says=("99 x 99", "smaller size"))
