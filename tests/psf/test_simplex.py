"""The psf of least squares in the simplex, against SciPy's NNLS with a heavy row for the sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from unconv.psf.simplex import Matrix, cholesky, minimise

from ..helpers import F64, relative


def drawn(n: int, log_condition: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A, (m, n), of that condition, and data of a sparse psf with noise."""
    g = torch.Generator().manual_seed(seed)
    U, _ = torch.linalg.qr(torch.randn(n + 5, n, generator=g, dtype=F64))
    V, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=F64))
    A = (U * torch.logspace(0, -log_condition, n, dtype=F64)) @ V.T
    h = torch.rand(n, generator=g, dtype=F64) ** 3
    h[torch.rand(n, generator=g) < 0.5] = 0
    y = A @ (h / h.sum()) + 1e-2 / n * torch.randn(n + 5, generator=g, dtype=F64)
    return A, y


@pytest.mark.parametrize("seed", range(8))
def test_against_nnls(seed):
    n, log_condition = [(4, 0.5), (30, 1), (60, 2), (100, 3)][seed % 4]
    A, y = drawn(n, log_condition, seed)
    found = minimise(Matrix(A.T @ A, A.T @ y), torch.full((n,), 1 / n, dtype=F64))
    heavy = 1e5
    rows = np.vstack([A.numpy(), np.full((1, n), heavy)])
    expected, _ = nnls(rows, np.append(y.numpy(), heavy), maxiter=100 * n)
    assert found.settled
    assert float(found.h.min()) >= 0
    assert float(found.h.sum()) == pytest.approx(1, abs=1e-12)
    assert relative(found.h, torch.from_numpy(expected)) < 1e-6
    objective = 0.5 * (A @ found.h - y).square().sum()
    assert float(objective) <= 0.5 * np.square(A.numpy() @ expected - y.numpy()).sum() + 1e-10


def test_the_gap_bounds_what_is_missing():
    A, y = drawn(40, 2, 1)
    problem = Matrix(A.T @ A, A.T @ y)
    best = minimise(problem, torch.full((40,), 1 / 40, dtype=F64))

    def value(h):
        return float(h @ (problem.apply(h) / 2 - problem.b))

    short = minimise(problem, torch.eye(40, dtype=F64)[0], maxiter=1)
    assert not short.settled
    assert 0 < value(short.h) - value(best.h) <= short.gap
    assert best.gap < 1e-12


def test_one_sample_is_all_of_it():
    found = minimise(Matrix(torch.ones(1, 1, dtype=F64), -torch.ones(1, dtype=F64)),
                     torch.ones(1, dtype=F64))  # fmt: skip
    assert found.h.tolist() == [1.0]


def test_a_singular_matrix_has_a_factor():
    v = torch.arange(1.0, 5.0, dtype=F64)
    G = torch.outer(v, v)
    L = cholesky(G)
    assert relative(L @ L.T, G) < 1e-9
