"""`unconv blur`: the library's blur, from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from unconv import psf
from unconv.pictures.formats import Picture, read_picture, write_picture
from unconv.pictures.restoration import BOUNDARIES, blur

from .commands import fail, pixels, save, succeed


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_is_that_of_the_library(tmp_path: Path, boundary):
    source, target = save(tmp_path / "in.npy", 3, 24, 20, dtype="float64"), tmp_path / "out.npy"
    options = "--boundary", boundary, "--noise-std", 0.1, "--seed", 3
    facts = succeed("blur", source, "-o", target, "--psf", "motion:5,30", *options)
    x = torch.from_numpy(pixels(3, 24, 20))
    expected = blur(x, psf.motion(5, 30), boundary=boundary, noise_std=0.1, seed=3)
    np.testing.assert_array_equal(read_picture(target).planes, expected.numpy())
    assert facts == {
        "input": str(source),
        "output": str(target),
        "size": [*expected.shape[::-1]],
        "psf": [*psf.motion(5, 30).shape],
        "boundary": boundary,
        "light": "as-is",
        "noise_std": 0.1,
    }


def test_seed(tmp_path: Path):
    source = save(tmp_path / "in.npy", 1, 24, 20, dtype="float64")
    found = []
    for i, seed in enumerate((1, 1, 2)):
        target = tmp_path / f"{i}.npy"
        options = "--psf", "disk:1", "--noise-std", 0.1, "--seed", seed
        succeed("blur", source, "-o", target, *options)
        found.append(target.read_bytes())
    assert found[0] == found[1] != found[2]


def test_overwrites_its_input_if_forced(tmp_path: Path):
    source = save(tmp_path / "in.npy", 1, 24, 20, dtype="float64")
    arguments = "blur", source, "-o", source, "--psf", "disk:1"
    fail(tmp_path, 2, *arguments, says=("is the picture itself", "--force"))
    succeed(*arguments, "--force")
    expected = blur(torch.from_numpy(pixels(1, 24, 20)), psf.disk(1), boundary="symmetric")
    np.testing.assert_array_equal(read_picture(source).planes, expected.numpy())


def test_valid_with_alpha_writes_nothing(tmp_path: Path):
    source = save(tmp_path / "in.png", 3, 24, 20, alpha=True)
    arguments = source, "-o", tmp_path / "out.png", "--psf", "disk:1", "--boundary", "valid"
    fail(tmp_path, 2, "blur", *arguments, says=("alpha",))


def test_alpha_into_jpeg(tmp_path: Path):
    source = save(tmp_path / "in.png", 3, 24, 20, alpha=True)
    arguments = source, "-o", tmp_path / "out.jpg", "--psf", "disk:1"
    fail(tmp_path, 3, "blur", *arguments, says=("JPEG has no alpha", ".png"))


def test_seed_that_is_too_large(tmp_path: Path):
    source = save(tmp_path / "in.npy", 1, 24, 20, dtype="float64")
    arguments = source, "-o", tmp_path / "out.npy", "--psf", "disk:1", "--noise-std", 0.1
    fail(tmp_path, 2, "blur", *arguments, "--seed", 2**70, says=("seed",))


def test_a_sharp_picture_with_nan_is_cropped(tmp_path: Path):
    """Blur needs every pixel; numbers made up in the place of some would be blurred as well."""
    planes = pixels(1, 20, 24)
    planes[0, :3] = np.nan
    name, out = tmp_path / "in.npy", tmp_path / "out.npy"
    write_picture(name, Picture(planes))
    says = "72 pixel values are NaN", "crop it to where"
    fail(tmp_path, 3, "blur", name, "-o", out, "--psf", "disk:1", says=says)
    write_picture(name, Picture(planes[:, 3:]))
    succeed("blur", name, "-o", out, "--psf", "disk:1")
