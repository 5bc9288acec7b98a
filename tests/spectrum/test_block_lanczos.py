"""The iteration: eigenpairs of matrices that are known."""

from __future__ import annotations

import pytest
import torch

from unconv.spectrum.block_lanczos import largest_eigenpairs

from ..helpers import (
    DOUBLES,
    F64,
    randn,
    relative,
)


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("k", [1, 5, 9, 40])
def test_largest_eigenpairs(dtype, k):
    Q, _ = torch.linalg.qr(randn(40, 40, dtype=dtype))
    eigenvalues = torch.linspace(1, 0, 40, dtype=F64)
    T = (Q * eigenvalues) @ Q.mH
    found = largest_eigenpairs(lambda v: v @ T.mT, (40,), k, Q, rtol=1e-11)
    assert found.converged
    assert relative(found.values, eigenvalues[:k]) < 1e-13
    W = found.vectors
    assert relative(W @ T.mT, found.values[:, None] * W) < 1e-10
    assert relative(W.conj() @ W.mT, torch.eye(k, dtype=dtype)) < 1e-13


@pytest.mark.parametrize("seed", range(20))
def test_largest_eigenvalue_beside_one_that_is_nearly_alike(seed):
    generator = torch.Generator().manual_seed(seed)
    apart = 10 ** -(7 + float(torch.rand(1, generator=generator)))
    d = torch.rand(300, generator=generator, dtype=F64) * 0.95
    d[torch.randperm(300, generator=generator)[:2]] = torch.tensor([1.0, 1 - apart], dtype=F64)
    found = largest_eigenpairs(lambda v: d * v, (300,), 1, d, rtol=1e-8)
    assert found.converged
    assert 1 - 1e-9 <= float(found.values) <= 1 + 1e-14


def test_multiple_eigenvalues_are_found_as_often_as_they_are():
    d = torch.cat([torch.ones(11, dtype=F64), torch.linspace(0.99, 0.1, 500, dtype=F64)])
    found = largest_eigenpairs(lambda v: d * v, (511,), 12, d, rtol=1e-10)
    assert relative(found.values, d[:12]) < 1e-13


def test_an_iteration_that_is_cut_short_says_so():
    d = torch.linspace(1, 0, 500, dtype=F64)
    found = largest_eigenpairs(lambda v: d * v, (500,), 2, d, rtol=1e-12, most=3)
    assert not found.converged
    assert (found.values <= d[:2]).all()


@pytest.mark.parametrize("seed", range(40))
def test_clusters_and_copies_in_spaces_that_end_within_a_block(seed):
    """Residuals that are claimed are those of the vectors, to what was asked for."""
    generator = torch.Generator().manual_seed(seed)
    N, k = (
        int(torch.randint(low, high, (1,), generator=generator)) for low, high in ((5, 90), (2, 6))
    )
    few = torch.rand(int(torch.randint(2, 7, (1,), generator=generator)), generator=generator)
    d = few.double()[torch.randint(len(few), (N,), generator=generator)]
    apart = torch.tensor([0.0, 1e-14, 1e-10, 1e-7, 1e-3])[seed % 5]
    d = d * (1 + apart * torch.rand(N, generator=generator, dtype=F64))
    Q, _ = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=F64))
    T = (Q * d) @ Q.mT
    T = (T + T.mT) / 2
    found = largest_eigenpairs(lambda v: v @ T.mT, (N,), k, Q, rtol=5e-12)
    assert found.converged
    V = found.vectors
    left = torch.linalg.vector_norm(V @ T.mT - found.values[:, None] * V, dim=1)
    assert (left <= 1e-11 * found.values + 2e-14).all()
    assert relative(found.values, torch.linalg.eigvalsh(T).flip(0)[:k]) < 1e-13
