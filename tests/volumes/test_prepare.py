import math

import numpy as np
import pytest

from unconv.volumes.asked import Asked, Wanted, doubts_of
from unconv.volumes.errors import VolumeError
from unconv.volumes.prepare import Means, prepare
from unconv.volumes.quadratic.bound import lower_bound
from unconv.volumes.quadratic.problem import Problem

from .drawn import beads, filtered, gaussian_psf, transfer

SHAPE, PSF = (14, 40, 44), gaussian_psf(0.8, 0.8, 0.8)[2:-2, 2:-2, 2:-2]


def stack(channels=1):
    draw = np.random.default_rng(0)
    y = filtered(beads(SHAPE, 0, (1.0, 1.0, 1.0)), transfer(PSF, SHAPE))
    return np.stack([100 + 1000 * y + 10 * draw.normal(size=SHAPE) for _ in range(channels)])


def test_the_plan_is_what_a_run_does(tmp_path):
    pytest.importorskip("zarr")
    prepared = prepare(stack()[0], PSF, Wanted())
    plan = prepared.plan(Means(1e12))
    done = prepared.run(tmp_path / "out.zarr", Means(1e12))
    assert plan.need.core == done.need.core
    assert plan.tiles == 1
    assert plan.estimates.noise_std == done.reports["all"]["estimates"]["noise_std"]
    assert (plan.volumes, plan.shape, plan.prior) == (1, SHAPE, "quadratic")


def test_channels_share_a_bound_that_holds_for_each():
    asked = prepare(stack(2), PSF, Wanted(), axes="czyx").asked
    assert asked.volumes == 2
    taps = asked.psf
    for strength in (0.0101, 0.0153):
        problem = Problem(taps, SHAPE, strength, (1.0, 1.0, 1.0), 1e-2)
        shared, own = asked.bound(problem).mu, lower_bound(problem).mu
        assert own / 3 < shared <= own * (1 + 1e-9)
    assert len(asked._bounds) == 1
    assert math.log2(next(iter(asked._bounds))).is_integer()


def test_a_gain_that_is_not_that_of_counts_is_doubted():
    draw = np.random.default_rng(0)
    y = 5.0 * draw.poisson(40 * beads(SHAPE, 0, (1.0, 1.0, 1.0)) + 10)
    prepared = prepare(y, PSF, Wanted(noise_model="poisson"))
    found = prepared.asked.estimates(prepared.batches[0])
    (doubt,) = doubts_of(prepared.asked, found)
    assert "for each unit of light, and that of counts by 1" in doubt


def test_parameters_are_those_that_change_the_answer():
    def of(**wanted):
        return Asked(Wanted(**wanted).checked(), PSF, (1.0,) * 3).parameters()

    assert of() == of(prior="quadratic")
    assert of(tol=1e-2) != of()
    assert Asked(Wanted().checked(), 2 * PSF, (1.0,) * 3).parameters() != of()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prior": "dct"}, "prior='dct' is not known"),
        ({"prior": "quadratic", "noise_model": "poisson"}, "prior='quadratic' is not known"),
        ({"nonnegative": True}, "nonnegative is for the priors"),
        ({"strength": 0.0}, "strength=0.0 must be"),
        ({"tol": 1.0}, "tol=1.0 must be"),
    ],
)
def test_wrong_calls(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Wanted(**options).checked()


def test_a_scheduler_has_workers_of_its_own():
    with pytest.raises(ValueError, match="workers of its own"):
        Means(scheduler="tcp://a:1", workers=2).checked()
    assert Means(8e9, 4).each == 2e9


def test_counts_and_their_psf_are_not_negative(tmp_path):
    pytest.importorskip("zarr")
    wanted = Wanted(noise_model="poisson")
    with pytest.raises(ValueError, match=r"negative taps, the least -0\.2, and counts have no"):
        prepare(stack()[0], PSF - 0.2, wanted)
    y = np.abs(stack()[0])
    y[3, 4, 5] = -1
    prepared = prepare(y, PSF, wanted)
    with pytest.raises(VolumeError, match=r"counts >= 0, and the array holds -1; do not subtract"):
        prepared.run(tmp_path / "out.zarr", Means(1e12))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("noise_model", ["gaussian", "poisson"])
def test_an_empty_volume_is_restored_to_one(tmp_path, noise_model):
    zarr = pytest.importorskip("zarr")
    prepared = prepare(np.zeros((12, 13), np.uint16), PSF[3], Wanted(noise_model=noise_model))
    done = prepared.run(tmp_path / "out.zarr", Means(1e12))
    assert (zarr.open(done.out, mode="r")["0"][:] == 0).all()
