"""Missing data in files: NaN, masks, full sensors, transparent pixels; made by `blur` too."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from skimage import data

import unconv.pictures.restoration as library
from unconv import psf
from unconv.operators.linear_operator import MemoryLimitError
from unconv.pictures import find_missing
from unconv.pictures.formats import Picture, read_picture, write_picture

from .commands import fail, pixels, run, save, succeed

tifffile = pytest.importorskip("tifffile")

CAMERA = data.camera()[180:300, 100:220] / 255.0
DISK = "--psf", "disk:2"


def decibels(path: Path, truth: np.ndarray) -> float:
    return -10 * math.log10(((read_picture(path).planes.clip(0, 1) - truth) ** 2).mean())


def blurred(noise_std: float = 0.004) -> np.ndarray:
    scene = torch.from_numpy(CAMERA[None])
    return library.blur(scene, psf.disk(2), boundary="symmetric", noise_std=noise_std).numpy()


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".fits"])
def test_nan_and_infinities_come_out_restored(tmp_path: Path, suffix: str):
    if suffix == ".fits":
        pytest.importorskip("astropy")
    y = blurred()
    holes = np.random.default_rng(0).random(y.shape) < 0.02
    y[holes] = np.nan
    y[0, 50, 60:64] = np.inf, -np.inf, np.nan, np.inf
    write_picture(tmp_path / f"a{suffix}", Picture(y, dtype=np.dtype("float64")))
    target = tmp_path / f"b{suffix}"
    facts = succeed("deblur", tmp_path / f"a{suffix}", "-o", target, *DISK)
    assert facts["missing"] == {"not finite": int((~np.isfinite(y)).sum())}
    assert decibels(target, CAMERA) > 27
    assert np.isfinite(read_picture(target).planes).all()


def test_a_mask_is_not_zero_where_pixels_are_bad(tmp_path: Path):
    y, bad = blurred(), np.zeros(CAMERA.shape, np.uint8)
    bad[:, 70], bad[30:33, 20:24] = 1, 255
    write_picture(tmp_path / "good.png", Picture(y, dtype=np.dtype("uint16")))
    y[0, :, 70] = 1.0
    write_picture(tmp_path / "a.png", Picture(y, dtype=np.dtype("uint16")))
    np.save(tmp_path / "bad.npy", bad)
    best, masked, plain = (tmp_path / f"{name}.png" for name in ("best", "masked", "plain"))
    damped = *DISK, "--prior", "damp", "--saturation", "off"  # which believes what it sees
    succeed("deblur", tmp_path / "good.png", "-o", best, *damped)
    succeed("deblur", tmp_path / "a.png", "-o", plain, *damped)
    options = *damped, "--mask", tmp_path / "bad.npy"
    facts = succeed("deblur", tmp_path / "a.png", "-o", masked, *options)
    assert facts["missing"] == {"masked": int((bad > 0).sum())}
    assert decibels(masked, CAMERA) > decibels(best, CAMERA) - 0.6
    assert decibels(masked, CAMERA) > decibels(plain, CAMERA) + 3


def test_masks_that_do_not_fit(tmp_path: Path):
    source = save(tmp_path / "a.png", 1, 24, 20)
    save(tmp_path / "other.png", 1, 20, 24)
    arguments = source, "-o", tmp_path / "b.png", *DISK, "--mask"
    fail(tmp_path, 2, "deblur", *arguments, tmp_path / "other.png", says=("24 x 20", "20 x 24"))
    write_picture(tmp_path / "all.png", Picture(np.ones((1, 24, 20)), dtype=np.dtype("uint8")))
    fail(tmp_path, 2, "deblur", *arguments, tmp_path / "all.png", says=("no pixel", "masked"))
    fail(tmp_path, 3, "deblur", *arguments, tmp_path / "none.png", says=("cannot be opened",))


def bright() -> np.ndarray:
    scene = CAMERA.copy()
    for row, column in ((20, 30), (60, 90), (90, 40)):
        scene[row : row + 3, column : column + 3] = 8.0
    return scene


def test_saturation(tmp_path: Path):
    scene = torch.from_numpy(bright()[None])
    y = library.blur(scene, psf.disk(2), boundary="symmetric", noise_std=0.004)
    source = tmp_path / "a.png"
    write_picture(source, Picture(y.numpy(), dtype=np.dtype("uint8")))
    found = {}
    for option in ("auto", "off", "255", "1", "0.9"):
        options = *DISK, "--prior", "damp", "--saturation", option
        facts = succeed("deblur", source, "-o", tmp_path / f"{option}.png", *options)
        found[option] = facts
        if option in ("auto", "255", "1"):
            expected = find_missing(torch.from_numpy(read_picture(source).planes), white=1.0)
            assert facts["missing"] == expected.counts
            assert facts["saturation"] == 1.0
    assert "missing" not in found["off"]
    assert found["0.9"]["missing"]["saturated"] > found["auto"]["missing"]["saturated"]
    truth = bright().clip(0, 1)
    auto, off = (decibels(tmp_path / f"{option}.png", truth) for option in ("auto", "off"))
    assert auto > off + 1
    assert auto > decibels(source, truth)


def test_white_skies_are_left_alone_and_told(tmp_path: Path):
    y = blurred().copy()
    y[0, :40] = 1.0
    write_picture(tmp_path / "a.png", Picture(y, dtype=np.dtype("uint8")))
    options = "-o", tmp_path / "b.png", *DISK, "--prior", "damp"
    result = run("deblur", tmp_path / "a.png", *options)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: 33 % of the picture have its largest value")
    result = run("deblur", tmp_path / "a.png", *options, "--json")
    assert "33 %" in json.loads(result.stdout)["notes"][0]


@pytest.mark.parametrize(
    ("option", "says"), [("hot", "'hot' must be auto, off or a level"), ("nan", "'nan' must be")]
)
def test_saturation_that_is_none(tmp_path: Path, option: str, says: str):
    source = save(tmp_path / "a.png", 1, 24, 20)
    arguments = source, "-o", tmp_path / "b.png", *DISK, "--saturation", option
    fail(tmp_path, 2, "deblur", *arguments, says=(says,))


def test_transparent_pixels_have_no_colour(tmp_path: Path):
    y, alpha = blurred(), np.full(CAMERA.shape, 255, np.uint8)
    alpha[60:80, 40:70] = 0
    hidden = y.copy()
    hidden[0, 60:80, 40:70] = 0  # black, as programs leave it
    write_picture(tmp_path / "a.png", Picture(hidden, alpha, np.dtype("uint8")))
    facts = succeed("deblur", tmp_path / "a.png", "-o", tmp_path / "b.png", *DISK)
    assert facts["missing"] == {"transparent": 600}
    after = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(after.alpha, alpha)
    near = after.planes[0, 55:60, 40:70]
    assert np.abs(near - CAMERA[55:60, 40:70]).mean() < 0.06


# Made by blur


def test_blur_makes_dead_pixels_in_floats(tmp_path: Path):
    source = save(tmp_path / "a.tif", 1, 40, 50, dtype="float32")
    options = *DISK, "--dead", 0.05, "--clip", 0.5, "--noise-std", 0.01
    facts = succeed("blur", source, "-o", tmp_path / "b.tif", *options)
    planes = read_picture(tmp_path / "b.tif").planes
    assert facts["dead"] == np.isnan(planes).sum() == 100
    assert facts["clipped"] == (planes == 0.5).sum() > 0
    assert np.nanmax(planes) == 0.5
    plain = tmp_path / "c.tif"
    succeed("blur", source, "-o", plain, *DISK, "--noise-std", 0.01)
    expected = read_picture(plain).planes.clip(max=0.5)
    assert np.nanmax(np.abs(planes - expected)) == 0
    options = *DISK, "--saturation", 0.5  # more than a fifth of this drawing
    restored = succeed("deblur", tmp_path / "b.tif", "-o", tmp_path / "d.tif", *options)
    assert restored["missing"]["not finite"] == 100
    assert restored["missing"]["saturated"] > facts["clipped"]


def test_blur_makes_dead_pixels_and_their_mask(tmp_path: Path):
    source, mask = save(tmp_path / "a.png", 3, 40, 50), tmp_path / "dead.png"
    arguments = source, "-o", tmp_path / "b.png", *DISK, "--dead", 0.01
    fail(tmp_path, 2, "blur", *arguments, says=("--dead needs --mask FILE",))
    facts = succeed("blur", *arguments, "--mask", mask)
    assert facts["dead"] == 20
    bad = read_picture(mask).planes[0] > 0
    assert bad.sum() == 20
    assert (read_picture(tmp_path / "b.png").planes[:, bad] == 0).all()
    options = *DISK, "--prior", "damp", "--mask", mask
    restored = succeed("deblur", tmp_path / "b.png", "-o", tmp_path / "c.png", *options)
    assert restored["missing"]["masked"] == 20


def test_dead_pixels_that_nothing_would_tell(tmp_path: Path):
    source = save(tmp_path / "a.tif", 1, 40, 50, dtype="float32")
    for share, says in ((1.0, "< 1"), (-0.1, ">= 0"), (0.1, "cannot hold it")):
        arguments = source, "-o", tmp_path / "b.png", *DISK, "--dead", share
        fail(tmp_path, 2, "blur", *arguments, says=(says,))
    fail(tmp_path, 2, "blur", source, "-o", tmp_path / "b.tif", *DISK, "--clip", "x", says=("'x'",))


def test_partly_transparent_pixels_are_data(tmp_path: Path):
    """A disk of a photograph with a soft rim, in colour; what is clear has no colour."""
    rows, columns = (np.arange(n) - n / 2 for n in CAMERA.shape)
    opacity = ((52 - np.hypot(rows[:, None], columns)) / 6).clip(0, 1)
    alpha = np.rint(255 * opacity).astype(np.uint8)
    x = np.stack([CAMERA, CAMERA[::-1], CAMERA.T])
    write_picture(tmp_path / "a.png", Picture(x, alpha, np.dtype("uint8")))
    options = *DISK, "--light", "as-is"
    succeed("blur", tmp_path / "a.png", "-o", tmp_path / "b.png", *options, "--noise-std", 0.004)
    facts = succeed(
        "deblur", tmp_path / "b.png", "-o", tmp_path / "c.png", *options, "--prior", "wiener"
    )
    assert facts["missing"]["transparent"] == int((alpha == 0).sum())
    before, after = (read_picture(tmp_path / f"{name}.png") for name in "bc")
    np.testing.assert_array_equal(after.alpha, alpha)

    def error(found: Picture) -> float:
        return float((alpha * (found.planes - x) ** 2).sum())

    assert error(after) < 0.6 * error(before)


def test_blur_weighs_colours_by_alpha(tmp_path: Path):
    """What is hidden does not leak out."""
    x, alpha = np.full((1, 30, 30), 0.6), np.full((30, 30), 255, np.uint8)
    alpha[10:20, 10:20], x[0, 10:20, 10:20] = 0, 0.0
    write_picture(tmp_path / "a.png", Picture(x, alpha, np.dtype("uint8")))
    succeed("blur", tmp_path / "a.png", "-o", tmp_path / "b.png", *DISK)
    found = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(found.alpha, alpha)
    assert np.abs(found.planes[0][alpha > 0] - 0.6).max() < 0.5 / 255 + 1e-9


# Light


def test_a_lens_blurs_linear_light(tmp_path: Path):
    """As a camera would see it, in linear light; the file is sRGB."""
    write_picture(tmp_path / "a.png", Picture(CAMERA[None], dtype=np.dtype("uint16")))
    options = "--psf", "disk:4", "--boundary", "symmetric"
    made = succeed(
        "blur", tmp_path / "a.png", "-o", tmp_path / "b.png", *options, "--light", "linear"
    )
    assert made["light"] == "linear"
    stored = tmp_path / "stored.png"
    succeed("blur", tmp_path / "a.png", "-o", stored, *options)
    assert (
        np.abs(read_picture(stored).planes - read_picture(tmp_path / "b.png").planes).max() > 0.05
    )
    scores = {}
    for light in ("linear", "as-is", "auto"):
        target = tmp_path / f"{light}.png"
        facts = succeed(
            "deblur", tmp_path / "b.png", "-o", target, *options, "--light", light, "--damp", 0.05
        )
        assert facts["light"] == ("linear" if light == "linear" else "as-is")
        scores[light] = decibels(target, CAMERA)
    assert scores["linear"] > scores["as-is"] + 0.5
    assert scores["auto"] == scores["as-is"]


def test_a_second_light_has_the_memory_that_the_first_leaves(tmp_path: Path, monkeypatch):
    limits = []

    def deblurred(*arguments, **options):
        limits.append(options["memory_limit"])
        if len(limits) == 2:
            raise MemoryLimitError("too much.")
        return deblur(*arguments, **options)

    deblur = library.deblur
    monkeypatch.setattr(library, "deblur", deblurred)
    sharp = np.clip(CAMERA + 0.02 * np.random.default_rng(0).standard_normal(CAMERA.shape), 0, 1)
    write_picture(tmp_path / "a.png", Picture(sharp[None], dtype=np.dtype("uint8")))
    arguments = tmp_path / "a.png", "-o", tmp_path / "b.png", "--psf", "disk:4"
    facts = json.loads(run("deblur", *arguments, "--memory-limit", "1GB", "--json").stdout)
    planes, scene = sharp.size, (sharp.shape[0] + 8) * (sharp.shape[1] + 8)
    assert limits == [1e9, 1e9 - 8 * (2 * planes + scene)]
    assert facts["light"] == "as-is"
    assert "does not fit --memory-limit" in facts["light_chosen"]


@pytest.mark.parametrize("blurred_in", ["linear", "as-is"])
def test_auto_finds_the_light_that_was_blurred(tmp_path: Path, blurred_in):
    scene = data.camera()[60:400:2, 130:470:2] / 255.0
    write_picture(tmp_path / "a.png", Picture(scene[None], dtype=np.dtype("uint16")))
    options = "--psf", "motion:15,30", "--boundary", "valid"
    blurring = *options, "--light", blurred_in, "--noise-std", 0.002
    succeed("blur", tmp_path / "a.png", "-o", tmp_path / "b.png", *blurring)
    arguments = "deblur", tmp_path / "b.png", *options, "--report", tmp_path / "page.html"
    result = run(*arguments, "-o", tmp_path / "auto.png", "--json")
    facts = json.loads(result.stdout)
    assert facts["light"] == blurred_in
    given = "-o", tmp_path / "given.png", "--light", blurred_in
    assert run(*arguments, *given).exit_code == result.exit_code == 0
    found, expected = (read_picture(tmp_path / f"{name}.png") for name in ("auto", "given"))
    np.testing.assert_array_equal(found.planes, expected.planes)
    if blurred_in == "linear":
        assert "linear light was blurred" in facts["light_chosen"]
        assert "nothing speaks" not in result.stderr
        assert "does not look like the noise" not in result.stderr  # of the light that was left
    else:
        assert "light_chosen" not in facts  # nothing was wrong as stored


def test_auto_stays_as_stored_where_the_noise_is_given(tmp_path: Path):
    scene = data.camera()[60:400:2, 130:470:2] / 255.0
    write_picture(tmp_path / "a.png", Picture(scene[None], dtype=np.dtype("uint16")))
    options = "--psf", "motion:15,30", "--noise-std", 0.002
    blurring = *options, "--boundary", "valid", "--light", "linear"
    succeed("blur", tmp_path / "a.png", "-o", tmp_path / "b.png", *blurring)
    result = run("deblur", tmp_path / "b.png", "-o", tmp_path / "c.png", *options, "--json")
    assert json.loads(result.stdout)["light"] == "as-is"


def test_light_that_is_none(tmp_path: Path):
    source = save(tmp_path / "a.png", 1, 24, 20)
    counts = tmp_path / "counts.npy"
    np.save(counts, 4000 * pixels(1, 24, 20)[0])
    for command in ("blur", "deblur"):
        arguments = source, "-o", tmp_path / "b.png", *DISK, "--light", "gamma"
        fail(tmp_path, 2, command, *arguments, says=("'gamma'", "auto, linear, as-is"))
        arguments = counts, "-o", tmp_path / "b.npy", *DISK, "--light", "linear"
        fail(tmp_path, 2, command, *arguments, says=("sRGB", "--light as-is"))
