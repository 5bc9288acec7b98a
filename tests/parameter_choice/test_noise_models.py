"""Spectra of noise against noise that was made."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from unconv.parameter_choice.noise_models import JpegRounding, NoiseModel, low_pass

N = 64
F = torch.fft.fftfreq(N, dtype=torch.float64)


def test_rounding_of_blocks_has_this_spectrum():
    """Errors drawn uniformly in every step, coefficient by coefficient, transformed back."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 60, (8, 8)).astype(float)
    power = np.zeros((N, N))
    count = 60
    for _ in range(count):
        errors = steps * (rng.random((N // 8, N // 8, 8, 8)) - 0.5)
        blocks = idctn(errors, axes=(2, 3), norm="ortho")
        picture = blocks.transpose(0, 2, 1, 3).reshape(N, N)
        power += np.abs(np.fft.fft2(picture)) ** 2 / N**2 / count
    found = JpegRounding(torch.from_numpy(steps)).psd(F, F) * 255**2 - 1 / 12
    assert float(found.mean()) == pytest.approx((steps**2).mean() / 12)
    coarse = [p.reshape(8, 8, 8, 8).mean((1, 3)) for p in (power, found.numpy())]
    np.testing.assert_allclose(coarse[0], coarse[1], rtol=0.15)


def test_the_transform_is_that_of_jpeg():
    """A single step: the spectrum of one wave of `scipy.fft.dctn`."""
    steps = torch.zeros(8, 8, dtype=torch.float64)
    steps[2, 5] = 12.0
    wave = idctn(np.eye(64)[2 * 8 + 5].reshape(8, 8), norm="ortho")
    assert dctn(wave, norm="ortho")[2, 5] == pytest.approx(1)
    expected = 12 * np.abs(np.fft.fft2(wave, s=(N, N))) ** 2 / 64
    found = JpegRounding(steps).psd(F, F) * 255**2 - 1 / 12
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_a_coarser_component_has_its_error_in_the_middle():
    flat = JpegRounding(torch.full((8, 8), 12.0), (2, 2)).psd(F, F)
    assert float(flat[0, 0]) * 255**2 == pytest.approx(4 * 12 + 1 / 12)


def test_noise_models():
    white = NoiseModel(0.1)
    assert white.is_white
    assert torch.allclose(white.psd(F, F), torch.tensor(0.01, dtype=torch.float64))
    smooth = NoiseModel(0.1, 0.6)
    assert not smooth.is_white
    assert torch.allclose(smooth.psd(F, F), 0.01 * low_pass(F, F, 0.6))
    assert float(low_pass(F, F, 0.6)[N // 2, 0]) == pytest.approx(math.exp(-((math.pi * 0.6) ** 2)))
    rounded = NoiseModel(0.1, rounding=JpegRounding(torch.full((8, 8), 12.0)))
    assert torch.allclose(rounded.psd(F, F), white.psd(F, F) + (12 + 1 / 12) / 255**2)
    assert float(NoiseModel(0.0, floor=1e-6).psd(F, F).max()) == 1e-6


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (NoiseModel(0.012), "white noise, 0.012"),
        (NoiseModel(0.012, 0.6), "noise smoothed by 0.6 samples, 0.012"),
        (NoiseModel(0.0, floor=1e-8), "noise too weak to be seen, taken as 0.0001"),
        (
            NoiseModel(0.012, rounding=JpegRounding(torch.arange(1.0, 65).reshape(8, 8))),
            "a JPEG's rounding in steps of 1 to 64 grey levels, and white noise, 0.012",
        ),
    ],
)
def test_in_words(model, words):
    assert str(model) == words


def test_one_sample_is_no_plural():
    assert str(NoiseModel(0.01, 1.0)) == "noise smoothed by 1 sample, 0.01"
    assert str(NoiseModel(0.01, 0.6)) == "noise smoothed by 0.6 samples, 0.01"
