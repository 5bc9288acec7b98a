"""Every example in a docstring runs and says what it says; every docstring stands alone."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import unconv

NAMES = ["unconv"] + [
    info.name
    for info in pkgutil.walk_packages(unconv.__path__, "unconv.")
    if not info.name.startswith(("unconv.cli", "unconv.napari.widget"))
]

FRAGMENT = re.compile(r"(The same|See|As above|Likewise|Itself|Of)\b|[^.]*, likewise\.")
"""A first sentence that means nothing without its neighbour."""

HOUSE = Path(unconv.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    module = importlib.import_module(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", [n for n in unconv.__all__ if n.startswith("conv")])
def test_one_call_functions_have_examples(name):
    """Their docstrings are written by a decorator, where a missing one is easy to miss."""
    assert "Examples\n" in getattr(unconv, name).__doc__


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_docstrings_stand_alone(path):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [
        n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, kinds)
    ]
    texts = [text for node in nodes if (text := ast.get_docstring(node))]
    assert not [text for text in texts if FRAGMENT.match(text)]
