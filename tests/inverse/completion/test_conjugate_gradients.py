"""Conjugate gradients of a batch, and going on from a residual that was computed anew."""

from __future__ import annotations

import pytest
import torch

from unconv.inverse.completion.conjugate_gradients import ConjugateGradients

from ...helpers import F64, randn, relative


@pytest.fixture
def problem():
    """(A, its action on rows, a preconditioner, right-hand sides (3, 60))."""
    torch.manual_seed(0)
    Q = torch.linalg.qr(randn(60, 60))[0]
    A = Q @ (torch.logspace(0, 1.5, 60, dtype=F64)[:, None] * Q.mT)
    M = 1 / A.diagonal()
    return A, lambda u: u @ A.mT, lambda r: r * M, randn(3, 60, seed=1)


def steps(run, count, going=None):
    going = torch.ones(len(run.u), dtype=torch.bool) if going is None else going
    for _ in range(count):
        run.step(going)
    return run


def test_it_solves_and_images_stop_by_themselves(problem):
    A, apply, precondition, b = problem
    exact = torch.linalg.solve(A, b.mT).mT
    run = steps(ConjugateGradients(apply, precondition, b.clone()), 20)
    before = run.u.clone()
    run = steps(run, 100, torch.tensor([True, False, True]))
    assert relative(run.u[::2], exact[::2]) < 1e-9
    assert torch.equal(run.u[1], before[1])
    assert run.steps.tolist() == [120, 20, 120]
    run = steps(run, 100)
    assert relative(run.u, exact) < 1e-9


def test_carrying_on_is_going_on(problem):
    """The true residual in another unit takes the steps that go on, not those of a new start."""
    A, apply, precondition, b = problem
    exact = torch.linalg.solve(A, b.mT).mT
    whole = steps(ConjugateGradients(apply, precondition, b.clone()), 30)
    run = steps(ConjugateGradients(apply, precondition, b.clone()), 15)
    first = run.u
    left = b - apply(first)
    unit = left.norm(dim=1, keepdim=True)
    run.carry_on(left / unit, unit)
    assert run.steps.tolist() == [0, 0, 0]
    run = steps(run, 15)
    assert relative(first + run.u * unit, whole.u) < 1e-8
    anew = steps(ConjugateGradients(apply, precondition, left.clone()), 15)
    assert (first + anew.u - exact).norm() > 1.5 * (whole.u - exact).norm()


def test_carrying_on_with_a_residual_that_was_not_thought_of(problem):
    """It is as good as a new start."""
    A, apply, precondition, b = problem
    run = steps(ConjugateGradients(apply, precondition, b.clone()), 40)
    other = randn(3, 60, seed=2)
    run.carry_on(other.clone(), torch.ones(3, 1, dtype=F64))
    assert relative(steps(run, 120).u, torch.linalg.solve(A, other.mT).mT) < 1e-8
