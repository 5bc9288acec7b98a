"""The manifest tells napari of a widget that is there."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import unconv

yaml = pytest.importorskip("yaml")
ROOM = Path(unconv.__file__).parent / "napari"


def test_the_manifest_names_the_widget():
    manifest = yaml.safe_load((ROOM / "napari.yaml").read_text())
    (command,) = manifest["contributions"]["commands"]
    (widget,) = manifest["contributions"]["widgets"]
    assert manifest["name"] == "unconv"
    assert widget["command"] == command["id"]
    module, name = command["python_name"].split(":")
    assert module == "unconv.napari.widget"
    tree = ast.parse((ROOM / "widget.py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_the_package_names_the_manifest():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    package, name = project["entry-points"]["napari.manifest"]["unconv"].split(":")
    assert package == "unconv.napari"
    assert (ROOM / name).is_file()
