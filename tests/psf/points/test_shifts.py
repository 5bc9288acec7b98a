"""Psfs between the samples: against integrals over pixels, and derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf

from unconv.psf.points.shifts import along_axes, shift_matrices

from ...helpers import F64, relative


def pixel_gaussian(n: int, sigma: float, centre: float) -> torch.Tensor:
    edges = (np.arange(n + 1) - 0.5 - centre) / (sigma * np.sqrt(2))
    return torch.from_numpy(np.diff(erf(edges)) / 2)


@pytest.mark.parametrize(("sigma", "error"), [(0.6, 4.2e-2), (1, 4e-3), (1.5, 2.1e-3), (2.5, 2e-3)])
def test_moved_integrals_over_pixels(sigma, error):
    delta = torch.linspace(-0.5, 0.5, 9, dtype=F64)
    S, _ = shift_matrices(delta, 25, 3)
    for d, matrix in zip(delta.tolist(), S, strict=True):
        moved = matrix @ pixel_gaussian(25, sigma, 12)
        assert relative(moved, pixel_gaussian(31, sigma, 15 + d)) < error


def test_constants_and_sums_are_kept():
    S, _ = shift_matrices(torch.tensor([-0.37, 0.0, 0.2], dtype=F64), 21, 6)
    ones = torch.ones(3, dtype=F64)
    torch.testing.assert_close(S.sum(2)[:, 16], ones)  # a row in the middle
    torch.testing.assert_close(S.sum(1)[:, 10], ones)  # a sample far from the ends
    torch.testing.assert_close(S[1, 6:-6], torch.eye(21, dtype=F64), atol=1e-12, rtol=0)


def test_the_slope_is_that_of_differences():
    delta, step = torch.tensor([-0.5, -0.2, 0.0, 3e-5, 0.41], dtype=F64), 1e-6
    _, slope = shift_matrices(delta, 9, 2)
    up, down = (shift_matrices(delta + s, 9, 2)[0] for s in (step, -step))
    torch.testing.assert_close(slope, (up - down) / (2 * step), atol=1e-7, rtol=0)


def test_along_axes_is_a_product_of_matrices():
    g = torch.Generator().manual_seed(0)
    M = [torch.randn(2, 4 + a, 3 + a, generator=g, dtype=F64) for a in range(3)]
    h = torch.randn(1, 3, 4, 5, generator=g, dtype=F64)
    expected = torch.einsum("jax,jby,jcz,xyz->jabc", *M, h[0])
    torch.testing.assert_close(along_axes(M, h), expected)
