"""Noise levels read from blurred photographs and from synthetic data."""

from __future__ import annotations

import pytest
import torch

from unconv.parameter_choice import choose_damp, estimate_noise_std
from unconv.parameter_choice.noise import weakest_variance
from unconv.pictures.restoration import blur, blur_operator

from ..helpers import C128, F64, assert_says, randn
from .test_minimum_risk import KERNELS, PICTURES, photograph


@pytest.mark.parametrize("noise_std", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", PICTURES)
def test_blurred_photographs(name, kernel, noise_std):
    k = KERNELS[kernel]
    y = blur(photograph(name, 256), k, noise_std=noise_std, boundary="circular")
    choice = choose_damp(blur_operator(k, (256, 256), boundary="circular"), y[None], "discrepancy")
    assert choice.noise_std == pytest.approx(noise_std, rel=0.1)
    if kernel != "motion":  # it leaves diagonal detail in place
        assert float(estimate_noise_std(y[None])) == pytest.approx(noise_std, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 5000), (2, 60, 70), (3, 16, 17, 18), (1, 2, 5000)])
@pytest.mark.parametrize("dtype", [F64, C128])
def test_smooth_data_of_any_dimension(shape, dtype):
    ramp = sum(torch.arange(n, dtype=F64).reshape(-1, *[1] * i) for i, n in enumerate(shape[:0:-1]))
    noise = randn(2, *shape, dtype=dtype)  # complex: E|n|² = 1
    found = estimate_noise_std(
        ramp + torch.tensor([0.1, 3.0]).reshape(2, *[1] * len(shape)) * noise
    )
    assert found.tolist() == pytest.approx([0.1, 3.0], rel=0.06)


def test_unit_and_place():
    y = randn(2, 1, 40, 40)
    expected = estimate_noise_std(y)
    assert torch.allclose(estimate_noise_std(-1e-9 * y), 1e-9 * expected)
    assert torch.equal(estimate_noise_std(y.flip(0)), expected.flip(0))
    assert torch.allclose(estimate_noise_std(y.float()), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1, 9), (1, 1, 1), (3, 4)])
def test_too_few_samples(shape):
    with pytest.raises(ValueError, match="at least 2 samples") as error:
        estimate_noise_std(randn(*shape))
    assert_says(error, str(shape), "give noise_std")


@pytest.mark.parametrize("degrees", [1, 2, 4, 12])
def test_weakest_coefficients(degrees):
    """Signal where A transmits, 0.09 of noise everywhere."""
    K = 16384
    sigma = torch.linspace(0, 1, K, dtype=F64)
    power = 0.09 * randn(degrees, K).square().mean(0) + sigma**2
    shuffled = torch.randperm(K, generator=torch.Generator().manual_seed(0))
    found = weakest_variance(sigma[shuffled], power[shuffled], degrees)
    assert float(found) == pytest.approx(0.09, rel=0.1)
