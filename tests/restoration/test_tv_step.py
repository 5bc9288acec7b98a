from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator, psf, richardson_lucy
from unconv.restoration.count_data import CountData
from unconv.restoration.tv_step import TotalVariation

from ..helpers import F64, relative
from ..strategies import NONNEGATIVE, Case, cases, is_small
from .textbook import counts_of, nonnegative


def objective(x: Tensor, A: ConvOperator, y: Tensor, background: float, tv: float) -> Tensor:
    """D + λ Σ (|∇x|² + ε²)^½ of one image whose pixels are all in reach."""
    mean = A(x) + background
    epsilon = 0.02 * y.sum() / A.H(torch.ones_like(y)).sum()
    square = epsilon.square()
    for axis in range(2, x.ndim):
        step = torch.cat([x, x.narrow(axis, -1, 1)], axis).diff(dim=axis)  # none beyond the end
        square = square + step.square().sum(1)
    return (torch.xlogy(y, y / mean) - y + mean).sum() + tv * (square.sqrt() - epsilon).sum()


@pytest.mark.parametrize(
    ("tv", "most"),
    [
        *((tv, 1000) for tv in (0.01, 0.1, 1.0)),
        (30.0, 4000),  # a strong one is slow
        *(pytest.param(tv, 4000, marks=pytest.mark.slow) for tv in (0.01, 0.1, 1.0)),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_limit_is_the_minimum(tv, most, channels):
    K = torch.rand(channels, channels, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    A = ConvOperator(K / 9, (6, 5), padding=1, padding_mode="reflect")
    y = counts_of(A, light=20, N=1)
    x = richardson_lucy(A, y, background=0.3, tv=tv, stop=None, maxiter=most).solution

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(flat).reshape(x.shape).requires_grad_()
        f = objective(z, A, y, 0.3, tv)
        return f.item(), torch.autograd.grad(f, z)[0].flatten().numpy()

    start = np.full(x.numel(), float(x.mean()))
    least = scipy.optimize.minimize(
        value, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * x.numel(),
        options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    assert abs(value(x.flatten().numpy())[0] - least.fun) < 1e-6 * float(y.sum())


@given(
    cases(dtypes=[F64], modes=NONNEGATIVE), st.sampled_from([0.003, 0.1, 3.0, 100.0]), st.booleans()
)
def test_no_step_raises_the_objective(case: Case, tv: float, accelerate: bool):
    A = nonnegative(case.operator())
    assume(is_small(A))
    y = counts_of(A, light=10, seed=case.seed)
    data = CountData(A, y, torch.tensor(0.2, dtype=F64))
    term = TotalVariation(data, tv)
    values: list[Tensor] = []

    def told(_: int, x: Tensor) -> None:
        values.append(data.divergence(data.mean(x)) + term.value(x))

    richardson_lucy(
        A, y, background=0.2, tv=tv, stop=None, maxiter=15, accelerate=accelerate, callback=told
    )
    rises = torch.stack(values).diff(dim=0)
    assert float(rises.max()) <= 1e-10 * (1 + float(values[0].max()))


def test_no_strength_is_no_term():
    A = ConvOperator(psf.gaussian(1.0)[None, None], (20, 20), padding="same")
    y = counts_of(A, light=20)
    weak = richardson_lucy(A, y, tv=1e-12, stop=None, maxiter=5, accelerate=False).solution
    none = richardson_lucy(A, y, stop=None, maxiter=5, accelerate=False).solution
    assert relative(weak, none) < 1e-9


def test_strong_total_variation_leaves_a_constant():
    A = ConvOperator(
        psf.gaussian(1.0)[None, None], (12, 12), padding="same", padding_mode="circular"
    )
    y = counts_of(A, light=20, N=1)
    x = richardson_lucy(A, y, tv=1e3, stop=None, maxiter=300).solution
    assert float(x.std() / x.mean()) < 1e-2
    assert abs(float(x.sum() / y.sum()) - 1) < 1e-2


def test_it_restores_a_picture_of_edges_better():
    A = ConvOperator(psf.disk(3.0)[None, None], (64, 64), padding="same", padding_mode="circular")
    x = torch.full((1, 1, 64, 64), 20.0, dtype=F64)
    x[..., 20:40, 12:50] = 100
    y = torch.poisson(A(x), torch.Generator().manual_seed(0))
    errors: list[float] = []
    richardson_lucy(A, y, stop=None, maxiter=100, callback=lambda _, x_: errors.append(
        float((x_ - x).norm())))  # fmt: skip
    with_tv = richardson_lucy(A, y, tv=0.05, stop=None, maxiter=200).solution
    assert float((with_tv - x).norm()) < 0.7 * min(errors)
