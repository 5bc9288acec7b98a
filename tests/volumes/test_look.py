import numpy as np
import pytest

from unconv.volumes import look
from unconv.volumes.look import look_at
from unconv.volumes.sources import Batch, open_source

from .runs import run

pytest.importorskip("zarr")


@pytest.mark.parametrize("axes", ["zyx", "yx", "czyx"])
def test_planes_are_those_of_input_and_output(tmp_path, monkeypatch, axes):
    monkeypatch.setattr(look, "SIDE", 24)
    monkeypatch.setattr(look, "DEPTH", 10)
    shape = {"c": 2, "z": 12, "y": 270, "x": 40}
    y = np.random.default_rng(0).normal(size=[shape[a] for a in axes]).astype(np.float32)
    at = {"c": 1} if "c" in axes else {}
    bright = (*at.values(), *(slice(5, 11) for _ in axes.replace("c", "").replace("yx", "")))
    y[(*bright, slice(200, 215), slice(10, 22))] += 50
    voxel = (0.3, 0.1, 0.1)[-len(axes.replace("c", "")) :]
    run(y, tmp_path / "out.zarr", axes=axes, voxel=voxel)
    batch = Batch(open_source(y, axes, voxel), at)
    found = look_at(batch, tmp_path / "out.zarr")
    assert found.axes == axes.replace("c", "")
    assert found.spacing == voxel
    sides = tuple(r.stop - r.start for r in found.box)
    assert sides == ((10, 24, 24) if "z" in axes else (24, 24))
    assert found.box[-2].start < 208 < found.box[-2].stop
    assert found.box[-1].start < 16 < found.box[-1].stop
    part = batch.read(found.box)
    if "z" in axes:
        assert np.array_equal(found.before["zx"], part[:, 12])
        assert np.array_equal(found.brightest_before["yx"], part.max(0))
        assert found.after["zy"].shape == (10, 24)
    else:
        assert np.array_equal(found.before["yx"], part)
    assert found.overview.shape == (135, 40)
    assert float(found.brightest_after["yx"].max()) > 25
