"""Every example in a docstring runs and says what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import unconv

NAMES = ["unconv"] + [
    info.name
    for info in pkgutil.walk_packages(unconv.__path__, "unconv.")
    if not info.name.startswith("unconv.cli")
]


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
