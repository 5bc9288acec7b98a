"""Rows, corners and holes against the dense precision on the missing outputs."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.convolve import grouped
from unconv.grid.torus import Torus
from unconv.inverse.completion.missing import missing_outputs
from unconv.inverse.completion.precision import Precision
from unconv.inverse.completion.preconditioner import Blocks, Preconditioner
from unconv.inverse.completion.rows import Rows

from ...helpers import C128, DOUBLES, F64, randn, relative


def made(
    channels=1, groups=1, size=(7, 9), kernel=(3, 4), dtype=F64, mask=None, reach=1, mirrored=()
):
    """(precision, missing, preconditioner in double precision) on a grid with spare samples."""
    weight = randn(channels * groups, 2, *kernel, dtype=dtype)
    for axis in mirrored:
        weight = weight + weight.flip(2 + axis)
    op = ConvOperator(weight, size, groups=groups)
    if mask is not None:
        op = op.observed(mask)
    coarse = tuple(n + 1 for n in size)
    torus = Torus(coarse, (1,) * len(size), not dtype.is_complex)
    blocks = torus.spectrum(grouped(op.taps, op.geometry), op.geometry)
    precision = Precision(torus, blocks, torch.tensor([0.3], dtype=F64))
    missing = missing_outputs(op.geometry, torus, op.seen, op.device)
    return precision, missing, Preconditioner(precision, missing, reach, F64)


def dense_precision(precision, missing):
    """q on the missing outputs, (K, K)."""
    K = len(missing)
    eye = torch.eye(K, dtype=F64 if precision.torus.real else C128)
    grid = eye.new_zeros(K, *precision.shape)
    grid.view(K, -1)[:, missing.where] = eye
    return precision.times_q(grid).reshape(K, -1)[:, missing.where].mT


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_parts_invert_the_precision_on_their_outputs(channels, groups, masked, dtype):
    mask = None
    if masked:
        torch.manual_seed(0)
        mask = torch.rand(channels * groups, 5, 6) > 0.2
        mask[0, 2] = mask[0, :, 4] = False  # whole lines of one channel
    precision, missing, preconditioner = made(channels, groups, dtype=dtype, mask=mask)
    q = dense_precision(precision, missing)
    r = randn(2, len(missing), dtype=dtype, seed=1)
    parts = [*preconditioner.rows, *preconditioner.blocks]
    assert any(isinstance(p, Rows) for p in parts)
    assert any(isinstance(p, Blocks) for p in parts)
    for part in parts:
        kept = part.where.unique()
        values = torch.zeros_like(r).scatter_add_(1, part.where.expand(2, -1), part(r))
        assert not values[:, [i for i in range(len(missing)) if i not in kept]].any()
        if isinstance(part, Rows):
            expected = torch.linalg.solve(q[kept][:, kept], r[:, kept].mT).mT
            assert relative(values[:, kept], expected) < 1e-10


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mirrored", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("size", [(3, 4, 5), (4, 3, 4), (1, 2, 3)])
def test_rows_of_volumes(size, mirrored, channels, dtype):
    """With and without blocks that opposite frequencies share; even and odd sizes, and one of 2."""
    kernel = tuple(min(k, n) for k, n in zip((3, 2, 3), size, strict=True))
    precision, missing, preconditioner = made(
        channels, 1, size, kernel, dtype, reach=None, mirrored=mirrored
    )
    q = dense_precision(precision, missing)
    r = randn(2, len(missing), dtype=dtype, seed=1)
    assert len(preconditioner.rows) == 3
    for part in preconditioner.rows:
        kept = part.where.unique()
        values = torch.zeros_like(r).scatter_add_(1, part.where.expand(2, -1), part(r))
        expected = torch.linalg.solve(q[kept][:, kept], r[:, kept].mT).mT
        assert relative(values[:, kept], expected) < 1e-10
        sizes = [n + 1 for a, n in enumerate(size) if a != part.axis]
        first = next(a for a in range(3) if a != part.axis)
        last = sizes[1] // 2 + 1 if precision.torus.real else sizes[1]
        if first in mirrored:
            assert part.inverse.shape[1] == (sizes[0] // 2 + 1) * last
        if channels == 1 and part.axis in mirrored:
            assert not part.inverse.is_complex()


def test_blocks_one_by_one():
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[1, 1] = mask[3, 3] = mask[3, 4] = False
    precision, missing, preconditioner = made(mask=mask, reach=None)
    q = dense_precision(precision, missing)
    r = randn(1, len(missing), seed=1)
    sizes = []
    for part in preconditioner.blocks:
        _, count, n, _ = part.inverse.shape
        for where in part.where.reshape(count, n):
            expected = torch.linalg.solve(q[where][:, where], r[0, where])
            found = torch.zeros_like(r[0]).scatter_add_(0, part.where, part(r)[0])
            assert relative(found[where], expected) < 1e-10
            sizes.append(n)
    assert sorted(sizes) == [1, 2]


@pytest.mark.parametrize("dtype", DOUBLES)
def test_it_is_hermitian_and_positive_definite(dtype):
    torch.manual_seed(0)
    _, missing, preconditioner = made(2, dtype=dtype, mask=torch.rand(2, 5, 6) > 0.3)
    eye = torch.eye(len(missing), dtype=dtype)
    M = preconditioner(eye)
    assert relative(M, M.mH) < 1e-12
    assert float(torch.linalg.eigvalsh((M + M.mH) / 2)[0]) > 0


@pytest.mark.parametrize("kernel", [(4, 1), (1, 3)])
def test_rows_alone_are_solved_in_one_step(kernel):
    """Where one axis alone has missing outputs, they are circulant over the other."""
    op = ConvOperator(randn(1, 1, *kernel), (20, 21))
    y = randn(1, *op.range_shape)
    _, certificate = op.lstsq(y, 0.2, method="completion", tol=1e-5)
    assert int(certificate.iterations) <= 2
    assert certificate.converged.all()


def test_large_holes_are_cut_into_windows(monkeypatch):
    monkeypatch.setattr("unconv.inverse.completion.preconditioner.LARGEST_BLOCK", 30)
    op = ConvOperator(randn(1, 1, 3, 3), (32, 32))
    mask = torch.ones(30, 30, dtype=torch.bool)
    mask[5:20, 7:25] = False
    y = randn(1, *op.range_shape)
    B = op.observed(mask)
    x, certificate = B.lstsq(y, 0.5, method="completion", tol=1e-9)
    exact, _ = B.lstsq(y, 0.5, method="dense")
    assert certificate.converged.all()
    assert relative(x, exact) < 1e-8


def test_holes_are_grouped_as_they_lie():
    """Against a flood fill, for every channel; windows and rows beside only for large ones."""
    torch.manual_seed(1)
    mask = torch.rand(2, 5, 6) > 0.3
    _, missing, _ = made(2, mask=mask, reach=None)
    positions, owner = missing.groups_of_holes()
    holes = {tuple(p) for p in missing.holes.any(0).any(0).nonzero().tolist()}
    assert {tuple(p) for p in positions.tolist()} == holes
    assert bool((owner.diff() >= 0).all())
    for number in owner.unique().tolist():
        group = {tuple(p) for p in positions[owner == number].tolist()}
        reached, border = set(), {min(group)}
        while border:
            reached |= border
            around = {(i + a, j + b) for i, j in border for a in (-1, 0, 1) for b in (-1, 0, 1)}
            border = (around & holes) - reached
        assert reached == group


def test_a_hole_at_the_frame_is_solved_with_the_rows_beside_it():
    op = ConvOperator(randn(1, 1, 5, 5), (60, 60))
    mask = torch.ones(56, 56, dtype=torch.bool)
    mask[:20, :20] = False
    B = op.observed(mask)
    damp = 0.05 * float(op.norm())
    y = B(randn(1, 1, 60, 60, seed=3))
    _, whole = op.lstsq(op(randn(1, 1, 60, 60, seed=3)), damp, method="completion", tol=1e-6)
    _, corner = B.lstsq(y, damp, method="completion", tol=1e-6)
    assert corner.converged.all()
    assert int(corner.iterations) <= 2 * int(whole.iterations)
