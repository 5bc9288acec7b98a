"""Point-spread functions: laws that all share, and each against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from unconv import psf

from ..helpers import (
    F64,
    assert_says,
)

SIZES = st.floats(0.01, 12)
ANGLES = st.floats(-720, 720)
KINDS = [psf.gaussian, psf.disk, lambda length: psf.motion(length, 30)]


def is_psf(values: torch.Tensor) -> None:
    assert values.dtype == F64
    assert values.ndim == 2
    assert all(k % 2 == 1 for k in values.shape)
    assert float(values.min()) >= 0
    assert float(values.sum()) == pytest.approx(1, abs=1e-13)
    torch.testing.assert_close(values, values.flip(0, 1), rtol=0, atol=1e-12)


@given(sigma=SIZES, truncate=st.floats(0.1, 6))
def test_gaussian_is_a_psf(sigma, truncate):
    values = psf.gaussian(sigma, truncate=truncate)
    is_psf(values)
    assert values.shape == (2 * math.floor(truncate * sigma + 0.5) + 1,) * 2


@given(radius=SIZES)
def test_disk_is_a_psf(radius):
    values = psf.disk(radius)
    is_psf(values)
    torch.testing.assert_close(values, values.rot90(), rtol=0, atol=1e-14)
    inside = (values.shape[0] - 1) / 2 - 0.5  # the outermost ring is touched, and no more than it
    assert inside < radius <= inside + 1 or values.shape == (1, 1)


@given(length=SIZES, angle=ANGLES)
def test_motion_is_a_psf(length, angle):
    values = psf.motion(length, angle)
    is_psf(values)
    for size, part in zip(
        values.shape, (math.sin(math.radians(angle)), math.cos(math.radians(angle))), strict=True
    ):
        assert (size - 2) / 2 <= length * abs(part) / 2 + 1e-9 <= size / 2 + 1e-6 or size == 1


@given(length=SIZES, angle=st.integers(-360, 360))
def test_motion_turns_with_its_angle(length, angle):
    values = psf.motion(length, angle)
    for other, same in (
        (angle + 180, values),
        (-angle, values.flip(0)),
        (180 - angle, values.flip(1)),
        (angle + 90, values.rot90()),
    ):
        found = psf.motion(length, other)
        # a path that ends on an edge may or may not reach the next pixel, with weight 0
        assert max(abs(a - b) for a, b in zip(found.shape, same.shape, strict=True)) <= 2
        if found.shape == same.shape:
            torch.testing.assert_close(found, same, rtol=0, atol=1e-9)


# Each against its definition


@pytest.mark.parametrize("truncate", [2.0, 4.0])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0, 3.7])
def test_gaussian_is_that_of_scipy(sigma, truncate):
    values = psf.gaussian(sigma, truncate=truncate)
    delta = np.zeros(values.shape)
    delta[tuple(k // 2 for k in values.shape)] = 1
    expected = gaussian_filter(delta, sigma, mode="constant", truncate=truncate)
    torch.testing.assert_close(values, torch.from_numpy(expected), rtol=0, atol=1e-15)


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.51, 1.0, 1.5, 2.3, math.sqrt(4.5), 4.0, 5.7])
def test_disk_is_the_area_in_each_pixel(radius):
    values = psf.disk(radius)
    k = values.shape[0]
    fine = max(64, 1024 // k)  # sub-pixels along a side
    t = (torch.arange(k * fine, dtype=F64) + 0.5) / fine - k / 2
    inside = (t[:, None] ** 2 + t**2 <= radius**2).double()
    area = inside.reshape(k, fine, k, fine).mean((1, 3))
    torch.testing.assert_close(values, area / (math.pi * radius**2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("radius", [1.0, 2.3, 4.0])
def test_full_pixels_of_a_disk_are_even(radius):
    values, middle = psf.disk(radius), psf.disk(radius).shape[0] // 2
    assert float(values[middle, middle]) == pytest.approx(1 / (math.pi * radius**2), rel=1e-13)


@pytest.mark.parametrize("angle", [0, 90, 180, -90, 270, 450])
def test_motion_along_an_axis(angle):
    def path(length):
        values = psf.motion(length, angle)
        return values.mT if angle % 180 else values

    for length, expected in (
        (1, [1.0]),
        (0.2, [1.0]),
        (5, [0.2] * 5),
        (4, [0.125, 0.25, 0.25, 0.25, 0.125]),
        (2.5, [0.3, 0.4, 0.3]),
    ):
        torch.testing.assert_close(
            path(length), torch.tensor([expected], dtype=F64), rtol=0, atol=1e-15
        )


def test_motion_at_45_degrees_runs_from_lower_left_to_upper_right():
    end, middle = 0.5 - math.sqrt(2) / 8, math.sqrt(2) / 4
    expected = torch.diag(torch.tensor([end, middle, end], dtype=F64))
    rising = expected.flip(0)  # row 0 is the uppermost
    torch.testing.assert_close(psf.motion(4, 45), rising, rtol=0, atol=1e-14)
    torch.testing.assert_close(psf.motion(4, 135), expected, rtol=0, atol=1e-14)


def test_motion_that_ends_in_a_corner():
    expected = torch.eye(3, dtype=F64).flip(0) / 3
    torch.testing.assert_close(psf.motion(3 * math.sqrt(2), 45), expected, rtol=0, atol=1e-9)


def test_motion_is_counter_clockwise():
    values = psf.motion(15, 30)
    assert values.shape[1] > values.shape[0]
    rows, columns = values.nonzero().T - torch.tensor(values.shape)[:, None] // 2
    assert bool((columns[rows < 0] > 0).all())  # above the middle: right of it
    assert bool((columns[rows > 0] < 0).all())


@pytest.mark.parametrize(("length", "angle"), [(15, 30), (7.3, -64), (9, 45), (20.5, 171), (3, 8)])
def test_motion_is_the_length_in_each_pixel(length, angle):
    values = psf.motion(length, angle)
    n = 200_000
    t = (np.arange(n) + 0.5) / n * length - length / 2
    rows = np.rint(-t * math.sin(math.radians(angle))).astype(int) + values.shape[0] // 2
    columns = np.rint(t * math.cos(math.radians(angle))).astype(int) + values.shape[1] // 2
    expected = np.zeros(values.shape)
    np.add.at(expected, (rows, columns), 1 / n)
    torch.testing.assert_close(values, torch.from_numpy(expected), rtol=0, atol=1e-4)


# Bad sizes


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("size", [0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_sizes_that_are_none(make, size):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        make(size)
    assert_says(error, f"={size}", "finite number > 0")


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("size", [5000, 1e9])
def test_sizes_that_are_mistakes(make, size):
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        make(size)
    assert_says(error, "4097", "pixels")


@pytest.mark.parametrize("make", KINDS)
def test_astronomic_sizes(make):
    with pytest.raises(ValueError, match=r"^[^\n]{,200}\.$"):
        make(1e308)


@pytest.mark.parametrize("make", [psf.gaussian, lambda length: psf.motion(length, 30)])
def test_tiny_sizes_are_a_point(make):
    assert make(1e-300).tolist() == [[1.0]]


def test_tiny_disk_is_a_point():
    assert psf.disk(1e-200).tolist() == [[1.0]]


@pytest.mark.parametrize("truncate", [0, -4, math.nan])
def test_truncate(truncate):
    with pytest.raises(ValueError, match=r"truncate=.* must be a finite number > 0"):
        psf.gaussian(1, truncate=truncate)


@pytest.mark.parametrize("angle", [math.nan, math.inf])
def test_angle(angle):
    with pytest.raises(ValueError, match=r"angle=.* must be a finite number of degrees"):
        psf.motion(5, angle)


def test_large_ones_are_made():
    assert psf.disk(1000).shape == (2001, 2001)
    assert psf.motion(4097, 0).shape == (1, 4097)
