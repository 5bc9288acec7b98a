"""Psfs by formula, each against its own: encircled energy, widths, zeros, integrals over pixels."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import j1

from unconv import psf

from ..helpers import F64, assert_says, relative
from .test_models import is_psf

FIRST_ZERO = float(mpmath.besseljzero(1, 1)) / math.pi  # 1.2197 λN
HALF = float(mpmath.findroot(lambda v: 2 * mpmath.besselj(1, v) / v - mpmath.sqrt(0.5), 1.6))
HALF /= math.pi  # 0.5145 λN


def airy(scale: float, **options) -> torch.Tensor:
    """With λN of `scale` pixels."""
    return psf.airy(wavelength_nm=1000 * scale, f_number=1.0, pixel_um=1.0, **options)


def airy_density(scale: float):
    def h(y: float, x: float) -> float:
        v = max(1e-9, math.pi * math.hypot(x, y) / scale)
        return math.pi / (4 * scale**2) * (2 * j1(v) / v) ** 2

    return h


def moffat_density(fwhm: float, beta: float):
    alpha = fwhm / 2 / math.sqrt(2 ** (1 / beta) - 1)

    def h(y: float, x: float) -> float:
        return (beta - 1) / (math.pi * alpha**2) * (1 + (x * x + y * y) / alpha**2) ** -beta

    return h


def over_pixel(h, row: int, column: int) -> float:
    ends = row - 0.5, row + 0.5, column - 0.5, column + 0.5
    return integrate.dblquad(lambda x, y: h(y, x), *ends, epsabs=1e-13, epsrel=1e-12)[0]


def in_rings(h, radius: float) -> float:
    return integrate.quad(lambda r: 2 * math.pi * r * h(r, 0), 0, radius, limit=500)[0]


def test_the_densities_of_these_tests_hold_all_the_light():
    """In rings, by mpmath: so the integrals below are parts of 1."""
    within = 1 - mpmath.besselj(0, 9) ** 2 - mpmath.besselj(1, 9) ** 2
    for s in (0.7, 3.0):
        assert in_rings(airy_density(s), 9 * s / math.pi) == pytest.approx(float(within), abs=1e-10)
    assert in_rings(moffat_density(3, 2.5), math.inf) == pytest.approx(1, abs=1e-8)


SHAPES = [
    (airy(0.4), airy_density(0.4), 0.99),
    (airy(2.3), airy_density(2.3), 0.99),
    (airy(5.0, energy=0.9), airy_density(5.0), 0.9),
    (psf.moffat(0.5, 3), moffat_density(0.5, 3), 0.99),
    (psf.moffat(3, 2.5), moffat_density(3, 2.5), 0.99),
    (psf.moffat(6, 4.765, energy=0.999), moffat_density(6, 4.765), 0.999),
]


@pytest.mark.parametrize(("values", "density", "energy"), SHAPES)
def test_pixels_are_integrals_and_the_rim_is_what_it_says(values, density, energy):
    is_psf(values)
    middle = values.shape[0] // 2
    reach = min(middle, 7)
    places = {(0, 0), (0, 1), (1, 1), (min(2, reach), reach), (reach, -min(3, reach))}
    kept = over_pixel(density, 0, 0) / float(values[middle, middle])  # the sum before scaling
    for row, column in places:
        if max(abs(row), abs(column)) <= middle:
            expected = over_pixel(density, row, column) / kept
            assert float(values[middle + row, middle + column]) == pytest.approx(
                expected, abs=1e-11
            )
    assert energy <= kept < 1


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_the_array_is_no_larger_than_its_circle(energy):
    """A circle of one pixel less on each side does not hold the energy."""
    h, values = airy_density(3.0), airy(3.0, energy=energy)
    radius = values.shape[0] / 2 - 1
    assert in_rings(h, radius) < energy
    assert in_rings(h, radius + 1) >= energy


def test_the_first_dark_ring_and_the_width_at_half_maximum():
    dark = airy(20 / FIRST_ZERO, energy=0.9, pixelated=False)
    middle = dark.shape[0] // 2
    assert float(dark[middle, middle + 20] / dark.max()) < 1e-25
    half = airy(20 / HALF, energy=0.9, pixelated=False)
    middle = half.shape[0] // 2
    assert float(half[middle - 20, middle] / half.max()) == pytest.approx(0.5, abs=1e-12)
    assert abs(2 * HALF - 1.0290) < 5e-5
    for beta in (1.5, 2.5, 4.765):
        star = psf.moffat(12, beta, energy=0.8, pixelated=False)
        middle = star.shape[0] // 2
        assert float(star[middle, middle + 6] / star.max()) == pytest.approx(0.5, abs=1e-13)


def test_the_transfer_function_is_that_of_a_round_aperture():
    """(2/π)(arccos ν − ν √(1 − ν²)), ν = f·λN, times the sinc of the pixel, but for the cut."""
    scale, energy = 3.0, 0.998
    values = airy(scale, energy=energy)
    n = values.shape[0]
    found = torch.fft.fft(torch.fft.ifftshift(values.sum(0))).real[: n // 2]
    f = torch.arange(n // 2, dtype=F64) / n
    nu = (f * scale).clamp(max=1)
    expected = 2 / math.pi * (torch.acos(nu) - nu * (1 - nu**2).sqrt()) * torch.sinc(f)
    assert float((found - expected).abs().max()) < 2 * (1 - energy)


def test_three_ways_to_describe_an_aperture():
    lens = psf.airy(wavelength_nm=500, f_number=8, pixel_um=2)  # λN = 2 pixels
    objective = psf.airy(wavelength_nm=500, numerical_aperture=0.25, pixel_um=0.5)
    arcsec = math.degrees(500e-9 / 2.0) * 3600
    telescope = psf.airy(wavelength_nm=500, aperture_m=2.0, pixel_arcsec=arcsec / 2)
    assert relative(objective, lens) < 1e-12
    assert relative(telescope, lens) < 1e-12


def test_fine_samples_integrated_are_the_pixels():
    """Two ways to one psf: `resample` of samples above the Nyquist rate, and quadrature."""
    fine = airy(8.0, pixelated=False, energy=0.995)
    coarse = psf.resample(fine, 0.25, 1.0, pixelated=True)
    direct = airy(2.0, energy=0.995)
    half = 8
    parts = [v[tuple(slice(n // 2 - half, n // 2 + half + 1) for n in v.shape)]
             for v in (coarse, direct)]  # fmt: skip
    parts = [v / v.sum() for v in parts]
    assert relative(*parts) < 1e-3


@given(sigma=st.floats(0.05, 8), truncate=st.floats(1, 8))
def test_a_pixelated_gaussian_is_of_error_functions(sigma, truncate):
    values = psf.gaussian(sigma, truncate=truncate, pixelated=True)
    is_psf(values)
    n = values.shape[0]
    scale = sigma * mpmath.sqrt(2)
    with mpmath.workdps(60):
        edges = [mpmath.erf((i - mpmath.mpf(n) / 2) / scale) for i in range(n + 1)]
        line = np.array([float(b - a) for a, b in itertools.pairwise(edges)])
    line /= line.sum()
    assert np.allclose(values.sum(0).numpy(), line, rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(
        values, torch.outer(*2 * (torch.from_numpy(line),)), rtol=1e-11, atol=0
    )


# --- any density


def test_any_density_is_integrated():
    def density(y, x):
        return torch.exp(-((y - 0.3) ** 2) / 2) * (1 + torch.cos(2 * x) / 2)

    values = psf.pixelated(density, (5, 3))

    def plain(y, x):
        return math.exp(-((y - 0.3) ** 2) / 2) * (1 + math.cos(2 * x) / 2)

    expected = torch.tensor(
        [[over_pixel(plain, r, c) for c in (-1, 0, 1)] for r in range(-2, 3)], dtype=F64
    )
    assert relative(values, expected / expected.sum()) < 1e-12
    assert float(values[3].sum()) > float(values[1].sum())  # y is downwards


def test_it_is_one_with_the_closed_form():
    values = psf.pixelated(lambda y, x: torch.exp(-(y**2 + x**2) / (2 * 0.3**2)), 5)
    expected = psf.gaussian(0.3, truncate=2.5 / 0.3 - 1, pixelated=True)
    assert expected.shape == (5, 5)
    assert relative(values, expected) < 1e-12


def one(y, x):
    return torch.ones_like(y)


@pytest.mark.parametrize(
    ("density", "size", "error", "parts"),
    [
        (one, 4, ValueError, ("size=4", "odd")),
        (one, (3, 3, 3), ValueError, ("(3, 3, 3)", "rows and columns")),
        (one, 0, ValueError, ("size", "at least 1")),
        (one, 5001, ValueError, ("4,097",)),
        (1, 3, TypeError, ("density", "function")),
        (lambda y, x: (y**2 + x**2 < 2).double(), 5, ValueError, ("does not settle", "edge")),
        (lambda y, x: -one(y, x), 3, ValueError, (">= 0",)),
        (lambda y, x: one(y, x) * math.nan, 3, ValueError, (">= 0",)),
        (lambda y, x: 0 * y, 3, ValueError, ("does not settle",)),
        (lambda y, x: 1.0, 3, TypeError, ("must return", "got 1.0")),
        (lambda y, x: one(y, x)[0], 3, TypeError, ("shape",)),
    ],
)  # fmt: skip
def test_densities_that_are_none(density, size, error, parts):
    with pytest.raises(error, match=r"^[^\n]+\.$") as raised:
        psf.pixelated(density, size)
    assert_says(raised, *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, ("got none of them", "pixel_um")),
        ({"f_number": 8}, ("got f_number",)),
        ({"f_number": 8, "pixel_um": 1, "aperture_m": 1}, ("aperture_m, f_number, pixel_um",)),
        ({"f_number": 8, "numerical_aperture": 1, "pixel_um": 1}, ("numerical_aperture",)),
        ({"f_number": 8, "pixel_arcsec": 1}, ("one such pair",)),
        ({"f_number": 0, "pixel_um": 1}, ("f_number=0",)),
        ({"f_number": 8, "pixel_um": 1, "energy": 1}, ("energy=1",)),
        ({"f_number": 8, "pixel_um": 0.001}, ("Airy", "4097", "units")),
        ({"f_number": 8, "pixel_um": 1, "energy": 1 - 1e-15}, ("Airy", "smaller energy")),
        ({"f_number": 8, "pixel_um": 1, "wavelength_nm": -1}, ("wavelength_nm=-1",)),
    ],
    ids=str,
)
def test_apertures_that_are_none(arguments, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.airy(**{"wavelength_nm": 550, **arguments})
    assert_says(error, *parts)


@pytest.mark.parametrize(
    ("fwhm", "beta", "parts"),
    [(0, 2, ("fwhm=0",)), (3, 1, ("beta=1", "> 1")), (3, 0.5, ("beta=0.5",)),
     (3, 1.001, ("Moffat", "4097")), (1e9, 3, ("4097",)), (1e-3, 3, ("does not settle",))],
)  # fmt: skip
def test_stars_that_are_none(fwhm, beta, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.moffat(fwhm, beta)
    assert_says(error, *parts)
