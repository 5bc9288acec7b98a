"""Matching kernels: dense least squares, exact matches, and the expected error of pictures."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve
from torch import Tensor
from torch.autograd import gradcheck

from unconv import AccuracyWarning, MemoryLimitError, fir, inverse_kernel, psf
from unconv.fir import matching_damp, matching_kernel, smallest_matching_kernel

from ..helpers import C128, F64, assert_says, randn, relative

# sizes of a, of b and of g: larger, smaller and out of reach, even ones, 1-D to 3-D
CASES = [
    ((4,), (7,), (5,)),
    ((3,), (12,), (4,)),
    ((5,), (1,), (6,)),
    ((3, 2), (5, 5), (3, 4)),
    ((2, 5), (9, 3), (3, 3)),
    ((1, 1), (3, 4), (3, 4)),
    ((2, 3, 2), (3, 3, 3), (2, 1, 3)),
]


def shared_centre(a: tuple[int, ...], b: tuple[int, ...], g: tuple[int, ...]) -> list[int]:
    """Where b begins in a ∗ g."""
    return [n // 2 + s // 2 - m // 2 for n, m, s in zip(a, b, g, strict=True)]


def full(a: Tensor, g: Tensor) -> Tensor:
    """a ∗ g by direct summation."""
    found = convolve(a.detach().numpy(), g.detach().numpy(), method="direct")
    return torch.from_numpy(np.ascontiguousarray(found))


def dense(a: Tensor, b: Tensor, size: tuple[int, ...], damp: float) -> tuple[np.ndarray, float]:
    """g and ‖a ∗ g − b‖ on a grid that holds all of both, tap by tap."""
    starts = shared_centre(a.shape, b.shape, size)
    full = [n + s - 1 for n, s in zip(a.shape, size, strict=True)]
    low = [min(0, s) for s in starts]
    high = [max(f, s + m) for f, s, m in zip(full, starts, b.shape, strict=True)]
    sizes = [h - v for h, v in zip(high, low, strict=True)]
    y = np.zeros(sizes, a.numpy().dtype)
    y[tuple(slice(s - v, s - v + m) for s, v, m in zip(starts, low, b.shape, strict=True))] = b
    columns = []
    for at in itertools.product(*map(range, size)):
        column = np.zeros_like(y)
        place = (slice(i - v, i - v + n) for i, v, n in zip(at, low, a.shape, strict=True))
        column[tuple(place)] = a
        columns.append(column.ravel())
    A, right = np.stack(columns, 1), y.ravel()
    ridge = damp * np.eye(A.shape[1])
    g = np.linalg.lstsq(np.vstack([A, ridge]), np.concatenate([right, ridge[0] * 0]), rcond=None)[0]
    return g.reshape(size), float(np.linalg.norm(A @ g - right))


@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize(("k", "m", "size"), CASES)
def test_is_the_dense_least_squares(k, m, size, dtype, damp):
    a, b = randn(*k, dtype=dtype), randn(*m, dtype=dtype)
    found = matching_kernel(a, b, size, damp=damp)
    g, residual = dense(a, b, size, damp)
    assert relative(found.kernel, torch.from_numpy(g)) < 1e-10
    assert float(found.residual) == pytest.approx(residual, rel=1e-10)
    assert float(found.error) == pytest.approx(residual / float(b.norm()), rel=1e-10)
    assert float(found.noise_gain) == pytest.approx(float(np.linalg.norm(g)))
    assert complex(found.sum) == pytest.approx(complex(g.sum()))
    assert relative(found.response, full(a, found.kernel)) < 1e-12
    assert bool(found.certificate.converged.all())


@given(data=st.data(), axes=st.integers(1, 3))
def test_a_match_that_exists_is_found(data, axes):
    """With g of odd sizes the centre n//2 of a ∗ g is that of a and that of g together."""
    a = randn(*(data.draw(st.integers(1, 6)) for _ in range(axes)))
    g = randn(*(data.draw(st.sampled_from([1, 3, 5])) for _ in range(axes)), seed=1)
    found = matching_kernel(a, full(a, g), tuple(g.shape))
    assert float(found.error) < 1e-8
    assert relative(found.kernel, g) < 1e-6 * max(1.0, 1 / float(a.abs().max()))


def test_gaussians_match_by_the_gaussian_between():
    """Exactly in the continuum; of samples to what they fold and the rim cuts."""
    a, b = psf.gaussian(1.5, truncate=8), psf.gaussian(2.5, truncate=8)
    found = matching_kernel(a, b, 33, damp=1e-6)
    assert (
        relative(found.kernel, torch.nn.functional.pad(psf.gaussian(2, truncate=8), (0,) * 4))
        < 1e-4
    )
    assert float(found.sum) == pytest.approx(1, abs=1e-8)


def test_no_kernel_has_less_error_at_the_same_noise_gain():
    a, b, size = randn(5, 5), randn(7, 7), (5, 5)
    for damp in (0.1, 1.0):
        found = matching_kernel(a, b, size, damp=damp)
        for seed in range(200):
            other = found.kernel + 0.3 * randn(*size, seed=seed)
            other = other * (found.noise_gain / other.norm())
            missed = full(a, other)
            missed[1:8, 1:8] -= b
            assert float(missed.norm()) >= float(found.residual) - 1e-12


def test_an_inverse_kernel_is_a_match_with_a_point():
    f = randn(3, 3)
    found, inverse = (
        matching_kernel(f, torch.ones(1, 1), 5, damp=0.2),
        inverse_kernel(f, 5, damp=0.2),
    )
    assert relative(found.kernel, inverse.weight[0, 0]) < 1e-12
    assert float(found.residual) == pytest.approx(float(inverse.residual))


@pytest.mark.parametrize("damp", [0.0, 0.2])
def test_gradients(damp):
    a, b = randn(4).requires_grad_(), randn(7).requires_grad_()
    weight = torch.tensor(damp, dtype=F64, requires_grad=damp > 0)

    def parts(a, b, weight):
        found = matching_kernel(a, b, 3, damp=weight if damp else 0.0)
        return found.kernel, found.residual, found.error, found.noise_gain, found.sum

    assert gradcheck(parts, (a, b, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dtypes(dtype):
    found = matching_kernel(psf.gaussian(1).to(dtype), psf.gaussian(1.5), 9, damp=1e-3)
    assert found.kernel.dtype == dtype
    assert found.response.dtype == F64
    assert float(found.error) < 0.02


def test_as_dict_is_plain():
    facts = matching_kernel(randn(3).requires_grad_(), randn(3), 3).as_dict()
    assert facts.keys() == {"size", "damp", "method", "residual", "error", "noise_gain", "sum"}
    assert facts["size"] == [3]


# --- size and damp


def test_the_smallest_size_is_the_smallest():
    a, b = psf.gaussian(1.0), psf.disk(2.5)
    for error in (0.3, 0.1, 0.03):
        found = smallest_matching_kernel(a, b, error, damp=1e-3)
        assert float(found.error) <= error
        less = matching_kernel(a, b, found.size[0] - 2, damp=1e-3)
        assert float(less.error) > error
    assert smallest_matching_kernel(a, a, 0.5).size == (1, 1)


def test_a_size_that_is_not_enough_is_told():
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        smallest_matching_kernel(psf.gaussian(2), psf.gaussian(1), 1e-6, damp=1e-2, max_size=9)
    assert_says(error, "up to 9", "error=1e-06", "larger max_size", "less damp")


def pictures(a, b, g, x, noise):
    """The mean square of g ∗ (a ∗ x + n) − b ∗ x on a periodic picture."""
    F = torch.fft.fftn

    def response(k):
        grown = torch.zeros(x.shape, dtype=F64)
        grown[: k.shape[0], : k.shape[1]] = k
        return F(grown.roll([-(n // 2) for n in k.shape], (0, 1)))

    A, B, G = map(response, (a, b, g))
    return float((torch.fft.ifftn(G * (A * F(x) + F(noise)) - B * F(x)).real ** 2).mean())


def test_the_damp_of_white_spectra_is_the_best():
    a, b = psf.gaussian(1.2), psf.gaussian(2.0)
    damp = matching_damp(a, b, 15, noise_psd=0.04, signal_psd=4.0)
    assert damp == pytest.approx(0.1)
    flat = torch.ones(64, 64, dtype=F64)
    searched = matching_damp(a, b, 15, noise_psd=0.04 * flat, signal_psd=4 * flat)
    assert searched == pytest.approx(damp, rel=0.02)


def test_the_damp_of_a_scene_is_the_best_on_pictures():
    """Of drawn scenes with a spectrum of 1/f²: no other damp does better by more than 1 %."""
    a, b, n = psf.gaussian(1.5), psf.disk(3), 96
    f = torch.fft.fftfreq(n, dtype=F64)
    signal = 1 / (f[:, None] ** 2 + f**2 + 1 / n**2)
    signal = signal / signal.mean()
    sigma = 0.05
    damp = matching_damp(a, b, 21, noise_psd=sigma**2, signal_psd=signal)
    generator = torch.Generator().manual_seed(0)

    def white():
        return torch.randn(n, n, dtype=F64, generator=generator)

    draws = [
        (torch.fft.ifftn(torch.fft.fftn(white()) * signal.sqrt()).real, sigma * white())
        for _ in range(10)
    ]

    def mean_square(damp):
        g = matching_kernel(a, b, 21, damp=damp).kernel
        return sum(pictures(a, b, g, x, e) for x, e in draws)

    best = min(mean_square(damp * 2.0**k) for k in (-3, -2, -1, -0.5, 0.5, 1, 2, 3))
    assert mean_square(damp) < 1.01 * best
    assert damp != pytest.approx(sigma, rel=0.2)  # white would have been another one


# --- refused


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"weight": torch.ones(1, 1, 3, 3)}, ("(1, 1, 3, 3)", "no channels")),
        ({"target": torch.ones(3)}, ("target has shape (3,)", "2 axes")),
        ({"target": torch.zeros(3, 3)}, ("target holds zeros alone",)),
        ({"target": torch.full((3, 3), math.nan)}, ("target", "NaN")),
        ({"weight": torch.zeros(3, 3)}, ("weight holds zeros",)),
        ({"target": torch.ones(3, 3, dtype=C128)}, ("complex128", ".to()")),
        ({"size": (3,)}, ("(3,)",)),
        ({"size": 0}, ("empty axis",)),
        ({"damp": -1.0}, ("damp",)),
    ],
    ids=str,
)
def test_refused(arguments, parts):
    valid = {"weight": torch.ones(3, 3), "target": torch.ones(3, 3), "size": 3}
    with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
        matching_kernel(**{**valid, **arguments})
    assert_says(error, *parts)


def test_spectra_that_are_none():
    a, flat = psf.gaussian(1), torch.ones(16, 16)
    for noise, signal, parts in (
        (-flat, 1.0, ("noise_psd must be >= 0",)),
        (flat, torch.ones(8, 16), ("(16, 16)", "(8, 16)")),
        (1.0, torch.ones(5, 5), ("(5, 5)", "(9, 9)")),
        (1.0, 0.0, ("scene of nothing",)),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]+\.$") as error:
            matching_damp(a, a, 3, noise_psd=noise, signal_psd=signal)
        assert_says(error, *parts)


def test_what_does_not_fit_the_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="smaller size"):
        matching_kernel(randn(9, 9), randn(9, 9), 9, memory_limit=1e4)


def test_what_smooth_kernels_leave_open_is_warned_of():
    a, b = psf.gaussian(31 / 12, truncate=5), psf.gaussian(31 / 8, truncate=5)
    with pytest.warns(AccuracyWarning, match="damp"):
        matching_kernel(a, b, 31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matching_kernel(a, b, 31, damp=1e-3)


def test_is_public():
    assert {"MatchingKernel", "matching_kernel", "matching_damp"} <= set(fir.__all__)
