"""Pages and docstrings keep their word: examples print what they say, and what is named exists."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

PLACES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("src", "tests", "benchmarks", "examples", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix == ".py" or path.is_dir()
]
FILE = re.compile(r"(?<![\w./-])[\w/]+\.py\b")
FOLDER = re.compile(r"`([\w/]+)/`")
MODULE = re.compile(r"(?<![\w./-])unconv(?:\.[A-Za-z_]\w*)+(?![\w{*])")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page):
    examples = page_examples(page)
    report: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(
    "path", [*PAGES, *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_what_is_named_exists(path):
    text = path.read_text(encoding="utf-8")
    missing = [name for name in FILE.findall(text) if not _is_one_file(name, path)]
    missing += [name for name in FOLDER.findall(text) if not _places(name)]
    missing += [name for name in MODULE.findall(text) if not _can_be_had(name)]
    assert not missing


@pytest.mark.parametrize(
    ("name", "exists"),
    [("torus.py", True), ("grid/torus.py", True), ("wings.py", False), ("rid/torus.py", False)],
)
def test_files_are_found_by_their_whole_names(name, exists):
    assert _is_one_file(name, ROOT / "README.md") is exists


@pytest.mark.parametrize(
    ("name", "exists"),
    [("unconv.psf", True), ("unconv.psf.gaussian", True), ("unconv.wings", False)],
)
def test_modules_are_found_with_what_is_in_them(name, exists):
    assert _can_be_had(name) is exists


def test_a_name_of_two_files_needs_its_folder():
    assert not _is_one_file("problem.py", ROOT / "README.md")
    assert _is_one_file("fir/problem.py", ROOT / "README.md")
    assert _is_one_file("problem.py", ROOT / "src/unconv/fir/search.py")


def test_exceptions_to_the_guides_are_named():
    """Long files and functions and full folders, each with its line of reason."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    reasons = page.partition("## Exceptions to the guides")[2].partition("\n## ")[0]
    house = ROOT / "src/unconv"
    folders = {path.parent for path in SOURCES}
    found = [p for p in SOURCES if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    found += [p for p in folders if len([q for q in p.glob("*.py") if q.stem != "__init__"]) > 15]
    names = [f"`{p.relative_to(house)}{'' if p.suffix else '/'}`" for p in found]
    names += [f"`{name}`" for path in SOURCES for name in _long_functions(path)]
    assert not [name for name in names if name not in reasons]


def page_examples(page: Path) -> doctest.DocTest:
    """The examples of a page, one namespace for all; a closing fence is no expected output."""
    lines = page.read_text(encoding="utf-8").splitlines()
    text = "\n".join("" if line.lstrip().startswith("```") else line for line in lines)
    return doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)


def _long_functions(path: Path) -> list[str]:
    """Functions of more than 50 lines, their docstring not counted."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[0].end_lineno + 1 if documented else node.lineno
            if node.end_lineno - first >= 50:
                found.append(node.name)
    return found


def _places(name: str) -> list[str]:
    return [place for place in PLACES if place.endswith(f"/{name}")]


def _is_one_file(name: str, reader: Path) -> bool:
    """Whether it is plain which file is meant: the only one of the name, or one beside the text."""
    folder = f"/{reader.parent.relative_to(ROOT).as_posix()}"
    return len(_places(name)) == 1 or f"{folder}/{name}" in PLACES


def _can_be_had(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part, None)
        return found is not None
    return False
