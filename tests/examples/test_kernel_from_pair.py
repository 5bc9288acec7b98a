"""A kernel found through the inverse."""

from __future__ import annotations

import torch
import typer
from typer.testing import CliRunner

from examples.kernel_from_pair import fit, linear_fit, main, make_pair, relative_error, start_kernel


def test_recovers_the_kernel_to_a_percent():
    pair = make_pair()
    trace = fit(pair)
    assert relative_error(start_kernel(), pair.kernel) > 0.5
    assert relative_error(trace.kernel, pair.kernel) < 0.01
    assert len(trace.errors) == trace.stages[-1]


def test_is_exact_without_noise():
    pair = make_pair(128, noise_std=0.0)
    assert relative_error(fit(pair, 40).kernel, pair.kernel) < 1e-3


def test_linear_fit():
    pair = make_pair(64, noise_std=0.0)
    assert torch.allclose(linear_fit(pair), pair.kernel, atol=1e-9)


def test_command(tmp_path):
    app, output = typer.Typer(), tmp_path / "kernel.png"
    app.command()(main)
    result = CliRunner().invoke(app, ["--quick", "--steps", "2", "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "error of the kernel" in result.output
    assert output.stat().st_size > 10_000
