"""`unconv psf make`: the library's psfs, in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from unconv import psf
from unconv.cli.psf_option import prepared_psf
from unconv.pictures.formats.kernels import read_kernel

from ..commands import fail, run, succeed

AIRY = {"wavelength_nm": 550.0, "f_number": 8.0, "pixel_um": 2.2}
SKY = {"wavelength_nm": 2200.0, "aperture_m": 8.2, "pixel_arcsec": 0.013}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(arguments: dict) -> list[str]:
    return [v for k, n in arguments.items() for v in (f"--{k.replace('_', '-')}", str(n))]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("gaussian", {"sigma": 1.5}, psf.gaussian(1.5, pixelated=True)),
        ("moffat", {"fwhm": 3.0, "beta": 2.5}, psf.moffat(3, 2.5)),
        ("airy", AIRY, psf.airy(**AIRY)),
        ("airy", SKY, psf.airy(**SKY)),
    ],
)
def test_is_that_of_the_library(folder, name, arguments, expected):
    facts = succeed("psf", "make", name, *typed(arguments), "-o", "k.csv")
    assert np.array_equal(read_kernel("k.csv"), expected.numpy())
    assert facts["size"] == list(expected.shape)
    assert facts["sum"] == pytest.approx(1)
    assert facts["peak"] == float(expected.max())
    assert run("psf", "check", "k.csv").exit_code == 0


def test_values_at_the_middles(folder):
    succeed("psf", "make", "moffat", "--fwhm", 3, "--beta", 2.5, "--no-pixelated", "-o", "k.npy")
    assert np.array_equal(np.load("k.npy"), psf.moffat(3, 2.5, pixelated=False).numpy())


MICROSCOPE = ("--na", 0.8, "--wavelength-nm", 500, "--voxel-um", 0.3, 0.2, 0.2, "--size", 3, 5, 7)


def test_a_microscope(folder):
    pytest.importorskip("psf_generator")
    succeed("psf", "make", "microscope", *MICROSCOPE, "-o", "k.npy")
    expected = psf.microscope(na=0.8, wavelength_nm=500, voxel_um=(0.3, 0.2, 0.2), size=(3, 5, 7))
    assert np.array_equal(np.load("k.npy"), expected.numpy())
    succeed("psf", "make", "microscope", *MICROSCOPE, "-o", "k.tif")
    assert np.array_equal(read_kernel("k.tif"), expected.numpy())
    assert json.loads(run("psf", "check", "k.tif", "--json").stdout)["voxel_um"] == [0.3, 0.2, 0.2]
    middle, told = prepared_psf("k.tif")
    np.testing.assert_allclose(middle, expected[1] / expected[1].sum(), rtol=1e-12)
    assert "volume of 3 planes" in told[0]


def test_the_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "psf_generator", None)
    arguments = *MICROSCOPE, "-o", "k.npy"
    fail(folder, 3, "psf", "make", "microscope", *arguments, says=("unconv[optics]",))


def test_failures(folder):
    airy = "psf", "make", "airy", "--wavelength-nm", 550, "-o", "k.npy"
    fail(folder, 2, *airy, says=("none of them",))
    star = "psf", "make", "moffat", "--fwhm", 3, "--beta"
    fail(folder, 2, *star, 1, "-o", "k.npy", says=("beta=1",))
    fail(folder, 3, *star, 2.5, "-o", "k.png", says=(".npy",))
    arguments = *MICROSCOPE, "-o", "k.fits"
    fail(folder, 3, "psf", "make", "microscope", *arguments, says=("three axes", ".npy"))


@pytest.mark.parametrize("name", ["gaussian", "moffat", "airy", "microscope"])
def test_help_shows_the_formula_and_a_command(name):
    said = " ".join(run("psf", "make", name, "--help").stdout.split())
    assert "h " in said
    assert f"Example: unconv psf make {name} " in said
