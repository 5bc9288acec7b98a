"""Psfs measured from beads whose psf is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unconv import psf

from ...helpers import F64, assert_says, relative
from .beads import gaussian, picture, scattered, true_psf

SHAPE, SIGMA = (130, 140), (1.5, 2.0)
PLACES = scattered(SHAPE, 12, 20, seed=1)
COUNTS = picture(SHAPE, SIGMA, PLACES)


def nearest(found: psf.MeasuredPsf, places: np.ndarray) -> np.ndarray:
    """How far each point that was used lies from a true one."""
    away = found.positions.numpy()[:, None] - places[None]
    return np.linalg.norm(away, axis=2).min(1)


@pytest.mark.parametrize("seed", range(4))
def test_thirty_beads(seed):
    rng = np.random.default_rng(100 + seed)
    sigma = rng.uniform(1.0, 2.5, 2)
    places = scattered((200, 200), 30, 18, seed)
    found = psf.from_points(picture((200, 200), sigma, places, seed=seed), size=17)
    error = relative(found.psf, true_psf((17, 17), sigma))
    assert error < 0.02
    assert 0.5 * found.error < error < 2 * found.error
    assert len(found.positions) == 30
    assert found.refused == ()
    assert found.doubts == {}
    assert nearest(found, places).max() < 0.1
    assert float(found.psf.min()) >= 0
    assert float(found.psf.sum()) == pytest.approx(1)


def test_thirty_beads_in_three_dimensions():
    shape, sigma, size = (30, 90, 90), (2.0, 1.3, 1.3), (13, 9, 9)
    places = scattered(shape, 30, 11, seed=3)
    found = psf.from_points(picture(shape, sigma, places), size=size)
    assert relative(found.psf, true_psf(size, sigma)) < 0.02
    assert found.psf.shape == size
    assert len(found.positions) == 30
    widths = [2 * math.sqrt(2 * math.log(2) * (s**2 + 1 / 12)) for s in sigma]
    assert found.fwhm == pytest.approx(widths, rel=0.03)


def test_fluxes_backgrounds_and_widths():
    found = psf.from_points(COUNTS, size=13)
    flux = 1000 / gaussian((1, 1), SIGMA, (0, 0)).item()
    assert found.fluxes.numpy() == pytest.approx(flux, rel=0.04)
    assert found.backgrounds.numpy() == pytest.approx(10, abs=1)
    widths = [2 * math.sqrt(2 * math.log(2) * (s**2 + 1 / 12)) for s in SIGMA]
    assert found.fwhm == pytest.approx(widths, rel=0.03)
    assert set(found.doubts) == set()


@pytest.mark.parametrize(("gain", "dark"), [(1 / 255, 0.1), (37.0, 500.0)])
def test_any_unit_of_light(gain, dark):
    found, counts = psf.from_points(gain * COUNTS + dark, size=13), psf.from_points(COUNTS, size=13)
    assert relative(found.psf, counts.psf) < 0.01
    assert relative(found.fluxes, gain * counts.fluxes) < 0.01
    assert found.backgrounds.numpy() == pytest.approx(10 * gain + dark, abs=gain)


def test_a_psf_without_symmetry_keeps_its_centroid_in_the_middle():
    parts = ((1.0, 1.2, (0.0, 0.0)), (0.5, 2.0, (1.5, 2.0)), (0.2, 3.0, (3.0, 4.0)))
    off = sum(w * np.array(d) for w, _, d in parts) / sum(w for w, _, _ in parts)

    def coma(shape, centre):
        return sum(w * gaussian(shape, (s, s), np.array(centre) + d - off) for w, s, d in parts)

    shape = (200, 200)
    mean = 20 + 9000 * sum(coma(shape, c) for c in scattered(shape, 20, 26, seed=5))
    found = psf.from_points(torch.from_numpy(np.random.default_rng(0).poisson(mean) * 1.0), size=25)
    expected = torch.from_numpy(coma((25, 25), (12, 12)))
    assert relative(found.psf, expected / expected.sum()) < 0.04
    at = torch.arange(25.0).double() - 12
    assert abs(float(at @ found.psf.sum(1))) < 0.01
    assert abs(float(at @ found.psf.sum(0))) < 0.01


def test_neighbours_are_fitted_jointly():
    near = PLACES[:6] + np.array([4.3, 5.2])
    places = np.concatenate([PLACES, near])
    found = psf.from_points(picture(SHAPE, SIGMA, places), size=13)
    assert len(found.positions) == 18
    assert nearest(found, places).max() < 0.12
    assert relative(found.psf, true_psf((13, 13), SIGMA)) < 0.025


def test_positions_that_are_given():
    found = psf.from_points(COUNTS, torch.from_numpy(PLACES[:7]).round(), size=13)
    assert len(found.positions) == 7
    assert np.linalg.norm(found.positions.numpy() - PLACES[:7], axis=1).max() < 0.1
    assert relative(found.psf, true_psf((13, 13), SIGMA)) < 0.03


def test_pixels_that_were_not_seen():
    holes = COUNTS.clone()
    holes[torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.03] = torch.nan
    row, column = PLACES[0].round().astype(int)
    holes[row, column - 3 : column + 3] = torch.inf
    found = psf.from_points(holes, size=13)
    assert len(found.positions) == 11
    assert "not seen" in found.refused[0].why
    assert relative(found.psf, true_psf((13, 13), SIGMA)) < 0.025


def test_saturated_points_are_left_out():
    bright = picture(SHAPE, SIGMA, PLACES[:2], peak=9000, background=0)
    full = (COUNTS + bright).clamp(max=2500)
    for saturation in ("auto", 2500):
        found = psf.from_points(full, size=13, saturation=saturation)
        assert len(found.positions) == 10
        for refused in found.refused:
            assert np.linalg.norm(PLACES[:2] - np.array(refused.position), axis=1).min() < 3
        assert all("saturated" in r.why for r in found.refused)
        assert relative(found.psf, true_psf((13, 13), SIGMA)) < 0.025
    taken = psf.from_points(full, size=13, saturation="off")
    assert not any("saturated" in r.why for r in taken.refused)


def test_what_is_no_point_like_the_others():
    odd = COUNTS.clone()
    odd[20:26, 60:66] += 1500
    places = torch.from_numpy(np.concatenate([PLACES, [[22.5, 62.5]]]))
    found = psf.from_points(odd, places, size=13)
    assert any("unlike the others" in r.why for r in found.refused)
    assert relative(found.psf, true_psf((13, 13), SIGMA)) < 0.03


def test_doubts():
    few = psf.from_points(picture(SHAPE, SIGMA, PLACES[:2]), size=13)
    assert "only 2 points" in few.doubts["points"]
    faint = psf.from_points(
        picture(SHAPE, SIGMA, PLACES, peak=60), torch.from_numpy(PLACES), size=13
    )
    assert "more or brighter" in faint.doubts["noise"]
    assert "larger size" in psf.from_points(COUNTS, size=5).doubts["size"]
    assert "convergence" in psf.from_points(COUNTS, size=13, maxiter=1).doubts
    mixed = picture(SHAPE, SIGMA, PLACES[:6]) + picture(SHAPE, (2.2, 2.6), PLACES[6:], background=0)
    assert "not all one psf" in psf.from_points(mixed, size=13).doubts["model"]


def test_the_image_is_untouched_and_keeps_its_kind():
    image = COUNTS.float().requires_grad_()
    before = image.detach().clone()
    found = psf.from_points(image, size=9)
    assert torch.equal(image.detach(), before)
    assert found.psf.dtype == F64
    assert not found.psf.requires_grad


def test_where_positions_show_nothing_but_noise():
    grain = torch.randn(30, 30, generator=torch.Generator().manual_seed(0), dtype=F64)
    with pytest.raises(ValueError, match="none of 2 points can be used"):
        psf.from_points(5 * grain, torch.tensor([[10.0, 10.0], [20.0, 20.0]]), size=7)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (torch.ones(40, 40), {"size": 9}, ("no point of light", "give positions")),
        (torch.full((40, 40), torch.nan), {"size": 9}, ("no pixel", "finite")),
        (COUNTS, {"size": 8}, ("size=8", "odd", "9")),
        (COUNTS, {"size": 141}, ("size=141", "larger than the picture")),
        (COUNTS, {"size": (9, 9, 9)}, ("2 numbers",)),
        (COUNTS[0], {"size": 9}, ("(H, W)",)),
        (COUNTS.clamp(max=50), {"size": 9}, ("saturated, it reaches 50", "saturation='off'")),
        (COUNTS, {"size": 9, "positions": torch.tensor([[1.0, 200.0]])}, ("outside", "(1, 200)")),
        (COUNTS, {"size": 9, "positions": torch.ones(3)}, ("(number of points, 2)",)),
        (COUNTS, {"size": 9, "positions": torch.tensor([[0.0, 0.0]])}, ("not seen",)),
        (1e-200 * COUNTS, {"size": 9}, ("1.03e-197", "scale it")),
        (COUNTS, {"size": 9, "saturation": "on"}, ("saturation='on'", "'auto', 'off'")),
    ],
)
def test_refused(image, options, words):
    with pytest.raises(ValueError, match=r"\.$") as error:
        psf.from_points(image, **options)
    assert_says(error, *words)
