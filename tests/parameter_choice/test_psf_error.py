"""The error of a psf by the likelihood of a picture that another one blurred."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import psf
from unconv.parameter_choice.psf_error import psf_error
from unconv.parameter_choice.whittle import Periodogram
from unconv.pictures import deblur, linear_from_srgb, restoration, srgb_from_linear

from ..helpers import F64
from .test_interference import N, decibels, noise, photograph

blur = partial(restoration.blur, boundary="circular")


def error_of(y: Tensor, k: Tensor):
    spectra = Periodogram(y, k)
    return psf_error(spectra, spectra.fit(), k)


@pytest.mark.parametrize("name", ["camera", "astronaut", "grass", "gravel", "brick"])
@pytest.mark.parametrize("k", [psf.gaussian(1.5), psf.disk(3), psf.motion(12, 30)])
def test_the_right_psf_has_no_error(name, k):
    assert not error_of(blur(photograph(name), k) + noise(), k).is_decisive


WRONG = [
    (psf.disk(2), psf.disk(4)),
    (psf.gaussian(1.5), psf.gaussian(2.5)),
    (psf.gaussian(1.5), psf.disk(4)),
    (psf.disk(3), psf.motion(15, 30)),
    (psf.motion(9, 0), psf.motion(15, 30)),
]


@pytest.mark.parametrize(("true", "told"), WRONG)
@pytest.mark.parametrize("name", ["camera", "grass"])
def test_a_psf_that_is_quite_wrong_gives_the_picture_back(name, true, told):
    x = photograph(name)
    y = blur(x, true) + noise()
    restored = deblur(y, told)
    assert restored.data.psf_refused
    assert not restored.data.psf_plausible
    assert torch.equal(restored.planes, y)
    assert any("given back as it was" in doubt for doubt in restored.data.doubts)


def test_who_insists_gets_it_restored():
    y = blur(photograph("camera"), psf.disk(2)) + noise()
    y[:, 30, 30] = torch.nan
    insisted, default = deblur(y, psf.disk(4), prior="wiener"), deblur(y, psf.disk(4))
    assert insisted.data.psf_refused
    assert any("restored as was asked" in doubt for doubt in insisted.data.doubts)
    seen = y.isfinite()
    assert float((insisted.planes - y)[seen].abs().max()) > 0.01
    assert torch.equal(default.planes[seen], y[seen])
    assert bool(default.planes.isfinite().all())


def test_a_psf_that_is_nearly_right_is_used_as_far_as_it_goes():
    """A blur of light in values as they are stored."""
    x, k = photograph("coffee"), psf.motion(12, 30)
    light = blur(linear_from_srgb(x), k).clamp(0, 1)
    y = srgb_from_linear(light) + noise(std=0.002)
    restored = deblur(y, k)
    assert not restored.data.psf_refused
    assert decibels(restored.planes, x) > decibels(y, x) + 0.5


NAMES = ["camera", "astronaut", "coffee", "grass", "gravel", "brick"]
TRUE = [psf.disk(1.5), psf.disk(3), psf.gaussian(1), psf.motion(9, 20)]
TOLD = [psf.disk(2.5), psf.disk(4), psf.gaussian(2), psf.motion(13, 70)]


def lost_by_a_wrong_psf(name, true, told, seed=0):
    """Decibels."""
    x = photograph(name)
    y = blur(x, true) + noise(seed)
    return decibels(y, x) - decibels(deblur(y, told).planes, x)


wrong_psfs = given(
    name=st.sampled_from(NAMES),
    true=st.sampled_from(TRUE),
    told=st.sampled_from(TOLD),
    seed=st.integers(0, 9),
)


@settings(max_examples=3, deadline=None)
@wrong_psfs
@example("astronaut", TRUE[2], TOLD[0], 0)  # a blur that is wider
@example("brick", TRUE[3], TOLD[2], 0)  # a motion that is held for one in all directions
@example("gravel", TRUE[3], TOLD[1], 0)
def test_a_wrong_psf_destroys_no_picture(name, true, told, seed):
    """Narrow ones of other kinds look alike: they may cost a little."""
    assert lost_by_a_wrong_psf(name, true, told, seed) < 0.6


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@wrong_psfs
def test_nor_does_it_under_other_noise(name, true, told, seed):
    assert lost_by_a_wrong_psf(name, true, told, seed) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("true", TRUE)
def test_none_of_them_does(name, true):
    assert max(lost_by_a_wrong_psf(name, true, told) for told in TOLD) < 0.6


def test_the_noise_of_the_error_grows_with_what_the_psf_takes_away():
    k = 2 * psf.disk(3)
    error = error_of(blur(photograph("camera"), k) + noise(), k)
    found = error.noise_psd(k, [N, N + 1])
    assert found.shape == (N, N + 1)
    assert found.dtype == F64
    assert float(found[0, 0]) == pytest.approx(0, abs=1e-12)
    assert bool((found >= 0).all())
    law = error.spectra.signal_psd([N, N + 1])
    # At the first zero of F nothing is left of the psf's sum, 2.
    assert float((found / law).max()) < 5 * error.power * 4 * (1 + 0.2) ** 2 + math.ulp(1.0)
