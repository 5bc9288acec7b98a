"""Whole runs with the toy's driver, bit for bit those in memory."""

import json

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")

from .runs import drawn, in_memory, run  # noqa: E402


@pytest.mark.parametrize("shape", [(40, 30, 25), (70, 300), (20, 30, 40)])
def test_a_volume_is_that_in_memory(tmp_path, shape):
    data = drawn(shape)
    told = []
    done = run(data, tmp_path / "out.zarr", progress=told.append)
    found = zarr.open(tmp_path / "out.zarr", mode="r")["0"]
    assert (found[:] == in_memory(data, done.need.core)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    assert done.failed == {} and [*done.reports] == ["all"] and not done.resumed
    assert told[-1].done == told[-1].total
