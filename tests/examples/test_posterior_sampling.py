"""DDNM and ΠGDM of the example: the right posterior, and pictures with unknown surroundings."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import unconv
from examples.posterior_sampling.__main__ import app
from examples.posterior_sampling.cases import make_case, score
from examples.posterior_sampling.denoiser import WEIGHTS, Denoiser, load_denoiser, save, train
from examples.posterior_sampling.pictures import TEST, TRAIN, load
from examples.posterior_sampling.sampling import Problem, ddnm, levels, pigdm
from unconv import psf
from unconv.adapters import ExactMaps

from ..helpers import randn, relative


def best_of_white_pictures(x, sigma):
    """The mean of pictures that are white with a standard deviation of 1/4 around 0."""
    return x / (1 + 16 * sigma**2)


@pytest.mark.parametrize("sampler", [ddnm, pigdm])
def test_the_mean_of_samples_is_that_of_the_posterior(sampler):
    A = unconv.ConvOperator(randn(1, 1, 3, 3) / 3, (8, 8))
    y = A(randn(1, 1, 8, 8, seed=1) / 4) + 0.05 * randn(1, 1, 6, 6, seed=2)
    y = y - y.mean()  # the sampler begins at the grey of the data
    problem = Problem(ExactMaps(A), y.expand(400, -1, -1, -1), 0.05)
    found = sampler(best_of_white_pictures, problem, levels(12), seed=0).mean(0, keepdim=True)
    exact = A.tikhonov(0.05 * 4)(y)
    assert relative(found, exact) < 0.1


def test_data_without_noise_are_met_exactly():
    A = unconv.ConvOperator(psf.disk(1)[None, None].double(), (12, 12), stride=2)
    y = A(randn(1, 1, 12, 12))
    x = ddnm(best_of_white_pictures, Problem(ExactMaps(A), y, 0.0), levels(3))
    assert relative(A(x), y) < 1e-10


def test_the_weights_that_come_with_it_denoise():
    assert WEIGHTS.stat().st_size < 300_000
    denoiser, x = load_denoiser(), load("camera")[None, None, 100:228, 100:228]
    for sigma, gain in ((0.02, 1.0), (0.1, 4.0), (0.5, 8.0)):
        noise = sigma * randn(*x.shape, dtype=torch.float32)
        left = denoiser(x + noise, sigma) - x
        assert float(10 * (noise.square().mean() / left.square().mean()).log10()) > gain


def test_unknown_surroundings_are_no_tile():
    case = make_case("camera", psf.motion(9, 30), 96, 0.02)
    found = {}
    for kind, op in (("unknown", case.op), ("periodic", case.circular)):
        problem = Problem(ExactMaps(op, tol=1e-3), case.y, 0.02)
        found[kind] = score(case, ddnm(load_denoiser(), problem, levels(6)))
    assert found["unknown"].edges > found["periodic"].edges + 5
    assert found["unknown"].frame > found["periodic"].frame + 3
    assert found["unknown"].misfit < 1.2


def test_it_trains(tmp_path):
    losses = []
    small = train([load("moon")[:96, :96]], 2, progress=lambda step, loss: losses.append(loss))
    assert len(losses) == 2
    save(small, tmp_path / "small.npz")
    again = load_denoiser(tmp_path / "small.npz")
    x = torch.rand(1, 1, 16, 16)
    assert relative(again(x, 0.1), small(x, 0.1)) < 1e-2
    assert isinstance(again, Denoiser)
    assert not set(TRAIN) & set(TEST)


def test_the_command_draws(tmp_path):
    target = tmp_path / "found.png"
    options = ["--steps", "2", "--size", "96", "--samples", "1", "-o", str(target)]
    result = CliRunner().invoke(app, ["test", *options])
    assert result.exit_code == 0, result.output
    assert "periodic" in result.output
    assert target.stat().st_size > 1000
