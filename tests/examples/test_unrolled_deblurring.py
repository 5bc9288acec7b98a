"""The unrolled network: the mathematics of a stage, training, the gain on other pictures."""

from __future__ import annotations

import pytest
import torch
import typer
from typer.testing import CliRunner

from examples.unrolled_deblurring import __main__ as command
from examples.unrolled_deblurring.network import UnrolledDeblurring
from examples.unrolled_deblurring.pictures import TEST, TRAIN, draw_patches, load
from examples.unrolled_deblurring.training import (
    PATCH,
    in_frame,
    observe,
    psnr,
    restore,
    tikhonov,
    train,
)
from unconv import ConvOperator
from unconv.pictures.restoration import blur
from unconv.psf import models as psf

from ..helpers import relative


def make_network(length=5, **options):
    torch.manual_seed(0)
    return UnrolledDeblurring(psf.motion(length, 30), **options)


def scene(size=40):
    return load("coins")[None, None, :size, : size + 8]


def test_blur_is_a_true_convolution():
    network, x = make_network(), scene()
    assert relative(network.blur(x)[0], blur(x[0], psf.motion(5, 30), boundary="valid")) < 1e-6


def test_untrained_first_stage_is_plain_tikhonov():
    network, x = make_network(stages=1), scene()
    y = network.blur(x)
    A = ConvOperator.from_module(network.blur, x.shape[2:])
    assert relative(network(y), tikhonov(A, y, network.solves[0].damp.item())) < 1e-4


def test_stage_agrees_with_its_formula():
    network, x = make_network(stages=2), scene()
    y = network.blur(x)
    A = ConvOperator.from_module(network.blur, x.shape[2:])
    z = tikhonov(A, y, network.solves[0].damp.item())
    damp = network.solves[1].damp.item()
    expected = z + A.lstsq(y - A(z), damp).solution
    assert relative(network(y), expected) < 1e-4


def test_split_by_picture():
    assert not set(TRAIN) & set(TEST)


def test_patches_follow_the_seed():
    one, two = (
        draw_patches([load("coins")], 3, 16, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert one.shape == (3, 1, 16, 16)
    assert torch.equal(one, two)


def test_loss_falls_within_few_steps():
    network = make_network(11, channels=8)
    damps = [solve.damp.item() for solve in network.solves]
    kernel = network.blur.weight.clone()
    face = load("astronaut")[90 : 90 + PATCH, 200 : 200 + PATCH]  # one patch: turns and noise vary
    heard = []
    losses = train(network, [face], steps=20, progress=lambda step, loss: heard.append(loss))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert heard == losses
    assert all(abs(s.damp.item() - d) > 1e-3 for s, d in zip(network.solves, damps, strict=True))
    assert torch.equal(network.blur.weight, kernel)


def test_restores_the_frame():
    network = make_network(stages=1)
    found = restore(network, load("coins")[:80, :90])
    generator = torch.Generator().manual_seed(0)
    x = load("coins")[None, None, :80, :90]
    y = observe(network, x, generator)
    assert found.planes["original"].shape == y.shape[2:]
    assert found.psnr["blurred"] == pytest.approx(psnr(y, in_frame(network, x)), abs=1e-6)
    assert set(found.damps) == {"tikhonov", "gradient"}


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load", lambda name: load(name)[: PATCH + 8, : PATCH + 8])
    monkeypatch.setattr(command, "TEST", ("coins",))
    app, output = typer.Typer(), tmp_path / "unrolled.png"
    app.command()(command.main)
    result = CliRunner().invoke(app, ["--steps", "2", "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "PSNR in dB" in result.output
    assert output.stat().st_size > 10_000


@pytest.mark.slow
def test_full_training_beats_tikhonov_at_its_best_damp():
    network = make_network(11)
    train(network, [load(name) for name in TRAIN], command.STEPS)
    for name in TEST:
        scores = restore(network, load(name)).psnr
        assert scores["unrolled"] > scores["tikhonov"] + 1
