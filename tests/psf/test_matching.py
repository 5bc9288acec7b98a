"""`psf.match`: psfs of one sampling or two, and what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch

from unconv import AccuracyWarning, MemoryLimitError, psf
from unconv.fir import matching_kernel

from ..helpers import F64, assert_says, relative


def test_is_the_matching_kernel_of_psfs_of_sum_one():
    a, b = psf.gaussian(1.2), psf.disk(3)
    found = psf.match(1000 * a, 7 * b, (21, 19), damp=0.01)
    expected = matching_kernel(a, b, (21, 19), damp=0.01)
    assert relative(found.kernel, expected.kernel) < 1e-12
    assert float(found.sum) == pytest.approx(1, abs=1e-3)
    assert psf.match(a, b).size == (11, 11)


def test_a_volume_is_matched():
    line = torch.exp(-0.5 * (torch.arange(-6, 7).double() / 1.2) ** 2)
    a = line[:, None, None] * line[:, None] * line
    b = a.sqrt() * a.sqrt().flip(0)
    wide = torch.nn.functional.conv3d(a[None, None], b[None, None], padding=6)[0, 0]
    assert float(psf.match(a, wide, 13).error) < 1e-3


def test_psfs_of_two_samplings_match_on_the_grid_of_the_first():
    a, fine = psf.gaussian(1.3, truncate=6), psf.gaussian(4, truncate=6)  # at 0.2 and at 0.1
    found = psf.match(a, fine, 21, voxel_a=0.2, voxel_b=0.1)
    expected = psf.match(a, psf.gaussian(2, truncate=6), 21)
    assert relative(found.kernel, expected.kernel) < 1e-6
    same = psf.match(a, fine, 21, voxel_a=0.2, voxel_b=(0.2, 0.2))
    assert torch.equal(same.kernel, psf.match(a, fine, 21).kernel)


def test_a_picture_becomes_one_of_the_other_psf():
    a, b = psf.gaussian(1.2), psf.gaussian(2.2)
    x = torch.rand(1, 1, 60, 60, generator=torch.Generator().manual_seed(0), dtype=F64)

    def blurred(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, k.flip(0, 1)[None, None], padding="same")

    y = blurred(blurred(x, a), psf.match(a, b, 23).kernel)[..., 20:40, 20:40]
    assert relative(y, blurred(x, b)[..., 20:40, 20:40]) < 1e-3


def test_doubtful_psfs_are_warned_of():
    good = psf.gaussian(1.5)
    for bad, word in (
        (good + 0.002, "rim"),
        (torch.nn.functional.pad(good, (4, 0, 0, 0)), "centroid"),
        (torch.nn.functional.pad(good, (1, 1, 1, 1), value=-0.002), "negative"),
    ):
        with pytest.warns(AccuracyWarning, match=f"^psf a: .*{word}"):
            psf.match(bad, good, 5)
        with pytest.warns(AccuracyWarning, match=f"^psf b: .*{word}"):
            psf.match_damp(good, bad, noise_psd=1.0, signal_psd=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        psf.match(good, good, 5)


GOOD = psf.gaussian(1.0)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"size": 8}, ("size=8", "odd sizes")),
        ({"size": (9, 8)}, ("size=(9, 8)", "odd sizes")),
        ({"a": torch.zeros(3, 3)}, ("a has no positive sample",)),
        ({"b": -GOOD}, ("b has no positive sample",)),
        ({"a": torch.ones(3)}, ("a must be a 2-D", "(3,)")),
        ({"b": torch.ones(3, 3, 3)}, ("2 axes", "3")),
        ({"voxel_a": 0.1}, ("voxel_a alone", "or neither")),
        ({"voxel_b": 0.1}, ("voxel_b alone",)),
        ({"voxel_a": 0.1, "voxel_b": -1}, ("voxel_b=-1",)),
        ({"voxel_a": 1.0, "voxel_b": 0.1}, ("too coarse", "pixelated")),
        ({"damp": -1}, ("damp",)),
    ],
    ids=str,
)
def test_refused(arguments, parts):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        psf.match(**{"a": GOOD, "b": GOOD, **arguments})
    assert_says(error, *parts)


def test_a_sum_that_is_not_positive():
    k = GOOD.clone()
    k[0, 0] = -3
    with (
        pytest.warns(AccuracyWarning, match="it sums to -2"),
        pytest.raises(ValueError, match="sums to -2"),
    ):
        psf.match(k, GOOD)


def test_too_large_sizes_are_refused_before_work():
    with pytest.raises(MemoryLimitError, match="smaller size"):
        psf.match(psf.disk(2.3), GOOD, 10_001)
