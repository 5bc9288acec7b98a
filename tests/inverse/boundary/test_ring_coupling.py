"""Edges and pads coupled across the seam: what a sparse T does is what its matrix does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.boundary import ring_coupling
from unconv.inverse.boundary.ring_coupling import CoupledSolver, Coupling

from ...helpers import DOUBLES, randn, relative

BEFORE, EDGES, PADS = 3, 4, 5
n = BEFORE + EDGES + PADS
every_dtype = pytest.mark.parametrize("dtype", DOUBLES)


def coupled(dtype: torch.dtype, seed: int = 0) -> tuple[Coupling, Tensor, Tensor]:
    """The sparse one, Θ and N."""
    T = randn(EDGES, PADS, dtype=dtype, seed=seed)
    T = T * (randn(EDGES, PADS, seed=seed + 1) > 0)
    theta = torch.zeros(n, n, dtype=dtype)
    theta[:BEFORE, :BEFORE] = torch.eye(BEFORE)
    theta[BEFORE:-PADS, -PADS:], theta[-PADS:, BEFORE:-PADS] = T, T.mH
    on_seam = torch.ones(n)
    on_seam[:BEFORE] = 0
    return Coupling(T.to_sparse_coo()), theta, torch.diag(on_seam).to(dtype)


def hermitian(dtype: torch.dtype, seed: int = 5) -> Tensor:
    G = randn(n, n, dtype=dtype, seed=seed)
    return G + G.mH


@every_dtype
def test_sources_are_theta_times_values(dtype):
    couple, theta, _ = coupled(dtype)
    q = randn(n, 7, dtype=dtype, seed=3)
    assert relative(couple(q), theta @ q) < 1e-14


@every_dtype
@pytest.mark.parametrize("slices", [1, 2**25])
def test_the_equations_replace_what_sources_make(dtype, slices, monkeypatch):
    monkeypatch.setattr(ring_coupling, "_SLICE_BYTES", slices)
    couple, theta, N = coupled(dtype)
    G = hermitian(dtype)
    transposed = G.mT.contiguous()
    couple.complete_(transposed)
    assert relative(transposed.mT, N + G @ theta) < 1e-14


@every_dtype
def test_two_groups_are_solved_by_a_hermitian_matrix(dtype):
    pairs = [coupled(dtype, seed) for seed in (0, 20)]
    S = torch.empty(2, n, n, dtype=dtype).mT
    expected = []
    for own, (_, theta, N) in zip(S, pairs, strict=True):
        own.copy_(N + hermitian(dtype) @ theta)
        expected.append(theta @ torch.linalg.inv(own))
    Z = torch.stack(expected)
    assert relative(Z, Z.mH) < 1e-11
    solver = CoupledSolver(S, [couple for couple, _, _ in pairs])
    v = randn(3, 2, n, dtype=dtype, seed=9)
    assert not solver.singular
    for adjoint in (False, True):
        assert relative(solver(v, adjoint), torch.einsum("gij,ngj->ngi", Z, v)) < 1e-11


@pytest.mark.parametrize("mode", ["reflect", "replicate", "symmetric"])
def test_a_seam_takes_two_thirds_of_the_ghosts_that_copy(mode):
    """Edges and pads, where ghost outputs and twice the ghost pixels were."""
    op = ConvOperator(randn(1, 1, 5, 5), (40, 40), padding=2, padding_mode=mode)
    system = op.tikhonov(0.1 * float(op.norm()), method="boundary").forms[0].system
    assert system.size == (4 + 4) * 40
    assert system.torus.coarse == (40, 40)
    assert isinstance(system.ghosts, CoupledSolver)
