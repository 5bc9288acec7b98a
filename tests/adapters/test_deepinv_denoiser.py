"""Denoisers and priors of deepinv that need no weights, through the adapter, and restoring."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

import unconv
from unconv.adapters import from_deepinv_denoiser

from ..helpers import F64, assert_says, randn, relative


class TakesSigma(nn.Module):
    def forward(self, x, sigma):
        return x / (1 + sigma)


class TakesThreshold(nn.Module):
    def forward(self, x, ths=0.1, **options):
        return torch.nn.functional.softshrink(x, ths)


class HasProx(nn.Module):
    """Of g = |·| as deepinv writes it: ths·gamma is the threshold, and ths is not 1 by default."""

    def prox(self, x, *args, ths=0.1, gamma=1.0, **options):
        return torch.nn.functional.softshrink(x, ths * gamma)


# --- what is called with what
def test_sigma_and_thresholds_are_passed_on():
    x = randn(2, 1, 5, 4)
    assert torch.equal(from_deepinv_denoiser(TakesSigma())(x, 0.5), x / 1.5)
    assert torch.equal(from_deepinv_denoiser(TakesSigma(), strength=3.0)(x, 0.5), x / 1.5)
    for kind in (TakesThreshold, HasProx):
        denoise = from_deepinv_denoiser(kind(), strength=3.0)
        assert torch.equal(denoise(x, 0.2), torch.nn.functional.softshrink(x, 3.0 * 0.2))


@pytest.mark.parametrize("kind", [TakesThreshold, HasProx])
def test_the_unit_of_the_picture_does_not_matter(kind):
    x, denoise = randn(2, 1, 5, 4), from_deepinv_denoiser(kind())
    assert relative(denoise(1e6 * x, 1e6 * 0.3), 1e6 * denoise(x, 0.3)) < 1e-12


def test_dtype_of_the_weights_and_back():
    class Weighted(TakesSigma):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(2.0))

        def forward(self, x, sigma):
            assert x.dtype == torch.float32
            return self.gain * x

    x = randn(1, 1, 4, 4)
    found = from_deepinv_denoiser(Weighted())(x, 0.1)
    assert found.dtype == F64
    assert not found.requires_grad
    assert relative(found, 2 * x) < 1e-7


def test_what_is_no_denoiser():
    for wrong in (None, 1.0, torch.sqrt, randn(3), TakesSigma):
        with pytest.raises(TypeError) as error:
            from_deepinv_denoiser(wrong)
        assert_says(error, "must be a module of deepinv.models", "needs no adapter")
    with pytest.raises(TypeError) as error:
        from_deepinv_denoiser(nn.Conv2d(1, 1, 3))
    assert_says(error, "takes no noise level", "forward(x, sigma)")
    for strength in (0, -1.0, float("nan"), "1"):
        with pytest.raises((TypeError, ValueError), match="strength"):
            from_deepinv_denoiser(TakesSigma(), strength=strength)


def test_what_it_returns_is_judged_by_restore():
    class Cuts(nn.Module):
        def forward(self, x, sigma):
            return x[..., 1:]

    A = unconv.ConvOperator(torch.ones(1, 1, 3, 3) / 9, (12, 12))
    with pytest.raises(ValueError, match="the denoiser returned"):
        unconv.restore(A, A(torch.ones(1, 1, 12, 12)), prior=from_deepinv_denoiser(Cuts()))


# --- the real package
MODELS = ("BM3D", "TVDenoiser", "TGVDenoiser", "WaveletDenoiser", "WaveletDictDenoiser")
PRIORS = ("TVPrior", "WaveletPrior", "L1Prior", "PnP")


def _made(deepinv, name):
    """A denoiser or prior, or a skip where the package that it needs is missing."""
    needed = "bm3d" if name == "BM3D" else "ptwt" if "Wavelet" in name else "torch"
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{name} needs {needed}")
    if name == "PnP":
        return deepinv.optim.PnP(deepinv.models.TVDenoiser())
    return getattr(deepinv.models if name in MODELS else deepinv.optim.prior, name)()


def _bars() -> torch.Tensor:
    x = torch.zeros(1, 1, 48, 48)
    x[..., 8:40, 10:20] = 1
    x[..., 14:22, 10:42] = 0.6
    return x


@pytest.mark.parametrize("name", [n for n in (*MODELS, *PRIORS) if n != "L1Prior"])
def test_noise_falls(deepinv, name):
    x, sigma = _bars(), 0.1
    noisy = x + sigma * randn(*x.shape, dtype=torch.float32)
    # deepinv divides the differences of TGV by more than those of total variation
    strength = 4.0 if name == "TGVDenoiser" else 1.0
    denoise = from_deepinv_denoiser(_made(deepinv, name), strength=strength)
    found = denoise(noisy, sigma)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert float((found - x).norm()) < 0.75 * float((noisy - x).norm())


def test_prox_of_l1_is_a_soft_threshold(deepinv):
    x = randn(1, 1, 6, 6)
    found = from_deepinv_denoiser(_made(deepinv, "L1Prior"), strength=2.0)(x, 0.3)
    assert relative(found, torch.nn.functional.softshrink(x, 0.6)) < 1e-12


def test_prior_and_denoiser_of_tv_are_one(deepinv):
    x = randn(1, 1, 16, 16)
    model, prior = (
        from_deepinv_denoiser(m) for m in (_made(deepinv, "TVDenoiser"), _made(deepinv, "TVPrior"))
    )
    assert relative(model(x, 0.2), prior(x, 0.2)) < 1e-2  # each stops at its own tolerance


@pytest.mark.parametrize("name", ["BM3D", "TVDenoiser", "WaveletDenoiser", "TVPrior"])
def test_they_restore(deepinv, name):
    x = _bars().double()
    A = unconv.ConvOperator(torch.ones(1, 1, 5, 5, dtype=F64) / 25, (48, 48))
    y = A(x) + 0.01 * randn(1, 1, 44, 44)
    found = unconv.restore(A, y, prior=from_deepinv_denoiser(_made(deepinv, name)))
    inside = (..., slice(2, -2), slice(2, -2))
    blurred = float((y - x[inside]).norm())
    assert float((found.solution[inside] - x[inside]).norm()) < 0.6 * blurred
    assert found.certificate.method == "plug-and-play"
