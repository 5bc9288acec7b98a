"""Spectra read from data."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.parameter_choice import estimate_spectra
from unconv.psf import models as psf

from ..helpers import C128, assert_says, randn, relative
from .cases import least_risk_damp

SIZE = (64, 63)


def operator(dtype=torch.float64) -> ConvOperator:
    K = psf.disk(2.0)[None, None].to(dtype)
    return ConvOperator(K, SIZE, padding="same", padding_mode="circular")


def field(p: float, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """A random picture whose power falls as |ω|^(−p), and its spectrum."""
    axes = [torch.fft.fftfreq(n, dtype=torch.float64) for n in SIZE]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    S = radius.clamp(min=1 / 64) ** -p
    X = torch.fft.fftn(randn(1, 1, *SIZE, dtype=dtype), dim=(2, 3)) * S.sqrt()
    x = torch.fft.ifftn(X, dim=(2, 3))
    return (x if dtype.is_complex else x.real), S


@pytest.mark.parametrize("dtype", [torch.float64, C128])
@pytest.mark.parametrize("p", [1.5, 2.5])
def test_the_law_that_made_the_data(p, dtype):
    op = operator(dtype)
    x, S = field(p, dtype)
    noise, signal = estimate_spectra(op, op(x) + 0.2 * randn(1, 1, *SIZE, dtype=dtype, seed=1))
    assert 0.7 * 0.04 < noise < 1.4 * 0.04
    assert signal.shape == SIZE
    ratio = (signal / S)[1:, 1:]
    assert 0.3 < float(ratio.min()) < float(ratio.max()) < 3
    assert relative(signal, signal.flip(0, 1).roll((1, 1), (0, 1))) < 1e-12


def test_the_filter_beats_the_best_damp_on_such_data():
    op = operator()
    x, _ = field(2.0)
    y = op(x) + 0.05 * randn(1, 1, *SIZE, seed=1)
    wiener = op.wiener(*estimate_spectra(op, y))(y)
    damped = op.tikhonov(least_risk_damp(op, y))(y)
    assert relative(wiener, x) < relative(damped, x)


def test_units():
    op = operator()
    y = op(field(2.0)[0]) + 0.05 * randn(1, 1, *SIZE, seed=1)
    noise, signal = estimate_spectra(op, y)
    larger = estimate_spectra(op.with_weight(op.weight * 100), y * 1000)
    assert larger[0] == pytest.approx(noise * 1e6)
    assert relative(larger[1], signal * 100) < 1e-9


def test_a_scene_larger_than_its_picture():
    op = operator()
    y = op(field(2.0)[0]) + 0.05 * randn(1, 1, *SIZE, seed=1)
    noise, small = estimate_spectra(op, y)
    again, large = estimate_spectra(op, y, sizes=(128, 126))
    assert again == noise
    assert large.shape == (128, 126)
    assert relative(large[2:64:2, 2:62:2], small[1:32, 1:31]) < 1e-9
    scene = ConvOperator(op.weight, (68, 67))
    _, spectrum = estimate_spectra(op, y, sizes=scene.domain_shape[1:])
    assert scene.wiener(noise, spectrum)(y).shape == (1, 1, 68, 67)


def test_a_noise_level_that_is_known():
    op = operator()
    y = op(field(2.0)[0]) + 0.05 * randn(1, 1, *SIZE, seed=1)
    assert estimate_spectra(op, y, 0.07)[0] == pytest.approx(0.0049)


def test_other_operators_are_refused():
    with pytest.raises(NotImplementedError, match="signal_psd") as error:
        estimate_spectra(ConvOperator(randn(1, 1, 3), (8,), padding=1), randn(1, 1, 8))
    assert_says(error, "'zeros'", "noise_psd")
