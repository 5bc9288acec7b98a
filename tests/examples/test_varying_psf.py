"""The example of a photograph whose blur grows to the corners."""

from __future__ import annotations

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from examples import varying_psf


@pytest.fixture(scope="module")
def found():
    return varying_psf.restorations(varying_psf.scene(64))


def test_the_psfs_of_each_place_are_better_than_one(found):
    scores = {n: varying_psf.psnr_by_zone(p, found["original"])["whole"] for n, p in found.items()}
    best = scores.pop("5 × 5 psfs")
    del scores["original"]
    assert best > max(scores.values()) + 1


def test_the_figure_is_written(tmp_path, monkeypatch, found):
    monkeypatch.setattr(varying_psf, "restorations", lambda scene: found)
    monkeypatch.setattr(varying_psf, "scene", lambda: None)
    app = typer.Typer()
    app.command()(varying_psf.main)
    target = tmp_path / "found.jpg"
    result = CliRunner().invoke(app, ["-o", str(target)])
    assert result.exit_code == 0
    assert result.output.count("whole") == len(found) - 1
    with Image.open(target) as picture:
        assert picture.width > 1000
