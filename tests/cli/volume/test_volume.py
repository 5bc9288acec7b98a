"""`unconv volume`: from file to ome-zarr, the plan, the psf, interruptions and the page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("typer")
pytest.importorskip("zarr")

from unconv import volumes
from unconv.cli.volume.bar import volume_bar
from unconv.cli.volume.psf import volume_psf
from unconv.volumes import asked
from unconv.volumes.engine.runner import Progress as Done
from unconv.volumes.tiling.stages import Standing

from ...volumes.drawn import beads, filtered, gaussian_psf, transfer
from ..commands import fail, run, succeed

SHAPE = (14, 40, 44)
# 5 samples an axis; in the order of a file, for sums in another order change last digits
PSF = gaussian_psf(0.8, 0.8, 0.8)[2:-2, 2:-2, 2:-2].contiguous()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    x = beads(SHAPE, 0, (0.3, 0.1, 0.1))
    y = filtered(x, transfer(PSF, SHAPE))
    y = 100 + 1000 * y / y.max() + 10 * np.random.default_rng(0).normal(size=SHAPE)
    np.save("y.npy", y.round().clip(0).astype(np.uint16))
    np.save("psf.npy", PSF.numpy())
    return tmp_path


def stored(name: str, level: str = "0") -> np.ndarray:
    import zarr

    return np.asarray(zarr.open(name, mode="r")[level])


def test_is_that_of_the_library(folder):
    facts = succeed("volume", "y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--voxel", "0.3,0.1,0.1")
    y = np.load("y.npy")
    done = volumes.deconvolve(y, PSF, "b.zarr", voxel=(0.3, 0.1, 0.1))
    assert np.allclose(stored("a.zarr"), stored("b.zarr"), rtol=1e-4)
    told = facts["volumes"]["all"]
    assert told["met"] is True
    assert told["proven error"] <= 1e-3
    assert told.keys() == done.reports["all"].keys()
    assert told["estimates"]["weights"] == pytest.approx([1 / 9, 1, 1])
    assert abs(told["estimates"]["noise_std"] / 10 - 1) < 0.1
    assert facts["failed"] == {}
    assert facts["voxel"] == [0.3, 0.1, 0.1]


def test_counts_have_a_method_of_their_own(folder):
    options = ("--psf", "psf.npy", "--noise-model", "poisson", "--background", "100")
    result = run("volume", "y.npy", "-o", "a.zarr", *options)
    assert result.exit_code == 0, result.output
    assert "stopped by" in result.stdout
    assert "warning: the noise does not grow with the light" in result.stderr
    assert stored("a.zarr").min() >= 0


@pytest.mark.parametrize("noise_model", ["gaussian", "poisson"])
def test_edges_are_kept_where_asked_for(folder, noise_model):
    options = ("--prior", "tv", "--strength", "1", "--noise-model", noise_model)
    options += ("--nonnegative", *(("--gain", "1") if noise_model == "poisson" else ()))
    facts = succeed("volume", "y.npy", "-o", "a.zarr", "--psf", "psf.npy", *options)
    assert facts["prior"] == "tv"
    assert len(facts["volumes"]["all"]["residual"]) == facts["volumes"]["all"]["passes"] - 1
    assert stored("a.zarr").min() >= 0


def test_passes_that_move_too_much_are_told(folder, monkeypatch):
    monkeypatch.setattr(asked, "_MOVED", 0.0)
    options = ("--psf", "psf.npy", "--prior", "tv", "--strength", "1", "--tol", "1e-12")
    result = run("volume", "y.npy", "-o", "a.zarr", *options)
    assert result.exit_code == 5, result.output
    assert "all: the last of 4 passes still moved x by" in result.stderr


def test_a_gain_that_is_known_is_divided_out(folder):
    options = ("--psf", "psf.npy", "--noise-model", "poisson", "--background", "100")
    result = run("volume", "y.npy", "--dry-run", *options, "--gain", "4")
    assert result.exit_code == 0, result.output
    assert "note: by gain a photon is 4 units: the values less 100 were" in result.stderr


def test_positive_values_choose_the_prior_that_has_them(folder):
    result = run("volume", "y.npy", "--psf", "psf.npy", "--nonnegative", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "note: the prior is tv, no bound of whose error is proven" in result.stderr


def test_the_bar_says_what_is_proven(folder, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with volume_bar(1000, ["all"]) as bar:
        standing = Standing(3, "error within", 4.2e-3, 1e-3, 60)
        bar(Done("all", "solve 4", 2, 4, 0.0, standing))
        (task,) = bar.bar.tasks
    assert task.fields["count"] == "2/4 tiles, 500 bytes of 1.0 kB"
    assert task.fields["reached"] == "3 passes: error within 0.0042, wanted 0.001"
    assert task.fields["left"] == ""


def test_the_plan_writes_nothing(folder):
    before = sorted(folder.iterdir())
    facts = succeed("volume", "y.npy", "--psf", "psf.npy", "--dry-run")
    assert sorted(folder.iterdir()) == before
    assert facts["tiles"] == 1
    assert facts["psf_size"] == list(PSF.shape)
    assert facts["memory"] > 0
    assert facts["disk"] > 4 * np.prod(SHAPE)
    assert abs(facts["noise_std"] / 10 - 1) < 0.1


def test_the_page_holds_everything(folder):
    options = ("--psf", "psf.npy", "--report", "page.html")
    result = run("volume", "y.npy", "-o", "a.zarr", *options)
    assert result.exit_code == 0, result.output
    text = (folder / "page.html").read_text()
    for part in (
        "Before and after",
        "Maximum projections",
        "The error, bounded",
        "y.npy, restored",
    ):
        assert part in text
    assert text.count("data:image/png;base64,") == 5
    assert "http" not in text.replace("http-equiv", "")


def test_volumes_of_several_channels(folder):
    y = np.stack([np.load("y.npy"), np.load("y.npy") * 2])
    np.save("two.npy", y)
    options = ("--psf", "psf.npy", "--axes", "czyx", "--report", "page.html")
    facts = succeed("volume", "two.npy", "-o", "a.zarr", *options)
    assert set(facts["volumes"]) == {"c0", "c1"}
    assert stored("a.zarr").shape == y.shape
    chosen = ("--psf", "psf.npy", "--axes", "czyx", "--channel")
    result = run("volume", "two.npy", "-o", "c.zarr", *chosen, "1")
    assert "note: channel 1 of two.npy alone is restored" in result.stderr
    assert np.allclose(stored("c.zarr"), stored("a.zarr")[1], rtol=1e-4)
    fail(folder, 3, "volume", "two.npy", "-o", "d.zarr", *chosen, "2", says=("give 0 to 1",))
    result = run("volume", "two.npy", "-o", "b.zarr", "--psf", "psf.npy", "--axes", "czyx")
    assert "error bound" in result.stdout
    assert " c1 " in result.stdout


@pytest.mark.parametrize(
    ("text", "axes", "sigmas"),
    [("gaussian:1.2", "zyx", (1.2,) * 3), ("gaussian:2,1.2", "zyx", (2, 1.2, 1.2))],
)
def test_gaussians_by_their_widths(text, axes, sigmas):
    psf, spacing, doubts = volume_psf(text, axes, "off", center=False)
    assert (spacing, doubts) == (None, [])
    for axis, sigma in enumerate(sigmas):
        line = psf.sum([a for a in range(3) if a != axis])
        t = torch.arange(len(line)) - len(line) // 2
        variance = sigma**2 + 1 / 12 if torch.is_tensor(line) else 0
        assert float((line * t.square()).sum()) == pytest.approx(variance, rel=0.1)
    assert float(psf.sum()) == pytest.approx(1)


def test_planes_take_the_psfs_of_pictures():
    psf, _, _ = volume_psf("motion:7,30", "yx", "off", center=False)
    assert psf.ndim == 2


def test_the_pitch_of_a_psf_is_that_of_its_file(folder):
    tifffile = pytest.importorskip("tifffile")
    fine = gaussian_psf(1.6, 1.6, 1.6).numpy().astype(np.float32)
    tifffile.imwrite(
        "fine.tif", fine, imagej=True, resolution=(20, 20),
        metadata={"axes": "ZYX", "spacing": 0.15, "unit": "um"},
    )  # fmt: skip
    options = ("--voxel", "0.3,0.1,0.1", "--dry-run")
    result = run("volume", "y.npy", "--psf", "fine.tif", *options)
    assert result.exit_code == 0, result.output
    assert "note: the psf was sampled anew, from a pitch of 0.15 × 0.05 × 0.05" in result.stderr
    given = run("volume", "y.npy", "--psf", "fine.tif", *options, "--psf-voxel", "0.3,0.1,0.1")
    assert "sampled anew" not in given.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("none.npy", "-o", "a.zarr", "--psf", "psf.npy"), 3, "there is no none.npy"),
        (("y.npy", "--psf", "psf.npy"), 2, "name the output with -o OUT.zarr"),
        (("y.npy", "-o", "a.tif", "--psf", "psf.npy"), 2, "end it in .zarr"),
        (("y.npy", "-o", "a.zarr", "--psf", "gaussian:a"), 2, "gaussian:SIGMA_Z,SIGMA_XY"),
        (("y.npy", "-o", "a.zarr", "--psf", "disk:2"), 2, "the psf has 2 axes"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--voxel", "1,b"), 2, "--voxel '1,b'"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--memory", "1"), 2, "--memory '1'"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--memory", "1MB"), 4, "too few"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--prior", "t"), 2, "prior='t'"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--gain", "2"), 2, "gain=2.0"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--tol", "2"), 2, "tol=2.0"),
        (("y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--report", "a.pdf"), 3, "end it in .html"),
        (("y.npy", "-o", "y.npy/a.zarr", "--psf", "psf.npy"), 3, "y.npy"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, arguments, code, says):
    fail(folder, code, "volume", *arguments, says=(says,))


def test_an_interrupted_run_goes_on(folder):
    command = [sys.executable, "-P", "-c", "from unconv.cli import main; main()", "volume"]
    command += ["y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--tol", "1e-5"]
    begun = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    until = time.monotonic() + 120
    while not (folder / "a.zarr.work" / "journal").exists() and time.monotonic() < until:
        time.sleep(0.01)
    begun.send_signal(signal.SIGINT)
    _, said = begun.communicate(timeout=120)
    assert begun.returncode == 130, said
    assert said == (
        "error: interrupted; what is finished is kept in a.zarr.work, and the same command goes on "
        "from there.\n"
    )
    assert not (folder / "a.zarr").exists()
    facts = succeed("volume", "y.npy", "-o", "a.zarr", "--psf", "psf.npy", "--tol", "1e-5")
    assert facts["resumed"] is True
    assert not (folder / "a.zarr.work").exists()
