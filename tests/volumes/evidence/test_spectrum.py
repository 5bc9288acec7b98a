import math

import numpy as np
import pytest
import torch

from unconv.volumes.evidence.spectrum import TilePeriodogram, differences_psd, least_error_strength

from ..drawn import filtered, gaussian_psf, transfer

NAME_AND_SIZES = [((160, 144), (1.4, 0.9)), ((40, 48, 36), (1.0, 1.2, 0.8))]


@pytest.mark.parametrize(("sizes", "sigmas"), NAME_AND_SIZES)
def test_the_mean_is_that_of_drawn_periodograms(sizes, sigmas):
    """v̄ against the mean over draws of a stationary process, tiles cut out of a larger period."""
    small = tuple(n // 4 for n in sizes)
    weights = (0.5, 1.0, 0.7)[: len(sizes)]
    psf = gaussian_psf(*sigmas)
    d = differences_psd(sizes, weights).numpy()
    root = np.sqrt((d + 0.05) ** -1.5) * np.abs(transfer(psf, sizes))
    draw = np.random.default_rng(0)
    cut = tuple(slice(0, n) for n in small)
    tiles = np.stack([filtered(draw.normal(size=sizes), root)[cut] for _ in range(400)])
    data = TilePeriodogram(tiles, psf, weights)
    expected = data.mean_of(data.gain * (data.differences + 0.05) ** -1.5)
    usable = data.counts() > 0
    ratio = (data.power / expected)[usable]
    assert abs(float(ratio.mean()) - 1) < 0.03
    assert float(ratio.std()) < 0.09


def test_what_was_drawn_is_found():
    sizes, psf = (48, 96, 96), gaussian_psf(1.0, 1.5, 1.5)
    weights = (0.25, 1.0, 1.0)
    d = differences_psd(sizes, weights).numpy()
    draw = np.random.default_rng(1)
    y = filtered(draw.normal(size=sizes), np.sqrt(3 * (d + 0.02) ** -1.5) * transfer(psf, sizes))
    y += 0.2 * draw.normal(size=sizes)
    tiles = np.stack([y[:, a : a + 48, b : b + 48] for a in (0, 48) for b in (0, 48)])
    found = TilePeriodogram(tiles, psf, weights).fit()
    assert abs(found.noise_std / 0.2 - 1) < 0.02
    S = found.signal_psd(differences_psd((16, 16, 16), weights))
    true = 3 * (differences_psd((16, 16, 16), weights) + 0.02) ** -1.5
    inner = slice(1, 3)
    assert float((S / true).log().abs()[inner, inner, inner].max()) < 0.25
    assert len(found.rings) == len(found.measured) == len(found.fitted) == len(found.noise)
    assert TilePeriodogram(tiles, psf, weights).fit(0.3).noise_std == pytest.approx(0.3)


def test_for_the_true_law_the_strength_is_noise_over_signal():
    """p = 2 and κ² = ε: the linear estimate of least error is the penalised one, λ = s²/c."""
    sizes, psf = (64, 64), gaussian_psf(1.0, 1.0)
    draw = np.random.default_rng(2)
    d = differences_psd(sizes, (1.0, 1.0)).numpy()
    y = filtered(draw.normal(size=sizes), np.sqrt(4 / (d + 1e-3)) * transfer(psf, sizes))
    data = TilePeriodogram((y + 0.1 * draw.normal(size=sizes))[None], psf, (1.0, 1.0))
    found = data.fit()
    law = type(found)(4.0, 2.0, 1e-3, 0.1, (), (), (), ())
    assert least_error_strength(law, data, 1e-3) == pytest.approx(0.01 / 4, rel=0.01)


def test_more_noise_on_request():
    data = TilePeriodogram(np.random.default_rng(0).normal(size=(1, 32, 32)),
                           gaussian_psf(1.0, 1.0), (1.0, 1.0))  # fmt: skip
    found = data.fit()
    more = found.at_least(2.0)
    assert more.noise_std == 2.0
    assert math.isclose(more.noise[0], 4.0)
    assert more.fitted[0] - found.fitted[0] == pytest.approx(4 - found.noise_std**2)
    assert found.at_least(0.1) is found


def test_a_psf_longer_than_the_tile_wraps_round():
    data = TilePeriodogram(np.random.default_rng(0).normal(size=(1, 8, 8)),
                           torch.full((41, 3), 1 / 123), (1.0, 1.0))  # fmt: skip
    assert float(data.gain[0, 0]) == pytest.approx(1.0)
    assert bool((data.gain <= 1 + 1e-9).all())
