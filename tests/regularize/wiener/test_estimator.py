"""The Wiener filter against S Aᴴ (A S Aᴴ + N)⁻¹ with dense covariances."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from unconv import ConvOperator, MemoryLimitError
from unconv.inverse import request_of
from unconv.psf import models as psf
from unconv.regularize.wiener.estimator import wiener_inverse
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    assert_says,
    data,
    randn,
    relative,
)
from .covariance import covariance_of, even_psd, wiener_matrix


def assert_wiener(op, noise, signal, R=None, tol=1e-9, **options):
    A = dense_twin(op)
    S = covariance_of(signal, op.domain_shape, op.dtype, R)
    N = covariance_of(noise, op.range_shape, op.dtype)
    X = wiener_matrix(A, S, N)
    method = options.get("method", "auto")
    asked = request_of(0.0, None, 0.0, 2**32, tol=options.get("asked", tol / 100), method=method)
    found = wiener_inverse(op, noise, signal, R, asked)
    assert relative(found.to_dense(), X) < tol
    assert relative(found.H.to_dense(), X.mH) < tol
    return found


CIRCULAR = {"padding": "same", "padding_mode": "circular"}


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (2, 3, 3, 3), (3, 2, 3, 2)])
def test_numbers_and_spectra(shape, dtype):
    op = ConvOperator(randn(*shape, dtype=dtype), (6, 5), **CIRCULAR)
    signal = even_psd(6, 5)
    for noise, power in ((0.3, 2.0), (0.3, signal), (even_psd(6, 5, seed=1), signal)):
        found = assert_wiener(op, noise, power)
        assert found.method == "fourier"


def test_a_spectrum_for_each_channel():
    op = ConvOperator(randn(2, 2, 3), (7,), **CIRCULAR)
    signal = torch.stack([even_psd(7), even_psd(7, seed=1)])
    noise = torch.stack([even_psd(7, seed=2), even_psd(7, seed=3)])
    A, S, N = (
        dense_twin(op),
        *(torch.block_diag(*[covariance_of(p, (1, 7), F64) for p in v]) for v in (signal, noise)),
    )
    X = wiener_matrix(A, S, N)
    found = wiener_inverse(op, noise, signal, None, request_of(0.0, None, 0.0, 2**32))
    assert relative(found.to_dense(), X) < 1e-9


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_correlated_channels(groups, transposed):
    op = ConvOperator(randn(2, 2 // groups, 3), (6,), groups=groups, transposed=False, **CIRCULAR)
    if transposed:
        op = ConvOperator(randn(2, 2 // groups, 1), (6,), groups=groups, transposed=True)
    R = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=F64)
    assert_wiener(op, 0.2, even_psd(6), R)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_other_boundaries_are_iterated(mode, dtype):
    op = ConvOperator(randn(1, 2, 3, 3, dtype=dtype), (5, 4), padding=1, padding_mode=mode)
    assert assert_wiener(op, 0.3, even_psd(5, 4), tol=1e-7).method == "krylov"
    R = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=F64)
    assert_wiener(op, 0.3, even_psd(5, 4), R, tol=1e-7)


def test_valid_and_strided():
    assert_wiener(ConvOperator(randn(1, 1, 3, 3), (6, 7)), 0.1, even_psd(6, 7), tol=1e-7)
    op = ConvOperator(randn(2, 1, 4), (8,), stride=2, padding=1, padding_mode="circular")
    assert_wiener(op, 0.1, even_psd(8), tol=1e-7)


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize(
    ("shape", "size", "groups"),
    [
        ((1, 1, 3, 3), (8, 7), 1),
        ((1, 1, 4, 2), (7, 9), 1),
        ((2, 3, 3, 3), (6, 7), 1),
        ((3, 2, 2, 3), (6, 7), 1),
        ((2, 1, 3, 3), (7, 6), 2),
        ((1, 1, 1, 3), (6, 7), 1),
        ((1, 1, 2, 3, 2), (4, 5, 4), 1),
    ],
)
def test_a_scene_larger_than_its_data(shape, size, groups, dtype):
    op = ConvOperator(randn(*shape, dtype=dtype), size, groups=groups)
    found = assert_wiener(op, 0.1, even_psd(*size))
    assert found.method == "completion"
    y = data(op.range_shape, op)
    assert relative(found.solution(y)[0], found(y)) < 1e-9
    for copied in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found.to("cpu")):
        assert torch.equal(copied(y), found(y))


def test_a_power_law_over_six_decades():
    op = ConvOperator(psf.disk(2.0)[None, None], (24, 22))
    axes = [torch.fft.fftfreq(n, dtype=F64) for n in (24, 22)]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0).clamp(min=0.04)
    signal = radius**-4.0
    assert assert_wiener(op, 1e-4, signal, tol=1e-7, asked=1e-8).method == "completion"


def test_white_signal_is_tikhonov():
    op = ConvOperator(randn(2, 2, 3, 3), (8, 8), **CIRCULAR)
    y = data(op.range_shape, op)
    found = wiener_inverse(op, 0.09, 4.0, None, request_of(0.0, None, 0.0, 2**32))
    assert relative(found(y), op.tikhonov(0.3 / 2)(y)) < 1e-12


def test_vanishing_powers():
    """No signal at a frequency: none restored. No noise there: A is inverted."""
    op = ConvOperator(randn(1, 1, 3), (8,), **CIRCULAR)
    signal, noise = torch.ones(8, dtype=F64), torch.ones(8, dtype=F64)
    signal[2] = signal[6] = 0
    noise[1] = noise[7] = 0
    found = wiener_inverse(op, noise, signal, None, request_of(0.0, None, 0.0, 2**32))
    x = data(op.domain_shape, op)
    X, back = torch.fft.fft(x), torch.fft.fft(found(op(x)))
    assert back[..., [2, 6]].abs().max() < 1e-12
    assert relative(back[..., [1, 7]], X[..., [1, 7]]) < 1e-10


def test_float32_and_gradient():
    op = ConvOperator(randn(2, 2, 3, 3), (8, 8), **CIRCULAR)
    options = request_of(0.0, None, 0.0, 2**32)
    wide = wiener_inverse(op, 0.1, even_psd(8, 8), None, options)
    single = wiener_inverse(op.with_weight(op.weight.float()), 0.1, even_psd(8, 8), None, options)
    y = data(op.range_shape, op)
    assert single(y.float()).dtype == torch.float32
    assert relative(single(y.float()), wide(y)) < 1e-5
    small = ConvOperator(randn(1, 1, 3), (5,))
    sharply = request_of(0.0, None, 0.0, 2**32, tol=1e-12)  # for the differences
    iterated = wiener_inverse(small, 0.1, even_psd(5), None, sharply)
    v = data(small.range_shape, small).requires_grad_()
    assert torch.autograd.gradcheck(iterated, (v,), atol=1e-4)


@pytest.mark.parametrize(
    ("noise", "signal", "R", "words"),
    [
        (0.0, 1.0, None, ["noise_psd is zero", "pinv()"]),
        (1.0, 0.0, None, ["signal_psd is zero"]),
        (-1.0, 1.0, None, [">= 0"]),
        (1.0, torch.ones(3, 3), None, ["(4, 5)", "(3, 3)"]),
        (1.0, torch.ones(4, 5, dtype=C128), None, ["real"]),
        ("low", 1.0, None, ["noise_psd must be a number", "str"]),
        (1.0, 1.0, torch.ones(2, 3), ["2 × 2"]),
        (1.0, 1.0, torch.tensor([[1.0, 2], [2, 1]]), ["semidefinite"]),
        (1.0, torch.ones(2, 4, 5), torch.eye(2), ["(4, 5)"]),
    ],
)
def test_bad_spectra(noise, signal, R, words):
    op = ConvOperator(randn(2, 2, 3, 3), (4, 5), **CIRCULAR)
    with pytest.raises((TypeError, ValueError)) as error:
        wiener_inverse(op, noise, signal, R, request_of(0.0, None, 0.0, 2**32))
    assert_says(error, *words)


def test_what_a_real_operator_cannot_have_is_refused():
    op = ConvOperator(randn(2, 2, 3), (6,), **CIRCULAR)
    uneven = torch.arange(1.0, 7.0)
    with pytest.raises(ValueError, match="even"):
        op.wiener(0.1, uneven)
    R = torch.tensor([[2, 0.5j], [-0.5j, 1]], dtype=C128)
    with pytest.raises(ValueError, match="complex operator"):
        op.wiener(0.1, 1.0, channel_covariance=R)


@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
def test_broken_weights_are_refused(options):
    op = ConvOperator(randn(1, 1, 3), (6,), **options)
    with pytest.raises(ValueError, match="weight holds"):
        op.with_weight(op.weight * float("nan")).wiener(0.1, 1.0)


def test_memory_is_asked_for_first():
    op = ConvOperator(randn(1, 1, 3, 3), (64, 64), **CIRCULAR)
    with pytest.raises(MemoryLimitError, match="memory_limit"):
        op.wiener(0.1, 1.0, memory_limit=1e4)


def test_channels_apart_take_no_matrix():
    op = ConvOperator(randn(8, 1, 3, 3), (16, 16), padding=1, groups=8)
    root = op.wiener(0.1, even_psd(16, 16)).root
    assert root.numel() == 16 * 16


@pytest.mark.parametrize("method", ["completion", "krylov"])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("grid", [(8, 7), (12, 9), (11, 13), (16, 7)])
def test_a_grid_larger_than_the_domain(grid, dtype, method):
    """The signal is stationary on the grid of its spectrum, of which the domain is a part."""
    op = ConvOperator(randn(2, 2, 3, 2, dtype=dtype), (8, 7))
    R = torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=F64)
    signal = even_psd(*grid)
    whole = covariance_of(signal, (2, *grid), dtype, R).reshape(2, *grid, 2, *grid)
    S = whole[:, :8, :7, :, :8, :7].reshape(112, 112)
    A = dense_twin(op)
    X = wiener_matrix(A, S, 0.1 * torch.eye(len(A), dtype=A.dtype))
    found = op.wiener(0.1, signal, channel_covariance=R, method=method, tol=1e-10)
    assert found.method == method
    assert relative(found.to_dense(), X) < 1e-8
    assert relative(found.H.to_dense(), X.mH) < 1e-8


def test_gradient_in_the_spectrum_of_a_larger_grid():
    op = ConvOperator(randn(1, 1, 2, 2), (4, 3))
    base = even_psd(6, 5)

    def solve(y, weight, theta):
        inverse = op.with_weight(weight).wiener(0.2, base * torch.exp(theta), tol=1e-13)
        return inverse(y)

    inputs = randn(1, 1, 3, 2, seed=2), op.weight, torch.zeros((), dtype=F64)
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(solve, inputs, atol=1e-5)


def test_what_a_larger_grid_cannot_be():
    op = ConvOperator(randn(1, 1, 3), (8,), **CIRCULAR)
    with pytest.raises(ValueError, match=r"shape \(8,\) or \(1, 8\),"):
        op.wiener(0.1, even_psd(10))
    op = ConvOperator(randn(1, 1, 3), (8,))
    with pytest.raises(ValueError, match="or that of a larger grid"):
        op.wiener(0.1, even_psd(6))


def test_memory_and_refusals_of_completion():
    op = ConvOperator(randn(1, 1, 3, 3), (20, 20))
    assert op.wiener(0.1, 1.0, memory_limit=1000).method == "krylov"
    with pytest.raises(ValueError, match=r"cannot serve this operator .*memory_limit"):
        op.wiener(0.1, 1.0, memory_limit=1000, method="completion")
    padded = ConvOperator(randn(1, 1, 3, 3), (20, 20), padding=1)
    with pytest.raises(ValueError, match="padding invents pixels"):
        padded.wiener(0.1, 1.0, method="completion")
    summary = op.wiener(0.04, 1.0).summary
    assert float(summary.norm) >= float(op.norm()) * (1 - 1e-12)
    assert float(summary.floor) == pytest.approx(0.2)
