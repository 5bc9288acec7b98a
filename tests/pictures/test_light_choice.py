"""Which light was blurred: found where it shows, and never linear where the file was blurred."""

from __future__ import annotations

import pytest
import torch
from skimage import data

from unconv import psf
from unconv.parameter_choice.residual_whiteness import Whiteness
from unconv.pictures import blur, deblur, linear_from_srgb, srgb_from_linear
from unconv.pictures.light_choice import linear_is_evident

SCENES = {
    "camera": data.camera()[60:380:2, 130:450:2],
    "astronaut": data.astronaut()[:320:2, 60:380:2, 1],
}
PSFS = {"disk": psf.disk(3), "motion": psf.motion(15, 30)}


def evident(y, k):
    """Whether 8 bits of a picture say that linear light was blurred."""
    y = (y.clamp(0, 1) * 255).round() / 255
    stored, linear = (deblur(planes, k).data.whiteness for planes in (y, linear_from_srgb(y)))
    return linear_is_evident(stored, linear)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", PSFS)
def test_by_what_was_blurred(name, kind):
    scene, k = torch.from_numpy(SCENES[name] / 255.0)[None], PSFS[kind]
    noise = 0.002
    assert not evident(blur(scene, k, boundary="valid", noise_std=noise), k)
    light = blur(linear_from_srgb(scene), k, boundary="valid")
    seen = srgb_from_linear(light)
    seen += noise * torch.randn(
        seen.shape, generator=torch.Generator().manual_seed(0), dtype=seen.dtype
    )
    assert evident(seen, k)


@pytest.mark.parametrize(
    ("stored", "linear", "says"),
    [(0.2, 0.05, True), (0.2, 0.07, False), (0.07, 0.02, False), (0.1, 0.055, False)],
)
def test_only_if_it_is_clear(stored, linear, says):
    found = [Whiteness(distance, 0.06, torch.ones(1)) for distance in (stored, linear)]
    assert linear_is_evident(*found) is says
