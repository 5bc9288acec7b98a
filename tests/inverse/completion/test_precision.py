"""Precision and estimate per frequency against dense covariances on the grid."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import ConvOperator
from unconv.convolve import grouped
from unconv.grid.fft import fast_size, largest_prime_factor
from unconv.grid.torus import Torus
from unconv.inverse.completion.precision import Precision

from ...helpers import C128, DOUBLES, F64, randn, relative

STD = 0.3


def made(channels, groups, stride, dtype, root=False):
    """(precision, the dense circular operator B = C S^½ and S^½) on a small grid."""
    weight = randn(channels * groups, 2, 3, 2, dtype=dtype)
    coarse = (4, 3)
    fine = [s * M for s, M in zip(stride, coarse, strict=True)]
    options = {"padding_mode": "circular", "stride": stride, "groups": groups}
    op = ConvOperator(weight, fine, padding=[(0, 3 - stride[0]), (0, 2 - stride[1])], **options)
    torus = Torus(coarse, tuple(stride), not dtype.is_complex)
    blocks = torus.spectrum(grouped(op.taps, op.geometry), op.geometry)
    S, half = None, torch.eye(op.shape[1], dtype=dtype)
    if root:
        power = torch.rand(*torus.spectrum_shape, dtype=F64) + 0.5
        S = power.flatten()[:, None, None, None].expand(-1, 1, groups, 2)
        eye = half.reshape(-1, *op.domain_shape)
        half = torus.inverse_transform(power * torus.transform(eye)).flatten(1).mT
    precision = Precision(torus, blocks, torch.tensor([STD], dtype=F64), S)
    return precision, op.to_dense() @ half, half


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_against_dense(channels, groups, stride, dtype):
    p, B, half = made(channels, groups, stride, dtype)
    v = B @ B.mH + STD**2 * torch.eye(len(B), dtype=dtype)
    r = randn(2, *p.shape, dtype=dtype, seed=1)
    expected = torch.linalg.solve(v, r.flatten(1).mT).mT.reshape(r.shape)
    assert relative(p.times_q(r), expected) < 1e-12
    single = r.to(torch.complex64 if r.is_complex() else torch.float32)
    assert p.times_q(single).dtype == single.dtype
    assert relative(p.times_q(single), expected) < 1e-5
    energy = torch.einsum("ni,ij,nj->n", r.flatten(1).conj(), v, r.flatten(1)).real
    assert relative(p.energy(r), energy) < 1e-12
    e = half @ B.mH @ torch.linalg.inv(v)
    x = p.estimated(p.torus.transform(r)).flatten(1)
    assert relative(x, r.flatten(1) @ e.mT) < 1e-12
    carried = p.carried(r).flatten(1)
    assert relative(carried, r.flatten(1) @ (half @ B.mH).mT) < 1e-12
    x = x.reshape(2, -1, *p.torus.fine)
    assert relative(p.estimated_adjoint(x).flatten(1), x.flatten(1) @ e.conj()) < 1e-12
    sigma = float(torch.linalg.matrix_norm(v, 2))
    assert sigma * (1 - 1e-12) <= p.largest() <= channels * sigma * (1 + 1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_with_a_spectrum(channels):
    torch.manual_seed(0)
    p, B, half = made(channels, 1, (1, 1), C128, root=True)
    v = B @ B.mH + STD**2 * torch.eye(len(B), dtype=C128)
    r = randn(2, *p.shape, dtype=C128, seed=1)
    e = half @ B.mH @ torch.linalg.inv(v)
    x = p.estimated(p.torus.transform(r)).flatten(1)
    assert relative(x, r.flatten(1) @ e.mT) < 1e-12


@pytest.mark.parametrize("n", [1, 2, 3, 17, 97, 526, 1038, 2062])
def test_fast_sizes(n):
    found = fast_size(n)
    assert found >= n
    assert n == 1 or found % 2 == 0
    assert largest_prime_factor(found) <= 13
    for between in range(n, found):
        assert between % 2 or largest_prime_factor(between) > 13
    assert found <= n * 1.05 + 2 or math.log2(found).is_integer()
