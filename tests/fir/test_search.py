"""Residuals by size, and the smallest size that is exact."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from unconv.fir import inverse_kernel, residuals_by_size, smallest_inverse

from ..helpers import F64, randn

PLUS = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)


def test_residuals_never_grow_with_the_size():
    f = randn(3, 4)
    found = residuals_by_size(f, [1, (2, 3), 5, 9], delay="best")
    assert [size for size, _ in found] == [(1, 1), (2, 3), (5, 5), (9, 9)]
    assert all(b <= a + 1e-12 for (_, a), (_, b) in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("f", "power"),
    [
        (torch.tensor([1.0, 1.0]), 0.5),  # a point on the circle
        (torch.tensor([1.0, 2.0, 1.0]), 0.5),  # the same twice
        (PLUS, 0.5),  # curves
        (torch.tensor([[1.0, 1.0], [1.0, 0.0]]), 1.0),  # points in the plane
    ],
)
def test_zeros_on_the_torus_slow_the_residual_down(f, power):
    (_, a), (_, b) = residuals_by_size(f, [31, 62])
    assert math.log2(a / b) == pytest.approx(power, abs=0.06)


def test_without_zeros_the_residual_falls_exponentially():
    """Like ρ^(size/2) for a centred g, ρ the modulus of the root next to the circle."""
    f = torch.tensor([1.0, 4.0, 2.0], dtype=F64)
    residuals = [r for _, r in residuals_by_size(f, [20, 30, 40])]
    root = 2 - 2**0.5
    for a, b in itertools.pairwise(residuals):
        assert b / a == pytest.approx(root**5, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2, 1, 5), (4,)),  # two coprime polynomials: k − 1, Sylvester
        ((3, 1, 3, 3), (2, 4)),
        ((4, 1, 2, 2, 2), (1, 2, 3)),
        ((1, 3, 3, 3), (2, 4)),
        ((3, 2, 4), (6,)),
        ((1, 1, 1, 1), (1, 1)),
    ],
)
def test_smallest(shape, size):
    f = randn(*shape)
    found = smallest_inverse(f)
    assert found.size == size
    assert found.residual <= 1e-10
    for axis in range(len(size)):
        less = tuple(s - (a == axis) for a, s in enumerate(size))
        if min(less):
            assert inverse_kernel(f, less, delay="best").residual > 1e-3


@pytest.mark.parametrize(("nd", "k"), [(1, 4), (2, 2), (2, 4), (3, 2)])
def test_generic_square_size(nd, k):
    f, size = randn(nd + 1, 1, *[k] * nd), nd * (k - 1)
    assert inverse_kernel(f, size, delay="best").residual < 1e-10
    if size > 1:
        assert inverse_kernel(f, size - 1, delay="best").residual > 1e-3


def test_square_channels_may_have_one_too():
    """A shear [[1, a], [0, 1]] has the inverse [[1, −a], [0, 1]]."""
    f = torch.zeros(2, 2, 3, dtype=F64)
    f[0, 0, 0] = f[1, 1, 0] = 1
    f[0, 1] = randn(3)
    found = smallest_inverse(f)
    assert found.size == (3,)
    assert torch.allclose(found.response[:, :, found.delay[0]], torch.eye(2, dtype=F64))


@pytest.mark.parametrize(
    ("f", "options", "says"),
    [
        (PLUS, {}, r"no size up to 5 reaches tol=1e-10: .*no stable inverse exists"),
        (randn(2, 1, 3), {"max_size": 1}, "use a larger max_size"),
        (PLUS, {"max_size": 0}, "max_size=0"),
        (PLUS, {"tol": 0.0}, "tol=0.0 must be a finite number > 0"),
    ],
)
def test_failures(f, options, says):
    with pytest.raises(ValueError, match=says):
        smallest_inverse(f, **options)


def test_tolerance_is_the_callers():
    assert smallest_inverse(PLUS, tol=0.45, max_size=20).residual <= 0.45
