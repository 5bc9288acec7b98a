"""Stacks of which all six sides are unknown: the calls of pictures, with the same promises."""

import pytest
import torch

import unconv
from benchmarks.phantoms import anisotropic_psf
from examples.volume_phantom import Phantom

NOISE, PEAK, BACKGROUND = 0.02, 200, 10


@pytest.fixture(scope="module")
def stack():
    """Operator, scene, and counts of it; the psf is longer in depth."""
    x = torch.from_numpy(Phantom((26, 44, 44), seed=2).draw()).double()[None, None]
    A = unconv.ConvOperator(anisotropic_psf((1.6, 0.8, 0.8))[None, None], x.shape[2:], flip=True)
    assert all(m < n for m, n in zip(A.range_shape[1:], A.domain_shape[1:], strict=True))
    return A, x / x.max(), torch.Generator().manual_seed(0)


def decibels(A, x, truth):
    """PSNR where the data are."""
    frame = tuple(
        slice((n - m) // 2, (n - m) // 2 + m)
        for n, m in zip(A.domain_shape[1:], A.range_shape[1:], strict=True)
    )
    part = x[0, 0][frame] if x.shape == truth.shape else x[0, 0]
    return -10 * float((part - truth[0, 0][frame]).square().mean().log10())


@pytest.mark.parametrize("prior", ["tv", "hessian", "sparse", "dct"])
def test_priors(stack, prior):
    A, x, generator = stack
    y = A(x) + NOISE * torch.randn(1, *A.range_shape, generator=generator, dtype=x.dtype)
    options = {} if prior == "dct" else {"spacing": (3, 1, 1), "gap_tol": 1e-2}
    found = unconv.restore(A, y, prior=prior, noise_std=NOISE, nonnegative=True, **options)
    assert decibels(A, found.solution, x) >= decibels(A, y, x) + 1
    assert bool(found.certificate.converged.all())
    if prior in ("tv", "hessian"):
        assert float(found.certificate.gap) <= 1e-2
        assert int(found.certificate.solves) <= 3


def test_wiener(stack):
    A, x, generator = stack
    y = A(x) + NOISE * torch.randn(1, *A.range_shape, generator=generator, dtype=x.dtype)
    assert decibels(A, A.wiener(NOISE**2, 0.05)(y), x) >= decibels(A, y, x)


@pytest.mark.parametrize("stop", ["discrepancy", "thinning"])
def test_richardson_lucy(stack, stop):
    A, x, generator = stack
    y = torch.poisson(PEAK * A(x) + BACKGROUND, generator)
    found = unconv.richardson_lucy(A, y, background=BACKGROUND, stop=stop)
    assert found.stopped_by == (stop,)
    assert decibels(A, found.solution / PEAK, x) >= decibels(A, (y - BACKGROUND) / PEAK, x) + 1


def test_counts(stack):
    A, x, generator = stack
    y = torch.poisson(PEAK * A(x) + BACKGROUND, generator)
    options = {"noise_model": "poisson", "nonnegative": True, "background": BACKGROUND}
    found = unconv.restore(A, y, gap_tol=1e-2, spacing=(3, 1, 1), **options)
    lucy = unconv.richardson_lucy(A, y, background=BACKGROUND)
    assert float(found.solution.min()) >= 0
    assert decibels(A, found.solution / PEAK, x) >= decibels(A, lucy.solution / PEAK, x)
