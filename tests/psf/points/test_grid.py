"""Psfs over a grid, of beads whose psf varies in a known way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unconv import psf

from ...helpers import assert_says, relative
from .beads import gaussian, picture, scattered, true_psf

SHAPE = (160, 220)


def varying(places: np.ndarray, seed: int) -> torch.Tensor:
    """σ along the rows grows from 1.2 to 2.4 with the column."""
    mean = 10 + sum(
        25000 * gaussian(SHAPE, (1.5, 1.2 + 1.2 * c / SHAPE[1]), (r, c)) for r, c in places
    )
    return torch.from_numpy(np.random.default_rng(seed).poisson(mean) * 1.0)


def test_each_node_has_its_psf():
    places = scattered(SHAPE, 55, 16, seed=2)
    found = psf.grid_from_points(varying(places, 0), grid=(2, 3), size=15)
    assert found.psfs.shape == (2, 3, 15, 15)
    assert [len(x) for x in found.nodes] == [2, 3]
    assert found.nodes[1].tolist() == pytest.approx([220 / 6 - 0.5, 109.5, 220 * 5 / 6 - 0.5])
    assert float(found.counts.sum()) == pytest.approx(len(found.whole.positions))
    assert relative(found.psfs.sum((2, 3)), torch.ones(2, 3).double()) < 1e-12
    for i in range(2):
        for j, column in enumerate(found.nodes[1].tolist()):
            expected = true_psf((15, 15), (1.5, 1.2 + 1.2 * column / SHAPE[1]))
            own = relative(found.psfs[i, j], expected)
            assert own < 0.05
            assert j == 1 or own < 0.5 * relative(found.whole.psf, expected)
    assert "model" in found.whole.doubts
    assert found.doubts == {}


def test_one_node_has_the_psf_of_all():
    places = scattered((80, 80), 8, 18, seed=1)
    image = picture((80, 80), (1.5, 1.5), places)
    found = psf.grid_from_points(image, grid=1, size=13)
    alone = psf.from_points(image, size=13)
    assert relative(found.psfs[0, 0], alone.psf) < 2e-3
    assert found.counts.item() == pytest.approx(8)


def test_nodes_without_points():
    places = scattered((60, 60), 8, 14, seed=1)
    image = picture((60, 200), (1.5, 1.5), places)
    found = psf.grid_from_points(image, grid=(1, 3), size=13)
    assert "less than one" in found.doubts["(0, 2)"]
    assert torch.equal(found.psfs[0, 2], found.whole.psf)


def test_in_three_dimensions():
    shape = (24, 50, 80)
    places = scattered(shape, 16, 13, seed=0)
    found = psf.grid_from_points(picture(shape, (1.4, 1.2, 1.2), places), grid=(1, 1, 2), size=9)
    assert found.psfs.shape == (1, 1, 2, 9, 9, 9)
    assert found.fwhm.shape == (1, 1, 2, 3)
    for h in found.psfs[0, 0]:
        assert relative(h, true_psf((9, 9, 9), (1.4, 1.2, 1.2))) < 0.04


@pytest.mark.parametrize(
    ("grid", "words"), [((2, 3, 4), ("2 numbers",)), (0, ("grid=0", "at least 1")), (65, ("64",))]
)
def test_refused(grid, words):
    with pytest.raises(ValueError, match=r"\.$") as error:
        psf.grid_from_points(torch.ones(40, 40), grid=grid, size=9)
    assert_says(error, *words)
