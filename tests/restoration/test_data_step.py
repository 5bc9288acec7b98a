"""What puts the data back against dense minimisers; counts restored by any denoiser."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator, psf, restore, richardson_lucy
from unconv.restoration import sliding_dct
from unconv.restoration.data_step import CountStep, GaussianStep
from unconv.restoration.data_terms import Poisson
from unconv.restoration.grid_problem import GridProblem
from unconv.restoration.splitting import Bounds

from ..helpers import F64, every_pair, randn, relative
from .test_restore import drawn_operator


def drawn_counts(seed: int) -> tuple[ConvOperator, Tensor, float]:
    """A of positive taps, counts of a mean from 0.1 to 1000 and a background."""
    g = random.Random(seed)
    A = drawn_operator(g, seed)
    A = A.with_weight(A.weight.abs() + 0.01)
    mean, background = 10 ** g.uniform(-1, 3), g.choice([0.0, 0.5, 5.0])
    x = torch.rand(1, *A.domain_shape, dtype=F64, generator=torch.Generator().manual_seed(seed))
    light = A(x)
    light = light * (mean / max(float(light.mean()), 1e-3))
    return A, torch.poisson(light + background, torch.Generator().manual_seed(seed)), background


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(s, marks=pytest.mark.slow) for s in range(6, 12))]
)
def test_counts_are_put_back_as_by_the_matrix(seed):
    """No image near or far is below min f(Ax) + (ρ/2)‖x − z‖² over x ≥ lower."""
    A, y, background = drawn_counts(seed)
    lower = random.Random(seed).choice([0.0, -math.inf])
    grid = GridProblem(A, F64)
    b = torch.full_like(y, background)
    seen = torch.ones_like(y) if A.seen is None else torch.ones_like(y) * A.seen
    term = Poisson(grid.put(y * seen), grid.put(b * seen))
    mean = max(float(y.mean()), 1.0)
    z = mean / grid.gain * randn(1, *A.domain_shape, dtype=F64, seed=seed).abs()
    rho = 0.3 * grid.gain**2 / mean
    step = CountStep(grid, term, math.sqrt(mean), Bounds(lower), z, iterations=1500)
    x = step(z, rho)
    M, counts = A.to_dense()[(seen > 0).flatten()], y[seen > 0]

    def value(x: Tensor) -> float:
        light = M @ x.flatten() + background
        least = light.clamp(min=0)  # an iteration comes to the rim of what may be from outside
        data = least - torch.xlogy(counts, least)
        below = float(light.min()) < -1e-4 * mean
        return math.inf if below else float(data.sum() + rho / 2 * (x - z).square().sum())

    assert math.isfinite(value(x))
    for other in range(20):  # strongly convex: no image near or far is less
        move = randn(*x.shape, dtype=F64, seed=100 + other)
        near = x + 10.0 ** -(other % 5) * move * float(x.abs().mean())
        near = near.clamp(min=lower)
        if math.isfinite(value(near)):
            assert value(near) >= value(x) - 1e-6 * abs(value(x))


def test_ten_iterations_go_on_from_the_last():
    A, y, background = drawn_counts(3)
    grid = GridProblem(A, F64)
    term = Poisson(grid.put(y), grid.put(torch.full_like(y, background)))
    z = torch.ones(1, *A.domain_shape, dtype=F64)
    std = math.sqrt(float(y.mean()))
    once = CountStep(grid, term, std, Bounds(0.0), z, iterations=30)
    thrice = CountStep(grid, term, std, Bounds(0.0), z)
    rho = grid.gain**2 / std**2
    x = once(z, rho)
    for _ in range(3):
        again = thrice(z, rho)
    assert relative(again, x) < 1e-12


def test_gaussian_data_are_put_back_as_by_the_matrix():
    A = ConvOperator(psf.gaussian(1.0).double()[None, None], (14, 15))
    y, z = randn(1, *A.range_shape, dtype=F64), randn(1, *A.domain_shape, dtype=F64, seed=1)
    M = A.to_dense()
    normal = M.T @ M + 0.3 * torch.eye(M.shape[1], dtype=F64)
    wanted = torch.linalg.solve(normal, M.T @ y.flatten() + 0.3 * z.flatten())
    found = GaussianStep(A, y, 1.0, 1e9)(z, 0.3)
    assert relative(found.flatten(), wanted) < 1e-3


# --- the door
def scene() -> Tensor:
    x = torch.full((1, 1, 48, 48), 0.1, dtype=F64)
    x[..., 10:30, 12:20] = x[..., 24:30, 12:40] = 1
    return x


@pytest.mark.parametrize("prior", ["dct", lambda x, sigma: sliding_dct(x, sigma)])
@pytest.mark.parametrize("background", [0.0, 4.0])
def test_counts_by_a_denoiser(prior, background):
    x = 50 * scene()
    A = ConvOperator(psf.gaussian(1.2).double()[None, None], (48, 48))
    y = torch.poisson(A(x) + background, torch.Generator().manual_seed(0))
    asked = {"noise_model": "poisson", "background": background, "nonnegative": True}
    found = restore(A, y, prior=prior, **asked)
    rival = richardson_lucy(A, y, background=background).solution
    assert found.certificate.method == "plug-and-play"
    assert float(found.solution.min()) >= 0
    assert (found.solution - x).norm() < 0.95 * (rival - x).norm()


def test_counts_with_holes_do_not_look_at_them():
    x = 30 * scene()
    whole = ConvOperator(psf.gaussian(1.2).double()[None, None], (48, 48))
    mask = torch.rand(whole.range_shape[1:], generator=torch.Generator().manual_seed(1)) > 0.3
    y = torch.poisson(whole(x), torch.Generator().manual_seed(0))
    A = whole.observed(mask)
    asked = {"prior": "dct", "noise_model": "poisson", "nonnegative": True}
    one = restore(A, torch.where(mask, y, 1e4), **asked).solution
    other = restore(A, torch.where(mask, y, torch.nan), **asked).solution
    assert torch.equal(one, other)
    assert (one - x).norm() < 0.25 * x.norm()


@every_pair(
    shape=[(20,), (12, 13), (6, 7, 8), (1, 5)],
    count=[0.0, 1.0],
    background=[0.0, 3.0],
    nonnegative=[False, True],
)
def test_no_light_or_one_photon(count, background, nonnegative, shape):
    A = ConvOperator(torch.ones(1, 1, *[min(3, n) for n in shape], dtype=F64), shape)
    y = torch.zeros(2, *A.range_shape, dtype=F64)
    y[0].view(-1)[0] = count
    found = restore(
        A, y, prior="dct", noise_model="poisson", background=background, nonnegative=nonnegative
    )
    assert bool(found.solution.isfinite().all())
    if nonnegative:
        assert float(found.solution.min()) >= 0


def test_a_volume_and_channels():
    A = ConvOperator(torch.rand(2, 2, 3, 3, 3, dtype=F64), (8, 9, 10), padding=1)
    x = torch.rand(1, *A.domain_shape, dtype=F64)
    y = torch.poisson(20 * A(x), torch.Generator().manual_seed(0))
    found = restore(A, y, prior="dct", noise_model="poisson", nonnegative=True)
    assert (A(found.solution) - 20 * A(x)).norm() < (y - 20 * A(x)).norm()
