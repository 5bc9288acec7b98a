"""A weight for every sample of the error, against the dense problem."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from unconv import ConvOperator, MemoryLimitError
from unconv.fir import inverse_kernel

from ..helpers import C128, F64, randn, relative


@pytest.mark.parametrize("damp", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize(
    ("shape", "size"), [((1, 1, 3), (5,)), ((2, 1, 2, 2), (3, 3)), ((1, 2, 3, 2), (2, 3))]
)
def test_uniform_weights_change_nothing(shape, size, dtype, damp):
    f = randn(*shape, dtype=dtype)
    plain = inverse_kernel(f, size, damp=damp)
    weighting = torch.full(plain.response.shape[2:], 4.0)
    weighted = inverse_kernel(f, size, weighting=weighting, damp=2 * damp)
    assert relative(weighted.weight, plain.weight) < 1e-10
    assert weighted.delay == plain.delay


@pytest.mark.parametrize("delay", [(2,), (4,)])
def test_optimum(delay):
    f, w = randn(4), randn(9, seed=1).square()
    g = inverse_kernel(f, (6,), delay=delay, weighting=w)
    A = ConvOperator(f[None, None], (6,), padding="full", flip=True).to_dense()
    y = torch.zeros(9, dtype=F64)
    y[delay] = 1
    gradient = A.T @ (w * (A @ g.weight.flatten() - y))
    assert gradient.norm() < 1e-12
    objective = float((w * (g.response.flatten() - y).square()).sum())
    assert objective == pytest.approx(float(w[delay] * (1 - g.response[0, 0, delay[0]])), rel=1e-9)


def test_samples_that_do_not_count():
    """Free everywhere but at three samples: these are met exactly, by the smallest g."""
    f, w = randn(3), torch.zeros(7)
    w[2:5] = 1
    g = inverse_kernel(f, (5,), delay=(3,), weighting=w)
    assert relative(g.response[0, 0, 2:5], torch.tensor([0, 1, 0], dtype=F64)) < 1e-13
    A = ConvOperator(f[None, None], (5,), padding="full", flip=True).to_dense()[2:5]
    assert relative(g.weight.flatten(), torch.linalg.pinv(A)[:, 1]) < 1e-12


def test_gradients():
    f, damp = randn(1, 1, 3).requires_grad_(), torch.tensor(0.3, dtype=F64, requires_grad=True)
    w = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5])
    assert gradcheck(lambda f, d: inverse_kernel(f, 3, weighting=w, damp=d).weight, (f, damp))
    assert gradcheck(lambda f: inverse_kernel(f, 3, weighting=w).residual, (f,))


@pytest.mark.parametrize(
    ("weighting", "options", "error", "says"),
    [
        (torch.ones(4), {}, ValueError, r"sizes \(5,\)"),
        (torch.ones(5, dtype=C128), {}, ValueError, "must be real"),
        (torch.ones(5).long(), {}, TypeError, "int64"),
        (-torch.ones(5), {}, ValueError, "must be >= 0"),
        (torch.tensor([1.0, 1, 0, 1, 1]), {}, ValueError, r"positive at the delay \(2,\)"),
        (torch.full((5,), torch.inf), {}, ValueError, "finite"),
        (torch.ones(5), {"delay": "best"}, ValueError, "give the delay"),
        (torch.ones(5), {"memory_limit": 100}, MemoryLimitError, "takes 1.15 kB"),
    ],
)
def test_failures(weighting, options, error, says):
    with pytest.raises(error, match=says):
        inverse_kernel(torch.ones(3), (3,), weighting=weighting, **options)
