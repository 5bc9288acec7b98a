"""The example of one photograph under six priors."""

from __future__ import annotations

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from examples import priors


@pytest.fixture(scope="module")
def found():
    return priors.restorations(priors.scene("astronaut", 104))


def test_every_prior_is_better_than_what_was_seen(found):
    seen = found["seen"]
    scores = [one.psnr for name, one in found.items() if name not in ("original", "seen")]
    assert min(scores) > seen.psnr


def test_what_keeps_edges_is_better_than_what_is_linear(found):
    best = max(found["damped"].psnr, found["Wiener"].psnr)
    assert found["dct"].psnr > best
    assert found["total variation"].ssim > max(found["damped"].ssim, found["Wiener"].ssim)


def test_the_figure_is_written(tmp_path, monkeypatch, found):
    monkeypatch.setattr(priors, "restorations", lambda truth: found)
    app = typer.Typer()
    app.command()(priors.main)
    target = tmp_path / "found.jpg"
    result = CliRunner().invoke(app, ["-o", str(target)])
    assert result.exit_code == 0
    assert result.output.count("dB") == 2 * (len(found) - 1)
    with Image.open(target) as picture:
        assert picture.width > 1000
