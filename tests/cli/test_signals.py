"""Ctrl-C at `unconv deblur`, as real signals to a process: what is kept, what is said, and when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from unconv.pictures.formats import read_picture

from .commands import contents

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

SLOW = """
import os, sys, time
from unconv.pictures import restoration as library
from unconv.cli.app import app
deblur = library.deblur
def slow(*args, **kwargs):
    tell = kwargs["progress"]
    def told(step, *rest):
        tell(step, *rest)
        if step.startswith(("tv: step", "dct: step")):
            print("look", flush=True)
            time.sleep(30 if os.environ["WAITS"] == step.split(",")[0] else 0)
    return deblur(*args, **kwargs | {"progress": told})
library.deblur = slow
fsync = os.fsync
def write(file):
    print("write", flush=True)
    time.sleep(30 if os.environ["WAITS_AT"] == str(write.calls) else 0)
    write.calls += 1
    fsync(file)
write.calls = 0
os.fsync = write
if hasattr(os, "O_TMPFILE"):
    del os.O_TMPFILE  # as on a file system without nameless files
app()
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three blurred pictures with noise."""
    rng, found = np.random.default_rng(0), []
    for name in "abc":
        x = np.kron(rng.random((8, 8)), np.ones((6, 6)))
        x = sum(np.roll(x, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
        found.append(tmp_path / f"{name}.npy")
        np.save(found[-1], x + 0.01 * rng.standard_normal(x.shape))
    return found


@contextmanager
def deblurring(
    *arguments: object, waits: str = "", waits_at: int = -1
) -> Iterator[subprocess.Popen]:
    """The command, which stops to wait at a step of every picture, or at a write."""
    environment = os.environ | {"WAITS": waits, "WAITS_AT": str(waits_at)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", SLOW, "deblur", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen, line: str, times: int) -> list[str]:
    """What is printed until a line has come so often."""
    said: list[str] = []
    while said.count(line) < times:
        said.append(process.stdout.readline().rstrip("\n"))
        assert said[-1], process.stderr.read()
    return said


def ended(process: subprocess.Popen, number: signal.Signals) -> tuple[str, str]:
    """Output and errors after a signal."""
    process.send_signal(number)
    return process.communicate(timeout=20)


OPTIONS = "--psf", "disk:1.5", "--prior", "tv"


def test_ctrl_c_keeps_the_present_picture_and_ends_the_run(pictures: list[Path], tmp_path: Path):
    options = *OPTIONS, "-o", tmp_path / "out", "--keep-partial"
    with deblurring(*pictures, *options, waits="tv: step 30") as process:
        said = until(process, "look", 2)  # of the first picture
        first, errors = ended(process, signal.SIGINT)
    assert process.returncode == 130
    assert "0 of 3 pictures done, 1 kept as far as it had got, 2 left." in errors
    assert not any("->" in line for line in said)
    assert first.count("->") == 1
    assert [*contents(tmp_path / "out")] == ["a.npy"]
    assert read_picture(tmp_path / "out" / "a.npy").planes.shape == (1, 48, 48)


def test_what_is_done_stays_and_is_counted(pictures: list[Path], tmp_path: Path):
    missing = tmp_path / "missing.npy"
    options = *OPTIONS, "-o", tmp_path / "out", "--json"
    with deblurring(missing, *pictures, *options, waits_at=1) as process:
        until(process, "write", 2)  # while the second is written
        out, errors = ended(process, signal.SIGINT)
    assert process.returncode == 130
    sentence = "interrupted: 1 of 4 pictures done, 1 failed, 2 left"
    assert errors == f"error: {sentence}.\n"
    found = json.loads(out.splitlines()[-1])
    assert (found["error"], found["exit_code"], found["failed"]) == (sentence, 130, 1)
    assert [Path(entry["input"]).name for entry in found["pictures"]] == ["missing.npy", "a.npy"]
    assert [*contents(tmp_path / "out")] == ["a.npy"]


def test_a_second_ctrl_c_ends_at_once_and_leaves_no_half_of_a_file(
    pictures: list[Path], tmp_path: Path
):
    options = *OPTIONS, "-o", tmp_path / "out", "--keep-partial"
    with deblurring(*pictures, *options, waits="tv: step 30", waits_at=0) as process:
        until(process, "look", 2)
        process.send_signal(signal.SIGINT)
        until(process, "write", 1)  # of what was kept
        _, errors = ended(process, signal.SIGINT)
    assert process.returncode == 130
    assert errors == "error: interrupted: 0 of 3 pictures done, 3 left.\n"
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("keep", [False, True])
def test_one_picture(pictures: list[Path], tmp_path: Path, keep: bool):
    target = tmp_path / "out.npy"
    options = *OPTIONS, "-o", target, *(["--keep-partial"] if keep else [])
    with deblurring(pictures[0], *options, waits="tv: step 30") as process:
        until(process, "look", 2)
        _, errors = ended(process, signal.SIGINT)
    assert process.returncode == 130
    assert target.exists() == keep
    says = "interrupted: what tv had got to was written" if keep else "nothing was written"
    assert says in errors


def test_termination_keeps_nothing_of_what_was_begun(pictures: list[Path], tmp_path: Path):
    options = *OPTIONS, "-o", tmp_path / "out", "--keep-partial"
    with deblurring(*pictures, *options, waits="tv: step 30") as process:
        until(process, "look", 2)
        _, errors = ended(process, signal.SIGTERM)
    assert process.returncode == 143
    assert errors == "error: terminated: 0 of 3 pictures done, 3 left.\n"
    assert contents(tmp_path / "out") == {}
