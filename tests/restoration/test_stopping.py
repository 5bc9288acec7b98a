from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator, psf, richardson_lucy
from unconv.restoration.count_data import CountData, expected_term

from ..helpers import F64


def expectation(mean: float) -> float:
    """E[Y log(Y/μ) − Y + μ] by its sum."""
    k = np.arange(0, int(mean + 40 * mean**0.5 + 60))
    terms = np.where(k > 0, k * np.log(np.maximum(k, 1) / mean), 0) - k + mean
    return float(scipy.stats.poisson.pmf(k, mean) @ terms)


@pytest.mark.parametrize(
    "mean", [1e-12, 1e-9, 1e-6, 1e-3, 0.03, 0.3, 1, 1.4, 3, 10, 47, 99.9, 100.1, 500, 2000]
)
def test_the_expectation_of_a_term(mean):
    found = float(expected_term(torch.tensor([mean], dtype=F64)))
    assert abs(found / expectation(mean) - 1) < 2e-5


def test_the_expectation_of_means_beyond_all_counts():
    found = expected_term(torch.tensor([1e-250, 1e250], dtype=F64))
    assert bool(torch.isclose(found[0], -found.new_tensor(1e-250) * np.log(1e-250)))
    assert float(found[1]) == 0.5


@st.composite
def problems(draw: st.DrawFn) -> tuple[ConvOperator, Tensor, Tensor, float]:
    """Operator, truth, counts and background of a scene of discs in the dark."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    size = (56, 48)
    grid = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in size), indexing="ij"))
    x = torch.full(size, draw(st.sampled_from([0.02, 0.2])), dtype=F64)
    for _ in range(5):
        centre = torch.rand(2, generator=generator, dtype=F64) * torch.tensor(size)
        radius, bright = 2 + 6 * torch.rand(2, generator=generator, dtype=F64)
        inside = (grid - centre[:, None, None]).norm(dim=0) < radius
        x = torch.where(inside, bright / 8, x)
    truth = draw(st.sampled_from([10.0, 100.0, 3000.0])) * x[None, None]
    kernel = draw(st.sampled_from([psf.gaussian(2.0), psf.disk(3.0), psf.motion(7, 20)]))
    mode = draw(st.sampled_from(["circular", "zeros", "reflect"]))
    A = ConvOperator(kernel[None, None], size, padding="same", padding_mode=mode)
    background = draw(st.sampled_from([0.0, 0.3])) * float(truth.mean())
    y = torch.poisson(A(truth).clamp(min=0) + background, generator)
    return A, truth, y, background


@given(problems())
def test_rules_end_near_the_best_step(problem):
    A, truth, y, background = problem
    errors: list[float] = []
    richardson_lucy(
        A, y, background=background, stop=None, maxiter=150,
        callback=lambda _, x: errors.append(float((x - truth).norm())),
    )  # fmt: skip
    for stop, within in (("discrepancy", 1.7), ("thinning", 1.25)):
        found = richardson_lucy(A, y, background=background, stop=stop)
        assert found.stopped_by == (stop,)
        assert float((found.solution - truth).norm()) < within * min(errors)


@given(problems())
def test_the_discrepancy_ends_at_its_first_step(problem):
    A, _, y, background = problem
    means: list[Tensor] = []
    found = richardson_lucy(
        A, y, background=background, callback=lambda _, x: means.append(A(x) + background)
    )
    data = CountData(A, y, torch.tensor(background, dtype=F64))
    expected = [float(data.expected_divergence(m)) for m in means]
    fallen = [float(d) <= e for d, e in zip(found.history[1:, 0], expected, strict=True)]
    assert fallen == [False] * (len(fallen) - 1) + [True]


@given(problems(), st.integers(0, 5))
def test_the_true_mean_has_the_expected_discrepancy(problem, seed):
    A, truth, _, background = problem
    mean = A(truth).clamp(min=0) + background
    y = torch.poisson(mean, torch.Generator().manual_seed(seed))
    data = CountData(A, y, torch.tensor(background, dtype=F64))
    # a term has a variance of ½ where counts are many, and less than 1.1 anywhere
    spread = (1.1 * y.numel()) ** 0.5
    assert abs(float(data.divergence(mean) - data.expected_divergence(mean))) < 5 * spread


def test_thinning_draws_again_with_another_seed_and_the_same_with_the_same():
    A = ConvOperator(psf.gaussian(2.0)[None, None], (64, 64), padding="same")
    x = torch.zeros(1, 1, 64, 64, dtype=F64)
    x[..., 20:40, 20:24] = 2000
    y = torch.poisson(A(x) + 1, torch.Generator().manual_seed(0))
    found = [
        richardson_lucy(A, y, background=1, stop="thinning", seed=seed) for seed in (0, 0, 1, 2, 3)
    ]
    assert torch.equal(found[0].solution, found[1].solution)
    assert len({int(each.iterations) for each in found}) > 1
    errors = [float((each.solution - x).norm()) for each in found]
    assert max(errors) < 0.65 * float((y - 1 - x).norm())


def test_too_few_steps_are_called_so():
    A = ConvOperator(psf.gaussian(2.0)[None, None], (64, 64), padding="same")
    x = torch.zeros(1, 1, 64, 64, dtype=F64)
    x[..., 20:40, 20:24] = 20000
    y = torch.poisson(A(x) + 1, torch.Generator().manual_seed(0))
    for stop in ("discrepancy", "thinning"):
        found = richardson_lucy(A, y, background=1, stop=stop, maxiter=4)
        assert found.stopped_by == ("maxiter",)
        assert int(found.iterations) == 4
