"""What is read from a picture: evidence, the likeliest psf, spectra with a psf."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import psf
from unconv.explore.reading import Reading
from unconv.parameter_choice.whittle import Fit, Periodogram
from unconv.psf.estimation import estimate

from .small_site import photograph


def reading_of(y: torch.Tensor) -> Reading:
    return Reading(y, torch.ones_like(y[0], dtype=torch.bool), None)


@pytest.mark.parametrize("radius", [1.5, 3.0])
def test_the_true_radius_is_the_likeliest(radius):
    reading = reading_of(photograph(radius=radius))
    values = [radius * factor for factor in (0.5, 0.8, 0.95, 1, 1.05, 1.25, 2)]
    found = [reading.evidence(psf.disk(v)) for v in values]
    assert found.index(max(found)) in (2, 3, 4)


def test_evidence_is_greatest_where_the_estimate_is():
    """Around what `psf.estimate` has found, by half a standard error to both sides."""
    y = photograph()
    found = estimate(y, "disk")
    radius, error = found.parameters["radius"], found.standard_errors["radius"]
    reading = reading_of(y)
    below, here, above = (reading.evidence(psf.disk(radius + k * error)) for k in (-0.5, 0, 0.5))
    assert here > max(below, above)
    for name, other in (("disk", found.psf), ("no blur", torch.ones(1, 1).double())):
        assert math.isfinite(reading.evidence(other)), name
    assert here - reading.evidence(torch.ones(1, 1).double()) > 0.5 * found.evidence["disk"]


def test_the_psf_is_that_of_estimate():
    y = photograph()
    assert reading_of(y).psf.parameters == estimate(y).parameters


def test_pixels_that_were_filled_in_are_no_data():
    y = photograph(radius=3.0)
    seen = torch.ones_like(y[0], dtype=torch.bool)
    seen[:, 60:70] = False
    reading = Reading(torch.where(seen, y, 0.5), seen, None)
    assert "of the pixels were not seen" in reading.psf.doubts[0]
    told = [reading.evidence(psf.disk(r)) for r in (2.0, 3.0, 4.0)]
    assert told.index(max(told)) == 1


def test_spectra_are_those_of_the_likelihood_with_a_psf():
    y = photograph(size=96)  # of which all frequencies count
    told = psf.disk(1.7)
    expected = Fit(Periodogram(y, told), None, None, radii=(0.0,)).best()[0]
    reading = reading_of(y)
    found = reading.spectra(told)
    assert (found.scale, found.exponent) == (expected.scale, expected.exponent)
    assert found.noise.std == expected.noise.std
    assert reading.spectra(told.clone()) is found


def test_spectra_of_some_frequencies_are_those_of_all():
    y, told = photograph(size=256), psf.disk(2)
    expected = Fit(Periodogram(y, told), None, None, radii=(0.0,)).best()[0]
    found = reading_of(y).spectra(told)
    assert abs(found.exponent - expected.exponent) < 0.2
    assert abs(found.noise.std / expected.noise.std - 1) < 0.05


def test_large_pictures_are_read_in_tiles():
    reading = reading_of(photograph(size=600))
    assert reading._data.sizes == (256, 256)
    assert reading._data.degrees == 9
    assert math.isfinite(reading.evidence(psf.gaussian(1.0)))
