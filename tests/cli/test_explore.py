"""`unconv explore`: what it refuses, what it saves, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

import unconv
from unconv.cli import explore as command
from unconv.explore.choice import FILE, Choice
from unconv.pictures.formats import read_picture

from .commands import run, save

DISK = Choice("disk", (1.5,), "wiener", None, None, "as-is")


@pytest.fixture
def served(monkeypatch):
    """The sites that would have been served."""
    sites = []
    monkeypatch.setattr(command, "_serve", lambda site, port, with_browser: sites.append(site))
    return sites


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "y.png", 1, 40, 48)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none.png"], 3, "none.png"),
        (["y.png", "-o", "y.png"], 2, "is the picture itself"),
        (["y.png", "-o", "x.txt"], 3, "x.txt"),
        (["y.png", "--psf", "disk:3"], 2, "chosen on the page"),
        (["y.png", "--psf-center"], 2, "need a --psf in a file"),
        (["y.png", "--light", "moon"], 2, "--light 'moon' must be one of"),
        (["y.png", "--memory-limit", "6"], 2, "a number with its unit"),
        (["y.png", "--max-pixels", "10"], 3, "y.png"),
    ],
)
def test_wrong_calls(folder, served, arguments, code, says):
    result = run("explore", *arguments)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not served


def test_a_port_that_is_in_use(folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("explore", "y.png", "--no-browser", "--port", port)
    assert result.exit_code == 2
    assert result.stderr == (f"error: port {port} is in use; give another --port, or 0 for any.\n")


def test_it_saves_what_deblur_saves_and_overwrites_nothing(folder, served):
    assert run("explore", "y.png").exit_code == 0
    page = served[0].command
    line = page.line(DISK)
    assert line == (
        "unconv deblur y.png -o y-restored.png --psf disk:1.5 --prior wiener --light as-is"
    )
    first, second = (page.save(DISK, lambda step, fraction=None: None)["path"] for _ in range(2))
    assert (first, second) == ("y-restored.png", "y-restored-2.png")
    assert page.line(DISK).split()[4] == "y-restored-3.png"
    typed = line.replace("y-restored", "typed").split()[1:]
    assert run(*typed).exit_code in (0, 5)
    typed, saved = (read_picture(name).planes for name in ("typed.png", first))
    assert np.array_equal(typed, saved)


def test_a_psf_of_a_file(folder, served):
    kernel = np.zeros((5, 5))
    kernel[1:4, 2:5] = 1
    np.save(folder / "my psf.npy", kernel)
    assert run("explore", "y.png", "--psf", "my psf.npy", "--psf-center").exit_code == 0
    page = served[0].command
    choice = Choice(FILE, (), "tv", 0.01, None, "auto")
    words = "--psf 'my psf.npy' --psf-center --prior tv --strength 0.01"
    assert page.line(choice) == f"unconv deblur y.png -o y-restored.png {words}"
    assert Path(page.save(choice, lambda step, fraction=None: None)["path"]).exists()


@pytest.mark.parametrize(
    ("name", "saved"), [("z.jpg", "z-restored.png"), ("z.tif", "z-restored.tif")]
)
def test_the_name_that_is_saved_to(folder, served, name, saved):
    save(folder / name, 3, 40, 48)
    assert run("explore", name).exit_code == 0
    assert str(served[0].command.target) == saved
    assert served[0].desk.subject.jpeg is None or name == "z.jpg"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_it(folder, sent, code):
    program = "import sys; from unconv.cli import main; sys.argv[0] = 'unconv'; main()"
    words = [sys.executable, "-P", "-c", program, "explore", "y.png", "--no-browser"]
    env = os.environ | {"PYTHONPATH": str(Path(unconv.__file__).parents[1])}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=60) as page:
            assert b"unconv explore" in page.read()
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in out + err
    assert list(folder.iterdir()) == [folder / "y.png"]
