"""Bordered systems on the grid, against their dense matrices."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.boundary.bordered import (
    Bordered,
    Corners,
    augmented_inverse,
    positive_eigenvalues,
)
from unconv.inverse.boundary.ghost_system import PseudoSolver

from ...helpers import C128, DOUBLES, F64, randn, relative
from ...strategies import Case, cases
from .ghost_parts import dtype_of, matrix_of_blocks, matrix_of_strip, parts_of

plain = cases(transposed=False, per_sample=False)


@pytest.mark.parametrize(("r", "c"), [(1, 1), (2, 2), (3, 1), (1, 4)])
@pytest.mark.parametrize("corners", [(0.3, 0.3), (0.5, 0.0), (0.0, 0.5), (-0.2, 0.2)])
def test_inverses_of_augmented_blocks(r, c, corners):
    alpha, beta = corners
    if (r < c and not beta) or (r > c and not alpha):
        pytest.skip("singular: the corner is on the wrong side")
    C = randn(7, 1, 2, r, c, dtype=C128)
    K = torch.zeros(7, 1, 2, r + c, r + c, dtype=C128)
    K[..., :r, r:], K[..., r:, :r] = C, C.mH
    K.diagonal(dim1=-2, dim2=-1)[..., :r] = alpha
    K.diagonal(dim1=-2, dim2=-1)[..., r:] = -beta
    eye = torch.eye(r + c, dtype=C128).expand_as(K)
    assert relative(augmented_inverse(C, alpha, beta) @ K, eye) < 1e-11


class Twin(NamedTuple):
    """A bordered system beside its dense matrices, one a group."""

    system: Bordered
    K: list[Tensor]
    whole: list[Tensor]  # [K Jᴴ; W −D]


def twin_of(op: ConvOperator, corners: Corners | None) -> Twin:
    """With corners the augmented system, without them the square one."""
    _, torus, blocks, ghosts = parts_of(op, all_pixels=corners is None)
    if corners is None:
        system = Bordered.square(torus, torch.linalg.inv(blocks), ghosts)
        K = blocks[:, 0]
    else:
        system = Bordered.augmented(torus, blocks, ghosts, corners)
        K = torch.linalg.inv(system.inverse[:, 0])
    rows, columns = K.shape[-2:]
    W = torch.cat([matrix_of_strip(s, columns) for s in system.constraints])
    J = torch.cat([matrix_of_strip(s, rows) for s in system.sources])
    D = torch.zeros(len(W), dtype=dtype_of(torus))
    D[len(W) - system.constraints[-1].size :] = system.diagonal
    dense = [matrix_of_blocks(K[:, g], torus) for g in range(op.geometry.groups)]
    whole = [torch.cat([torch.cat([k, J.mH], 1), torch.cat([W, -torch.diag(D)], 1)]) for k in dense]
    return Twin(system, dense, whole)


def drawn(case: Case, corners: Corners | None) -> Twin:
    """Systems that the grid and the ghosts leave well-conditioned."""
    op = case.operator()
    _, torus, blocks, ghosts = parts_of(op, all_pixels=corners is None)
    assume(sum(blocks.shape[-2:]) * math.prod(torus.coarse) <= 200)
    if corners is None:
        assume(blocks.shape[-2] == blocks.shape[-1])
        assume(ghosts.outputs.size == ghosts.constraints.size)
        assume(float(torch.linalg.cond(blocks).max()) < 1e4)
    twin = twin_of(op, corners)
    assume(all(float(torch.linalg.cond(whole)) < 1e6 for whole in twin.whole))
    return twin


kinds = st.sampled_from([None, Corners(0.5, 0.5), Corners(0.3, 0.7), Corners(-0.4, 0.4)])
drawn_often = settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])


@given(plain, kinds)
@drawn_often
def test_what_is_left_of_the_matrix_on_the_ghosts(case: Case, corners: Corners | None):
    system, K, whole = drawn(case, corners)
    S = system.schur_complement()
    for g, (k, M) in enumerate(zip(K, whole, strict=True)):
        n = len(k)
        expected = M[n:, :n] @ torch.linalg.solve(k, M[:n, n:]) - M[n:, n:]
        assert relative(S[g], expected, 1 + torch.linalg.norm(expected)) < 1e-11


@given(plain, kinds)
@drawn_often
def test_a_solve_keeps_the_constraints(case: Case, corners: Corners | None):
    """K u = f + Jᴴ z and W u + D z = 0, as one dense system."""
    system, K, whole = drawn(case, corners)
    solver = system.factored()
    assert not solver.singular
    groups, torus = len(K), system.torus
    rows, columns = system.inverse.shape[-2:]
    coarse = math.prod(torus.coarse)
    f = randn(2, groups * columns, *torus.coarse, dtype=dtype_of(torus))
    b = randn(2, groups * rows, *torus.coarse, dtype=dtype_of(torus), seed=1)
    found = solver.solve(f, lambda u: u).unflatten(1, (groups, rows))
    turned = solver.solve_adjoint(b, lambda u: u).unflatten(1, (groups, columns))
    f, b = (v.unflatten(1, (groups, -1)).flatten(2) for v in (f, b))
    for g, M in enumerate(whole):
        X = torch.linalg.inv(M)[: rows * coarse, : columns * coarse]
        scale = torch.linalg.norm(X) * torch.linalg.norm(f)
        assert relative(found[:, g].flatten(1), f[:, g] @ X.mT, scale) < 1e-12
        assert relative(turned[:, g].flatten(1), b[:, g] @ X.conj(), scale) < 1e-12


@given(plain, kinds)
@drawn_often
def test_the_determinant(case: Case, corners: Corners | None):
    system, _, whole = drawn(case, corners)
    value, error = system.log_abs_det()
    expected = sum(float(torch.linalg.slogdet(M)[1]) for M in whole)
    assert abs(value - expected) <= 100 * error + 1e-11 * (1 + abs(expected))
    assert error < 1e-6


@given(plain, st.sampled_from([Corners(-0.4, 0.4), Corners(0.5, 0.5)]))
@drawn_often
def test_the_inertia(case: Case, corners: Corners):
    """n₊ of the whole is n₊(K) and one for each constraint, less n₊(S)."""
    system, K, whole = drawn(case, corners)
    on_grid = sum(int((torch.linalg.eigvalsh(k) > 0).sum()) for k in K)
    in_all = sum(int((torch.linalg.eigvalsh(M) > 0).sum()) for M in whole)
    assert in_all == on_grid + len(K) * system.order - system.positive_on_ghosts()


@given(plain, st.integers(0, 3))
@drawn_often
def test_the_trace_of_a_part_of_the_inverse(case: Case, rows: int):
    system, _, whole = drawn(case, Corners(0.3, 0.7))
    coarse = math.prod(system.torus.coarse)
    rows = min(rows, system.inverse.shape[-1])
    own = slice(rows * coarse)
    expected = sum(float(torch.linalg.inv(M).diagonal()[own].real.sum()) for M in whole)
    scale = sum(float(torch.linalg.norm(torch.linalg.inv(M))) for M in whole)
    assert abs(system.trace_of_inverse(rows) - expected) < 1e-11 * (1 + scale)


def test_an_empty_border_leaves_the_grid_alone():
    op = ConvOperator(randn(2, 2, 3), (6,), padding=1, padding_mode="circular")
    system, K, _ = twin_of(op, Corners(0.5, 0.5))
    assert system.order == 0
    assert system.positive_on_ghosts() == 0
    value, error = system.log_abs_det()
    assert value == pytest.approx(float(torch.linalg.slogdet(K[0])[1]), rel=1e-13)
    assert error == 0
    assert not system.factored().singular


def shift(dtype: torch.dtype, groups: int) -> ConvOperator:
    """Two samples fall out of the picture of the first group, and nothing is lost of the others."""
    weight = randn(groups, 1, 5, dtype=dtype)
    weight[1:, :, 2] += 5
    weight[0] = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])
    return ConvOperator(weight, (7,), padding=2, groups=groups)


def test_the_determinant_of_a_singular_matrix_is_not_known():
    """Nor are digits of it promised: two rows of S are round-off beside the others."""
    weight = torch.zeros(2, 2, 5, dtype=F64)
    weight[0, 0] = shift(F64, 1).weight[0, 0]
    weight[1, 1] = randn(5)
    weight[1, 1, 2] += 5
    error = twin_of(ConvOperator(weight, (7,), padding=2), None).system.log_abs_det().error
    assert error > 1e-2


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("groups", [1, 2])
def test_null_vectors_of_the_system(dtype, groups):
    system, K, whole = twin_of(shift(dtype, groups), Corners(0.5, 0.0))
    solver = system.factored(PseudoSolver)
    assert solver.null_count == 2
    fields = solver.null_fields().unflatten(1, (groups, -1)).flatten(2)  # (k, g, n)
    assert not fields[:, 1:].any()
    u, M, n = fields[:, 0].mT, whole[0], len(K[0])
    assert int(torch.linalg.matrix_rank(u)) == 2
    size = torch.linalg.norm(u)
    assert torch.linalg.norm(M[n:, :n] @ u) < 1e-12 * size  # W u = 0
    f, J = K[0] @ u, M[:n, n:]
    assert torch.linalg.norm(f - J @ torch.linalg.pinv(J) @ f) < 1e-12 * size


def test_a_full_rank_system_has_none():
    op = ConvOperator(randn(3, 2, 3), (4,), padding=1)
    solver = twin_of(op, Corners(0.5, 0.0)).system.factored(PseudoSolver)
    assert solver.null_count == 0


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 40])
def test_inertia_of_a_hermitian_matrix(dtype, n):
    for seed in range(5):
        H = randn(n, n, dtype=dtype, seed=seed)
        H = H + H.mH
        H.diagonal().mul_(seed % 2)  # zeros on the diagonal force pivots of two by two
        assert positive_eigenvalues(H) == int((torch.linalg.eigvalsh(H) > 0).sum())
