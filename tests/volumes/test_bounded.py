"""Tiles that stay above a bound against a dense solver of non-negative least squares."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from tests.volumes.dense import normal_matrix, outputs_matrix, psf
from unconv.volumes.quadratic.bound import Bound, lower_bound
from unconv.volumes.quadratic.bounded import BoundedSolve, bounded_minimum
from unconv.volumes.quadratic.overlap import Overlap
from unconv.volumes.quadratic.passes import Quadratic
from unconv.volumes.quadratic.problem import Problem
from unconv.volumes.quadratic.residual import TileNormal
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling


def least_nonnegative(N, b):
    """argmin ½⟨x, Nx⟩ − ⟨b, x⟩ over x ≥ 0: ‖Lᵀx − L⁻¹b‖ with N = LLᵀ, by Lawson and Hanson."""
    L = torch.linalg.cholesky(N)
    right = torch.linalg.solve_triangular(L, b[:, None], upper=False)[:, 0]
    return torch.from_numpy(nnls(L.mT.numpy(), right.numpy(), maxiter=100 * len(b))[0])


def dark_data(problem, seed, holes=False):
    """Few bright places on nothing, blurred, with noise; and what was seen."""
    draw = np.random.default_rng(seed)
    scene = 50 * draw.random(problem.scene) * (draw.random(problem.scene) < 0.1)
    y = outputs_matrix(problem) @ torch.from_numpy(scene).flatten()
    y = y.view(problem.data_shape) + torch.from_numpy(draw.normal(size=problem.data_shape))
    seen = torch.from_numpy(draw.random(problem.data_shape) > 0.1 * holes)
    return y.float().where(seen, torch.nan), seen


def oracle(problem, y, level, seen):
    A = outputs_matrix(problem)[seen.flatten()]
    ridge = problem.strength * problem.ridge * level
    return least_nonnegative(normal_matrix(problem, seen), A.mT @ y[seen].double() + ridge)


@settings(max_examples=25)
@given(draw=st.data())
def test_the_minimiser_over_what_is_not_negative(draw):
    nd = draw.draw(st.integers(2, 3))
    most = {2: 14, 3: 6}[nd]
    n = tuple(draw.draw(st.integers(2, most)) for _ in range(nd))
    k = [draw.draw(st.integers(1, 4)) for _ in range(nd)]
    core = [draw.draw(st.integers(1, 16)) for _ in range(nd)]
    kind = draw.draw(st.sampled_from(["Gaussian", "disk", "measured"]))
    strength = draw.draw(st.sampled_from([0.1, 0.01, 1e-3]))
    problem = Problem(psf(kind, k), n, strength, (1.0, 0.5, 1.0)[:nd], 1e-2)
    y, seen = dark_data(problem, draw.draw(st.integers(0, 99)), draw.draw(st.booleans()))
    if not seen.any():
        return
    method = Quadratic(problem, lower_bound(problem), nonnegative=True)
    runner = MemoryRunner(y.numpy())
    answer = method(runner, Tiling(problem.scene, core, method.halo))
    x = torch.from_numpy(runner.arrays[answer.name]).double().flatten()
    exact = oracle(problem, y, answer.report["level"], seen)
    assert float(x.min()) >= 0
    assert {*runner.arrays} == {"data", answer.name}
    assert answer.report["errors by pass"][-1] <= 1e-3
    wrong = float((x - exact).square().mean().sqrt())
    spread = float(x.std(correction=0))
    assert wrong <= answer.report["proven error"] * spread * (1 + 1e-3) + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_the_projected_gradient_proves_the_distance(seed):
    """Of points near the bound or far, whose gradients say little or much."""
    draw = torch.Generator().manual_seed(seed)
    n = 2 + seed
    root = torch.randn(n, n, generator=draw, dtype=torch.float64)
    N = root @ root.mT + 10.0 ** (-seed % 4) * torch.eye(n, dtype=torch.float64)
    b = torch.randn(n, generator=draw, dtype=torch.float64) * 10.0 ** (seed % 3)
    exact, mu = least_nonnegative(N, b), float(torch.linalg.eigvalsh(N)[0])
    for size in (0.0, 1e-6, 1e-2, 1.0):
        x = (exact + size * torch.randn(n, generator=draw, dtype=torch.float64)).clamp(min=0)
        g = b - N @ x
        p = g.where(x > 0, g.clamp(min=0))
        assert float((x - exact).norm()) <= float(p.norm()) / mu * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_f_falls_from_any_beginning_to_its_least(seed):
    draw = torch.Generator().manual_seed(seed)
    n = 5 + 3 * seed
    root = torch.randn(n, n, generator=draw, dtype=torch.float64)
    N = root @ root.mT / n + 0.02 * torch.eye(n, dtype=torch.float64)
    b = torch.randn(n, generator=draw, dtype=torch.float64)
    least = float(torch.randn((), generator=draw))
    start = (least + torch.randn(n, generator=draw, dtype=torch.float64)).clamp(min=least)
    begun = b - N @ start
    exact = least + least_nonnegative(N, b - least * N.sum(1))
    step = 1.8 / float(torch.linalg.matrix_norm(N, 2))

    def f(x):
        return float(x @ (N @ x) / 2 - b @ x)

    before, kept = f(start), (start.clone(), begun.clone())
    for most in (1, 2, 3, 5, 8, 1000):
        x, products = bounded_minimum(lambda v: N @ v, start, begun, least, step, 1e-10, most)
        assert products <= most + 2
        assert float(x.min()) >= least
        assert f(x) <= before + 1e-12 * abs(before)
        before = f(x)
    assert torch.equal(start, kept[0])
    assert torch.equal(begun, kept[1])
    assert float((x - exact).abs().max()) < 1e-6


def test_a_tile_that_is_the_scene_is_solved_at_once():
    problem = Problem(psf("disk", (5, 5)), (30, 26), 0.01, (1.0, 1.0), 1e-2)
    y = dark_data(problem, 1)[0]
    method = Quadratic(problem, lower_bound(problem), tol=0.02, nonnegative=True)
    answer = method(MemoryRunner(y.numpy()), Tiling(problem.scene, problem.scene, method.halo))
    assert answer.report["met"]
    assert answer.report["passes"] <= 2


def test_a_bound_that_holds_nothing_changes_nothing():
    problem = Problem(psf("measured", (3, 4)), (21, 18), 0.01, (1.0, 1.0), 1e-2)
    y = dark_data(problem, 2)[0] + 1000
    found = []
    for nonnegative in (False, True):
        method = Quadratic(problem, lower_bound(problem), 1e-5, nonnegative=nonnegative)
        runner = MemoryRunner(y.numpy())
        answer = method(runner, Tiling(problem.scene, (12, 12), method.halo))
        assert answer.report["met"]
        found.append(torch.from_numpy(runner.arrays[answer.name]).double())
    away = (found[0] - found[1]).square().mean().sqrt()
    assert float(away) <= 2e-5 * float(found[0].std(correction=0))


def test_nothing_is_left_where_all_is_below():
    """Data that are negative everywhere: zeros are the answer, and known to be."""
    problem = Problem(psf("Gaussian", (3, 3)), (20, 20), 0.01, (1.0, 1.0), 1e-2)
    y = -1 - torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    method = Quadratic(problem, Bound(problem.smallest, ""), nonnegative=True)
    runner = MemoryRunner(y.numpy())
    answer = method(runner, Tiling(problem.scene, (12, 12), method.halo))
    assert np.all(runner.arrays[answer.name] == 0)
    assert answer.report["met"]


def test_memory_of_a_solve_is_what_is_said():
    problem = Problem(psf("measured", (3, 4, 3)), (40, 40, 40), 0.01, (0.3, 1.0, 1.0), 1e-2)
    overlap = Overlap(Tiling(problem.scene, (20, 20, 20), (6, 8, 6)))
    normal = TileNormal(problem, (32, 36, 32), torch.float32)
    work = BoundedSolve(Constant(normal), overlap, ("x", "g"), 0.0, "e", 0.03, False)
    method = Quadratic(problem, Bound(problem.smallest, ""), nonnegative=True)
    tile = overlap.tiling.tiles[0]
    assert 0 < work.bytes_for(tile) <= method.bytes_for(tile)
