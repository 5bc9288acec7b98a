"""The table of families: what is typed, where its numbers lie, and what its kernels are."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import jn_zeros

from unconv import psf
from unconv.psf.estimation import NAMES
from unconv.psf.estimation.coarse import COARSE, reach_in
from unconv.psf.families import FAMILIES
from unconv.psf.theory import FIRST_DARK_RING

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


def drawn(family, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return [
        p.low + (p.start - p.low) * 2 * float(torch.rand((), generator=generator))
        if not p.is_angle
        else 180 * float(torch.rand((), generator=generator))
        for p in family.parameters
    ]


@every_family
@pytest.mark.parametrize("seed", range(4))
def test_a_kernel_is_a_psf_that_equals_its_point_reflection(family, seed):
    kernel = family.kernel(*drawn(family, seed))
    assert kernel.dtype == torch.float64
    assert all(n % 2 == 1 for n in kernel.shape)
    assert math.isclose(float(kernel.sum()), 1, rel_tol=1e-12)
    assert float(kernel.min()) >= 0
    torch.testing.assert_close(kernel, kernel.flip(0, 1), rtol=0, atol=1e-12)


@every_family
def test_ranges_hold_their_start_and_grow_with_the_reach(family):
    for p in family.parameters:
        assert p.low <= p.start <= p.high
        assert p.low < p.highest(3.0) <= p.highest(26.0) <= p.high
    angles = [low == -math.inf for low, _ in family.limits(10.0)]
    assert angles == list(family.turns)


@every_family
def test_what_is_typed_is_read_back(family):
    numbers = drawn(family, 7)
    name, _, typed = family.typed(numbers, 17).partition(":")
    assert name == family.name
    assert [float(v) for v in typed.split(",")] == numbers
    assert family.usage.count(",") == len(numbers) - 1


def test_what_is_estimated_is_searched():
    assert set(COARSE) == set(NAMES[1:]) == {n for n, f in FAMILIES.items() if f.is_estimated}
    for name, coarse in COARSE.items():
        reach = reach_in((300, 400))
        values = coarse.candidates(reach)
        assert values.shape[1] == len(FAMILIES[name].parameters) == len(coarse.apart)


def test_an_airy_disk_is_that_of_a_lens():
    assert math.isclose(FIRST_DARK_RING, jn_zeros(1, 1)[0] / math.pi, rel_tol=1e-15)
    lens = psf.airy(wavelength_nm=550, f_number=8, pixel_um=2.2)
    torch.testing.assert_close(FAMILIES["airy"].kernel(FIRST_DARK_RING * 0.55 * 8 / 2.2), lens)


def test_a_disk_that_a_gaussian_softens_is_both_in_turn():
    disk, spread = psf.disk(2.7), psf.gaussian(0.9)
    sizes = [a + b - 1 for a, b in zip(disk.shape, spread.shape, strict=True)]
    both = torch.fft.irfft2(
        torch.fft.rfft2(disk, s=sizes) * torch.fft.rfft2(spread, s=sizes), s=sizes
    )
    torch.testing.assert_close(FAMILIES["gaussian-disk"].kernel(2.7, 0.9), both, rtol=0, atol=1e-12)
