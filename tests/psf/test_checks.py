"""What a measured psf should not have: seen where it is, not where it is not, and taken off."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from unconv import psf

from ..helpers import F64, assert_says, relative


def offset(k: torch.Tensor, rows: float, columns: float) -> torch.Tensor:
    """Moved on a grid that is large enough."""
    grown = torch.nn.functional.pad(k, (4, 4, 4, 4)).numpy()
    return torch.from_numpy(ndimage.shift(grown, (rows, columns), order=5, prefilter=True))


GOOD = {
    "gaussian": psf.gaussian(1.5),
    "cut at three deviations": psf.gaussian(1.5, truncate=3),
    "disk": psf.disk(3),
    "small disk": psf.disk(1),
    "large disk": psf.disk(7.3),
    "motion": psf.motion(15, 30),
    "line": psf.motion(5, 0),
    "box": torch.ones(5, 5),
    "diagonal": torch.eye(5),
    "point": torch.ones(1, 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong(name):
    found = psf.examine(GOOD[name])
    assert found.doubts == {}
    assert found.centroid == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "disk", "large disk", "motion"])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_an_offset_is_seen_and_taken_off(name, noise):
    k = torch.nn.functional.pad(GOOD[name], (2, 2, 2, 2))
    counts = 4000 * k / k.max() + 100
    counts = counts + noise * torch.randn(k.shape, generator=torch.Generator().manual_seed(0))
    found = psf.examine(counts)
    assert found.rim == pytest.approx(100 / 4100, rel=0.1)
    assert set(found.doubts) == {"background"}
    assert "% of its sum" in found.doubts["background"]
    clean = psf.without_background(counts)
    assert psf.examine(clean).doubts == {}
    assert relative(psf.measured(clean), k) < 0.03
    known = psf.without_background(counts, 100.0)
    assert relative(psf.measured(known), k) < 0.03


@pytest.mark.parametrize(
    ("by", "words"),
    [((1.0, -2.0), ("1.00 samples below", "2.00 samples left")), ((-0.4, 0.0), ("0.40", "above")),
     ((0.0, 0.5), ("0.50 samples right",)), ((3.3, 2.7), ("3.30", "2.70"))],
)  # fmt: skip
def test_a_centroid_beside_the_centre_is_seen_and_moved(by, words):
    k = offset(psf.gaussian(1.5), *by)
    found = psf.examine(k)
    assert found.centroid == pytest.approx(by, abs=0.02)
    assert set(found.doubts) == {"centre"}
    for word in words:
        assert word in found.doubts["centre"]
    moved = psf.centred(k)
    assert all(n % 2 for n in moved.shape)
    assert psf.examine(moved).doubts == {}
    assert float(moved.sum()) == pytest.approx(float(k.sum()))
    H, W = (n // 2 for n in moved.shape)
    expected = psf.gaussian(1.5)
    assert relative(moved[H - 6 : H + 7, W - 6 : W + 7], expected) < 0.01


def test_whole_samples_are_moved_exactly():
    k = torch.zeros(6, 7, dtype=F64)
    k[1, 2] = 1
    moved = psf.centred(k)
    h, w = (n // 2 for n in moved.shape)
    assert float(moved[h, w]) == pytest.approx(1, abs=1e-12)
    assert float(moved.abs().sum()) == pytest.approx(1, abs=1e-12)


def test_an_even_psf_has_its_middle_between_samples():
    t = torch.arange(8.0).double() - 3.5
    line = torch.exp(-(t**2) / 4)
    k = torch.outer(line, line)
    assert "0.50 samples above" in psf.examine(k).doubts["centre"]
    assert psf.examine(psf.centred(k)).doubts == {}


def test_arguments_are_untouched():
    k = psf.gaussian(1.0) + 0.01
    before = k.clone()
    for function in (psf.examine, psf.without_background, psf.centred):
        function(k)
    assert torch.equal(k, before)


@pytest.mark.parametrize("function", [psf.examine, psf.without_background, psf.centred])
def test_refused(function):
    for bad, error in (
        (torch.zeros(3, 3), ValueError),
        (-torch.ones(3, 3), ValueError),
        (torch.full((3, 3), torch.nan), ValueError),
        (torch.ones(3), ValueError),
        (torch.ones(3, 3) * 1j, TypeError),
    ):
        with pytest.raises(error, match="psf"):
            function(bad)


def test_a_background_above_everything_is_refused():
    with pytest.raises(ValueError, match="no sample") as error:
        psf.without_background(psf.gaussian(1.0), 7.0)
    assert_says(error, "background of 7", "lower")
