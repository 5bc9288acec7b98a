"""The one loop of refinement, with matrices in the place of operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unconv.numerics.norms import norms
from unconv.numerics.refine import MOST_PASSES, Unknowns, refine

from ..helpers import C128, F64, randn, relative


def matrices(dtype: torch.dtype, cond: float, error: float) -> tuple[Tensor, Tensor]:
    """A with a condition number, and A⁻¹ but for a relative error of its factor."""
    Q, P = (torch.linalg.qr(randn(12, 12, dtype=dtype, seed=s))[0] for s in (0, 1))
    S = torch.logspace(0, -torch.log10(torch.tensor(cond)).item(), 12, dtype=F64)
    A = Q * S @ P
    return A, torch.linalg.inv(A + error / cond * randn(12, 12, dtype=dtype, seed=2))


def refined(A: Tensor, X: Tensor, y: Tensor) -> tuple[Tensor, int]:
    def step(found: Unknowns) -> Unknowns:
        return ((y - found[0] @ A.mT) @ X.mT,)

    (x,), done = refine((y @ X.mT,), step, 0, norms(y))  # ‖A‖ = 1
    return x, done


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("cond", [1e1, 1e4, 1e8])
@pytest.mark.parametrize("error", [1e-10, 1e-3, 3e-2])
def test_a_bad_factor_gives_the_digits_of_a_good_one(dtype, cond, error):
    A, X = matrices(dtype, cond, error)
    x = randn(5, 12, dtype=dtype, seed=3)
    found, done = refined(A, X, x @ A.mT)
    assert relative(found, x) < 5e-15 * cond
    assert done < (12 if error < 1e-2 else MOST_PASSES)


def test_one_step_settles_what_a_good_factor_gives():
    A, X = matrices(F64, 1e6, 1e-10)
    assert refined(A, X, randn(5, 12))[1] == 1


def test_steps_that_grow_are_not_taken():
    A, X = matrices(F64, 1e2, 0.0)
    y = randn(5, 12)
    assert relative(refined(A, -3 * X, y)[0], -3 * y @ X.mT) < 1e-14


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_images_without_digits_stop(value):
    A, X = matrices(F64, 1e2, 1e-10)
    found, done = refined(A, X, torch.full((2, 12), value, dtype=F64))
    assert done <= 2
    assert not found.any() if value == 0 else not found.isfinite().any()
