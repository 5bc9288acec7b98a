"""Richardson–Lucy on tiles is Richardson–Lucy: step by step what a volume in memory is taken to."""

import math

import numpy as np
import pytest
import torch

import unconv
from unconv.volumes.nonlinear.counts import Counts, RichardsonLucy
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling


def drawn(seed, *, holes=False):
    """A problem: psf, operator, counts, background, cores, spacing; two axes or three."""
    random = np.random.default_rng(seed)
    nd = int(random.integers(2, 4))
    k = random.integers(1, 7, nd) if nd == 2 else random.integers(1, 5, nd)
    n = random.integers(9, 40, nd) if nd == 2 else random.integers(6, 14, nd)
    core = random.integers(4, 24, nd) if nd == 2 else random.integers(4, 9, nd)
    psf = torch.from_numpy(random.random(k) ** 3 + 0.01)
    psf /= psf.sum()
    scene = tuple(int(v) for v in n + k - 1)
    A = unconv.ConvOperator(psf[None, None], scene, flip=True)
    x = torch.from_numpy(60 * random.random(scene) ** 6)[None, None]
    y = torch.poisson(A(x) + 3, torch.Generator().manual_seed(seed))
    seen = torch.from_numpy(random.random(tuple(n)) > 0.2) if holes else None
    return psf, A if seen is None else A.observed(seen), y, seen, tuple(map(int, core))


def tiled(psf, y, seen, core, *, tv=0.0, background=3.0, spacing=None, **options):
    data = y[0, 0].float()
    if seen is not None:
        data = data.where(seen, torch.nan)
    counts = Counts(Constant(psf), tuple(data.shape), background, tv, spacing)
    method = RichardsonLucy(counts, **options)
    scene = tuple(n + k - 1 for n, k in zip(data.shape, psf.shape, strict=True))
    runner = MemoryRunner(data.numpy())
    name, report = method(runner, Tiling(scene, core, method.halo))
    assert runner.arrays.keys() == {"data", name}  # nothing is left behind
    return torch.from_numpy(runner.arrays[name]), report


@pytest.mark.parametrize(
    ("seed", "tv"),
    [
        *((seed, (0.0, 0.05)[seed % 2]) for seed in range(12)),
        *(pytest.param(s, (0.05, 0.0)[s % 2], marks=pytest.mark.slow) for s in range(12)),
    ],
)
def test_as_in_memory(seed, tv):
    psf, A, y, seen, core = drawn(seed)
    steps = 15
    x, report = tiled(psf, y, seen, core, tv=tv, stop=None, maxiter=steps)
    told = unconv.richardson_lucy(A, y, background=3, tv=tv, stop=None, maxiter=steps)
    expected = told.solution[0, 0]
    assert float((x - expected).norm()) <= 1e-4 * float(expected.norm())
    np.testing.assert_allclose(report["divergence"], told.history[:, 0], rtol=1e-4)
    assert report["iterations"] == steps


@pytest.mark.parametrize("seed", range(20, 26))
def test_holes(seed):
    psf, A, y, seen, core = drawn(seed, holes=True)
    x, _ = tiled(psf, y, seen, core, stop=None, maxiter=8)
    expected = unconv.richardson_lucy(A, y, background=3, stop=None, maxiter=8).solution[0, 0]
    assert float((x - expected).norm()) <= 1e-4 * float(expected.norm())


@pytest.mark.parametrize("seed", range(30, 36))
def test_ends_where_it_ends_in_memory(seed):
    psf, A, y, seen, core = drawn(seed)
    x, report = tiled(psf, y, seen, core)
    told = unconv.richardson_lucy(A, y, background=3)
    assert report["iterations"] == int(told.iterations)
    assert report["stopped_by"] == told.stopped_by[0]
    expected = told.solution[0, 0]
    assert float((x - expected).norm()) <= 1e-3 * float(expected.norm())


def test_mass():
    psf, A, y, seen, core = drawn(3)
    x, _ = tiled(psf, y, seen, core, background=0.0, stop=None, maxiter=12)
    assert float(A(x.double()[None, None]).sum()) == pytest.approx(float(y.sum()), rel=1e-5)
    told = unconv.richardson_lucy(A, y, stop=None, maxiter=12).solution[0, 0]
    assert float((x - told).norm()) <= 2e-2 * float(told.norm())


def test_no_step_raises_the_objective():
    psf, _, y, seen, core = drawn(5)
    _, report = tiled(psf, y, seen, core, tv=0.1, stop=None, maxiter=15)
    objective = np.array(report["objective"])
    assert (np.diff(objective) <= 1e-6 * objective[:-1]).all()


def test_residual_ends_it():
    psf, _, y, seen, core = drawn(5)
    _, report = tiled(psf, y, seen, core, tv=0.3, stop=None, tol=1e-3)
    assert report["stopped_by"] == "residual"
    assert report["residual"][-1] <= 1e-3


def test_long_voxels():
    """Differences are divided by the spacing: the objective is that of the formula."""
    psf, A, y, seen, core = drawn(7)
    spacing = (2.5, 1.0, 0.5)[: psf.ndim]
    x, report = tiled(psf, y, seen, core, tv=0.1, spacing=spacing, stop=None, maxiter=15)
    x = x.double()
    weights = A.H(torch.ones_like(y))[0, 0]
    reach = weights > 1e-2 * weights.max()
    smoothing = 0.02 * float(y.sum() / weights[reach].sum())
    squares = torch.full_like(x, smoothing**2)
    for axis, h in enumerate(spacing):
        m = x.shape[axis] - 1
        joined = reach.narrow(axis, 0, m) & reach.narrow(axis, 1, m)
        squares.narrow(axis, 0, m).add_((x.diff(dim=axis) / h).square() * joined)
    told = 0.1 * float((squares.sqrt() - smoothing).sum())
    told += report["divergence"][-1]
    assert report["objective"][-1] == pytest.approx(told, rel=1e-4)
    objective = np.array(report["objective"])
    assert (np.diff(objective) <= 1e-6 * objective[:-1]).all()


def test_nothing_but_darkness():
    psf, _, y, seen, core = drawn(8)
    x, _ = tiled(psf, torch.zeros_like(y), seen, core, maxiter=3)
    assert float(x.abs().max()) == 0


def test_what_is_infinite_was_not_seen_either():
    psf, _, y, _, core = drawn(3)
    seen = torch.rand(y.shape[2:], generator=torch.Generator().manual_seed(0)) > 0.1
    found = [
        tiled(psf, y.where(seen, value), None, core, maxiter=3)[0] for value in (math.inf, math.nan)
    ]
    assert torch.equal(*found)
