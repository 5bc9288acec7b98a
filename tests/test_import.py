"""`import unconv`: all that is public within reach, nothing optional loaded, in little time."""

from __future__ import annotations

import compileall
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import unconv
from unconv import adapters

SOURCE = Path(unconv.__file__).parent

PUBLIC = [
    "adapters",
    "fir",
    "functional",
    "inspection",
    "linalg",
    "nn",
    "parameter_choice",
    "pictures",
    "psf",
    "regularize",
    "restoration",
    "spectrum",
    "testing",
    "varying",
    "volumes",
]

NOT_NEEDED = [
    "scipy",
    "matplotlib",
    "typer",
    "rich",
    "PIL",
    "skimage",
    "tifffile",
    "imagecodecs",
    "simplejpeg",
    "dask",
    "zarr",
    "deepinv",
    "pylops",
    "torch._dynamo",
]

SCRIPT = """
import json, sys, time
start = time.process_time()
import torch
middle = time.process_time()
import unconv
end = time.process_time()
alone = sorted(sys.modules)
for name in unconv.__all__:
    getattr(unconv, name)
found = {"torch": middle - start, "unconv": end - middle, "alone": alone}
print(json.dumps(found | {"with all": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    """Two fresh processes, on byte code as pip leaves it."""
    compileall.compile_dir(SOURCE, quiet=1)
    command = [sys.executable, "-c", SCRIPT]
    paths = [str(SOURCE.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    made = [subprocess.run(command, env=env, capture_output=True, check=True) for _ in range(2)]
    return [json.loads(run.stdout) for run in made]


def test_takes_little_more_than_torch(runs):
    # 0.15 s where torch takes 0.6 s; processor time, as a ratio, for machines that are slow or busy
    assert min(run["unconv"] / run["torch"] for run in runs) < 0.25


@pytest.mark.parametrize("state", ["alone", "with all"])
def test_nothing_optional_is_loaded(runs, state):
    loaded = set(runs[0][state])
    assert "unconv.doors" in loaded
    assert loaded.isdisjoint(NOT_NEEDED)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_submodules_are_within_reach(name):
    assert name in unconv.__all__
    assert name in dir(unconv)
    assert isinstance(getattr(unconv, name), ModuleType)


def test_the_list_of_submodules_is_complete():
    assert [n for n in unconv.__all__ if isinstance(getattr(unconv, n), ModuleType)] == PUBLIC


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'unconv' has no attribute 'deconvolve'"):
        _ = unconv.deconvolve
    with pytest.raises(AttributeError, match=r"'unconv\.adapters' has no attribute 'as_jax'"):
        _ = adapters.as_jax


def test_the_inverse_kernel_is_a_function_and_its_helpers_a_module():
    assert unconv.inverse_kernel is unconv.fir.inverse_kernel
    assert callable(unconv.fir.decay)


def test_the_late_class_of_scipy_operators_is_one_class():
    from scipy.sparse.linalg import LinearOperator

    A = unconv.ConvOperator(torch.ones(1, 1, 3), (5,)).as_scipy()
    assert type(A) is adapters.SciPyOperator
    assert isinstance(A, LinearOperator)
    assert type(pickle.loads(pickle.dumps(A))) is adapters.SciPyOperator
    assert type(A.H) is adapters.SciPyOperator
