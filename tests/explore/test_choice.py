"""What a browser may send, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from unconv.explore.choice import (
    FILE,
    LARGEST_AREA,
    Region,
    families_for,
    parsed_choice,
    parsed_light,
    parsed_place,
    parsed_region,
)
from unconv.psf.families import FAMILIES

from .small_site import CHOICE, REGION

SLIDERS = families_for((400, 600))


def test_a_choice_is_read():
    choice = parsed_choice(CHOICE | {"numbers": [2.3456789]}, SLIDERS, has_file=False)
    assert choice.numbers == (2.34568,)  # what --psf says
    assert choice.psf_text == "disk:2.34568"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"family": "/etc/passwd"},
            "family must be one of gaussian, disk, motion, moffat, gaussian-disk, airy",
        ),
        ({"family": FILE, "numbers": []}, "family must be one of"),
        ({"family": ["disk"]}, "family must be"),
        ({"numbers": []}, "numbers must be a list of 1"),
        ({"numbers": "2"}, "numbers must be a list"),
        ({"numbers": [math.nan]}, "radius must be a number from 0.55 to 26"),
        ({"numbers": [1e9]}, "radius must be a number"),
        ({"numbers": [True]}, "radius must be a number"),
        ({"prior": "blind"}, "prior must be one of auto"),
        ({"prior": None}, "prior must be one of"),
        ({"light": "moon"}, "light must be one of"),
        ({"strength": -1}, "strength must be a number"),
        ({"damp": "risk"}, "damp must be a number"),
        ({"extra": 1}, "expected an object with family"),
    ],
)
def test_a_wrong_choice_is_refused_in_a_sentence(change, says):
    with pytest.raises(ValueError, match=says):
        parsed_choice(CHOICE | change, SLIDERS, has_file=False)


@pytest.mark.parametrize("sent", [None, [], "disk:2", {}, 3])
def test_what_is_no_choice_is_refused(sent):
    with pytest.raises(ValueError, match="expected an object"):
        parsed_choice(sent, SLIDERS, has_file=True)


def test_the_file_is_a_family_where_there_is_one():
    choice = parsed_choice(CHOICE | {"family": FILE, "numbers": []}, SLIDERS, has_file=True)
    assert choice.numbers == ()


def test_a_region_is_moved_inside():
    region = parsed_region({"x": 590, "y": -7, "width": 100, "height": 80}, (400, 600))
    assert region == Region(500, 0, 100, 80)
    small = parsed_region(REGION | {"width": 1, "height": 1}, (400, 30))
    assert small == Region(0, 5, 30, 48)


def test_a_large_region_is_refused():
    with pytest.raises(ValueError, match=f"at most {LARGEST_AREA:,}"):
        parsed_region(REGION | {"width": 600, "height": 600}, (1000, 1000))


@pytest.mark.parametrize("along", [1, -1, None, True, 0.0])
def test_a_parameter_that_is_not_there(along):
    choice = parsed_choice(CHOICE, SLIDERS, has_file=False)
    with pytest.raises(ValueError, match="along must be the place of a parameter of disk"):
        parsed_place({"along": along}, choice)
    assert parsed_place({"along": 0}, choice) == 0


@pytest.mark.parametrize("sent", [{}, {"light": "moon"}, {"light": None}, "linear", None])
def test_a_light_that_is_none(sent):
    with pytest.raises(ValueError, match="light"):
        parsed_light(sent)
    assert parsed_light({"light": "linear"}) == "linear"


def test_a_region_grows_within_the_picture():
    assert Region(2, 30, 10, 10).grown(5, 4, (42, 60)) == Region(0, 25, 16, 17)
    planes = torch.arange(12.0).reshape(1, 3, 4)
    assert Region(1, 2, 2, 1).of(planes).tolist() == [[[9.0, 10.0]]]


def test_sliders_end_where_they_should():
    for name, sliders in families_for((48, 48)).items():
        for p in sliders:
            assert (p.at(0), p.at(1)) == (p.low, p.high)
            assert p.low <= p.start <= p.high
            assert p.at(0.3) < p.at(0.31)
            assert p.nearest(p.high + 1) == p.high
        FAMILIES[name].kernel(*(p.high for p in sliders))
    assert families_for((48, 48))["disk"][0].high == 12
