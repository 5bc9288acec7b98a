"""Values of a camera as counts: two moments, and a method that is given nothing else."""

import numpy as np
import pytest
import torch

from unconv.volumes.nonlinear.camera import Camera, CameraMethod
from unconv.volumes.nonlinear.counts import Counts, RichardsonLucy
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

PSF = torch.ones(3, 3, dtype=torch.float64) / 9


@pytest.mark.parametrize(("gain", "read", "offset"), [(2.2, 6.0, 100.0), (0.01, 0.05, -3.0)])
def test_mean_and_variance_of_counts_are_one(gain, read, offset):
    draw = np.random.default_rng(0)
    for light in (30, 400):
        y = gain * draw.poisson(light, 10**6) + read * draw.normal(size=10**6) + offset
        found = Camera(gain, offset, read).counts(y).astype(float)
        expected = light + (read / gain) ** 2
        assert found.mean() == pytest.approx(expected, rel=2e-3)
        assert found.var() == pytest.approx(expected, rel=1e-2)


def test_nothing_is_below_zero_and_nan_stays():
    found = Camera(2.0, 10.0, 1.0).counts(np.array([0.0, 10.0, np.nan]))
    assert found[:2].tolist() == [0.0, 0.25]
    assert np.isnan(found[2])
    assert found.dtype == np.float32


def test_a_method_on_values_is_that_on_counts_times_the_gain():
    camera = Camera(4.0, 50.0, 2.0)
    draw = np.random.default_rng(1)
    values = (4.0 * draw.poisson(60, (30, 26)) + 50).astype(np.uint16)
    method = RichardsonLucy(Counts(Constant(PSF), (30, 26), camera.dark), maxiter=5, stop=None)
    tiling = Tiling((32, 28), (16, 16), method.halo)
    told, plain = MemoryRunner(values), MemoryRunner(camera.counts(values))
    answer, expected = CameraMethod(method, camera)(told, tiling), method(plain, tiling)
    assert np.array_equal(told.arrays[answer.name], 4 * plain.arrays[expected.name])
    assert answer.report == expected.report
    assert told.arrays.keys() == {"data", answer.name}
