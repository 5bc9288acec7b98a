"""The bar of a long command: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("pty")

import pty

from unconv.cli.progress_bar import TimeLeft, progress, progress_of_many


def on_a_terminal(*arguments: object) -> str:
    """What a terminal is told on stderr by the command, without what moves the cursor."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", "from unconv.cli.app import app; app()", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0, said
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = np.kron(rng.random((6, 6)), np.ones((12, 12)))
    x = sum(np.roll(x, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    np.save(tmp_path / "a.npy", x + 0.01 * rng.standard_normal(x.shape))
    return tmp_path / "a.npy"


DCT = "--psf", "disk:1.5", "--prior", "dct", "--noise-std", 0.01


def test_one_picture(picture: Path, tmp_path: Path):
    said = on_a_terminal("deblur", picture, "-o", tmp_path / "out.npy", *DCT)
    assert re.search(r"\d+ % 0:00:\d\d(, 0:00:\d\d left)? +dct: step", said)
    assert re.search(r"\d+ % 0:00:\d\d, 0:00:\d\d left +dct: step", said)
    assert "pictures" not in said


def test_many_pictures(picture: Path, tmp_path: Path):
    (tmp_path / "b.npy").write_bytes(picture.read_bytes())
    pictures = picture, tmp_path / "b.npy"
    said = on_a_terminal("deblur", *pictures, "-o", tmp_path / "out", *DCT)
    assert re.search(r"0/2 .* left pictures", said)
    assert re.search(r"1/2 .* left pictures", said)
    assert re.search(r"\d+ % 0:00:\d\d(, 0:00:\d\d left)? +b.npy: dct: step", said)


def test_without_a_terminal_there_is_nothing(capsys):
    with progress() as step:
        step("reading")
        step("restoring", 0.5)
    with progress_of_many(2) as bar, bar.one("a.png") as step:
        step("reading")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(5))
def test_the_time_left_is_that_of_an_even_pace(seed: int):
    """It begins anew with other work, whose fractions are small again."""
    rng = np.random.default_rng(seed)
    now = 0.0
    left = TimeLeft(lambda: now)
    for seconds in rng.uniform(1, 1e4, 3):
        began = now
        for fraction in [0.0, *np.sort(rng.random(20))]:
            now = began + seconds * fraction
            found = left.at(float(fraction))
            assert (found is None) == (fraction < 0.05)
            if found is not None:
                assert found == pytest.approx(seconds * (1 - fraction))
        assert left.at(None) is None
