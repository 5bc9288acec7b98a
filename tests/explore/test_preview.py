"""What a choice makes of a part, beside the library's own restoration of the whole."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import psf
from unconv.explore.choice import Choice, Region
from unconv.explore.preview import Desk
from unconv.explore.subject import Subject
from unconv.pictures import deblur, linear_from_srgb, srgb_from_linear

from .small_site import photograph

PSF = psf.disk(2)
REGION = Region(20, 30, 80, 72)


def choice(**changes) -> Choice:
    values = {"family": "disk", "numbers": (2.0,), "prior": "wiener", "strength": None}
    return Choice(**(values | {"damp": None, "light": "as-is"} | changes))


def distance(a, b) -> float:
    return float((a - b).norm() / (b - b.mean()).norm())


@pytest.mark.parametrize("channels", [1, 3])
def test_at_once_is_the_wiener_filter_of_the_whole(channels):
    y = photograph(channels=channels)
    whole = REGION.of(deblur(y, PSF, prior="wiener").planes)
    made = Desk(Subject("y", y, None, True)).at_once(REGION, choice(), PSF)
    assert torch.equal(made.before, REGION.of(y))
    assert made.prior == "wiener"
    assert distance(made.after, whole) < 0.1 * distance(made.before, whole)


@pytest.mark.parametrize("prior", ["wiener", "tv"])
def test_carefully_is_deblur_of_the_part(prior):
    y = photograph()
    steps: list[str] = []
    made = Desk(Subject("y", y, None, True)).carefully(
        REGION, choice(prior=prior), PSF, lambda step, fraction: steps.append(step)
    )
    around = Region(20 - 6, 30 - 6, 80 + 12, 72 + 12)
    found = deblur(around.of(y), PSF, prior=prior)
    assert torch.equal(made.after, found.planes[:, 6:-6, 6:-6])
    assert made.prior == prior
    assert made.said[0] == found.data.sentence
    assert steps
    assert (made.strength is None) == (prior == "wiener")


def test_a_damp_is_damped_by_at_once():
    y = photograph()
    made = Desk(Subject("y", y, None, True)).at_once(REGION, choice(prior="damp", damp=0.1), PSF)
    assert (made.prior, made.damp, made.said) == ("damp", 0.1, ())


def test_linear_light_is_restored_as_such():
    y = photograph()
    seen = Desk(Subject("y", linear_from_srgb(y), None, True)).at_once(REGION, choice(), PSF)
    light = Desk(Subject("y", y, None, True)).at_once(REGION, choice(light="linear"), PSF)
    torch.testing.assert_close(light.after, srgb_from_linear(seen.after))


def test_missing_pixels_are_filled():
    y = photograph()
    y[:, 50:53, 60:63] = math.nan
    desk = Desk(Subject("y", y, None, False))
    for made in (
        desk.at_once(REGION, choice(), PSF),
        desk.carefully(REGION, choice(), PSF, lambda step, fraction=None: None),
    ):
        assert bool(made.before.isfinite().all())
        assert bool(made.after.isfinite().all())


@pytest.mark.parametrize("told", [torch.ones(1, 1).double(), psf.disk(12), psf.motion(30, 40)])
def test_psfs_of_every_size(told):
    y = photograph(size=64)
    made = Desk(Subject("y", y, None, True)).at_once(Region(0, 0, 64, 64), choice(), told)
    assert made.after.shape == y.shape
    assert bool(made.after.isfinite().all())
