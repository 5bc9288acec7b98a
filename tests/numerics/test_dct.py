"""The cosine transform against its matrix."""

from __future__ import annotations

import math

import pytest
import torch

from unconv.numerics.dct import dct, idct

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    SINGLES,
    randn,
    relative,
)

SIZES = [*range(1, 10), 16, 37, 64]


def cosine_matrix(n: int) -> torch.Tensor:
    q, j = torch.arange(n)[:, None], torch.arange(n)
    C = torch.cos((q * (2 * j + 1) % (4 * n)).double() * (math.pi / (2 * n))) * math.sqrt(2 / n)
    C[0] /= math.sqrt(2)
    return C


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DOUBLES + SINGLES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_equals_the_matrix(n, dtype, dim):
    shape = [2, 3, 4]
    shape[dim] = n
    x = randn(*shape, dtype=dtype)
    wide = x.to(C128 if dtype.is_complex else F64)
    C = cosine_matrix(n).to(wide.dtype)
    tol = 1e-14 if dtype in DOUBLES else 2e-6
    for transform, matrix in ((dct, C), (idct, C.mT)):
        expected = torch.movedim(torch.tensordot(matrix, wide, dims=([1], [dim % 3])), 0, dim)
        found = transform(x, dim)
        assert found.dtype == dtype
        assert relative(found, expected) < tol


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("transform", [dct, idct])
def test_gradients(n, dtype, transform):
    x = randn(2, n, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: transform(x, 1), x)
    assert torch.autograd.gradgradcheck(lambda x: transform(x, 1), x)
