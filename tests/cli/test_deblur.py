"""`unconv deblur`: what was blurred comes back, with all that belongs to the picture."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

pytest.importorskip("typer")

import unconv.pictures.restoration as library
from unconv import psf
from unconv.pictures import damped_restoration
from unconv.pictures.formats import Picture, read_picture, write_picture

from .commands import (
    contents,
    fail,
    pixels,
    run,
    save,
    succeed,
)

PSF = "gaussian:0.6"
KEYS = {
    "input": str,
    "output": str,
    "size": list,
    "psf": list,
    "boundary": str,
    "light": str,
    "prior": str,
    "method": str,
    "damp": float,
    "damp_chosen": str,
    "iterations": list,
    "residual": list,
    "optimality": list,
    "error_bound": list,
    "verdict": str,
    "equations_solved": bool,
    "advice": str,
}


def decibels(planes: np.ndarray, truth: np.ndarray) -> float:
    return -10 * math.log10(((planes - truth) ** 2).mean())


@pytest.mark.parametrize(
    ("name", "channels", "dtype", "least"),
    [
        ("a.png", 1, "uint8", 40),
        ("a.png", 3, "uint8", 40),
        ("a.png", 1, "uint16", 85),
        ("a.png", 3, "uint16", 85),
        ("a.tif", 3, "float32", 120),
        ("a.tif", 1, "float64", 200),
        ("a.tif", 3, "uint16", 85),
        ("a.jpg", 1, "uint8", 30),
        ("a.jpg", 3, "uint8", 30),
        ("a.npy", 1, "float64", 200),
        ("a.npy", 3, "float32", 120),
    ],
)
def test_round_trip(tmp_path: Path, name, channels, dtype, least):
    sharp = save(tmp_path / name, channels, 40, 36, dtype=dtype)
    blurred, restored = tmp_path / f"blurred-{name}", tmp_path / f"restored-{name}"
    options = "--psf", PSF, "--boundary", "circular"
    assert run("blur", sharp, "-o", blurred, *options).exit_code == 0
    exact = "--damp", 1e-9, "--saturation", "off"
    facts = succeed("deblur", blurred, "-o", restored, *exact, *options)
    truth, before, after = (read_picture(p) for p in (sharp, blurred, restored))
    assert after.dtype == truth.dtype
    assert decibels(after.planes, truth.planes) > max(least, decibels(before.planes, truth.planes))
    assert facts.keys() == KEYS.keys()
    for key, kind in KEYS.items():
        assert isinstance(facts[key], kind), key
    assert facts["size"] == [36, 40, channels]
    assert facts["psf"] == [5, 5]
    assert (facts["method"], facts["damp"], facts["damp_chosen"]) == ("fourier", 1e-9, "given")
    assert facts["equations_solved"] is True
    assert len(facts["residual"]) == len(facts["error_bound"]) == channels
    assert set(contents(tmp_path)) == {name, blurred.name, restored.name}


def test_damp_by_least_risk(tmp_path: Path):
    sharp = save(tmp_path / "a.npy", 1, 64, 60, dtype="float64")
    noisy, restored = tmp_path / "b.npy", tmp_path / "c.npy"
    run("blur", sharp, "-o", noisy, "--psf", "disk:2", "--noise-std", 0.01)
    options = "--psf", "disk:2", "--prior", "damp"
    chosen = succeed("deblur", noisy, "-o", restored, *options)
    y = torch.from_numpy(read_picture(noisy).planes)
    expected = library.deblur(y, psf.disk(2), prior="damp")
    assert chosen["damp"] == expected.damp
    assert chosen["damp_chosen"] == "risk"
    np.testing.assert_array_equal(read_picture(restored).planes, expected.planes.numpy())
    known = succeed("deblur", noisy, "-o", restored, *options, "--noise-std", 0.1)
    louder = library.deblur(y, psf.disk(2), prior="damp", noise_std=0.1)
    assert known["damp"] == louder.damp > chosen["damp"]


def test_by_the_spectra_of_the_picture(tmp_path: Path):
    sharp = save(tmp_path / "a.npy", 1, 64, 60, dtype="float64")
    noisy, restored = tmp_path / "b.npy", tmp_path / "c.npy"
    run("blur", sharp, "-o", noisy, "--psf", "disk:2", "--noise-std", 0.01)
    options = "--psf", "disk:2", "--prior", "wiener"
    facts = succeed("deblur", noisy, "-o", restored, *options)
    y = torch.from_numpy(read_picture(noisy).planes)
    expected = library.deblur(y, psf.disk(2), prior="wiener")
    assert facts["prior"] == "wiener"
    assert expected.data is not None
    assert facts["data"] == expected.data.sentence
    assert facts["data"].startswith("white noise, 0.01")
    assert "damp" not in facts
    np.testing.assert_array_equal(read_picture(restored).planes, expected.planes.numpy())


def test_the_rounding_of_a_jpeg_is_read(tmp_path: Path):
    sharp = save(tmp_path / "a.npy", 3, 64, 60, dtype="float64")
    stored = tmp_path / "b.jpg"
    run("blur", sharp, "-o", stored, "--psf", "disk:2", "--noise-std", 0.01)
    options = "-o", tmp_path / "c.png", "--psf", "disk:2", "--json"
    result = run("deblur", stored, *options)
    assert result.exit_code == 0
    assert "a JPEG's rounding in steps of" in json.loads(result.stdout)["data"]


def test_a_rule_that_serves_no_picture_is_refused(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 24, 20)
    arguments = source, "-o", tmp_path / "out.png", "--psf", PSF, "--damp", "lcurve"
    fail(tmp_path, 2, "deblur", *arguments, says=("'lcurve'", "no corner", "risk"))


@pytest.mark.parametrize("boundary", library.BOUNDARIES)
def test_boundary(tmp_path: Path, boundary):
    source = save(tmp_path / "a.npy", 1, 14, 12, dtype="float64")
    options = "--psf", "disk:1", "--damp", 0.1, "--boundary", boundary
    facts = succeed("deblur", source, "-o", tmp_path / "b.npy", *options)
    y = torch.from_numpy(pixels(1, 14, 12))
    expected = library.deblur(y, psf.disk(1), damp=0.1, boundary=boundary).planes
    np.testing.assert_array_equal(read_picture(tmp_path / "b.npy").planes, expected.numpy())
    # one sample of padding: 'replicate' is 'symmetric'
    cosines = {"circular": "fourier", "symmetric": "cosine", "replicate": "cosine"}
    assert facts["method"] == cosines.get(boundary, "dense")
    assert facts["boundary"] == boundary
    assert facts["size"] == [12, 14, 1]


# What travels along, whatever the prior


any_prior = pytest.mark.parametrize(
    "prior", [("--damp", 0.1), pytest.param((), marks=pytest.mark.slow)], ids=["damp", "default"]
)


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [("a.png", "uint8", 3), ("a.png", "uint16", 3), ("a.png", "uint8", 1), ("a.tif", "float32", 3)],
)
@pytest.mark.parametrize("boundary", ["circular", "valid"])
@any_prior
def test_alpha_is_kept(tmp_path: Path, prior, name, dtype, channels, boundary):
    source = save(tmp_path / name, channels, 24, 20, dtype=dtype, alpha=True)
    target = tmp_path / f"out-{name}"
    succeed("deblur", source, "-o", target, "--psf", "disk:1", "--boundary", boundary, *prior)
    before, after = read_picture(source), read_picture(target)
    assert before.alpha is not None
    assert after.alpha is not None
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert after.alpha.dtype == before.alpha.dtype
    assert not np.array_equal(after.planes, before.planes)


@any_prior
def test_png_metadata_are_kept(tmp_path: Path, prior):
    Image = pytest.importorskip("PIL.Image")
    PngImagePlugin = pytest.importorskip("PIL.PngImagePlugin")
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a test")
    exif = Image.Exif()
    exif[271] = "the camera"
    grey = (255 * pixels(1, 24, 20)[0]).astype(np.uint8)
    image = Image.fromarray(grey)
    image.save(tmp_path / "a.png", pnginfo=info, dpi=(300, 300), exif=exif, icc_profile=b"colours")
    options = "--psf", "disk:1", *prior
    succeed("deblur", tmp_path / "a.png", "-o", tmp_path / "b.png", *options)
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert b.text == a.text == {"Title": "a test"}
        assert b.info["dpi"] == a.info["dpi"]
        assert b.info["icc_profile"] == b"colours"
        assert b.getexif()[271] == "the camera"
        assert a.mode == b.mode == "L"


def test_jpeg_metadata_are_kept(tmp_path: Path):
    Image = pytest.importorskip("PIL.Image")
    exif = Image.Exif()
    exif[272] = "model"
    rgb = np.moveaxis((255 * pixels(3, 24, 20)).astype(np.uint8), 0, -1)
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif, dpi=(72, 72), quality=91)
    options = "--psf", "disk:1", "--prior", "damp"  # these pixels were never blurred
    succeed("deblur", tmp_path / "a.jpg", "-o", tmp_path / "b.jpg", *options)
    with Image.open(tmp_path / "a.jpg") as a, Image.open(tmp_path / "b.jpg") as b:
        assert b.getexif()[272] == "model"
        assert b.info["dpi"] == (72, 72)
        assert a.quantization == b.quantization


@any_prior
def test_tiff_metadata_are_kept(tmp_path: Path, prior):
    tifffile = pytest.importorskip("tifffile")
    tags = {"description": "a test", "resolution": (300, 300), "resolutionunit": "INCH"}
    tifffile.imwrite(tmp_path / "a.tif", pixels(1, 24, 20)[0], metadata=None, **tags)
    options = "--psf", "disk:1", *prior
    succeed("deblur", tmp_path / "a.tif", "-o", tmp_path / "b.tif", *options)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].description == "a test"
        assert tif.pages[0].get_resolution("inch") == (300, 300)
        assert tif.pages[0].dtype == np.float64


# Failures of its own


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--damp", "high"), 2, ("'high'", "number >= 0 or one of auto, risk, gcv")),
        (("--damp", ""), 2, ("''", "number >= 0 or one of auto, risk, gcv")),
        (("--damp", "-1"), 2, ("damp=-1.0", ">= 0")),
        (("--damp", "nan"), 2, ("damp=nan", ">= 0")),
        (("--damp", "inf"), 2, ("damp=inf", ">= 0")),
        (("--boundary", "smooth"), 2, ("'smooth'", "valid")),
        (("--tol", "-1"), 2, ("tol=-1.0", "> 0")),
        (("--tol", "nan"), 2, ("tol=nan", "> 0")),
        (("--damp", "best"), 2, ("'best'", "auto, risk")),
        (("--memory-limit", "1kB"), 4, ("--memory-limit is 1 kB", "give --memory-limit 1.7MB")),
        (("--memory-limit", "6"), 2, ("'6'", "with its unit, such as 6GB")),
        (("--memory-limit", "-6GB"), 2, ("'-6GB'", "with its unit, such as 6GB")),
    ],
)
def test_bad_options(tmp_path: Path, options, code, says):
    source = save(tmp_path / "in.png", 1, 66, 100)
    (tmp_path / "out.png").write_bytes(b"old")
    arguments = source, "-o", tmp_path / "out.png", "--psf", "disk:1", *options
    fail(tmp_path, code, "deblur", *arguments, says=says)


def test_no_psf(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 24, 20)
    says = "--psf is missing", "give --psf motion:auto, disk:auto or auto", "gaussian:1.5", "a file"
    fail(tmp_path, 2, "deblur", source, "-o", tmp_path / "out.png", says=says)


def test_noise_std_beside_a_damp(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 24, 20)
    arguments = source, "-o", tmp_path / "out.png", "--psf", "disk:1", "--damp", 0.1
    fail(tmp_path, 2, "deblur", *arguments, "--noise-std", -1, says=("noise",))


@pytest.mark.parametrize("as_json", [False, True])
def test_not_certified(tmp_path: Path, monkeypatch, as_json):
    restore = library.deblur

    def doubtful(*args, **kwargs):
        restored = restore(*args, **kwargs)
        bound = torch.tensor([1e-9, 1.0, 1e-9])
        certificate = dataclasses.replace(
            restored.certificate, error_bound=bound, advice="use float64"
        )
        return restored._replace(certificate=certificate)

    monkeypatch.setattr(library, "deblur", doubtful)
    source, target = save(tmp_path / "in.png", 3, 24, 20), tmp_path / "out.png"
    options = ["--json"] if as_json else []
    options += "--prior", "wiener"
    result = run("deblur", source, "-o", target, "--psf", "disk:1", *options)
    assert result.exit_code == 5
    assert "Traceback" not in result.output
    assert read_picture(target).planes.shape == (3, 24, 20)  # written, not certified
    if as_json:
        facts = json.loads(result.stdout)
        assert facts["equations_solved"] is False
        assert facts["advice"] == "use float64"
    else:
        assert "use float64" in result.stdout


def blurred_photograph(path: Path) -> np.ndarray:
    """A part of a photograph under disk:2.5 with noise, as a file; the sharp one, (1, 80, 80)."""
    x = data.camera()[None, 100:260:2, 200:360:2] / 255
    generator = np.random.default_rng(0)
    y = library.blur(torch.from_numpy(x), psf.disk(2.5), boundary="circular").numpy()
    write_picture(path, Picture(y + 0.01 * generator.standard_normal(y.shape)))
    return x


@pytest.mark.parametrize(
    ("options", "prior"),
    [((), "dct"), (("--prior", "tv"), "tv"), (("--prior", "tv", "--strength", "1e-3"), "tv")],
)
def test_priors_that_keep_edges(tmp_path: Path, options, prior):
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    x = blurred_photograph(source)
    facts = succeed("deblur", source, "-o", target, "--psf", "disk:2.5", *options)
    assert facts["prior"] == prior
    assert facts["equations_solved"] is True
    assert len(facts["iterations"]) == len(facts["strength"]) == 1
    assert ("gap" in facts) == (prior == "tv")  # of a denoiser nothing is known
    if prior == "tv":
        assert facts["gap"][0] <= 1e-3
        assert "proven" in facts["advice"]
    if "--strength" in options:
        assert facts["strength"] == [pytest.approx(1e-3)]
    blurred = decibels(read_picture(source).planes, x)
    assert decibels(read_picture(target).planes, x) > blurred + 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--prior", "tvv"), ("prior='tvv' is not known", "'tv'")),
        (("--strength", "much"), ("--strength 'much'", "number above 0, or auto")),
        (("--prior", "damp", "--nonnegative"), ("use prior='tv'",)),
    ],
)
def test_wrong_priors(tmp_path: Path, options, says):
    source = save(tmp_path / "in.png", 1, 24, 20)
    fail(tmp_path, 2, "deblur", source, "-o", tmp_path / "o.png", "--psf", PSF, *options, says=says)


def test_what_an_interrupted_restoration_has_got_to(tmp_path: Path, monkeypatch):
    restore = library.deblur

    def interrupted(*args, **kwargs):
        def progress(step: str, *_) -> None:
            if step == "dct: step 3":
                raise KeyboardInterrupt

        return restore(*args, **kwargs | {"progress": progress})

    monkeypatch.setattr(library, "deblur", interrupted)
    source, target = tmp_path / "in.npy", tmp_path / "out.png"
    blurred_photograph(source)
    options = "deblur", source, "-o", target, "--psf", "disk:2.5"
    assert run(*options).exit_code == 130
    assert not target.exists()
    result = run(*options, "--keep-partial")
    assert result.exit_code == 130
    assert "interrupted: what dct had got to was written" in result.stderr
    assert read_picture(target).planes.shape == (1, 80, 80)


ITERATED = "--psf", "disk:4", "--damp", 0.1, "--memory-limit", "20MB"


def test_iterations_are_reported(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 160, 150)
    facts = succeed("deblur", source, "-o", tmp_path / "out.png", *ITERATED)
    assert facts["method"] == "completion"
    assert 3 < facts["iterations"][0] < 100
    assert facts["error_bound"][0] <= library.TOL
    assert facts["equations_solved"] is True


@pytest.mark.parametrize("as_json", [False, True])
def test_stopped_above_the_tolerance(tmp_path: Path, as_json):
    source, target = save(tmp_path / "in.png", 3, 160, 150), tmp_path / "out.png"
    options = ["--json"] if as_json else []
    result = run("deblur", source, "-o", target, *ITERATED, "--tol", 1e-18, *options)
    assert result.exit_code == 5
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("warning: stopped after ")
    assert "above tol=1e-18" in result.stderr
    assert "Warning" not in result.output
    assert read_picture(target).planes.shape == (3, 160, 150)
    if as_json:
        assert json.loads(result.stdout)["equations_solved"] is False


DAMPS = ["auto", "risk", "gcv", "discrepancy", "sure", "0.1"]


# each rule and each number of channels; all pairs of them at length
@pytest.mark.parametrize(
    ("channels", "damp"),
    [(3 if damp in ("auto", "0.1") else 1, damp) for damp in DAMPS]
    + [
        pytest.param(1 if damp in ("auto", "0.1") else 3, damp, marks=pytest.mark.slow)
        for damp in DAMPS
    ],
)
def test_report(tmp_path: Path, damp, channels):
    source, page = save(tmp_path / "a<b>.png", channels, 40, 36), tmp_path / "page.html"
    options = "--psf", PSF, "--damp", damp, "--boundary", "circular", "--report", page, "--json"
    result = run("deblur", source, "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["report"] == str(page)
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    assert text.count('class="plot"') == (2 if damp == "0.1" else 3)
    assert "a&lt;b&gt;.png" in text
    assert "a<b>" not in text
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', text))
    assert "http" not in text  # it needs nothing else
    for fact in ("error bound", "How it was solved", "Is it white?", "fourier"):
        assert fact in text


def test_the_rule_that_decided_is_told(tmp_path: Path, monkeypatch):
    choose = damped_restoration.choose_damp

    def undecided(*args, **kwargs):
        instead = "gcv falls to its end; the damp is that of 'risk'."
        return dataclasses.replace(choose(*args, **kwargs), decided_by="risk", advice=instead)

    monkeypatch.setattr(damped_restoration, "choose_damp", undecided)
    source, page = save(tmp_path / "in.png", 1, 40, 36), tmp_path / "page.html"
    options = "--psf", PSF, "--damp", "gcv", "--report", page, "--json"
    result = run("deblur", source, "-o", tmp_path / "out.png", *options)
    assert json.loads(result.stdout)["damp_chosen"] == "risk"
    assert "the damp is that of" in result.stderr
    assert "the damp is that of" in page.read_text()


WIENER_PARTS = (
    "The completed picture",
    "Spectra of signal and noise",
    "The residual by frequency",
    "What is left: y − Ax",
    "Is it white?",
)


def headings(page: Path) -> list[str]:
    return re.findall(r"<section><h2>([^<]*)</h2><img", page.read_text())


def test_report_of_a_wiener_filter(tmp_path: Path):
    source, page = save(tmp_path / "in.png", 3, 40, 36), tmp_path / "page.html"
    options = "--psf", PSF, "--report", page, "--json"
    result = run("deblur", source, "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 0
    text = page.read_text()
    for fact in ("within the seen part", "How it was solved", "by completion", "No pixel was"):
        assert fact.lower() in text.lower()
    assert tuple(headings(page)) == WIENER_PARTS
    h, w = json.loads(result.stdout)["psf"]
    assert f"The scene of {36 + w - 1} × {40 + h - 1} pixels" in text
    assert "cumulative periodogram is" in text


def test_report_of_missing_pixels_counts_them_by_kind(tmp_path: Path):
    planes = pixels(1, 60, 64) + 0.01 * np.random.default_rng(1).standard_normal((1, 60, 64))
    planes[0, 20:23, 30:34] = np.nan
    planes[0, 40, 10] = 5.0
    np.save(tmp_path / "in.npy", planes[0])
    page = tmp_path / "page.html"
    options = "--psf", "gaussian:1", "--report", page
    result = run("deblur", tmp_path / "in.npy", "-o", tmp_path / "out.npy", *options)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert headings(page) == ["What was not seen", *WIENER_PARTS]
    assert "not finite 12" in text
    found = re.search(r"explained by no scene (\d+)", text)
    assert found is not None
    assert f"{12 + int(found[1])} of 3,840 pixels" in text
    assert "Missing pixels are filled in" in text


def test_report_of_a_jpeg_has_the_spectra_of_each_component(tmp_path: Path):
    source, page = save(tmp_path / "in.jpg", 3, 64, 48), tmp_path / "page.html"
    options = "--psf", PSF, "--light", "as-is", "--report", page
    result = run("deblur", source, "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 0, result.output
    for name in ("luminance", "blue difference", "red difference"):
        assert f"Spectra of signal and noise: {name}" in headings(page)
        assert f"The residual by frequency: {name}" in headings(page)
    assert "rounded to nothing" in page.read_text()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3)])
def test_report_of_next_to_nothing(tmp_path: Path, shape):
    np.save(tmp_path / "in.npy", np.full(shape, 0.5))
    np.save(tmp_path / "psf.npy", np.ones((1, 1)))
    options = "--psf", tmp_path / "psf.npy", "--report", tmp_path / "page.html"
    result = run("deblur", tmp_path / "in.npy", "-o", tmp_path / "out.npy", *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.html").exists()


def test_a_report_that_cannot_be_written_stops_before_the_work(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 24, 20)
    for page, says in (("page.pdf", ".html"), ("nowhere/page.html", "does not exist")):
        arguments = ["-o", tmp_path / "out.png", "--psf", PSF, "--report", tmp_path / page]
        fail(tmp_path, 3, "deblur", source, *arguments, says=(says,))


def test_in_a_process_of_its_own(tmp_path: Path):
    command = [sys.executable, "-c", "from unconv.cli import main; main()", "deblur"]
    source = save(tmp_path / "in.png", 1, 24, 20)
    arguments = [source, "-o", tmp_path / "out.png", "--psf", "gausian:1"]
    found = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert "did you mean gaussian:SIGMA?" in found.stderr
    assert [*contents(tmp_path)] == ["in.png"]
