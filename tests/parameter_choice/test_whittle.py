"""Spectra by likelihood: parameters that were drawn come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unconv import psf
from unconv.parameter_choice.noise_models import NoiseModel, low_pass
from unconv.parameter_choice.whittle import Periodogram, smoothed, transfer

from ..helpers import F64


def drawn(power: Tensor, seed: int, shape: tuple[int, int]) -> Tensor:
    """A part (1, *shape) of a Gaussian field of a spectrum on a larger periodic grid."""
    white = torch.randn(*power.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    field = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real
    return field[None, : shape[0], : shape[1]]


def blurred(
    k: Tensor, noise: NoiseModel, exponent: float, shape=(96, 110), seed: int = 0
) -> Tensor:
    """A field of the model's own law, blurred, with noise; its surroundings are real."""
    sizes = [n + 64 for n in shape]
    fy, fx = (torch.fft.fftfreq(n, dtype=F64) for n in sizes)
    radius = torch.hypot(fy[:, None], fx).clamp(min=1 / max(sizes))
    gain = torch.fft.fft2(torch.fft.irfft2(transfer(k, sizes), s=sizes)).abs().square()
    signal = drawn(0.01 * radius**-exponent * gain, seed, shape)
    return signal + drawn(noise.psd(fy, fx), seed + 1, shape)


@pytest.mark.parametrize("k", [psf.disk(2), psf.gaussian(1.2), psf.motion(9, 30)])
@pytest.mark.parametrize("exponent", [2.0, 3.0])
@pytest.mark.parametrize("std", [0.02, 0.2])
def test_white_noise_and_the_law_come_back(k, exponent, std):
    found = Periodogram(blurred(k, NoiseModel(std), exponent), k).fit()
    assert found.noise.radius == 0
    assert found.noise.std == pytest.approx(std, rel=0.1)
    assert found.exponent == pytest.approx(exponent, abs=0.25)


def test_smoothed_noise_comes_back():
    k, noise = psf.disk(2), NoiseModel(0.1, 0.6)
    found = Periodogram(blurred(k, noise, 2.5), k).fit()
    assert found.noise.radius == 0.6
    assert found.noise.std == pytest.approx(0.1, rel=0.1)
    assert not found.noise.is_white
    assert found.noise_psd((40, 50)).shape == found.signal_psd((40, 50)).shape == (40, 50)


def test_known_noise_is_kept():
    k = psf.disk(2)
    found = Periodogram(blurred(k, NoiseModel(0.1), 2.5), k).fit(std=0.3)
    assert found.noise.std == pytest.approx(0.3)
    assert float(found.noise_psd((8, 8))) == pytest.approx(0.09)


def test_a_line_of_outliers_is_not_taken_for_noise():
    k = psf.disk(2)
    y = blurred(k, NoiseModel(0.1), 2.5)
    y[0, :, 40] = 5  # 50 standard deviations: 0.5 if all frequencies were believed alike
    found = Periodogram(y, k).fit().noise_psd((64, 64))
    assert float(found.mean().sqrt()) == pytest.approx(0.1, rel=0.3)


def test_strips_count_right():
    """A window of 14 rows spreads every frequency over its neighbours: that is accounted for."""
    k = psf.motion(6, 90)
    found = Periodogram(blurred(k, NoiseModel(0.05), 2.5, (14, 400)), k).fit()
    assert found.noise.std == pytest.approx(0.05, rel=0.1)


def test_colours_and_tiles_are_averaged():
    k = psf.disk(2)
    planes = torch.cat([blurred(k, NoiseModel(0.1), 2.5, seed=s) for s in (0, 5, 9)])
    data = Periodogram(planes, k)
    assert data.degrees == 3
    assert data.fit().noise.std == pytest.approx(0.1, rel=0.05)
    large = Periodogram(torch.randn(1, 700, 1400, dtype=F64), k)
    assert large.sizes == (512, 512)
    assert large.degrees == 6


def test_the_mean_of_the_periodogram_is_exact():
    """White noise and a law, against the mean over many drawn fields."""
    k, shape = psf.disk(1), (16, 20)
    many = torch.cat([blurred(k, NoiseModel(0.05), 2.0, shape, 2 * s) for s in range(400)])
    data = [Periodogram(y[None], k) for y in many]
    mean = torch.stack([d.power for d in data]).mean(0)
    model = 0.01 * data[0].of_signal(2.0) + 0.05**2
    inside = data[0].counts > 0
    assert float((mean / model)[inside].mean()) == pytest.approx(1, abs=0.05)


def test_smoothing_keeps_the_symmetry_of_a_spectrum():
    y = torch.randn(12, 15, generator=torch.Generator().manual_seed(0), dtype=F64)
    half, full = torch.fft.rfft2(y).abs().square(), torch.fft.fft2(y).abs().square()
    wide = torch.nn.functional.pad(full[None, None], (4, 4, 4, 4), mode="circular")
    expected = torch.nn.functional.avg_pool2d(wide, 9, stride=1)[0, 0, :, : half.shape[1]]
    torch.testing.assert_close(smoothed(half, 15), expected)


def test_low_pass_is_a_gaussian_in_space():
    f = torch.fft.fftfreq(64, dtype=F64)
    taps = torch.fft.ifft2(low_pass(f, f, 1.0).sqrt()).real
    assert float(taps[0, 1] / taps[0, 0]) == pytest.approx(2.718281828**-0.5, rel=1e-2)
