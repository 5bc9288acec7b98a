"""What the command asks before it works: overwriting, units, psfs that were measured, memory."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from skimage import data

pytest.importorskip("typer")

import unconv.pictures.restoration as library
from unconv import psf
from unconv.cli.psf_option import parse_psf, prepared_psf
from unconv.pictures.formats import Picture, read_picture, write_picture

from .commands import fail, run, save, succeed

CAMERA = data.camera()[180:300, 100:220] / 255.0


def test_the_input_is_overwritten_if_forced(tmp_path: Path, monkeypatch):
    source = save(tmp_path / "a.png", 1, 24, 20)
    (tmp_path / "link.png").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    options = "--psf", "disk:1", "--damp", 0.1
    for output in (source, "a.png", "./a.png", tmp_path / "link.png"):
        says = "is the picture itself", "--force"
        fail(tmp_path, 2, "deblur", source, "-o", output, *options, says=says)
    before = source.read_bytes()
    succeed("deblur", source, "-o", source, *options, "--force")
    assert source.read_bytes() != before


def test_nothing_else_is_overwritten(tmp_path: Path):
    source = save(tmp_path / "a.png", 1, 24, 20)
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    mask = save(tmp_path / "mask.png", 1, 24, 20)
    options = "--psf", tmp_path / "k.npy", "--mask", mask, "--force"
    for output, what in ((tmp_path / "k.npy", "psf"), (mask, "mask")):
        arguments = "deblur", source, "-o", output, *options
        fail(tmp_path, 2, *arguments, says=(f"is the {what} itself",))
    target = tmp_path / "b.png"
    arguments = source, "-o", target, "--psf", "disk:1", "--dead", 0.1, "--mask", target
    fail(tmp_path, 2, "blur", *arguments, says=("--mask", "written twice"))


@pytest.mark.parametrize("command", ["blur", "deblur"])
def test_noise_in_grey_levels_is_questioned(tmp_path: Path, command: str):
    source = save(tmp_path / "a.png", 1, 24, 20)
    arguments = source, "-o", tmp_path / "b.png", "--psf", "disk:1", "--noise-std"
    fail(tmp_path, 2, command, *arguments, 2, says=("white is 1", "2 of 255 levels are 0.00784"))
    assert run(command, *arguments, 2, "--force").exit_code == 0
    assert run(command, *arguments, 0.4).exit_code == 0


def test_noise_of_counts_is_held_against_the_picture(tmp_path: Path):
    source = tmp_path / "a.npy"
    np.save(source, 4000 * CAMERA[:30, :30])
    arguments = source, "-o", tmp_path / "b.npy", "--psf", "disk:1", "--noise-std"
    assert run("blur", *arguments, 30).exit_code == 0
    fail(tmp_path, 2, "deblur", *arguments, 9000, says=("drowns the picture", "spans"))


def measured(name: str) -> torch.Tensor:
    k = torch.nn.functional.pad(psf.gaussian(1.5), (5, 5, 5, 5))
    if name == "offset":
        return 4000 * k / k.max() + 100
    return k.roll((2, 1), (0, 1))


@pytest.mark.parametrize(
    ("name", "option", "says"),
    [("offset", ("--psf-background", "auto"), "--psf-background auto"),
     ("moved", ("--psf-center",), "--psf-center")],
)  # fmt: skip
def test_a_psf_with_an_offset_or_off_its_centre(tmp_path: Path, name, option, says):
    scene = torch.from_numpy(CAMERA[None])
    y = library.blur(scene, psf.gaussian(1.5), boundary="symmetric", noise_std=0.01)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    write_picture(source, Picture(y.numpy(), dtype=np.dtype("uint16")))
    np.savetxt(tmp_path / "k.csv", measured(name).numpy(), delimiter=",")
    scores = {}
    for kind, given in (("true", "gaussian:1.5"), ("file", tmp_path / "k.csv")):
        result = run("deblur", source, "-o", target, "--psf", given)
        assert result.exit_code == 0
        scores[kind] = decibels(target)
    assert result.stderr.startswith(f"warning: psf {tmp_path / 'k.csv'}: its ")
    assert says in result.stderr
    succeed("deblur", source, "-o", target, "--psf", tmp_path / "k.csv", *option)
    scores["mended"] = decibels(target)
    assert scores["file"] < scores["true"] - 3
    assert scores["mended"] > scores["true"] - 0.2


def decibels(path: Path) -> float:
    return -10 * math.log10(((read_picture(path).planes.clip(0, 1) - CAMERA) ** 2).mean())


def test_psf_options_are_for_files(tmp_path: Path):
    source = save(tmp_path / "a.png", 1, 24, 20)
    arguments = source, "-o", tmp_path / "b.png", "--psf", "disk:1"
    for option in (("--psf-center",), ("--psf-background", "auto")):
        fail(tmp_path, 2, "deblur", *arguments, *option, says=("are for psfs in files", "disk:1"))
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    arguments = source, "-o", tmp_path / "b.png", "--psf", tmp_path / "k.npy", "--psf-background"
    fail(tmp_path, 2, "deblur", *arguments, "low", says=("'low' must be auto, off or a number",))
    fail(tmp_path, 2, "deblur", *arguments, 3, says=("no sample", "background of 3"))


def test_psfs_of_every_file(tmp_path: Path):
    k = psf.gaussian(0.8)
    counts = np.rint(10_000 * k.numpy())
    np.savetxt(tmp_path / "a.txt", counts)
    np.savetxt(tmp_path / "b.csv", counts, delimiter=",")
    scipy.io.savemat(tmp_path / "c.mat", {"psf": counts})
    files = ["a.txt", "b.csv", "c.mat"]
    write_picture(tmp_path / "d.tif", Picture(counts[None], dtype=np.dtype("float32")))
    files.append("d.tif")
    for name in files:
        values, doubts = prepared_psf(str(tmp_path / name))
        assert doubts == []
        torch.testing.assert_close(values, torch.from_numpy(counts / counts.sum()))
        assert torch.equal(parse_psf(str(tmp_path / name)), values)


def test_the_memory_that_is_advised_is_enough(tmp_path: Path):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    sharp = save(tmp_path / "sharp.png", 3, 160, 150)
    options = "--psf", "motion:15,30", "--noise-std", 0.01
    succeed("blur", sharp, "-o", source, *options)
    arguments = "deblur", source, "-o", target, "--psf", "motion:15,30", "--memory-limit"
    result = run(*arguments, "2MB")
    assert result.exit_code == 4
    said = re.fullmatch(
        r"error: restoring 150 x 160 pixels takes [\d.]+ MB, --memory-limit is 2 MB; give "
        r"--memory-limit ([\d.]+MB), or crop the picture\.\n",
        result.stderr,
    )
    assert said is not None
    assert run(*arguments, said[1]).exit_code == 0


@pytest.mark.parametrize("size", [(6, 120), (16, 40)])
def test_a_picture_that_is_too_small_is_told_of(tmp_path: Path, size):
    write_picture(tmp_path / "a.png", Picture(CAMERA[None, : size[0], : size[1]]))
    result = run("deblur", tmp_path / "a.png", "-o", tmp_path / "b.png", "--psf", "disk:2")
    assert result.exit_code == 0
    assert "can be worse than the blurred picture" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [("inspect",), ("inverse-kernel", "--size", "5x5")])
def test_every_command_with_a_psf_says_what_is_wrong_with_it(tmp_path: Path, command):
    name, *options = command
    np.save(tmp_path / "k.npy", measured("moved").numpy())
    result = run(name, tmp_path / "k.npy", *options)
    assert result.exit_code == 0
    assert "its centroid lies" in result.stderr
    assert "--psf-center moves it back" in result.stderr
    assert succeed(name, tmp_path / "k.npy", *options, "--psf-center")


def test_layers_have_no_psf_options(tmp_path: Path):
    torch.save({"a.weight": torch.ones(1, 1, 3, 3)}, tmp_path / "m.pt")
    arguments = "inspect", f"{tmp_path / 'm.pt'}:a", "--psf-center"
    fail(tmp_path, 2, *arguments, says=("are for psfs", "leave them out"))
