"""Many pictures: one line each, on after a bad one, and an exit code that says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from unconv.pictures.formats import Picture, write_picture

from .commands import contents, fail, run, save, succeed

DISK = "--psf", "disk:1", "--damp", 0.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png", 1, 24, 20)
    save(tmp_path / "in" / "b.tif", 3, 24, 20, dtype="float32")
    save(tmp_path / "in" / "c.png", 3, 20, 24)
    return tmp_path


@pytest.mark.parametrize("exists", [False, True])
def test_each_is_restored_as_it_would_be_alone(folder: Path, exists: bool):
    if exists:
        (folder / "out").mkdir()
    pictures = sorted((folder / "in").iterdir())
    result = run("deblur", *pictures, "-o", folder / "out", *DISK)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    for line, picture in zip(lines, pictures, strict=True):
        target = folder / "out" / picture.name
        assert line.startswith(f"{picture} -> {target}: ")
        assert "damp 0.1, equations solved to" in line
        alone = folder / picture.name
        succeed("deblur", picture, "-o", alone, *DISK)
        assert target.read_bytes() == alone.read_bytes()


def test_one_picture_into_a_directory(folder: Path):
    (folder / "out").mkdir()
    result = run("deblur", folder / "in" / "a.png", "-o", folder / "out", *DISK)
    assert result.exit_code == 0
    assert [*contents(folder / "out")] == ["a.png"]


def test_on_after_a_bad_one(folder: Path):
    bad, missing = folder / "in" / "bad.png", folder / "in" / "missing.png"
    bad.write_text("no picture")
    pictures = missing, folder / "in" / "a.png", bad, folder / "in" / "c.png"
    result = run("deblur", *pictures, "-o", folder / "out", *DISK)
    assert result.exit_code == 3
    assert "Traceback" not in result.output
    assert len(result.stdout.splitlines()) == 2
    errors = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in errors] == [str(missing), str(bad)]
    assert all(": error: " in line for line in errors)
    assert set(contents(folder / "out")) == {"a.png", "c.png"}


def test_as_json(folder: Path):
    pictures = folder / "in" / "a.png", folder / "in" / "missing.png"
    result = run("deblur", *pictures, "-o", folder / "out", *DISK, "--json")
    assert result.exit_code == 3
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["failed"] == 1
    assert found["pictures"][0]["equations_solved"] is True
    assert found["pictures"][1]["exit_code"] == 3
    assert "cannot be opened" in found["pictures"][1]["error"]


def test_the_code_is_that_of_the_first_that_failed(folder: Path):
    np.save(folder / "mask.npy", np.zeros((24, 20)))
    pictures = folder / "in" / "c.png", folder / "in" / "missing.png", folder / "in" / "a.png"
    options = *DISK, "--mask", folder / "mask.npy"
    result = run("deblur", *pictures, "-o", folder / "out", *options)
    assert result.exit_code == 2  # the mask is not of the size of c
    assert [*contents(folder / "out")] == ["a.png"]
    result = run(
        "deblur", *pictures[2:], *pictures[:2], "-o", folder / "out", *DISK, "--tol", 1e-18
    )
    assert result.exit_code == 5  # written, and not certified


def test_names_that_meet(folder: Path):
    (folder / "other").mkdir()
    save(folder / "other" / "a.png", 1, 24, 20)
    pictures = folder / "in" / "a.png", folder / "other" / "a.png"
    fail(folder, 2, "deblur", *pictures, "-o", folder / "out", *DISK, says=("a.png is the name",))


def test_nothing_that_is_read_is_overwritten(folder: Path):
    """Neither another picture of the same call nor the mask, forced or not."""
    mask = folder / "other.png"
    write_picture(mask, Picture(np.zeros((1, 24, 20)), dtype=np.dtype("uint8")))
    pictures = save(folder / "in" / "other.png", 1, 24, 20), folder / "in" / "a.png"
    before = mask.read_bytes()
    result = run("deblur", *pictures, *DISK, "--mask", mask, "-o", folder, "--force")
    assert result.exit_code == 2
    assert "is the mask itself" in result.stderr
    assert mask.read_bytes() == before
    assert (folder / "a.png").exists()


def test_a_directory_of_the_inputs_needs_force(folder: Path):
    picture = folder / "in" / "a.png"
    before = picture.read_bytes()
    arguments = "deblur", picture, folder / "in" / "c.png", "-o", folder / "in", *DISK
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.count("is the picture itself") == 2
    assert picture.read_bytes() == before
    assert run(*arguments, "--force").exit_code == 0
    assert picture.read_bytes() != before


def test_no_directory(folder: Path):
    pictures = folder / "in" / "a.png", folder / "in" / "c.png"
    for output, says in (
        (folder / "in" / "a.png", "is a file; many pictures need a directory"),
        (folder / "no" / "out", "does not exist; create it"),
    ):
        fail(folder, 3, "deblur", *pictures, "-o", output, *DISK, says=(says,))


@pytest.mark.parametrize(("prior", "says"), [("tv", "tv, gap "), ("dct", "dct, 16 steps")])
def test_edges_are_told_in_one_line_too(folder: Path, prior: str, says: str):
    pictures = folder / "in" / "a.png", folder / "in" / "c.png"
    options = "--psf", "disk:1", "--prior", prior, "--force"
    result = run("deblur", *pictures, "-o", folder / "out", *options)
    assert result.exit_code in (0, 5), result.output
    assert [says in line for line in result.stdout.splitlines()] == [True, True]


def test_a_report_is_of_one(folder: Path):
    pictures = folder / "in" / "a.png", folder / "in" / "c.png"
    options = *DISK, "--report", folder / "page.html"
    fail(folder, 2, "deblur", *pictures, "-o", folder / "out", *options, says=("one picture",))
