"""What a measured psf should not have: seen where it is, not where it is not, and taken off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from unconv import psf

from ..helpers import (
    C128,
    F64,
    assert_says,
    randn,
    relative,
)


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
    "thick block": torch.nn.functional.pad(torch.ones(5, 5, 5), (3, 3, 3, 3, 0, 0)),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong(name):
    found = psf.check(GOOD[name])
    assert found.doubts == {}
    assert found.centroid == pytest.approx([0] * GOOD[name].ndim, abs=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "disk", "large disk", "motion"])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_an_offset_is_seen_and_taken_off(name, noise):
    k = torch.nn.functional.pad(GOOD[name], (2, 2, 2, 2))
    counts = 4000 * k / k.max() + 100
    counts = counts + noise * torch.randn(k.shape, generator=torch.Generator().manual_seed(0))
    found = psf.check(counts)
    assert found.rim == pytest.approx(100 / 4100, rel=0.1)
    assert set(found.doubts) == {"background"}
    assert "% of its sum" in found.doubts["background"].finding
    clean = psf.without_background(counts)
    assert psf.check(clean).doubts == {}
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
    found = psf.check(k)
    assert found.centroid == pytest.approx(by, abs=0.02)
    assert set(found.doubts) == {"centre"}
    for word in words:
        assert word in found.doubts["centre"].finding
    moved = psf.center(k)
    assert all(n % 2 for n in moved.shape)
    assert psf.check(moved).doubts == {}
    assert float(moved.sum()) == pytest.approx(float(k.sum()))
    H, W = (n // 2 for n in moved.shape)
    expected = psf.gaussian(1.5)
    assert relative(moved[H - 6 : H + 7, W - 6 : W + 7], expected) < 0.01


def test_whole_samples_are_moved_exactly():
    k = torch.zeros(6, 7, dtype=F64)
    k[1, 2] = 1
    moved = psf.center(k)
    h, w = (n // 2 for n in moved.shape)
    assert float(moved[h, w]) == pytest.approx(1, abs=1e-12)
    assert float(moved.abs().sum()) == pytest.approx(1, abs=1e-12)


def test_an_even_psf_has_its_middle_between_samples():
    t = torch.arange(8.0).double() - 3.5
    line = torch.exp(-(t**2) / 4)
    k = torch.outer(line, line)
    assert "0.50 samples above" in psf.check(k).doubts["centre"].finding
    assert psf.check(psf.center(k)).doubts == {}


def volume(*sigmas: float) -> torch.Tensor:
    lines = [torch.exp(-0.5 * (torch.arange(-9.0, 10.0).double() / s) ** 2) for s in sigmas]
    values = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return values / values.sum()


def test_a_volume_is_looked_at_like_a_plane():
    clean = volume(2.5, 1.5, 1.5)
    found = psf.check(clean)
    assert found.doubts == {}
    assert found.width == pytest.approx([s * math.sqrt(2 * math.pi) for s in (2.5, 1.5, 1.5)], 1e-3)
    moved = torch.nn.functional.pad(clean, (2, 0, 0, 4, 2, 0))
    found = psf.check(moved)
    assert found.centroid == pytest.approx((1, -2, 1), abs=1e-6)
    words = "1.00 samples to the back and 2.00 samples above and 1.00 samples right"
    assert words in found.doubts["centre"].finding
    assert psf.check(psf.center(moved)).doubts == {}
    counts = 4000 * clean / clean.max() + 100
    assert set(psf.check(counts).doubts) == {"background"}
    assert relative(psf.measured(psf.without_background(counts)), clean) < 0.03
    assert set(psf.check(volume(0.4, 2, 2)).doubts) == {"sampling"}  # coarse planes alone


@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.61, 0.65, 1.5])
def test_what_is_narrower_than_its_samples_is_doubted(sigma):
    found = psf.check(psf.gaussian(sigma, truncate=8))
    assert (set(found.doubts) == {"sampling"}) == (sigma < 0.63)
    # the theta function: the transfer function of samples is that of the light, folded
    k = torch.arange(-20, 21).double()
    folded = torch.exp(-2 * (math.pi * sigma * (0.5 + k)) ** 2).sum()
    whole = torch.exp(-2 * (math.pi * sigma * k) ** 2).sum()
    assert found.nyquist == pytest.approx([float(folded / whole)] * 2, rel=1e-6)


def test_a_point_is_narrow_and_negative_light_is_none():
    found = psf.check(torch.ones(1, 1))
    assert found.width == (1, 1)
    assert found.nyquist == (1, 1)
    assert "100 % of its transfer function" in str(found.doubts["sampling"])
    k = torch.nn.functional.pad(psf.gaussian(1.5), (3, 3, 3, 3))
    k[2, 2] = -0.05
    found = psf.check(k)
    assert found.negative == pytest.approx(0.05 / 0.95)
    assert set(found.doubts) == {"negative"}
    k[2, 2] = -2
    assert psf.check(k).doubts["sum"].finding == "it sums to -1, and light cannot"


def test_arguments_are_untouched():
    k = psf.gaussian(1.0) + 0.01
    before = k.clone()
    for function in (psf.check, psf.without_background, psf.center):
        function(k)
    assert torch.equal(k, before)


@pytest.mark.parametrize("function", [psf.check, psf.without_background, psf.center])
def test_refused(function):
    for bad, error in (
        (torch.zeros(3, 3), ValueError),
        (-torch.ones(3, 3), ValueError),
        (torch.full((3, 3), torch.nan), ValueError),
        (torch.ones(3), ValueError),
        (torch.ones(3, 3, 3, 3), ValueError),
        (torch.ones(3, 3) * 1j, TypeError),
    ):
        with pytest.raises(error, match="psf"):
            function(bad)


def test_a_background_above_everything_is_refused():
    with pytest.raises(ValueError, match="no sample") as error:
        psf.without_background(psf.gaussian(1.0), 7.0)
    assert_says(error, "background of 7", "lower")


# Measured ones


@pytest.mark.parametrize("dtype", [F64, torch.float32, torch.float16, torch.uint8, torch.int32])
def test_measured_is_scaled_to_one(dtype):
    values = torch.tensor([[1, 2], [3, 0], [0, 4]], dtype=dtype)
    before = values.clone()
    found = psf.measured(values)
    assert found.dtype == F64
    assert found.tolist() == (before.double() / 10).tolist()
    assert torch.equal(values, before)


@pytest.mark.parametrize("factor", [1e-300, 1e-6, 1e6, 1e300])
def test_measured_whatever_the_unit(factor):
    values = randn(5, 4).abs()
    assert relative(psf.measured(values * factor), psf.measured(values)) < 1e-14


def test_measured_may_be_negative_in_places():
    values = torch.tensor([[-1.0, 4.0, -1.0]])
    assert psf.measured(values).tolist() == [[-0.5, 2.0, -0.5]]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (torch.zeros(3, 3), ("sums to 0", "positive")),
        (torch.tensor([[1.0, -1.0]]), ("sums to 0", "positive")),
        (torch.tensor([[1.0, -3.0]]), ("sums to -2", "positive")),
        (torch.tensor([[0.1, 0.2, -0.3]]).double(), ("positive",)),  # 2.8e-17, which is round-off
        (torch.tensor([[1.0, math.nan]]), ("NaN", "remove")),
        (torch.tensor([[1.0, math.inf]]), ("infinite", "remove")),
        (torch.ones(1, 1, 3, 3), ("2-D", "3-D", "(1, 1, 3, 3)")),
        (torch.ones(3), ("2-D", "(3,)")),
        (torch.ones(0, 3), ("2-D", "(0, 3)")),
    ],
    ids=str,
)
def test_measured_refuses(values, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.measured(values)
    assert_says(error, *parts)


@pytest.mark.parametrize("values", [torch.ones(2, 2, dtype=C128), np.ones((2, 2))], ids=type)
def test_measured_refuses_kinds(values):
    with pytest.raises(TypeError):
        psf.measured(values)
