"""The picture's evidence for psfs."""

from __future__ import annotations

import pytest
import torch

from unconv import psf
from unconv.explore.choice import families_for
from unconv.explore.evidence import Reading, curve_along
from unconv.parameter_choice.whittle import Fit, Periodogram

from .small_site import photograph

RADIUS = families_for((128, 128))["disk"].parameters[0]
ANGLE = families_for((128, 128))["motion"].parameters[1]


@pytest.mark.parametrize("radius", [1.5, 3.0])
def test_the_true_radius_is_the_likeliest(radius):
    reading = Reading(photograph(radius=radius), None)
    values = [radius * factor for factor in (0.5, 0.8, 0.95, 1, 1.05, 1.25, 2)]
    found = [reading.evidence(psf.disk(v)) for v in values]
    assert found.index(max(found)) in (2, 3, 4)


def test_evidence_is_that_of_the_likelihood():
    y = photograph()
    told = psf.disk(1.7)
    expected = Fit(Periodogram(y, told), None, None, radii=(0.0,)).best()[0]
    reading = Reading(y, None)
    found = reading.spectra(told)
    assert (found.scale, found.exponent) == (expected.scale, expected.exponent)
    assert found.noise.std == expected.noise.std
    assert reading.evidence(told) == -expected.loss * expected.frequencies
    assert reading.spectra(told.clone()) is found


def test_a_curve_is_sharp_around_its_summit():
    curve = curve_along(RADIUS, lambda r: -((r - 3.3) ** 2))
    assert curve.values == sorted(curve.values)
    assert max(curve.evidence) == 0
    assert abs(curve.values[curve.evidence.index(0.0)] - 3.3) < 0.06
    assert (curve.values[0], curve.values[-1]) == (RADIUS.low, RADIUS.high)


def test_an_angle_has_no_ends():
    def evidence(angle: float) -> float:
        off = abs(angle - 179.2) % 180
        return -min(off, 180 - off)

    curve = curve_along(ANGLE, evidence)
    assert abs(curve.values[curve.evidence.index(0.0)] - 179.2) < 0.6
    assert 180.0 not in curve.values


def test_evidence_that_is_even_has_a_curve():
    assert set(curve_along(RADIUS, lambda r: 1.0).evidence) == {0.0}


def test_large_pictures_are_read_in_tiles():
    y = photograph(size=600)
    reading = Reading(y, None)
    assert reading._data.sizes == (256, 256)
    assert reading._data.degrees == 9
    assert torch.isfinite(torch.tensor(reading.evidence(psf.gaussian(1.0))))
