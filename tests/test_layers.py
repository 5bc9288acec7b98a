"""The rooms of the house: no circle of imports, and each room knows those below it alone."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import unconv

ROOT = Path(__file__).parents[1]
SOURCE = Path(unconv.__file__).parent

LATE = {"matplotlib", "skimage", "scipy", "PIL", "deepinv"}
"""Packages that are optional, or take too long for whoever does not need them."""


def test_no_circle_of_imports():
    graph = grimp.build_graph("unconv", cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) == len(graph.modules)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_only_other_packages_are_imported_late(path):
    tree = ast.parse(path.read_text())
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                assert not node.level
                assert (node.module or "").split(".")[0] in LATE
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= LATE


def test_a_look_upstairs_breaks_the_contract(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "unconv", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert _lint(tmp_path) == 0
    room = tmp_path / "unconv" / "numerics" / "norms.py"
    as_it_is, upstairs = room.read_text(), "from unconv.doors import ConvOperator\n"
    for look in (upstairs, f"def look():\n    {upstairs}"):  # late ones count too
        room.write_text(as_it_is + look)
        assert _lint(tmp_path) == 1


def _lint(where: Path) -> int:
    linter = Path(sys.executable).with_name("lint-imports")
    command = [linter, "--no-cache"]
    return subprocess.run(
        command, cwd=where, env=os.environ | {"PYTHONPATH": str(where)}, capture_output=True
    ).returncode
