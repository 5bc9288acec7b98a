import functools
import math

import numpy as np
import pytest
import torch

from unconv.volumes.evidence.estimates import estimate, penalty_weights
from unconv.volumes.evidence.spectrum import differences_psd

from ..drawn import beads, filtered, gaussian_psf, transfer

SHAPE, SPACING, PSF = (48, 96, 96), (0.3, 0.1, 0.1), gaussian_psf(1.2, 1.4, 1.4)


@functools.cache
def scene():
    """A scene and its blurred picture, whose largest value is 1."""
    x = beads(SHAPE, 0, SPACING)
    y = filtered(x, transfer(PSF, SHAPE))
    return x / y.max(), y / y.max()


def of(volume, **options):
    options = {"spacing": SPACING} | options
    return estimate(lambda region: volume[region], volume.shape, PSF, **options)


def decibels(x, y, strength, ridge):
    """PSNR of the penalised restoration on the periodic grid of the drawing."""
    F, d = transfer(PSF, SHAPE), differences_psd(SHAPE, penalty_weights(SPACING)).numpy()
    found = filtered(y, np.conj(F) / (np.abs(F) ** 2 + strength * (d + ridge)))
    return 10 * math.log10(x.max() ** 2 / ((found - x) ** 2).mean())


@pytest.mark.parametrize(
    "noise",
    [pytest.param(0.003, marks=pytest.mark.slow), 0.03, pytest.param(0.15, marks=pytest.mark.slow)],
)
def test_noise_and_strength_against_the_oracle(noise):
    x, y = scene()
    y = 7 * (y + noise * np.random.default_rng(1).normal(size=SHAPE)) + 40
    found = of(y)
    assert abs(found.noise_std / (7 * noise) - 1) < 0.05
    assert abs(found.background - 40) < max(0.1, 2 * noise)
    assert found.weights == pytest.approx((1 / 9, 1, 1))
    assert not found.doubts
    offered = [decibels(7 * x, y - 40, s, found.ridge) for s in np.logspace(-7, 2, 37)]
    assert decibels(7 * x, y - 40, found.strength, found.ridge) > max(offered) - 0.2


def test_the_unit_of_the_data_changes_nothing_but_the_unit():
    _, y = scene()
    y = y + 0.02 * np.random.default_rng(1).normal(size=SHAPE)
    a, b = of(y), of(1e4 * y.astype(np.float32))
    assert b.noise_std == pytest.approx(1e4 * a.noise_std, rel=1e-3)
    assert b.strength == pytest.approx(a.strength, rel=1e-2)


def test_empty_and_saturated_parts_tell_nothing():
    _, y = scene()
    wide = np.concatenate([y, y, y], 2) + 0.02 * np.random.default_rng(1).normal(size=(48, 96, 288))
    full = of(wide)
    wide[:, :, :96] = wide.min()
    wide[:, :, 240:] = 1.5
    found = of(wide)
    assert found.left_out["empty"] >= 2
    assert abs(found.noise_std / full.noise_std - 1) < 0.05
    assert abs(math.log(found.strength / full.strength)) < 0.7


@pytest.mark.parametrize(
    ("light", "gain", "read", "offset"), [(40, 1.0, 0.0, 0), (300, 2.2, 6.0, 100)]
)
def test_the_noise_of_counts(light, gain, read, offset):
    draw = np.random.default_rng(3)
    mean = light * scene()[1].clip(0) + 0.03 * light
    y = gain * draw.poisson(mean) + read * draw.normal(size=SHAPE) + offset
    found = of(y.round().clip(0).astype(np.uint16), noise_model="poisson")
    assert abs(found.noise_std / math.sqrt(gain**2 * mean.mean() + read**2) - 1) < 0.1
    assert abs(found.background - (offset + 0.03 * light * gain)) < 0.02 * light * gain
    assert abs(found.gain / gain - 1) < 0.2
    dark = math.sqrt(gain**2 * 0.03 * light + read**2)  # of the background, which is taken off
    assert abs(found.read_std / dark - 1) < 0.25


def test_a_gain_that_is_known_leaves_the_rest_to_the_camera():
    draw = np.random.default_rng(3)
    mean = 300 * scene()[1].clip(0)
    y = 2.2 * draw.poisson(mean) + 6.0 * draw.normal(size=SHAPE) + 100
    found = of(y, noise_model="poisson", gain=2.2, background=100.0)
    assert found.gain == 2.2
    assert found.read_std**2 == pytest.approx(
        max(found.noise_std**2 - 2.2 * (y.mean() - 100), 0), rel=0.3, abs=4
    )


def test_what_is_known_is_kept():
    _, y = scene()
    found = of(y + 0.02, noise_std=0.5, background=0.25, strength=3.0)
    assert (found.noise_std, found.background, found.strength) == (0.5, 0.25, 3.0)


def test_whole_numbers_have_the_noise_of_rounding():
    _, y = scene()
    found = of((200 * y).clip(0).round().astype(np.uint8))
    assert found.noise_std >= 1 / math.sqrt(12)


def test_noise_alone_is_doubted_or_damped():
    found = of(np.random.default_rng(0).normal(size=SHAPE))
    assert abs(found.noise_std - 1) < 0.05
    assert found.signal_std < 0.2
    assert found.strength > 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"noise_model": "white"}, "noise_model='white' is not known"),
        ({"noise_std": 0.0}, "noise_std=0.0 must be a finite number > 0"),
        ({"strength": -1.0}, "strength=-1.0 must be"),
        ({"background": math.nan}, "background=nan must be"),
        ({"spacing": (1.0, 0.0, 1.0)}, "spacing=0.0 must be"),
    ],
)
def test_wrong_calls(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        of(np.zeros(SHAPE), **options)


def test_planes_too():
    draw = np.random.default_rng(0)
    x = beads((200, 180), 0, (1.0, 1.0))
    psf = gaussian_psf(1.5, 1.5)
    y = filtered(x, transfer(psf, x.shape)) + 0.02 * draw.normal(size=x.shape)
    found = estimate(lambda region: torch.from_numpy(y[region]).numpy(), y.shape, psf)
    assert abs(found.noise_std / 0.02 - 1) < 0.05


@pytest.mark.parametrize("noise_model", ["gaussian", "poisson"])
def test_a_plane_of_a_volume_is_told_of_as_a_plane(noise_model):
    light = 20 + 200 * beads((96, 96), 0, (1.0, 1.0))
    counts = np.random.default_rng(0).poisson(light).astype(np.float64)
    blur = gaussian_psf(1.0, 1.0)
    plane, volume = (
        estimate(lambda region, y=y: y[region], y.shape, psf, noise_model=noise_model)
        for y, psf in ((counts, blur), (counts[None], blur[None]))
    )
    # from tiles of other sizes
    assert volume.noise_std == pytest.approx(plane.noise_std, rel=0.1)
    assert volume.gain == pytest.approx(plane.gain, rel=0.1)


def test_a_line_has_a_noise_and_a_sample_has_none():
    line = np.random.default_rng(0).poisson(100.0, (1, 400)).astype(np.float64)
    blur = gaussian_psf(1.0)[None]
    found = estimate(lambda region: line[region], line.shape, blur, noise_model="poisson")
    assert 8 < found.noise_std < 12
    with pytest.raises(ValueError, match="1 × 1 samples are too few to tell noise"):
        estimate(lambda _: line[:, :1], (1, 1), blur)
