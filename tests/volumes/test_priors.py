"""Tiles restored by themselves against the volume restored at once."""

import math
import pickle

import numpy as np
import pytest
import torch

import unconv
from unconv.volumes.nonlinear.priors import Pass, TiledRestoration, TileProblem
from unconv.volumes.tiling.stages import Constant, MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

NOISE = 0.02


def drawn(seed, *, nd=2, counts=False, holes=False):
    """Boxes of even brightness behind a random psf: psf, operator, data, what was seen."""
    random = np.random.default_rng(seed)
    n = random.integers(36, 48, nd) if nd == 2 else random.integers(10, 14, nd)
    k = random.integers(2, 8, nd) if nd == 2 else random.integers(2, 4, nd)
    psf = torch.from_numpy(random.random(k) ** 2 + 0.02)
    psf /= psf.sum()
    scene = tuple(int(v) for v in n + k - 1)
    x = torch.full(scene, 0.2, dtype=torch.float64)
    for _ in range(8):
        start = [int(random.integers(0, m - 4)) for m in scene]
        x[tuple(slice(s, s + int(random.integers(4, 20))) for s in start)] = random.random()
    A = unconv.ConvOperator(psf[None, None], scene, flip=True)
    generator = torch.Generator().manual_seed(seed)
    y = A(x[None, None])
    if counts:
        y = torch.poisson(200 * y + 10, generator)
    else:
        y = y + NOISE * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    seen = torch.from_numpy(random.random(tuple(map(int, n))) > 0.1) if holes else None
    return psf, A if seen is None else A.observed(seen), y, seen


def tiled(psf, y, seen, core, *, tol=1e-2, passes=4, **options):
    data = y[0, 0].float()
    if seen is not None:
        data = data.where(seen, torch.nan)
    method = TiledRestoration(TileProblem(Constant(psf), tuple(data.shape), **options), tol, passes)
    scene = tuple(n + k - 1 for n, k in zip(data.shape, psf.shape, strict=True))
    runner = MemoryRunner(data.numpy())
    name, report = method(runner, Tiling(scene, core, method.halo))
    assert runner.arrays.keys() == {"data", name}
    return torch.from_numpy(runner.arrays[name]).double(), report


def apart(x, whole, psf):
    """Root mean square difference in the frame, relative to the standard deviation."""
    frame = tuple(
        slice(k - 1 - k // 2, n - k // 2) for k, n in zip(psf.shape, whole.shape, strict=True)
    )
    return float((x - whole)[frame].square().mean().sqrt() / whole[frame].std())


@pytest.mark.filterwarnings("ignore::unconv.AccuracyWarning")  # a gap that is a little larger
@pytest.mark.parametrize(
    ("prior", "nd", "core"),
    [
        ("tv", 2, (24, 31)),
        pytest.param("hessian", 2, (24, 31), marks=pytest.mark.slow),
        pytest.param("sparse", 2, (24, 31), marks=pytest.mark.slow),
        ("tv", 3, (9, 9, 16)),
    ],
)
def test_as_the_whole(prior, nd, core):
    psf, A, y, seen = drawn(nd, nd=nd)
    strength = 0.004
    whole = unconv.restore(
        A, y, prior=prior, strength=strength, noise_std=NOISE, gap_tol=3e-4, maxiter=1500
    )
    x, report = tiled(psf, y, seen, core, prior=prior, strength=strength, gap_tol=3e-4)
    assert report["blind"] == 0
    # Sparse gradients have local minima; what joins tiles is the same.
    limit = 5e-2 if prior == "sparse" else 2e-2
    assert apart(x, whole.solution[0, 0], psf) <= limit
    assert report["residual"][-1] <= limit


@pytest.mark.filterwarnings("ignore::unconv.AccuracyWarning")
def test_the_residual_tells_the_error_of_the_pass_before():
    psf, A, y, seen = drawn(11)
    whole = unconv.restore(A, y, strength=0.003, gap_tol=1e-4, maxiter=1500).solution[0, 0]
    options = {"strength": 0.003, "gap_tol": 3e-4, "maxiter": 1000, "tol": 0.0}
    first, _ = tiled(psf, y, seen, (20, 20), passes=1, **options)
    second, report = tiled(psf, y, seen, (20, 20), passes=2, **options)
    error = apart(first, whole, psf)
    assert report["residual"][0] == pytest.approx(error, rel=0.5)
    assert apart(second, whole, psf) < error


@pytest.mark.parametrize("holes", [False, True])
def test_counts(holes):
    psf, A, y, seen = drawn(21, counts=True, holes=holes)
    options = {"noise_model": "poisson", "nonnegative": True, "background": 10}
    strength = 0.02
    data = y if seen is None else y.where(seen, 0)
    whole = unconv.restore(A, data, strength=strength, gap_tol=3e-4, maxiter=1500, **options)
    x, report = tiled(psf, y, seen, (24, 31), strength=strength, **options)
    assert float(x.min()) >= 0
    assert apart(x, whole.solution[0, 0], psf) <= 2e-2
    assert report["residual"][-1] <= 1e-2


def test_outliers_and_holes():
    psf, A, y, seen = drawn(22, holes=True)
    y[0, 0, 20, 20] = 9.0
    options = {"noise_model": "huber", "noise_std": NOISE, "strength": 0.004}
    whole = unconv.restore(A, y.where(seen, 0), gap_tol=3e-4, maxiter=1500, **options)
    x, _ = tiled(psf, y, seen, (24, 31), **options)
    assert apart(x, whole.solution[0, 0], psf) <= 2e-2


def test_strength_of_some_tiles():
    psf, A, y, seen = drawn(23)
    strength = float(unconv.restore(A, y, noise_std=NOISE).strength)
    x, report = tiled(psf, y, seen, (24, 31), noise_std=NOISE)
    assert strength / 2 <= report["strength"] <= 2 * strength
    assert report["noise_std"] == NOISE
    assert math.isfinite(float(x.abs().max()))


def test_one_tile_is_the_whole():
    psf, A, y, seen = drawn(24)
    x, report = tiled(psf, y, seen, A.domain_shape[1:], strength=0.004, passes=1)
    whole = unconv.restore(A, y, strength=0.004, gap_tol=1e-3).solution[0, 0]
    assert apart(x, whole, psf) <= 1e-2
    assert report["passes"] == 1


def test_what_travels_to_a_worker():
    psf, _, y, _ = drawn(26)
    problem = TileProblem(Constant(psf), tuple(y.shape[2:]), strength=0.004)
    data = y[0, 0].float().numpy()
    scene = tuple(n + k - 1 for n, k in zip(data.shape, psf.shape, strict=True))
    tile = Tiling(scene, (20, 20), (0, 0)).tiles[3]
    work = Pass(problem, None, "x/0")
    there = pickle.loads(pickle.dumps(work))
    assert there.bytes_for(tile) == work.bytes_for(tile) > 0
    read = MemoryRunner(data)._read
    np.testing.assert_array_equal(there(tile, read)[0]["x/0"], work(tile, read)[0]["x/0"])


def test_nothing_seen():
    psf, _, y, _ = drawn(25)
    seen = torch.zeros(y.shape[2:], dtype=torch.bool)
    seen[:, :12] = True
    x, report = tiled(psf, y, seen, (12, 12), strength=0.004, passes=2, gap_tol=1e-2)
    assert report["blind"] > 0
    assert bool(x.isfinite().all())


def test_what_is_infinite_was_not_seen_either():
    psf, _, y, seen = drawn(2, holes=True)
    found = [
        tiled(psf, y.where(seen, value), None, (24, 24), noise_std=NOISE, passes=1)[0]
        for value in (math.inf, math.nan)
    ]
    assert torch.equal(*found)
