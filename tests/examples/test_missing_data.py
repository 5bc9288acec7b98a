"""The example of a photograph with missing data."""

from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from examples.missing_data import main, restored


def test_the_scene_is_better_than_what_was_seen():
    found = restored(96)
    h, w = found.seen.shape
    seen_psnr = float(-10 * (found.seen - found.truth[:h, :w]).square().mean().log10())
    assert found.psnr > seen_psnr + 6
    assert not found.scene.isnan().any()


def test_the_picture_is_written(tmp_path, monkeypatch):
    typer = pytest.importorskip("typer")
    monkeypatch.setattr("examples.missing_data.restored", lambda: restored(64))
    app = typer.Typer()
    app.command()(main)
    target = tmp_path / "found.jpg"
    result = CliRunner().invoke(app, ["-o", str(target)])
    assert result.exit_code == 0
    assert "dB" in result.output
    with Image.open(target) as picture:
        assert picture.height == 64 - 8
