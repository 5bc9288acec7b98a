"""What the commands share: descriptions, sizes and files, each refused in one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")

from unconv import psf
from unconv.cli.common import (
    DEFAULT_MEMORY,
    EXIT_CODES,
    collected_doubts,
    parse_memory,
    tell,
)
from unconv.cli.psf_option import parse_psf
from unconv.inverse import AccuracyWarning
from unconv.operators.linear_operator import DEFAULT_MEMORY_LIMIT
from unconv.pictures.formats import (
    Picture,
    write_picture,
)

from .commands import contents, fail, pixels, run, save, succeed

PSF_FAILURES = [
    ("gausian:2", 2, ("'gausian:2'", "did you mean gaussian:SIGMA?")),
    ("Disk:2", 2, ("'Disk:2'", "did you mean disk:RADIUS?")),
    ("box:2", 2, ("neither a file", "gaussian:SIGMA", "motion:LENGTH,ANGLE", "disk:RADIUS")),
    ("missing.npy", 2, ("'missing.npy'", "neither a file")),
    ("gaussian", 2, ("did you mean gaussian:SIGMA?",)),
    ("gaussian:", 2, ("must be written gaussian:SIGMA with numbers",)),
    ("gaussian:two", 2, ("must be written gaussian:SIGMA with numbers",)),
    ("gaussian:1,2", 2, ("must be written gaussian:SIGMA",)),
    ("motion:15", 2, ("must be written motion:LENGTH,ANGLE",)),
    ("mofat:3,2", 2, ("did you mean moffat:FWHM,BETA?",)),
    ("moton:auto", 2, ("did you mean motion:auto?",)),
    ("moffat:3", 2, ("must be written moffat:FWHM,BETA with numbers",)),
    ("moffat:3,1", 2, ("beta=1 must be > 1",)),
    ("gaussian-disc:3,1", 2, ("did you mean gaussian-disk:RADIUS,SIGMA?",)),
    ("airy:auto", 2, ("must be written airy:RADIUS with numbers",)),
    ("disk:3:4", 2, ("must be written disk:RADIUS",)),
    ("gaussian:0", 2, ("sigma=0.0", "> 0")),
    ("gaussian:-1", 2, ("sigma=-1.0", "> 0")),
    ("disk:nan", 2, ("radius=nan", "> 0")),
    ("motion:15,inf", 2, ("angle=inf", "degrees")),
    ("disk:9999", 2, ("samples along a side", "pixels")),
    ("zero.npy", 2, ("sums to 0", "positive")),
    ("nan.npy", 3, ("NaN", "row 1, column 1")),
    ("colour.png", 2, ("has colours", "convert")),
    ("text.png", 3, ("not a PNG", "convert")),
    ("psf.npz", 3, ("not a PNG",)),
    (".", 3, ("directory",)),
]

INPUT_FAILURES = [
    ("missing.png", ("missing.png", "cannot be opened", "check the name")),
    ("cut.png", ("cut.png", "damaged")),
    ("flipped.png", ("flipped.png", "damaged")),
    ("text.png", ("text.png", "not a PNG, JPEG, TIFF, NPY or FITS")),
    ("empty.png", ("empty.png", "not a PNG")),
    ("five.npy", ("five.npy", "(20, 24, 5)")),
    ("pickle.npy", ("pickle.npy",)),
    ("sub", ("sub", "cannot be opened")),
]

OUTPUT_FAILURES = [
    ("nowhere/out.png", ("nowhere", "create it first")),
    ("out.gif", ("unknown extension '.gif'", ".png .jpg")),
    ("out", ("unknown extension ''", "create the directory")),
    ("sub.png", ("is a directory",)),
]


def test_parse_psf():
    assert torch.equal(parse_psf("gaussian:1.5"), psf.gaussian(1.5))
    assert torch.equal(parse_psf("motion:15,30"), psf.motion(15, 30))
    assert torch.equal(parse_psf("motion: 15 , -3e1"), psf.motion(15, -30))
    assert torch.equal(parse_psf("disk:4"), psf.disk(4))
    assert torch.equal(parse_psf("moffat:3,2.5"), psf.moffat(3, 2.5, pixelated=False))
    assert parse_psf("gaussian-disk:3,0.8").shape == (13, 13)


@pytest.mark.parametrize(
    ("text", "number"),
    [("6GB", 6e9), ("6 GiB", 6 * 2**30), ("2.5mb", 2.5e6), (".5TiB", 2**39), ("1kB", 1000),
     ("3KiB", 3072), ("7B", 7), ("0GB", 0)],
)  # fmt: skip
def test_parse_memory(text, number):
    assert parse_memory(text) == number


@pytest.mark.parametrize("text", ["6", "", "GB", "6G", "6 PB", "-6GB", "1e9", "6GB.", "nan", "iB"])
def test_memory_without_a_unit_is_refused(text):
    with pytest.raises(ValueError, match="must be a number with its unit, such as 6GB"):
        parse_memory(text)


def test_the_default_memory_is_the_librarys():
    assert parse_memory(DEFAULT_MEMORY) == DEFAULT_MEMORY_LIMIT


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tif"])
def test_psf_from_a_file(tmp_path: Path, suffix):
    values = np.array([[0, 51, 102], [0, 0, 102]], dtype=np.uint8)
    write_picture(tmp_path / f"k{suffix}", Picture(values[None] / 255, dtype=np.dtype("uint8")))
    expected = torch.from_numpy(values / 255)
    torch.testing.assert_close(parse_psf(str(tmp_path / f"k{suffix}")), expected)


def test_psf_from_an_rgb_file_that_is_grey(tmp_path: Path):
    grey = np.repeat(pixels(1, 3, 5), 3, axis=0)
    write_picture(tmp_path / "k.npy", Picture(grey))
    torch.testing.assert_close(
        parse_psf(str(tmp_path / "k.npy")), psf.measured(torch.from_numpy(grey[0]))
    )


def test_psf_file_wins_over_nothing_else(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("disk.npy", np.ones((3, 3)))
    assert parse_psf("disk.npy").shape == (3, 3)
    assert parse_psf("disk:0.3").shape == (1, 1)


def test_psf_file_with_a_colon(tmp_path: Path):
    np.save(tmp_path / "k:1.npy", np.ones((3, 3)))
    assert parse_psf(str(tmp_path / "k:1.npy")).shape == (3, 3)


@pytest.mark.parametrize("command", ["blur", "deblur"])
@pytest.mark.parametrize(("text", "code", "says"), PSF_FAILURES)
def test_bad_psf(tmp_path: Path, monkeypatch, command, text, code, says):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in.png", 1, 20, 24)
    np.save("zero.npy", np.zeros((3, 3)))
    np.save("nan.npy", np.where(np.eye(3) * [0, 1, 0], np.nan, 1))
    np.savez("psf.npz", np.ones((3, 3)))
    save(tmp_path / "colour.png", 3, 8, 8)
    Path("text.png").write_text("no picture")
    fail(tmp_path, code, command, "in.png", "-o", "out.png", "--psf", text, says=says)


def test_psf_larger_than_the_picture(tmp_path: Path):
    """Unknown surroundings allow it; what blurs a picture of a known size does not."""
    save(tmp_path / "in.png", 1, 20, 24)
    arguments = tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:15"
    fail(tmp_path, 2, "blur", *arguments, says=("31 × 31", "20 × 24", "crop"))
    says = "31 × 31", "20 × 24", "boundary='valid'"
    fail(tmp_path, 2, "deblur", *arguments, "--boundary", "reflect", says=says)
    facts = succeed("deblur", *arguments, "--damp", 0.1)
    assert facts["psf"] == [31, 31]
    assert facts["equations_solved"]


def test_blur_of_what_was_not_seen_is_refused(tmp_path: Path):
    bad = pixels(1, 20, 24)[0]
    bad[3, 2] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    arguments = tmp_path / "nan.npy", "-o", tmp_path / "out.npy", "--psf", "disk:1"
    fail(tmp_path, 3, "blur", *arguments, says=("nan.npy", "1 pixel values are NaN", "column 2"))


@pytest.mark.parametrize("text", ["gaussian:1e308", "x" * 300])
def test_psf_that_leaves_a_traceback(tmp_path: Path, text):
    save(tmp_path / "in.png", 1, 20, 24)
    names = tmp_path / "in.png", "-o", tmp_path / "out.png"
    fail(tmp_path, 2, "blur", *names, "--psf", text, says=("psf",))


def test_the_sentence_quotes_the_psf(tmp_path: Path):
    save(tmp_path / "in.png", 1, 20, 24)
    names = tmp_path / "in.png", "-o", tmp_path / "out.png"
    fail(tmp_path, 2, "blur", *names, "--psf", "disk:a:2", says=("'disk:a:2'",))


def write_inputs(folder: Path) -> None:
    save(folder / "in.png", 1, 20, 24)
    whole = (folder / "in.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[-20] ^= 255
    (folder / "flipped.png").write_bytes(flipped)
    (folder / "text.png").write_text("no picture\n")
    (folder / "empty.png").write_bytes(b"")
    bad = pixels(1, 20, 24)[0]
    bad[3, 2] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "five.npy", np.zeros((20, 24, 5)))
    np.save(folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    (folder / "sub").mkdir()


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("command", ["blur", "deblur"])
@pytest.mark.parametrize(("name", "says"), INPUT_FAILURES)
def test_bad_picture(tmp_path: Path, command, name, says, existing):
    write_inputs(tmp_path)
    if existing:
        (tmp_path / "out.png").write_bytes(b"old")
    arguments = tmp_path / name, "-o", tmp_path / "out.png", "--psf", "disk:1"
    fail(tmp_path, 3, command, *arguments, says=says)


@pytest.mark.parametrize("command", ["blur", "deblur"])
@pytest.mark.parametrize(("name", "says"), OUTPUT_FAILURES)
def test_bad_output(tmp_path: Path, command, name, says):
    save(tmp_path / "in.png", 1, 20, 24)
    (tmp_path / "sub.png").mkdir()
    arguments = tmp_path / "in.png", "-o", tmp_path / name, "--psf", "disk:1"
    fail(tmp_path, 3, command, *arguments, says=says)


@pytest.mark.parametrize("command", ["blur", "deblur"])
@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--max-pixels", "479"), 3, ("20 x 24 = 480 pixels", "max_pixels=479")),
        (("--boundary", "mirror"), 2, ("'mirror'", "'zeros', 'circular', 'reflect'")),
        (("--noise-std", "-1"), 2, ("noise_std=-1.0", ">= 0")),
        (("--noise-std", "nan"), 2, ("noise_std=nan", ">= 0")),
    ],
)
def test_bad_options(tmp_path: Path, command, options, code, says):
    save(tmp_path / "in.png", 1, 24, 20)
    (tmp_path / "out.png").write_bytes(b"old")
    arguments = tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1"
    fail(tmp_path, code, command, *arguments, *options, says=says)


@pytest.mark.parametrize("command", ["blur", "deblur"])
def test_max_pixels_is_inclusive(tmp_path: Path, command):
    save(tmp_path / "in.png", 1, 24, 20)
    arguments = tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1"
    prior = ("--damp", 0.1) if command == "deblur" else ()
    succeed(command, *arguments, *prior, "--max-pixels", 480)


@pytest.mark.parametrize("command", ["blur", "deblur"])
@pytest.mark.parametrize("options", [(), ("--psf", "disk:1", "--max-pixels", "0")])
def test_wrong_usage(tmp_path: Path, command, options):
    save(tmp_path / "in.png", 1, 24, 20)
    result = run(command, tmp_path / "in.png", "-o", tmp_path / "out.png", *options)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert [*contents(tmp_path)] == ["in.png"]


def test_the_codes_are_told():
    for command in ([], ["blur"], ["deblur"], ["demo"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
        said = " ".join(result.stdout.split())
        assert all(part in said for part in EXIT_CODES.split()), said


def test_doubts_are_collected_and_other_warnings_shown():
    def doubtful() -> list[str]:
        with collected_doubts() as doubts:
            warnings.warn("x is far off", AccuracyWarning, stacklevel=1)
            warnings.warn("another", UserWarning, stacklevel=1)
        return doubts

    with pytest.warns(UserWarning, match="another") as shown:
        assert doubtful() == ["x is far off"]
    assert len(shown) == 1


def test_a_doubt_is_told_once(capsys):
    tell(["x is far off", "x is far off", "so is y."])
    assert capsys.readouterr().err == "warning: x is far off.\nwarning: so is y.\n"


@pytest.mark.parametrize(("command", "boundary"), [("blur", "symmetric"), ("deblur", "valid")])
def test_table(tmp_path: Path, command, boundary):
    save(tmp_path / "in.png", 3, 24, 20)
    result = run(command, tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1")
    assert result.exit_code == 0
    assert result.stderr == ""
    for part in (command, "input", "20, 24, 3", "3, 3", boundary, str(tmp_path / "out.png")):
        assert part in result.stdout


@pytest.mark.parametrize("name", ["a[red]b.png", "a[/red].png"])
def test_names_are_no_markup(tmp_path: Path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    save(Path("in.png"), 1, 24, 20)
    result = run("blur", "in.png", "-o", name, "--psf", "disk:1")
    assert result.exit_code == 0
    assert name in result.stdout
