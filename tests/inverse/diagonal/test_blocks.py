"""Thousands of small matrices, one cut-off, facts that hold for all of them."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import ConvOperator
from unconv.inverse.diagonal import blocks as small_blocks
from unconv.inverse.diagonal.blocks import invert_blocks
from unconv.inverse.request import Request

from ...helpers import C128, F64, randn, relative

SHAPES = [(1, 1), (1, 4), (4, 1), (3, 3), (5, 2), (2, 5), (8, 8)]
CPU = torch.device("cpu")


def run(blocks: torch.Tensor, counts: torch.Tensor | None = None, **options):
    """Invert (F, B, g, r, c) blocks in units of one."""
    F, B = blocks.shape[:2]
    op = ConvOperator(torch.zeros(1, 1, 1, dtype=F64), (4,))  # for the default cut-off only
    counts = torch.ones(F, dtype=torch.long) if counts is None else counts
    scale = torch.ones(B, dtype=F64)
    return invert_blocks(blocks, scale, counts, op, Request(**options), C128)


def singular_blocks(r: int, c: int) -> torch.Tensor:
    """50 blocks, some of rank one less, one zero, of two kernels and two groups."""
    blocks = randn(50, 2, 2, r, c, dtype=C128)
    U, S, Vh = torch.linalg.svd(blocks, full_matrices=False)
    S[[3, 17, 49], :, :, -1] = 0
    S[20] = 0
    return (U * S[..., None, :]) @ Vh


@pytest.mark.parametrize(("r", "c"), SHAPES)
def test_inverses_of_regular_blocks(r, c):
    blocks = randn(50, 2, 2, r, c, dtype=C128)
    found = run(blocks, rtol=1e-9)
    assert relative(found.inverse, torch.linalg.pinv(blocks)) < 1e-11
    assert found.summary.rank.tolist() == [100 * min(r, c)] * 2
    assert found.summary.dropped.tolist() == [0, 0]
    assert found.summary.gap.tolist() == [math.inf] * 2


@pytest.mark.parametrize(("r", "c"), SHAPES)
def test_inverses_of_singular_blocks(r, c):
    blocks = singular_blocks(r, c)
    found = run(blocks, rtol=1e-9)
    S = torch.linalg.svdvals(blocks).movedim(1, 0).flatten(1)  # a row a kernel
    keep = 1e-9 * S.amax(1, keepdim=True) < S
    assert relative(found.inverse, torch.linalg.pinv(blocks, atol=1e-9)) < 1e-11
    assert found.summary.rank.tolist() == keep.sum(1).tolist()
    assert found.summary.dropped.tolist() == (~keep).sum(1).tolist()
    smallest = torch.where(keep, S, torch.inf).amin(1)
    assert (found.summary.floor <= smallest * (1 + 1e-9)).all()
    assert (found.summary.gap > 1e9).all()


@pytest.mark.parametrize(("r", "c"), SHAPES)
def test_damped_inverses(r, c):
    blocks, damp = singular_blocks(r, c), 0.3
    found = run(blocks, damp=damp)
    eye = torch.eye(c, dtype=C128)
    expected = torch.linalg.solve(blocks.mH @ blocks + damp**2 * eye, blocks.mH)
    assert relative(found.inverse, expected) < 1e-13
    assert found.summary.rank is None
    S = torch.linalg.svdvals(blocks).movedim(1, 0).flatten(1)
    assert (found.summary.floor <= (S.amin(1) ** 2 + damp**2).sqrt() * (1 + 1e-12)).all()


@pytest.mark.parametrize(("r", "c"), SHAPES)
@pytest.mark.parametrize("damp", [0.0, 1.0])
def test_norm_is_within_a_few_percent(r, c, damp):
    blocks = randn(200, 1, 1, r, c, dtype=C128)
    sigma = float(torch.linalg.svdvals(blocks).amax())
    norm = float(run(blocks, damp=damp).summary.norm)
    assert 0.95 * sigma < norm <= sigma * (1 + 1e-12)


def test_the_cut_is_against_the_largest_of_all_blocks():
    blocks = torch.eye(2, dtype=C128).expand(40, 1, 1, 2, 2).clone()
    blocks[7] *= 1e4
    blocks[8] *= 1e-7
    found = run(blocks, rtol=1e-10)
    assert int(found.summary.dropped) == 2  # 1e-7 ≤ 1e-10 · 1e4
    assert not found.inverse[8].any()
    assert relative(found.inverse[7], 1e-4 * torch.eye(2, dtype=F64).expand(1, 1, 2, 2)) < 1e-14
    assert float(found.summary.gap) <= 1e7 * (1 + 1e-12)
    assert float(found.summary.gap) > 1e6


def test_mirrors_are_not_counted_twice():
    blocks = torch.eye(3, dtype=C128).expand(5, 1, 1, 3, 3).clone()
    blocks[1, ..., 0, 0] = 0
    blocks[2] = blocks[1].conj()
    found = run(blocks, torch.tensor([1, 1, 0, 2, 1]))
    assert int(found.summary.rank) == 14
    assert int(found.summary.dropped) == 1
    assert float(found.summary.floor) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (3, 3)])
def test_all_zero(shape):
    found = run(torch.zeros(6, 1, 2, *shape, dtype=C128))
    assert not found.inverse.any()
    assert int(found.summary.rank) == 0
    assert float(found.summary.gap) == math.inf
    assert not found.summary.floor.isnan().any()


def test_units():
    blocks, scale = randn(5, 2, 1, 3, 3, dtype=C128), torch.tensor([10.0, 1e-5], dtype=F64)
    op = ConvOperator(torch.zeros(1, 1, 1, dtype=F64), (4,))
    counts = torch.ones(5, dtype=torch.long)
    full = blocks * scale.reshape(-1, 1, 1, 1)
    found = invert_blocks(blocks, scale, counts, op, Request(damp=1e-5), C128)
    eye = 1e-10 * torch.eye(3, dtype=C128)
    expected = torch.linalg.solve(full.mH @ full + eye, full.mH)
    for b in (0, 1):
        assert relative(found.inverse[:, b], expected[:, b]) < 1e-9
    S = torch.linalg.svdvals(full).movedim(1, 0).flatten(1)
    assert (found.summary.norm <= S.amax(1) * (1 + 1e-12)).all()
    assert (found.summary.floor <= (S.amin(1) ** 2 + 1e-10).sqrt() * (1 + 1e-9)).all()


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_change_no_bit(two_threads, monkeypatch):
    monkeypatch.setattr(small_blocks, "LAPACK_BYTES", 1024)
    blocks = singular_blocks(4, 3)
    parallel = run(blocks, rtol=1e-9)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    alone = run(blocks, rtol=1e-9)
    assert torch.equal(parallel.inverse, alone.inverse)
    assert torch.equal(parallel.summary.rank, alone.summary.rank)
