"""T⁻¹ against dense matrices: natural edges where the grid is cut open, periodic elsewhere."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volumes.dense import normal_matrix, psf, scene_of
from unconv.volumes.quadratic.grid_factor import factor_bytes, grid_factor
from unconv.volumes.quadratic.local_inverse import LocalInverse
from unconv.volumes.quadratic.problem import Problem, symbol, transfer


@st.composite
def problems(draw, most=5):
    nd = draw(st.sampled_from([2, 3]))
    k = tuple(draw(st.integers(1, most - nd + 2)) for _ in range(nd))
    n = tuple(draw(st.integers(1, 9 if nd == 2 else 5)) for _ in range(nd))
    weights = tuple(draw(st.sampled_from([0.0, 0.1, 1.0])) for _ in range(nd))
    kind = draw(st.sampled_from(["Gaussian", "disk", "measured"]))
    strength = draw(st.sampled_from([3e-2, 2.5e-3]))
    return Problem(psf(kind, k, draw(st.integers(0, 99))), n, strength, weights)


def relative(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@settings(max_examples=25)
@given(problem=problems())
def test_a_scene_of_one_tile_is_solved_exactly(problem):
    axes = tuple(range(len(problem.scene)))
    solve = LocalInverse(grid_factor(problem, problem.scene, axes, torch.float64), axes)
    g = scene_of(problem.scene, 1)
    x = solve(g, [0] * len(axes), tol=1e-13, most=400)
    exact = torch.linalg.solve(normal_matrix(problem), g.flatten()).view(problem.scene)
    assert relative(x, exact) < 1e-7  # what κ leaves of a residual of 1e-13


@settings(max_examples=15)
@given(problem=problems(4), draw=st.data())
def test_axes_that_are_not_cut_are_periodic(problem, draw):
    nd = len(problem.scene)
    axes = tuple(a for a in range(nd) if draw.draw(st.booleans()))
    solve = LocalInverse(grid_factor(problem, problem.scene, axes, torch.float64), axes)
    g = scene_of(problem.scene, 1)
    x = solve(g, [0] * nd, tol=1e-13, most=400)
    assert relative(_applied(problem, x, axes), g) < 1e-10


def _applied(problem, x, cut):
    """T x by sums: windows and differences that wrap along all axes but those that are cut."""
    k, scene = problem.psf.shape, problem.scene
    seen = torch.ones(scene, dtype=torch.float64)
    for a in cut:
        seen.narrow(a, scene[a] - k[a] + 1, k[a] - 1).zero_()
    axes = list(range(x.ndim))
    taps = list(itertools.product(*map(range, k)))
    y = sum(problem.taps[t] * torch.roll(x, [-i for i in t], axes) for t in taps) * seen
    found = sum(problem.taps[t] * torch.roll(y, list(t), axes) for t in taps)
    for a, weight in enumerate(problem.weights):
        step = torch.roll(x, -1, a) - x
        if a in cut:
            step.select(a, -1).zero_()
        found += problem.strength * weight * (torch.roll(step, 1, a) - step)
    return found + problem.strength * problem.ridge * x


def test_a_box_is_placed_where_it_is_told():
    problem = Problem(psf("measured", (3, 4)), (18, 17), 0.01, (1.0, 0.3))
    solve = LocalInverse(grid_factor(problem, (20, 20), (0, 1), torch.float64), (0, 1))
    g = scene_of((20, 20))
    g[:5], g[:, 12:] = 0, 0
    whole = solve(g, (0, 0), tol=1e-12).clone()
    assert torch.equal(solve(g[5:, :12], (5, 0), tol=1e-12), whole[5:, :12])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,)])
def test_one_cut_needs_no_steps(axes):
    problem = Problem(psf("measured", (3, 4, 3)), (6, 7, 8), 0.01, (0.2, 1.0, 1.0))
    solve = LocalInverse(grid_factor(problem, problem.scene, axes, torch.float64), axes)
    g = scene_of(problem.scene)
    assert relative(_applied(problem, solve(g, (0, 0, 0)), axes), g) < 1e-10
    assert solve.applied == 2


@pytest.mark.parametrize("kind", ["Gaussian", "disk", "measured"])
@pytest.mark.parametrize("strength", [3e-2, 2.5e-3])
def test_few_steps_in_single_precision(kind, strength):
    """5 to 8 pairs to 1 %, as in the table of the documentation."""
    problem = Problem(psf(kind, (7, 5, 5)), (34, 28, 28), strength, (0.3, 1.0, 1.0))
    solve = LocalInverse(grid_factor(problem, problem.scene, (0, 1, 2)), (0, 1, 2))
    g = scene_of(problem.scene).float()
    near = solve(g, (0, 0, 0), tol=1e-2).clone()
    assert solve.applied <= 12
    assert relative(near, solve(g, (0, 0, 0), tol=1e-6)) < 0.03


def test_the_inverse_is_symmetric_and_positive():
    problem = Problem(psf("measured", (3, 3)), (5, 6), 0.01, (1.0, 1.0))
    solve = LocalInverse(grid_factor(problem, problem.scene, (0, 1), torch.float64), (0, 1))
    eye = torch.eye(math.prod(problem.scene), dtype=torch.float64).view(-1, *problem.scene)
    dense = torch.stack([solve(e, (0, 0), tol=1e-13).flatten().clone() for e in eye])
    assert relative(dense, dense.mT) < 1e-9
    assert float(torch.linalg.eigvalsh(dense)[0]) > 0


def test_the_symbol_is_that_of_the_circular_problem():
    problem = Problem(psf("measured", (3, 2)), (5, 6), 0.01, (0.4, 1.0))
    N = symbol(problem, transfer(problem, problem.scene), problem.scene)
    x = scene_of(problem.scene)
    by_symbol = torch.fft.irfftn(torch.fft.rfftn(x) * N, s=problem.scene)
    assert relative(by_symbol, _applied(problem, x, ())) < 1e-13


def test_the_memory_of_a_factor_is_foretold():
    problem = Problem(psf("measured", (5, 3, 4)), (20, 20, 20), 0.01, (1.0, 1.0, 1.0))
    factor = grid_factor(problem, problem.scene, (0, 1, 2))
    tensors = [factor.transfer, factor.inverse, *(cut.blocks for cut in factor.cuts.values())]
    kept, _ = factor_bytes(problem, problem.scene, (0, 1, 2))
    assert kept == sum(t.numel() * t.element_size() for t in tensors)
