"""deepinv, where it is installed."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings

import pytest


class _Hollow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of torchvision, which deepinv's demos want and its physics do not."""

    def find_spec(self, name, path=None, target=None):
        found = name.split(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = _empty_class
        return module

    def exec_module(self, module):
        pass


def _empty_class(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


@pytest.fixture(scope="module", name="deepinv")
def _deepinv():
    if importlib.util.find_spec("deepinv") is None:
        pytest.skip("deepinv is not installed")
    hollow = [] if importlib.util.find_spec("torchvision") else [_Hollow()]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "meta_path", sys.meta_path + hollow)
        warnings.simplefilter("ignore")
        return importlib.import_module("deepinv")
