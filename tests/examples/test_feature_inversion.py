"""Features back to the picture."""

from __future__ import annotations

import pytest
import torch
import typer
from typer.testing import CliRunner

from examples.feature_inversion import (
    QUICK_SIZE,
    load_picture,
    main,
    make_lossy_network,
    make_network,
    relative_error,
    undo,
)
from unconv import ConvOperator


@pytest.fixture(scope="module")
def picture():
    return load_picture(QUICK_SIZE)


@pytest.mark.parametrize("seed", [0, 1])
def test_picture_comes_back_within_its_bound(picture, seed):
    network = make_network(seed)
    last, first = undo(network, network(picture).detach(), QUICK_SIZE)
    hidden = network[:2](picture).detach()
    assert relative_error(last.x, hidden) <= last.bound < 1e-12
    assert relative_error(first.x, picture) <= first.bound < 1e-11
    for one in (last, first):
        assert one.certificate[0].rank == one.shape[1]
        assert one.certificate[0].converged


@torch.no_grad()
def test_lossy_layer_gives_the_least_norm(picture):
    network = make_lossy_network()
    (one,) = undo(network, network(picture), QUICK_SIZE)
    assert one.certificate[0].rank == one.shape[0] < one.shape[1]
    A = ConvOperator.from_module(network[0], (QUICK_SIZE, QUICK_SIZE))
    assert relative_error(A(one.x), A(picture)) < 1e-12  # the same features
    forgotten = picture - one.x
    assert abs(float((forgotten * one.x).sum())) < 1e-10 * float(picture.norm()) ** 2
    assert relative_error(one.x, picture) > 0.1


def test_command(tmp_path):
    app, output = typer.Typer(), tmp_path / "features.png"
    app.command()(main)
    result = CliRunner().invoke(app, ["--quick", "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "error of the picture" in result.output
    assert output.stat().st_size > 10_000
