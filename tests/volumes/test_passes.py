"""Tiled is untiled, within the error that is proven; and how many passes it takes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volumes.dense import minimiser, outputs_matrix, psf, scene_of
from unconv.volumes.errors import VolumeError
from unconv.volumes.quadratic.bound import Bound, lower_bound
from unconv.volumes.quadratic.grid_factor import grid_factor
from unconv.volumes.quadratic.local_inverse import LocalInverse
from unconv.volumes.quadratic.overlap import Overlap
from unconv.volumes.quadratic.passes import Quadratic
from unconv.volumes.quadratic.problem import Problem
from unconv.volumes.quadratic.residual import TileNormal
from unconv.volumes.quadratic.schwarz import local_solves
from unconv.volumes.tiling.stages import MemoryRunner
from unconv.volumes.tiling.tiles import Tiling


def data_of(problem, noise=0.01):
    normal = TileNormal(problem, problem.scene, torch.float64)
    y = normal.blur(scene_of(problem.scene))
    return (y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).float()


def untiled(problem, y):
    """x*, by one tile and refinement in double precision."""
    axes = tuple(range(y.ndim))
    solve = LocalInverse(grid_factor(problem, problem.scene, axes, torch.float64), axes)
    normal = TileNormal(problem, problem.scene, torch.float64)
    level = float(y.double().mean() / problem.psf.sum())
    b = normal.blur.H(y.double() - level * float(problem.psf.sum()))
    x = torch.zeros(problem.scene, dtype=torch.float64)
    for _ in range(3):
        x += solve(b - normal(x, None), [0] * y.ndim, tol=1e-6)
    return x + level


def error(runner, answer, exact):
    x = torch.from_numpy(runner.arrays[answer.name]).double()
    return float((x - exact).square().mean().sqrt() / exact.std())


CASES = [
    ("Gaussian", (5, 5), (61, 53), 24, (1.0, 1.0), 3),
    ("disk", (7, 7), (66, 51), 24, (1.0, 1.0), 4),  # a last tile of one sample
    ("measured", (4, 6), (45, 57), 20, (0.3, 1.0), 4),
    ("measured", (1, 5), (45, 57), 20, (0.3, 1.0), 4),
    ("Gaussian", (5, 3, 3), (29, 24, 23), 16, (0.1, 1.0, 1.0), 3),
    ("disk", (3, 4, 3), (23, 21, 22), 12, (1.0, 1.0, 1.0), 3),
    ("measured", (3, 3, 4), (15, 26, 13), 8, (0.3, 1.0, 1.0), 4),
]


STRENGTHS = (3e-2, 2.5e-3)


@pytest.mark.parametrize(
    ("kind", "k", "n", "core", "weights", "most", "strength"),
    [
        *((*case, STRENGTHS[i % 2]) for i, case in enumerate(CASES)),
        *(
            pytest.param(*case, STRENGTHS[1 - i % 2], marks=pytest.mark.slow)
            for i, case in enumerate(CASES)
        ),
    ],
)
def test_tiled_is_untiled_within_what_is_proven(kind, k, n, core, weights, most, strength):
    problem = Problem(psf(kind, k), n, strength, weights)
    y = data_of(problem)
    method = Quadratic(problem, lower_bound(problem))
    runner = MemoryRunner(y.numpy())
    answer = method(runner, Tiling(problem.scene, (core,) * len(n), method.halo))
    report = answer.report
    assert report["met"]
    assert report["proven error"] <= 1e-3
    assert error(runner, answer, untiled(problem, y)) <= report["proven error"]
    assert report["passes"] <= most + (4 if strength < 1e-2 else 0)
    assert {*runner.arrays} == {"data", answer.name}  # nothing is left behind


def test_the_engine_gives_the_same_bits(tmp_path):
    zarr = pytest.importorskip("zarr")
    from tests.volumes.runs import run  # needs the optional packages

    problem = Problem(psf("measured", (3, 4, 3)), (20, 22, 18), 0.01, (0.3, 1.0, 1.0))
    method = Quadratic(problem, lower_bound(problem))
    y = data_of(problem).numpy()
    done = run(y, tmp_path / "out.zarr", method_of=lambda batch, facts: method, room=5e6)
    runner = MemoryRunner(y)
    answer = method(runner, Tiling(problem.scene, done.need.core, method.halo))
    frame = tuple(
        slice(before, before + n)
        for (before, _), n in zip(method.margins, problem.data_shape, strict=True)
    )
    found = zarr.open(tmp_path / "out.zarr", mode="r")["0"][:]
    assert len(answer.report["errors by pass"]) > 1
    assert (found == runner.arrays[answer.name][frame]).all()


def test_a_large_background_costs_nothing():
    problem = Problem(psf("disk", (5, 5)), (40, 40), 2.5e-3, (1.0, 1.0))
    y = data_of(problem)
    reports = []
    for background in (0.0, 1000.0):  # thousands of standard deviations
        method = Quadratic(problem, lower_bound(problem))
        answer = method(
            MemoryRunner((y + background).numpy()), Tiling(problem.scene, (24, 24), method.halo)
        )
        assert answer.report["met"]
        reports.append(answer.report)
    assert reports[0]["passes"] == reports[1]["passes"]


@settings(max_examples=12)
@given(draw=st.data())
def test_any_sizes(draw):
    n = [draw.draw(st.integers(1, 14)) for _ in range(2)]
    k = [draw.draw(st.integers(1, 4)) for _ in range(2)]
    core = [draw.draw(st.integers(1, 16)) for _ in range(2)]
    problem = Problem(psf("measured", k), tuple(n), 0.01, (1.0, 0.5))
    y = (outputs_matrix(problem) @ scene_of(problem.scene).flatten()).view(n)
    y = y.float()
    method = Quadratic(problem, lower_bound(problem))
    runner = MemoryRunner(y.numpy())
    answer = method(runner, Tiling(problem.scene, core, method.halo))
    exact = minimiser(problem, y.double(), answer.report["level"])
    x = torch.from_numpy(runner.arrays[answer.name]).double()
    spread = exact.var(correction=0).sqrt()
    assert answer.report["met"] or spread < 1e-5
    wrong = (x - exact).square().mean().sqrt()
    assert wrong <= answer.report["proven error"] * spread * (1 + 1e-3) + 1e-6


def test_holes_are_left_out_and_the_bound_says_so():
    problem = Problem(psf("Gaussian", (3, 3)), (20, 18), 0.01, (1.0, 1.0))
    y = data_of(problem)
    y[3, 4], y[10:12, 5:9] = np.nan, np.inf
    method = Quadratic(problem, lower_bound(problem))
    runner = MemoryRunner(y.numpy())
    answer = method(runner, Tiling(problem.scene, (12, 12), method.halo))
    assert answer.report["errors by pass"][-1] <= 1e-3 < answer.report["proven error"] < 1
    assert answer.report["not observed"] == 9
    assert answer.report["smallest eigenvalue"] == problem.smallest
    assert "not observed" in answer.report["from"]
    exact = minimiser(problem, y.double(), answer.report["level"], torch.isfinite(y))
    assert error(runner, answer, exact) <= 1e-3


def test_the_preconditioner_is_symmetric_and_positive():
    problem = Problem(psf("measured", (3, 3)), (7, 4), 0.01, (1.0, 1.0))
    overlap = Overlap(Tiling(problem.scene, (5, 5), (2, 3)))
    solves = local_solves(problem, overlap)
    n = math.prod(problem.scene)
    eye = torch.eye(n).view(-1, *problem.scene)
    M = torch.zeros(n, *problem.scene, dtype=torch.float64)
    for tile in overlap.tiling.tiles:
        window = overlap.window(tile)
        inverse, first = solves.of(tile)
        for column, e in zip(M, eye, strict=True):
            answer = inverse(e[tile.outer] * window, first, tol=1e-5)
            column[tile.outer] += (answer * window).double()
    M = M.flatten(1)
    assert float((M - M.mT).norm() / M.norm()) < 1e-4
    assert float(torch.linalg.eigvalsh((M + M.mT) / 2)[0]) > 0


def test_a_tolerance_that_storage_cannot_hold_is_not_promised():
    problem = Problem(psf("disk", (5, 5)), (40, 40), 2.5e-3, (1.0, 1.0))
    method = Quadratic(problem, lower_bound(problem), tol=1e-9)
    runner = MemoryRunner(data_of(problem).numpy())
    answer = method(runner, Tiling(problem.scene, (24, 24), method.halo))
    assert not answer.report["met"]
    assert 1e-9 < answer.report["proven error"] < 1e-3
    assert len(answer.report["errors by pass"]) == answer.report["passes"] + 1


class Watching(MemoryRunner):
    """Notes what is proven; from one step on, steps seem to fail."""

    def __init__(self, data, failing):
        super().__init__(data)
        self.failing, self.proofs = failing, []

    def run(self, name, work, tiling, writes):
        found = super().run(name, work, tiling, writes)
        stage, number = name.split()[0], name.split()[-1]
        if stage == "step" and int(number) >= self.failing:
            for key in (f"x/{number}", f"r/{number}"):
                self.arrays[key] += 1 + int(number) % 3
            found = [numbers | {"gg": numbers["gg"] + int(number) % 3 + 1} for numbers in found]
        if stage == "prove":
            gg, total, square = (sum(n[key] for n in found) for key in ("gg", "sum", "square"))
            size = math.prod(tiling.scene)
            self.proofs.append(math.sqrt(gg / (square - total**2 / size)))
        return found


@pytest.mark.parametrize(
    ("failing", "nonnegative"), [(1, False), (3, False), (60, False), (2, True)]
)
def test_the_best_that_was_found_is_the_answer(failing, nonnegative):
    problem = Problem(psf("disk", (5, 5)), (24, 22), 2.5e-3, (1.0, 1.0))
    method = Quadratic(problem, lower_bound(problem), tol=1e-9, nonnegative=nonnegative)
    runner = Watching((data_of(problem) - 3).numpy(), failing)
    answer = method(runner, Tiling(problem.scene, (14, 14), method.halo))
    assert {*runner.arrays} == {"data", answer.name}
    proven = answer.report["proven error"] * method.bound.mu
    assert proven == pytest.approx(min(runner.proofs), rel=1e-2)
    assert len(runner.proofs) > 1


@pytest.mark.parametrize("value", [0.0, 4.0, 0.1])
@pytest.mark.parametrize("kind", ["disk", "measured"])
def test_a_constant_is_its_own_answer(kind, value):
    problem = Problem(psf(kind, (3, 3)), (20, 20), 0.01, (1.0, 1.0))
    method = Quadratic(problem, Bound(problem.smallest, "strength times ridge"))
    runner = MemoryRunner(np.full((20, 20), value))
    answer = method(runner, Tiling(problem.scene, (12, 12), method.halo))
    assert answer.report["met"]
    assert np.abs(runner.arrays[answer.name] - value).max() <= 1e-7 * value


def test_refusals():
    problem = Problem(psf("disk", (9, 9)), (30, 30), 0.01, (1.0, 1.0))
    method = Quadratic(problem, Bound(problem.smallest, ""))
    with pytest.raises(VolumeError, match=r"the psf, \(9, 9\); with a halo of \(18, 18\)"):
        method(MemoryRunner(np.zeros((30, 30))), Tiling(problem.scene, (4, 4), (1, 1)))
    with pytest.raises(VolumeError, match="the volume holds only NaN or infinity"):
        method(
            MemoryRunner(np.full((30, 30), np.nan)), Tiling(problem.scene, (16, 16), method.halo)
        )
