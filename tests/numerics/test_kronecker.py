"""Products along axes, and the two halves of a matrix that commutes with reversal."""

from __future__ import annotations

import pytest
import torch

from unconv.grid.geometry import Axis
from unconv.grid.modes import MODES
from unconv.inverse.diagonal.outer_product import axis_matrix, is_centrosymmetric
from unconv.numerics.kronecker import (
    AxisSVD,
    contract,
    matrix_svds,
    merge,
    merge_axes,
    parity_svds,
    split,
    split_axes,
)

from ..helpers import C128, DOUBLES, randn, relative


def matrix_of(basis: AxisSVD) -> torch.Tensor:
    return (basis.U * basis.S[..., None, :]) @ basis.V.mH


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("lead", [(1, 1), (2, 3)])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 1), (0, 2)])
def test_thin_svds(dtype, lead, shape):
    A = randn(*lead, *shape, dtype=dtype)
    found = matrix_svds(A)
    assert found.S.dtype == torch.float64
    assert relative(matrix_of(found), A) < 1e-14
    assert relative(found.U.mH @ found.U, torch.eye(min(shape)).expand(*lead, -1, -1)) < 1e-14


@pytest.mark.parametrize("dims", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 2, 3)])
def test_merge_is_the_transpose_of_split(dims, shape):
    x = randn(*shape)
    parts = split_axes(x, dims)
    others = [randn(*p.shape, seed=1 + i) for i, p in enumerate(parts)]
    product = sum(torch.sum(p * o) for p, o in zip(parts, others, strict=True))
    assert abs(float(torch.sum(x * merge_axes(others, reversed(dims))) - product)) < 1e-13


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("taps", [2, 3, 5])
def test_reversal_is_seen_exactly_where_it_holds(mode, stride, dilation, taps):
    k = randn(taps)
    k = k + k.flip(0)
    seen = 0
    for n in range(2, 14):
        for before in range(n):
            for after in range(n):
                room = n + before + after - dilation * (taps - 1) - 1
                if room < 0:
                    continue
                axis = Axis(n, room // stride + 1, taps, stride, dilation, before, after, mode)
                A = axis_matrix(axis, k)
                claimed = is_centrosymmetric(axis, k)
                seen += claimed
                if claimed:
                    assert relative(A.flip(0, 1), A) < 1e-15
                    assert not is_centrosymmetric(axis, k + torch.arange(taps))
    assert seen


@pytest.mark.parametrize(("m", "n"), [(4, 6), (5, 7), (3, 3), (8, 7), (1, 2)])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_parities_make_up_the_matrix(m, n, dtype):
    A = randn(2, 1, m, n, dtype=dtype)
    A = A + A.flip(-2, -1)
    even, odd = parity_svds(A)
    x = randn(n, dtype=dtype)
    parts = [
        matrix_of(basis) @ half
        for basis, half in zip((even, odd), split(x, 0), strict=True)
    ]  # fmt: skip
    assert relative(merge(*parts, -1), A @ x) < 1e-14
    S = torch.cat([even.S, odd.S], -1).sort(-1, descending=True).values
    assert relative(S[..., : min(m, n)], torch.linalg.svdvals(A)) < 1e-14


@pytest.mark.parametrize("lead", [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("dim", [2, 3, 4])
def test_contract(lead, dim):
    X = randn(3, 2, 4, 5, 6, dtype=C128)
    F = randn(*lead, 7, X.shape[dim], dtype=C128)
    expected = torch.einsum("ngij,ng...j->ng...i", F.expand(3, 2, -1, -1), X.movedim(dim, -1))
    assert relative(contract(X, F, dim), expected.movedim(-1, dim)) < 1e-15
    assert contract(X, None, dim) is X
