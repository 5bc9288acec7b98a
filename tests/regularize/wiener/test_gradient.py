"""Derivatives of Wiener filters in data, weight, both spectra and the covariance."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator

from ...helpers import DOUBLES, F64, assert_differentiable, every_pair, randn

CIRCULAR = {"padding": 1, "padding_mode": "circular"}


def even(*n):
    f = torch.stack(torch.meshgrid(*(torch.fft.fftfreq(k, dtype=F64) for k in n), indexing="ij"))
    return 1 / (0.1 + f.square().sum(0))


CASES = {
    "fourier, square": ((2, 2, 3), (6,), CIRCULAR),
    "fourier, tall": ((3, 2, 3), (6,), CIRCULAR),
    "fourier, transposed": ((2, 3, 1), (6,), {"transposed": True}),
    "completion": ((1, 1, 2, 2), (4, 3), {}),
    "krylov": ((1, 2, 3), (4,), {"padding": 1}),
}


@every_pair(case=list(CASES), dtype=DOUBLES, adjoint=[False, True])
def test_in_everything(case, dtype, adjoint):
    shape, size, options = CASES[case]
    op = ConvOperator(randn(*shape, dtype=dtype), size, **options)
    v = randn(1, *(op.domain_shape if adjoint else op.range_shape), dtype=dtype, seed=2)
    inputs = v, op.weight, torch.tensor(0.3, dtype=F64), torch.zeros((), dtype=F64)

    def solve(v, weight, noise, theta):
        signal = even(*size) * torch.exp(theta)
        inverse = op.with_weight(weight).wiener(noise, signal, tol=1e-13, maxiter=500)
        assert inverse.method == case.split(",")[0]
        return (inverse.H if adjoint else inverse)(v)

    iterates = case == "krylov"
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert_differentiable(solve, inputs, 1e-4 if iterates else 1e-6, undefined=not iterates)


@pytest.mark.parametrize("dtype", DOUBLES)
def test_coloured_noise_and_correlated_channels(dtype):
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (6,), **CIRCULAR)
    base = even(6)
    inputs = randn(1, 2, 6, dtype=dtype), op.weight, randn(2, 2), torch.zeros(1, dtype=F64)

    def solve(y, weight, root, theta):
        covariance = root @ root.mT + torch.eye(2, dtype=F64)
        noise = 0.2 * base * torch.exp(theta)
        inverse = op.with_weight(weight).wiener(noise, base, channel_covariance=covariance)
        return inverse(y)

    assert_differentiable(solve, tuple(t.clone().requires_grad_() for t in inputs))


def test_spectra_of_channels_apart():
    op = ConvOperator(randn(2, 2, 3), (6,), **CIRCULAR)
    noise = torch.stack([0.1 * even(6), 0.3 * even(6)])
    theta = torch.zeros(2, 1, dtype=F64, requires_grad=True)
    y = randn(1, 2, 6).requires_grad_()
    assert_differentiable(
        lambda y, theta: op.wiener(noise * theta.exp(), 2 * noise * theta.exp())(y), (y, theta)
    )


def test_gradients_have_the_kinds_of_their_inputs():
    weight = randn(1, 1, 3).float().requires_grad_()
    noise, signal = torch.tensor(0.1, requires_grad=True), torch.ones(6, requires_grad=True)
    x = ConvOperator(weight, (6,), **CIRCULAR).wiener(noise, signal)(randn(1, 1, 6).float())
    grads = torch.autograd.grad(x.sum(), (weight, noise, signal))
    for grad, t in zip(grads, (weight, noise, signal), strict=True):
        assert (grad.dtype, grad.shape) == (t.dtype, t.shape)
        assert grad.any()


def test_vmap_is_refused_over_the_filter_and_works_over_the_data():
    op = ConvOperator(randn(1, 1, 3), (6,), **CIRCULAR)
    y = randn(3, 1, 1, 6)
    inverse = op.wiener(0.1, 1.0)
    assert torch.allclose(torch.func.vmap(inverse)(y), torch.stack([inverse(v) for v in y]))
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.func.vmap(lambda s: op.wiener(s, 1.0)(y[0]))(torch.tensor([0.1, 0.2]))


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_single_precision_keeps_the_gradients_of_the_spectra(noise):
    grads = []
    for dtype in (torch.float32, F64):
        N = torch.tensor(noise, dtype=dtype, requires_grad=True)
        S = torch.tensor(1.0, dtype=dtype, requires_grad=True)
        op = ConvOperator(randn(2, 2, 3).to(dtype), (6,), **CIRCULAR)
        x = op.wiener(N, S)(randn(1, 2, 6, seed=1).to(dtype))
        assert x.dtype == dtype
        grads.append(torch.stack(torch.autograd.grad(x.square().sum(), (N, S))).double())
    assert ((grads[0] - grads[1]).abs() < 1e-3 * grads[1].abs()).all()


def test_noise_that_vanishes_somewhere_is_refused():
    noise = torch.zeros(6, dtype=F64)
    noise[0] = 0.1
    y = randn(1, 1, 6).requires_grad_()
    op = ConvOperator(randn(1, 1, 3), (6,), **CIRCULAR)
    assert torch.autograd.grad(op.wiener(noise, 1.0)(y).sum(), y)[0].isfinite().all()
    x = op.wiener(noise.requires_grad_(), 1.0)(y)
    with pytest.raises(NotImplementedError, match="add a floor"):
        x.sum().backward()
