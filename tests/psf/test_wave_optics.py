"""`psf.microscope` against quadrature of its integrals, and the widths that books give."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from scipy.special import jv

from unconv import psf

from ..helpers import F64, assert_says, relative

WATER = {"na": 1.1, "wavelength_nm": 520, "voxel_um": (0.15, 0.06, 0.06), "immersion_index": 1.33}
NODES = np.polynomial.legendre.leggauss(600)


@pytest.fixture
def optics():
    pytest.importorskip("psf_generator", reason="the extra optics is not installed")


def on_a_line(size, na, wavelength_nm, voxel_um, immersion_index, model, n_s=None, depth=0.0):
    """Along the middle row of every plane, (planes, columns), by Gauss-Legendre in float64."""
    k, n = 2 * math.pi / wavelength_nm, immersion_index
    top = math.asin(na / n)
    theta, weights = (NODES[0] + 1) / 2 * top, NODES[1] / 2 * top
    sine, cosine = np.sin(theta), np.cos(theta)
    z = (np.arange(size[0]) - size[0] // 2)[:, None, None] * 1000 * voxel_um[0]
    r = np.abs(np.arange(size[2]) - size[2] // 2)[None, :, None] * 1000 * voxel_um[2]
    path = n * z * cosine
    if n_s is not None:
        path = path + depth * (np.sqrt(n_s**2 - (n * sine) ** 2) - n**2 / n_s * cosine)
    u = k * n * r * sine
    wave = weights * np.sqrt(cosine) * sine * np.exp(1j * k * path)
    if model == "scalar":
        found = np.abs((wave * jv(0, u)).sum(-1)) ** 2
    else:  # Richards & Wolf (2.31), the mean over polarisations
        factors = (1 + cosine), math.sqrt(2) * sine, (1 - cosine)
        found = sum(
            np.abs((wave * f * jv(order, u)).sum(-1)) ** 2 for order, f in enumerate(factors)
        )
    return torch.from_numpy(found / found.max())


def middle_rows(values):
    found = values[:, values.shape[1] // 2]
    return found / found.max()


@pytest.mark.parametrize("model", ["scalar", "vectorial"])
@pytest.mark.parametrize("size", [(9, 31, 31), (5, 9, 41), (1, 1, 1)])
def test_is_the_diffraction_integral(optics, model, size):
    values = psf.microscope(**WATER, size=size, model=model)
    assert values.shape == size
    assert values.dtype == F64
    assert float(values.min()) >= 0
    assert float(values.sum()) == pytest.approx(1, abs=1e-12)
    expected = on_a_line(size, **WATER, model=model)
    assert float((middle_rows(values) - expected).abs().max()) < 3e-6


@pytest.mark.parametrize("depth", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("na", [0.8, 1.25])
def test_a_mismatch_is_that_of_gibson_and_lanni(optics, depth, na):
    oil = {**WATER, "na": na, "immersion_index": 1.515}
    size = (15, 21, 21)
    values = psf.microscope(**oil, size=size, specimen_index=1.33, depth_um=depth, model="scalar")
    expected = on_a_line(size, **oil, model="scalar", n_s=1.33, depth=1000 * depth)
    assert float((middle_rows(values) - expected).abs().max()) < 1e-4


def test_rays_that_are_reflected_carry_nothing(optics):
    """An oil objective of NA 1.4 sees a depth of water as one of NA 1.33 does."""
    oil = {**WATER, "immersion_index": 1.515, "specimen_index": 1.33, "depth_um": 2.0}
    one, other = (psf.microscope(**{**oil, "na": na}, size=(5, 15, 15)) for na in (1.4, 1.49))
    assert torch.equal(one, other)


def test_no_mismatch_no_depth(optics):
    plain = psf.microscope(**WATER, size=(5, 15, 15))
    assert torch.equal(plain, psf.microscope(**WATER, size=(5, 15, 15), depth_um=7))
    same = psf.microscope(**WATER, size=(5, 15, 15), specimen_index=1.33, depth_um=7)
    assert torch.equal(plain, same)


def width(line, pitch):
    """Full width at half maximum, the ends interpolated."""
    line = line / line.max()
    middle = len(line) // 2
    above = int((line[middle:] > 0.5).sum()) - 1
    a, b = line[middle + above], line[middle + above + 1]
    return 2 * pitch * float(above + (a - 0.5) / (a - b))


@pytest.mark.parametrize(("na", "index"), [(0.3, 1.0), (0.8, 1.0), (1.1, 1.33)])
def test_widths_are_those_of_the_books(optics, na, index):
    """0.51 λ/NA laterally and 0.88 λ/(n − √(n² − NA²)) axially, near enough."""
    wavelength = 0.5
    lateral = 0.51 * wavelength / na
    axial = 0.88 * wavelength / (index - math.sqrt(index**2 - na**2))
    voxel = (axial / 12, lateral / 12, lateral / 12)
    values = psf.microscope(
        na=na, wavelength_nm=500, voxel_um=voxel, size=(21, 21, 21), immersion_index=index
    )
    tolerance = 0.02 if na < 0.5 else 0.12  # polarisation widens
    assert width(values[10, 10], voxel[2]) == pytest.approx(lateral, rel=tolerance)
    assert width(values[:, 10, 10], voxel[0]) == pytest.approx(axial, rel=tolerance)


def test_low_apertures_in_focus_are_airy_patterns(optics):
    options = {"wavelength_nm": 500, "numerical_aperture": 0.1, "pixel_um": 1.0}
    expected = psf.airy(**options, energy=0.95, pixelated=False)
    n = expected.shape[0]
    found = psf.microscope(
        na=0.1, wavelength_nm=500, voxel_um=(1, 1, 1), size=(1, n, n), immersion_index=1.0
    )
    assert relative(found[0], expected) < 0.01


def test_every_plane_has_the_same_light(optics):
    values = psf.microscope(**WATER, size=(7, 129, 129))
    light = values.sum((1, 2))
    assert float((light / light[3] - 1).abs().max()) < 0.05
    assert psf.check(values).doubts == {}
    assert psf.check(values).centroid == pytest.approx((0, 0, 0), abs=1e-3)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psf_generator", None)
    with pytest.raises(ImportError, match=r"pip install 'unconv\[optics\]'"):
        psf.microscope(**WATER, size=(3, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"na": 1.4}, ("na=1.4", "immersion_index=1.33")),
        ({"na": 0}, ("na=0",)),
        ({"size": (4, 5, 5)}, ("size=(4, 5, 5)", "odd")),
        ({"size": (5, 5)}, ("size=(5, 5)", "planes, rows, columns")),
        ({"size": (5, 5, 2001)}, ("257",)),
        ({"voxel_um": 0.1}, ("voxel_um=0.1", "(z, y, x)")),
        ({"voxel_um": (0.1, 0.1, 0.2)}, ("y and x", "psf.resample")),
        ({"voxel_um": (0.1, 0.1, -1)}, ("voxel_um=-1",)),
        ({"immersion_index": 0.9}, ("immersion_index=0.9",)),
        ({"specimen_index": math.nan}, ("specimen_index=nan",)),
        ({"wavelength_nm": 1e-3}, ("256 waves", "units")),
        ({"depth_um": -1}, ("depth_um=-1",)),
        ({"model": "exact"}, ("model='exact'", "'vectorial'")),
    ],
    ids=str,
)
def test_refused(arguments, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.microscope(**{**WATER, "size": (3, 3, 3), **arguments})
    assert_says(error, *parts)
