"""Command lines of the manual: all are understood, and those that need nobody's own data run."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from skimage import data

from benchmarks.__main__ import BENCHES
from unconv.cli.app import app
from unconv.pictures.formats import Picture, write_picture

from .commands import run

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
MODULE = re.compile(r"python -m ((?:benchmarks|examples|tests|unconv)[\w.]*)(?: (\w+))?")


def lines_of(page: Path) -> list[list[str]]:
    """The command lines of a page's blocks, in words, without their comments."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


OURS = [line[1:] for page in PAGES for line in lines_of(page) if line[0] == "unconv"]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_options_exist(words):
    command = typer.main.get_command(app)
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context(command.name, [*words])  # a usage error if not understood
    assert context.params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_exist(page):
    for module, name in MODULE.findall(page.read_text(encoding="utf-8").replace("\n", " ")):
        assert importlib.util.find_spec(module) is not None, module
        assert module != "benchmarks" or name in (*BENCHES, "NAME", ""), name


@pytest.mark.slow  # restores two pictures with the default prior
def test_the_tour_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plane = data.camera()[100:260, 150:310]
    write_picture(tmp_path / "sharp.png", Picture(plane[None] / 255.0, None, plane.dtype, {}))
    tour = lines_of(ROOT / "docs/command.md")
    assert tour[-1] == ["unconv", "explore", "blurred.png"]  # which has no end of its own
    for words in tour[:-1]:
        found = run(*words[1:])
        assert found.exit_code == 0, f"{words}: {found.output}"
    outputs = {words[words.index("-o") + 1] for words in tour if "-o" in words}
    assert outputs | {"report.html", "g.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("before", "page"),
    [("psf make", "psf.md"), ("psf match", "psf.md"), ("inverse-kernel", "inverse-kernels.md")],
)
def test_lines_that_need_psfs_alone_run(before, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, sigma in (("a.fits", "1.2"), ("b.fits", "2")):
        run("psf", "make", "gaussian", "--sigma", sigma, "-o", name)
    lines = [words[1:] for words in lines_of(ROOT / "docs" / page) if words[0] == "unconv"]
    chosen = [words for words in lines if " ".join(words).startswith(before)]
    assert chosen
    if importlib.util.find_spec("psf_generator") is None:  # the optics, an extra
        chosen = [words for words in chosen if "microscope" not in words]
    for words in chosen:
        found = run(*words)
        assert found.exit_code == 0, f"{words}: {found.output}"
