"""Systems on the grid with constraints on the ghosts, against their dense matrices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv.inverse.boundary.ghost_system import (
    GhostSystem,
    LuSolver,
    MatrixSolver,
    augmented_inverse,
    ghost_matrix,
)

from ...helpers import C128, F64, randn, relative
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


def dense_matrices(case: Case, alpha: float, beta: float):
    op, torus, blocks, ghosts = parts_of(case.operator())
    inverse = augmented_inverse(blocks, alpha, beta)
    strips = [ghosts.outputs, ghosts.constraints]
    if ghosts.copies:
        strips.append(ghosts.pixels)
    components = ghosts.pixels.components.stop
    K_inverse = [matrix_of_blocks(inverse[:, 0, g], torus) for g in range(op.geometry.groups)]
    W = torch.cat([matrix_of_strip(s, components) for s in strips])
    return torus, inverse, strips, K_inverse, W


@given(plain, st.sampled_from([0.0, 2.0]))
@settings(max_examples=25)
def test_the_matrix_of_the_ghosts(case: Case, diagonal: float):
    torus, inverse, strips, K_inverse, W = dense_matrices(case, 0.5, 0.5)
    S = ghost_matrix(torus, inverse, strips, strips, diagonal)
    last = torch.zeros(len(W), dtype=dtype_of(torus))
    last[len(W) - strips[-1].size :] = diagonal
    for g, G in enumerate(K_inverse):
        expected = W @ G @ W.mH + torch.diag(last)
        assert relative(S[g], expected, 1 + torch.linalg.norm(expected)) < 1e-13


@given(plain)
@settings(max_examples=25)
def test_a_solve_keeps_the_constraints(case: Case):
    """K u = f + Wᴴ z and W u + D z = 0, as one dense system."""
    torus, inverse, strips, K_inverse, W = dense_matrices(case, 0.5, 0.5)
    D = 2.0 if len(strips) == 3 else 0.0
    last = torch.zeros(len(W), dtype=dtype_of(torus))
    last[len(W) - strips[-1].size :] = D
    solver = LuSolver(ghost_matrix(torus, inverse, strips, strips, D))
    system = GhostSystem(torus, inverse, strips, strips, solver)
    assert not system.singular
    groups, size = len(K_inverse), inverse.shape[-1]
    f = randn(2, groups * size, *torus.coarse, dtype=dtype_of(torus))
    found = system.solve(f, lambda u: u).unflatten(1, (groups, size))
    turned = system.solve_adjoint(f, lambda u: u).unflatten(1, (groups, size))
    rows = f.unflatten(1, (groups, size)).flatten(2)
    for g, G in enumerate(K_inverse):
        S = W @ G @ W.mH + torch.diag(last)
        whole = G - G @ W.mH @ torch.linalg.solve(S, W @ G) if len(W) else G
        scale = torch.linalg.norm(whole) * torch.linalg.norm(rows)
        assert relative(found[:, g].flatten(1), rows[:, g] @ whole.mT, scale) < 1e-12
        assert relative(turned[:, g].flatten(1), rows[:, g] @ whole.conj(), scale) < 1e-12


@pytest.mark.parametrize("dtype", [F64, C128])
def test_solvers(dtype):
    S = randn(2, 5, 5, dtype=dtype)
    values = randn(3, 2, 5, dtype=dtype)
    expected = torch.linalg.solve(S, values.movedim(0, -1)).movedim(-1, 0)
    turned = torch.linalg.solve(S.mH, values.movedim(0, -1)).movedim(-1, 0)
    for solver in (LuSolver(S.clone().mT.contiguous().mT), MatrixSolver(torch.linalg.inv(S))):
        assert relative(solver(values, False), expected) < 1e-12
        assert relative(solver(values, True), turned) < 1e-12
        assert not solver.singular
    zero = torch.zeros(1, 3, 3, dtype=dtype).mT
    assert LuSolver(zero).singular
    assert not LuSolver(torch.empty(2, 0, 0, dtype=dtype)).singular
