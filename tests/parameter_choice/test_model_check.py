"""Spectra by frequency: the data, the model and the residual, where they are known."""

from __future__ import annotations

import torch

from unconv import psf
from unconv.parameter_choice.model_check import radial_spectra
from unconv.parameter_choice.noise_models import NoiseModel
from unconv.parameter_choice.whittle import Periodogram, transfer

from ..helpers import F64
from .test_whittle import blurred


def wiener(y, k, spectra):
    """The residual of a circular Wiener filter."""
    sizes = y.shape[1:]
    gain = transfer(k, sizes).abs().square()
    half = gain.shape[-1]
    signal = spectra.signal_psd(sizes)[:, :half]
    noise = spectra.noise.std**2
    return torch.fft.irfft2(torch.fft.rfft2(y) * noise / (gain * signal + noise), s=sizes)


def test_a_field_of_the_models_own_law_lies_on_the_model():
    k, noise = psf.disk(2), NoiseModel(0.05)
    y = blurred(k, noise, 2.5, shape=(160, 170))
    data = Periodogram(y, k)
    spectra = data.fit()
    found = radial_spectra(wiener(y, k, spectra), data, spectra, k)
    assert len({len(values) for values in found}) == 1
    assert bool((found.frequency.diff() > 0).all())
    assert float(found.frequency[-1]) <= 0.5
    high = found.frequency > 0.1  # rings of many frequencies
    assert float((found.data / found.fitted)[high].log().abs().max()) < 0.25
    torch.testing.assert_close(
        found.noise, torch.full_like(found.noise, spectra.noise.std**2), rtol=1e-6, atol=0
    )
    assert float(found.residual[high].log().abs().max()) < 0.25


def test_a_residual_that_saw_half_counts_as_much():
    k = psf.disk(2)
    y = torch.rand(1, 40, 44, generator=torch.Generator().manual_seed(0), dtype=F64)
    data = Periodogram(y, k)
    spectra = data.fit()
    whole = radial_spectra(y, data, spectra, k).residual
    torch.testing.assert_close(radial_spectra(y, data, spectra, k, 0.5).residual, 2 * whole)
