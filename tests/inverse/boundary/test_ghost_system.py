"""Factors that stand for S⁻¹, against the matrix."""

from __future__ import annotations

import pytest
import torch

from unconv.inverse.boundary.ghost_system import LuSolver, MatrixSolver

from ...helpers import C128, F64, randn, relative


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
