import math
from dataclasses import replace

import numpy as np
import pytest

from unconv.volumes.asked import Asked, Wanted
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


def test_a_run_tells_where_its_passes_are(tmp_path):
    pytest.importorskip("zarr")
    told = []
    prepared = prepare(stack()[0], PSF, Wanted(tol=1e-4))
    done = prepared.run(tmp_path / "out.zarr", Means(1e12), told.append)
    standings = [*dict.fromkeys(t.standing for t in told)]
    report = done.reports["all"]
    assert standings[0] is None
    assert [s.turns for s in standings[1:]] == sorted(s.turns for s in standings[1:])
    assert standings[-1].turns == report["passes"]
    assert standings[-1].words == "error within"
    assert standings[-1].value == report["errors by pass"][-1] <= standings[-1].goal == 1e-4


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


def counts(gain=5.0, offset=100, read=3.0):
    """Values of a camera, and the scene in their unit."""
    draw = np.random.default_rng(0)
    scene = beads(SHAPE, 0, (1.0, 1.0, 1.0))
    x = 400 * scene / scene.max()
    mean = filtered(x, transfer(PSF, SHAPE)).clip(0)
    return gain * draw.poisson(mean) + read * draw.normal(size=SHAPE) + offset, gain * x


@pytest.mark.parametrize(
    ("gain", "tiles", "read", "says"),
    [
        (5.0, 8, 0.5, "by the variance of the noise a photon is 5 units: the values less 100"),
        (0.2, 8, 0.5, "a photon is 0.2 units"),
        (5.0, 7, 0.5, "too little was seen"),
        (1.4, 8, 0.5, None),
        (0.7, 8, 0.5, None),
        (5.0, 8, 0.999, None),
    ],
)
def test_a_gain_is_used_where_it_is_clearly_not_one(gain, tiles, read, says):
    prepared = prepare(counts()[0], PSF, Wanted(noise_model="poisson", background=100.0))
    found = prepared.asked.estimates(prepared.batches[0])
    found = replace(found, gain=gain, tiles=tiles, read_std=read * found.noise_std)
    camera, remarks = prepared.asked.camera(found)
    assert (camera is not None) == (says is not None and "photon is" in says)
    assert len(remarks) == (says is not None)
    assert says is None or says in remarks[0]


def test_a_gain_is_divided_out(tmp_path):
    zarr = pytest.importorskip("zarr")
    y, x = counts(20.0, 100, 10.0)
    noise_std = float(np.sqrt(20 * (y.mean() - 100) + 100))
    wanted = Wanted(noise_model="poisson", background=100.0, gain=20.0, noise_std=noise_std)
    done = prepare(y, PSF, wanted).run(tmp_path / "out.zarr", Means(1e12))
    found = zarr.open(done.out, mode="r")["0"][:]
    assert np.std(found - x) < 0.25 * np.std(x)  # as counts of a gain of 1 it is 0.88
    assert done.reports["all"]["stopped_by"] == "discrepancy"
    assert len(done.remarks) == 1


def test_too_little_tells_no_gain():
    y, _ = counts(1.0, 0, 0.0)
    plan = prepare(y, PSF, Wanted(noise_model="poisson", background=0.0)).plan(Means(1e12))
    (said,) = plan.remarks
    assert "too little was seen" in said


def test_noise_that_is_none_of_counts_is_doubted():
    y = 1e6 + np.random.default_rng(0).normal(size=SHAPE)
    prepared = prepare(y, PSF, Wanted(noise_model="poisson", background=1e6 - 1e-4))
    found = prepared.asked.estimates(prepared.batches[0])
    assert (found.shot_share < 0.01) == any("does not grow" in d for d in found.doubts)


def test_positive_values_are_proven_too(tmp_path):
    zarr = pytest.importorskip("zarr")
    wanted = Wanted(prior="quadratic", nonnegative=True)
    done = prepare(stack()[0] - 100, PSF, wanted).run(tmp_path / "out.zarr", Means(1e12))
    found = zarr.open(done.out, mode="r")["0"][:]
    assert found.min() == 0
    assert done.reports["all"]["met"]
    assert done.reports["all"]["proven error"] <= 1e-3


def test_positive_values_are_had_by_total_variation():
    prepared = prepare(stack()[0], PSF, Wanted(nonnegative=True))
    assert prepared.asked.wanted.prior == "tv"
    (said,) = prepared.remarks
    assert "no bound of whose error is proven" in said
    counted = prepare(stack()[0], PSF, Wanted(nonnegative=True, noise_model="poisson"))
    assert (counted.asked.wanted.prior, counted.remarks) == ("richardson-lucy", ())


def test_the_plan_says_what_the_data_hold(monkeypatch):
    y = stack(3)
    y[0], y[2, 3, 4, 5] = np.nan, np.inf
    prepared = prepare(y, PSF, Wanted(), axes="czyx")
    plan = prepared.plan(Means(1e12))
    assert [
        d for d in plan.doubts if d.startswith("a volume will be NaN, c0: the array holds only")
    ]
    assert [r for r in plan.remarks if r.startswith("c2: 1 of the 24,640 samples")]
    assert abs(plan.estimates.noise_std / 10 - 1) < 0.1  # of c1, the first that has any
    with pytest.raises(VolumeError, match="holds only NaN or infinity"):
        prepare(y[0], PSF, Wanted()).plan(Means(1e12))
    y = np.abs(stack()[0])
    y[3, 4, 5] = -1
    with pytest.raises(VolumeError, match="counts >= 0, and the array holds -1"):
        prepare(y, PSF, Wanted(noise_model="poisson")).plan(Means(1e12))
    monkeypatch.setattr("unconv.volumes.prepare.LOOKED_AT", y.nbytes - 1)
    plan = prepare(y, PSF, Wanted()).plan(Means(1e12))
    assert [r for r in plan.remarks if "a sample alone was looked at" in r]


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
        ({"gain": 2.0}, "use it with noise_model='poisson'"),
        ({"gain": 0.0, "noise_model": "poisson"}, "gain=0.0 must be"),
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


def test_a_strength_of_counts_is_that_of_total_variation():
    counts = np.random.default_rng(0).poisson(stack()[0].clip(0)).astype(np.uint16)
    asked = [
        prepare(counts, PSF, Wanted(noise_model="poisson", strength=strength)).asked
        for strength in (None, 0.02)
    ]
    batch = prepare(counts, PSF, Wanted(noise_model="poisson", gain=1.0)).batches[0]
    assert [a.sketch(batch).method.counts.tv for a in asked] == [0.0, 0.02]


def test_an_input_that_is_open_is_not_opened_again():
    source = prepare(stack()[0], PSF, Wanted()).source
    assert prepare(source, PSF, Wanted()).source is source
