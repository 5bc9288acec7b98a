"""How all commands end early: full disks, pipes, signals; a sentence, a code, nothing by halves."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from unconv import ConvOperator
from unconv.pictures.formats import (
    PictureError,
    read_picture,
)

from .commands import contents, fail, run, save

FULL = """
import json, resource, sys
from typer.testing import CliRunner
from unconv.cli.app import app
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # as on a full disk: a short write first
results = [CliRunner().invoke(app, arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([(r.exit_code, r.stderr) for r in results]))
"""

STOPPED = """
import os, sys, time
from unconv.cli.app import app
def wait(_):
    print("half-way", flush=True)
    time.sleep(60)
os.fsync = wait
if hasattr(os, "O_TMPFILE"):
    del os.O_TMPFILE  # as on a file system without nameless files
app()
"""


@pytest.mark.parametrize("command", ["blur", "deblur"])
def test_output_is_checked_before_the_picture_is_read(tmp_path: Path, command):
    arguments = tmp_path / "missing.png", "-o", tmp_path / "out.gif", "--psf", "nonsense"
    fail(tmp_path, 3, command, *arguments, says=("unknown extension",))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
@pytest.mark.parametrize("command", ["blur", "deblur"])
def test_output_without_permission(tmp_path: Path, command):
    save(tmp_path / "in.png", 1, 20, 24)
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    arguments = tmp_path / "in.png", "-o", locked / "out.png", "--psf", "disk:1"
    fail(tmp_path, 3, command, *arguments, says=("not writable",))


def test_output_with_a_name_that_is_too_long(tmp_path: Path):
    save(tmp_path / "in.png", 1, 20, 24)
    arguments = tmp_path / "in.png", "-o", tmp_path / ("x" * 300 + ".png"), "--psf", "disk:1"
    fail(tmp_path, 3, "blur", *arguments, says=("too long",))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("command", "method"), [("blur", "forward"), ("deblur", "wiener")])
def test_interrupted(tmp_path: Path, monkeypatch, command, method, as_json):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ConvOperator, method, interrupt)
    save(tmp_path / "in.png", 1, 24, 20)
    (tmp_path / "out.png").write_bytes(b"old")
    arguments = tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1"
    fail(tmp_path, 130, command, *arguments, says=("interrupted; nothing was written.",))


@pytest.mark.parametrize("command", ["blur", "deblur"])
def test_interrupted_while_writing(tmp_path: Path, monkeypatch, command):
    def interrupt(*_):
        raise KeyboardInterrupt

    save(tmp_path / "in.png", 1, 24, 20)
    (tmp_path / "out.png").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    arguments = tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1"
    fail(tmp_path, 130, command, *arguments, says=("interrupted",))


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_full_disk(tmp_path: Path):
    save(tmp_path / "in.png", 1, 64, 60)
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).random((64, 60)))
    names = "b.png", "b.jpg", "b.tif", "b.npy", "page.html", "plot.png", "g.npy", "figure.png"
    for name in names[:-1]:
        (tmp_path / name).write_bytes(b"old")
    file = {name: str(tmp_path / name) for name in ("in.png", "noise.npy", "c.png", *names)}
    gaussian = "--psf", "gaussian:0.2"
    commands = [
        *(("blur", file["noise.npy"], "-o", file[name], *gaussian) for name in names[:4]),
        ("deblur", file["in.png"], "-o", file["c.png"], *gaussian, "--report", file["page.html"]),
        ("inverse-kernel", "disk:1", "--size", "5x5", "--plot", file["plot.png"]),
        ("inverse-kernel", "disk:1", "--size", "31x31", "-o", file["g.npy"]),
        ("inspect", "disk:1", "--size", "8x8", "-o", file["figure.png"]),
    ]
    before = contents(tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", FULL, json.dumps(commands)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    for name, (code, said) in zip(names, json.loads(found.stdout), strict=True):
        if name != "b.jpg":  # small enough
            assert code == 3, said
            assert f"{name} could not be written (File too large)" in said
            assert said.count("\n") == 1
        assert (f"{file['c.png']} had been written before" in said) == (name == "page.html")
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} <= {"c.png", "b.jpg"}


@pytest.mark.skipif(os.name != "posix", reason="pipes")
@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_pipe_is_not_replaced(tmp_path: Path, option):
    save(tmp_path / "in.png", 1, 20, 24)
    name = "pipe.png" if option == "-o" else "pipe.html"
    os.mkfifo(tmp_path / name)
    outputs = [] if option == "-o" else ["-o", tmp_path / "out.png"]
    arguments = tmp_path / "in.png", option, tmp_path / name, *outputs, "--psf", "disk:1"
    fail(tmp_path, 3, "deblur", *arguments, says=("no regular file but a pipe or device",))
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)


def test_interrupted_between_picture_and_report(tmp_path: Path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unconv.cli.restoring.replacing", interrupt)
    save(tmp_path / "in.png", 1, 24, 20)
    out, page = tmp_path / "out.png", tmp_path / "page.html"
    result = run("deblur", tmp_path / "in.png", "-o", out, "--psf", "disk:1", "--report", page)
    assert result.exit_code == 130
    assert result.stderr == f"error: interrupted after writing {out}.\n"
    assert out.exists()
    assert not page.exists()


def test_interrupted_while_reporting(tmp_path: Path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    source = save(tmp_path / "in.png", 1, 24, 20)
    before = source.read_bytes()
    monkeypatch.setattr("unconv.cli.blur.report", interrupt)
    options = "--psf", "disk:1", "--noise-std", 0.1, "--force"
    result = run("blur", source, "-o", source, *options)
    assert result.exit_code == 130
    assert result.stderr == f"error: interrupted after writing {source}.\n"
    assert source.read_bytes() != before


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_while_writing(tmp_path: Path):
    source = save(tmp_path / "in.png", 1, 24, 20)
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    before = contents(tmp_path)
    arguments = "blur", source, "-o", out, "--psf", "disk:1"
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said == "error: terminated; nothing was written.\n"
    assert contents(tmp_path) == before


def test_the_handler_of_sigterm_is_put_back(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM), logging.root.manager.disable
    run("blur", tmp_path / "none.png", "-o", tmp_path / "out.png", "--psf", "disk:1")
    assert (signal.getsignal(signal.SIGTERM), logging.root.manager.disable) == before


def test_commands_run_in_any_thread(tmp_path: Path):
    save(tmp_path / "in.png", 1, 24, 20)
    arguments = "blur", tmp_path / "in.png", "-o", tmp_path / "out.png", "--psf", "disk:1"
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run, *arguments).result()
    assert result.exit_code == 0, result.output


def test_other_packages_are_silent(tmp_path: Path, caplog):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 9), np.uint8), metadata=None)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(struct.pack("<HH", 282, 5), struct.pack("<HH", 282, 99)))
    with path.open("rb") as file, tifffile.TiffFile(file) as tif:
        assert tif.pages[0].tags
    assert len(caplog.records) > 0  # tifffile says much
    caplog.clear()
    with pytest.raises(PictureError):
        read_picture(path)
    assert caplog.records == []
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        arguments = path, "-o", tmp_path / "out.png", "--psf", "disk:1"
        fail(tmp_path, 3, "blur", *arguments, says=("tags can be read",))
    assert caplog.records == []
