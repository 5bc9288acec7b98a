"""`restore` and `richardson_lucy` of blurs whose psf varies, against dense matrices."""

from __future__ import annotations

import random
import warnings

import pytest
import torch

from unconv import (
    AccuracyWarning,
    ConvolutionProduct,
    ConvOperator,
    ProductConvolution,
    restore,
    richardson_lucy,
)
from unconv.restoration.subproblem import part_of
from unconv.restoration.varying_grid import VaryingGrid, VaryingNormal, of_mean_psf

from ..helpers import F64, every_pair, randn
from ..varying.test_blur import BOUNDARIES, KINDS
from .dense import DenseProblem, difference_matrices
from .test_restore import blocks, noise

ALL = [(kind, *boundary) for kind in KINDS.values() for boundary in BOUNDARIES]
EVERY = pytest.mark.parametrize(("kind", "padding", "mode"), ALL)


def gaussians(count: int, k: int, nd: int) -> torch.Tensor:
    """(count, *1, *k): psfs that grow along the first axis."""
    at = torch.arange(k, dtype=F64) - k // 2
    found = []
    for sigma in torch.linspace(0.5, 1.6, count, dtype=F64):
        line = torch.exp(-at.square() / (2 * sigma**2))
        psf = line
        for _ in range(nd - 1):
            psf = psf[..., None] * line
        found.append(psf / psf.sum())
    return torch.stack(found).reshape(count, *[1] * (nd - 1), *[k] * nd)


def operator(kind, padding, mode, n=(11, 9), k=5, count=3, **options):
    m = [a - k + 1 if padding == "valid" else a for a in n]
    nodes = [torch.linspace(0, m[0] - 1, count), *(torch.tensor([a / 2]) for a in m[1:])]
    psfs = gaussians(count, k, len(n))
    return kind(psfs, tuple(nodes), n, padding=padding, padding_mode=mode, **options)


@EVERY
def test_the_grid_holds_the_operator(kind, padding, mode):
    draw = random.Random(f"{kind}{padding}{mode}")
    for nd in (1, 2, 3):
        n = [draw.randint(6, 12) for _ in range(nd)]
        A = operator(kind, padding, mode, n, draw.choice([3, 4, 5]))
        grid = VaryingGrid(A, F64)
        x, z = randn(1, 1, *n, dtype=F64), randn(1, 1, *grid.torus.coarse, dtype=F64)
        v = grid.nearest(grid.extended(x), -torch.inf, torch.inf)
        V = grid.torus.transform(v)
        assert (grid.outputs(grid.blurred(V)) - A(x)).abs().max() < 1e-13
        back = grid.torus.inverse_transform(grid.adjoint_spectrum(z))
        assert abs(float((grid.blurred(V) * z).sum() - (v * back).sum())) < 1e-11


def test_the_normal_equations_are_solved():
    grid = VaryingGrid(operator(ProductConvolution, "same", "circular", (14, 13)), F64)
    power = torch.rand(grid.torus.spectrum_shape, dtype=F64)
    normal = VaryingNormal(grid, power)
    normal.weigh(0.7, 0.5, 0.05)
    B = grid.torus.transform(randn(1, 1, 14, 13, dtype=F64))
    for _ in range(30):
        V = normal.solve(B)
    left = B - 0.7 * grid.adjoint_spectrum(grid.blurred(V)) - (0.5 * power + 0.05) * V
    assert left.norm() < 1e-10 * B.norm()


@every_pair(kind=list(KINDS.values()), boundary=BOUNDARIES, prior=["tv", "hessian"])
def test_the_least_is_reached_and_the_bound_is_one(kind, boundary, prior):
    padding, mode = boundary
    A = operator(kind, padding, mode)
    if prior == "hessian":
        A = A.observed(torch.rand(A.range_shape[1:]) < 0.85)
    y = noise(A(blocks(1, *A.domain_shape[1:], seed=3)), 0.02)
    options = {"prior": prior, "strength": 0.01, "nonnegative": prior == "tv"}
    tol = 3e-4 if prior == "tv" else 2e-3  # places that nobody saw are slow
    found = restore(A, y, gap_tol=tol, maxiter=2000, **options)
    D = difference_matrices(
        "gradient" if prior == "tv" else "hessian", A.domain_shape[1:], (1.0, 1.0),
        [mode == "circular"] * 2,
    )  # fmt: skip
    twin = DenseProblem(
        A.to_dense(), A._masked(y).flatten(), torch.stack(D), 1, True, 0.01,
        float(found.certificate.epsilon), lower=0.0 if prior == "tv" else -torch.inf,
    )  # fmt: skip
    best = float(found.certificate.objective)
    x = found.solution.flatten()
    assert bool(found.certificate.converged.all())
    assert abs(twin.objective(x) - best) < 1e-9 * best
    assert float(found.certificate.bound) <= best
    least = twin.objective(twin.solve(torch.zeros_like(x), 3000))
    assert float(found.certificate.bound) <= least * (1 + 1e-12)
    assert best - least <= tol * best


@pytest.mark.parametrize("prior", ["tv", "sparse", "dct", lambda x, sigma: x])
@pytest.mark.parametrize("kind", KINDS.values())
def test_one_psf_is_restored_as_by_a_convolution(kind, prior):
    psf = gaussians(1, 5, 2)[0, 0]
    A = kind(psf.expand(2, 2, 5, 5), (torch.tensor([2.0, 20.0]),) * 2, (30, 28))
    B = ConvOperator(psf[None, None], (30, 28), flip=True)
    y = noise(A(blocks(1, 30, 28, seed=1)), 0.02)
    options = {"prior": prior, "noise_std": 0.02}
    if isinstance(prior, str) and prior != "dct":
        options |= {"strength": 0.002, "gap_tol": 1e-4, "maxiter": 2000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        a, b = restore(A, y, **options), restore(B, y, **options)
    assert (a.solution - b.solution).norm() < 0.02 * b.solution.norm()


def test_strength_noise_and_channels_are_found():
    psfs = gaussians(3, 7, 2)
    nodes = torch.linspace(0, 57, 3), torch.tensor([30.0])
    A = ProductConvolution(psfs, nodes, (64, 64), channels=2)
    x = blocks(2, 64, 64, seed=5)
    y = noise(A(x), 0.02)
    found = restore(A, y)
    inside = (..., slice(3, -3), slice(3, -3))
    assert 0.01 < float(found.certificate.noise_std) < 0.04
    assert (found.solution - x)[inside].norm() < 0.7 * (y - x[inside]).norm()


def test_the_part_on_which_a_strength_is_chosen():
    for kind in KINDS.values():
        for padding, mode in BOUNDARIES:
            A = operator(kind, padding, mode, (300, 280), 5)
            A = A.observed(torch.rand(A.range_shape[1:]) < 0.9)
            x = randn(1, 1, 300, 280, dtype=F64)
            y = A(x)
            part, where = part_of(A, y)
            before = [s.start - (2 if padding == "same" else 0) for s in where[2:]]
            inside = tuple(
                slice(a, a + n) for a, n in zip(before, part.domain_shape[1:], strict=True)
            )
            assert (part(x[(..., *inside)]) - y[where]).abs().max() < 1e-13


@pytest.mark.parametrize("model", ["poisson", "huber"])
def test_other_noise(model):
    A = operator(ConvolutionProduct, "same", "zeros", (24, 20), 7)
    x = 60 * blocks(1, 24, 20, seed=2)
    y = torch.poisson(A(x).clamp(min=0), generator=torch.Generator().manual_seed(0))
    found = restore(A, y, noise_model=model, nonnegative=True, maxiter=3000)
    assert bool(found.certificate.converged.all())
    assert (A(found.solution) - A(x)).norm() < (y - A(x)).norm()


def test_counts_by_richardson_lucy():
    A = operator(ProductConvolution, "valid", "zeros", (26, 24), 7)
    x = 100 * blocks(1, 26, 24, seed=2)
    y = torch.poisson(A(x).clamp(min=0), generator=torch.Generator().manual_seed(0))
    seen = torch.rand(A.range_shape[1:]) < 0.9
    found = richardson_lucy(A.observed(seen), y, maxiter=7, accelerate=False, stop=None)
    M = A.to_dense() * seen.flatten()[:, None]
    weight = M.sum(0)
    reach = weight > 1e-2 * weight.max()
    light = float((y.flatten() * seen.flatten()).sum())
    z = torch.where(reach, light / weight[reach].sum(), 0.0).to(F64)
    for _ in range(7):
        mean = M @ z
        back = M.mT @ torch.where(mean > 0, y.flatten() / mean, 0)
        z = torch.where(reach, z * back / weight, 0)
        z = z * light / (M @ z).sum()
    assert (found.solution.flatten() - z).norm() < 1e-6 * z.norm()
    stopped = richardson_lucy(A, y)
    assert stopped.stopped_by == ("discrepancy",)
    with pytest.raises(ValueError, match="negative taps"):
        richardson_lucy(A.with_weight(-A.weight), y)


def test_the_mean_psf():
    A = operator(ConvolutionProduct, "valid", "zeros", (21, 20), 5, count=2, channels=3)
    B = of_mean_psf(A.observed(torch.rand(17, 16) < 0.5))
    assert B.domain_shape == (3, 21, 20)
    assert B.seen is not None
    assert (B.weight[0, 0] - A.weight[0].mean(0)).abs().max() < 1e-13


def test_what_is_refused():
    A = operator(ProductConvolution, "valid", "zeros")
    with pytest.raises(TypeError, match="restored from real data"):
        restore(A, torch.zeros(1, 1, 7, 5, dtype=torch.complex128))
    with pytest.raises(TypeError, match="A must be a Convolution"):
        restore(A.H, torch.zeros(1, 1, 11, 9))
