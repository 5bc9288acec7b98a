"""The rivals behave as their papers say, faults included, and the comparison prints them all."""

from __future__ import annotations

import pytest
import torch

from benchmarks.svd_compare import (
    MATRICES,
    METHODS,
    exact_gradient,
    gradient,
    report,
)
from benchmarks.svd_rivals import RIVALS

from .linalg.test_svd import draw


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3)])
@pytest.mark.parametrize("name", RIVALS)
def test_factors_as_in_the_readme(name, shape):
    A = draw(*shape)
    U, S, V = RIVALS[name](A)
    assert S.shape == (*shape[:-2], min(shape[-2:]), min(shape[-2:]))
    torch.testing.assert_close(U @ S @ V.mH, A)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "Taylor"])
def test_all_but_taylor_are_exact_on_matrix_normal(name):
    A = torch.tensor(MATRICES["matrix_normal"], dtype=torch.float64)
    torch.testing.assert_close(gradient(METHODS[name], A), exact_gradient(A), rtol=1e-11, atol=0)


def rotated(name):
    """Gradient of the README's loss at a tie to the last bit."""
    return gradient(METHODS[name], 2 * torch.eye(2).double())


def test_what_each_does_at_a_tie():
    assert rotated("plain").isnan().any()
    for name in ("zero-filled (tf)", "clipped", "Taylor", "SVD-inv"):
        assert rotated(name).isfinite().all()
    assert not torch.allclose(rotated("zero-filled (tf)"), exact_gradient(2 * torch.eye(2)))


def test_svd_inv_has_no_gradient_in_v_at_a_tie():
    A = (2 * torch.eye(2)).requires_grad_()
    RIVALS["SVD-inv"](A)[2][0, 1].backward()
    assert not A.grad.any()


def test_report():
    text = report()
    assert all(text.count(f"  {name}: largest error") == len(MATRICES) for name in METHODS)
    assert text.count("  exact\n") == len(MATRICES)
