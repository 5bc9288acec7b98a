"""Waves from edge to edge: found and measured where there are some, and nowhere in a scene."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from unconv import psf
from unconv.parameter_choice.interference import interference, pattern_of
from unconv.parameter_choice.whittle import Periodogram
from unconv.pictures import blur, deblur

from ..helpers import F64

N = 128
PSFS = [psf.gaussian(1.5), psf.disk(3), psf.disk(4), psf.motion(12, 30)]


def photograph(name: str) -> Tensor:
    """(1, 128, 128), a part of a picture of scikit-image in grey."""
    picture = torch.from_numpy(getattr(data, name)()).double() / 255
    grey = picture if picture.ndim == 2 else picture.mean(-1)
    return grey[100 : 100 + 2 * N : 2, 100 : 100 + 2 * N : 2][None].contiguous()


def noise(seed: int = 0, std: float = 0.004) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return std * torch.randn(1, N, N, generator=generator, dtype=F64)


def wave(fy: float, fx: float, size: float, phase: float = 0.3) -> Tensor:
    t = torch.arange(N, dtype=F64)
    return size * torch.cos(2 * math.pi * (fy * t[:, None] + fx * t) + phase)[None]


def waves_of(y: Tensor, k: Tensor):
    spectra = Periodogram(y, k)
    return interference(y, spectra, spectra.fit(), k)


def decibels(x: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((x.clamp(0, 1) - truth).square().mean()))


@settings(max_examples=6, deadline=None)
@given(
    name=st.sampled_from(["camera", "astronaut", "coffee", "brick", "grass", "gravel"]),
    k=st.sampled_from(PSFS),
    frequency=st.floats(0.03, 0.45),
    angle=st.one_of(st.just(0.0), st.just(math.pi / 2), st.floats(0, math.pi)),
    size=st.sampled_from([0.005, 0.02, 0.05]),
    std=st.sampled_from([0.002, 0.01]),
)
def test_a_picture_with_hum_is_never_made_worse(name, k, frequency, angle, size, std):
    x = photograph(name)
    y = blur(x, k, boundary="circular") + noise(std=std)
    y = y + wave(frequency * math.sin(angle), frequency * math.cos(angle), size)
    restored = deblur(y, k)
    assert decibels(restored.planes, x) > decibels(y, x) - 0.2


@pytest.mark.parametrize(("fy", "fx"), [(0.213, 0.0), (0.0, 0.31), (0.1234, -0.2017)])
def test_hum_costs_nothing(fy, fx):
    x, k = photograph("camera"), psf.disk(3)
    y = blur(x, k, boundary="circular") + noise()
    hum = wave(fy, fx, 0.02)
    clean, restored = (deblur(v, k, prior="wiener") for v in (y, y + hum))
    assert decibels(restored.planes, x) > decibels(clean.planes, x) - 0.05
    assert "interference was taken off: a wave" in restored.data.sentence
    # What is left of the data has it still.
    torch.testing.assert_close(restored.residual - clean.residual, hum, rtol=0, atol=2e-3)


def test_several_waves_are_measured():
    y = blur(photograph("camera"), psf.disk(4), boundary="circular") + noise()
    hum = wave(0.31, 0.0, 0.03) + wave(0.1, 0.2, 0.01, 1.0) + wave(0.0, -0.44, 0.005)
    found = waves_of(y + hum, psf.disk(4))
    assert len(found) == 3
    assert sorted(w.size for w in found) == pytest.approx([0.005, 0.01, 0.03], rel=0.05)
    # The scene has a part at these frequencies too.
    assert float((pattern_of(found, y) - hum).square().mean().sqrt()) < 0.05 * 0.03


def test_colours_have_an_amplitude_each():
    y = torch.cat(
        [blur(photograph("camera"), psf.disk(4), boundary="circular") + noise(s) for s in range(3)]
    )
    hum = torch.cat([wave(0.3, 0.0, a) for a in (0.03, 0.0, 0.01)])
    [found] = waves_of(y + hum, psf.disk(4))
    assert (2 * found.amplitude.abs()).tolist() == pytest.approx([0.03, 0.0, 0.01], abs=1e-3)


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "camera"])
@pytest.mark.parametrize("k", PSFS)
def test_a_scene_keeps_its_texture(name, k):
    assert waves_of(blur(photograph(name), k, boundary="circular") + noise(std=0.002), k) == []


def fence(wide: int) -> Tensor:
    """Slats of light, strictly periodic, before a photograph."""
    t = torch.arange(N, dtype=F64)
    slats = (torch.sin(2 * math.pi * t / 9.3) > 0).to(F64).expand(1, N, N)
    return torch.where(t < wide, 0.2 + 0.6 * slats, photograph("camera"))


@pytest.mark.parametrize("wide", [N // 2, N])
@pytest.mark.parametrize("k", [psf.disk(2), psf.disk(4)])
def test_a_fence_is_no_interference(wide, k):
    assert waves_of(blur(fence(wide), k, boundary="circular") + noise(), k) == []


def test_cloth_that_bends_is_no_interference():
    t = torch.arange(N, dtype=F64)
    threads = torch.cos(2 * math.pi * 0.2 * (t + 4e-3 * (t[:, None] - 60).square()))[None]
    scene = photograph("camera") * 0.8 + 0.05 * threads
    assert waves_of(blur(scene, psf.disk(2), boundary="circular") + noise(), psf.disk(2)) == []


def test_without_a_blur_nothing_is_taken_off():
    assert waves_of(photograph("camera") + wave(0.3, 0, 0.05), torch.ones(1, 1, dtype=F64)) == []
