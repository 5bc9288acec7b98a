"""Equal groups are factored once, and nobody can tell but by the time."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from unconv import ConvOperator
from unconv.inverse.shared_groups import SharedGroups
from unconv.testing import dense_twin

from ..helpers import C128, F64, near_identity, randn, relative

METHODS = {  # each with options under which it serves, and a kernel
    "fourier": ({"padding_mode": "circular"}, (3, 3)),
    "cosine": ({"padding_mode": "symmetric"}, (3, 3)),
    "separable": ({"padding_mode": "replicate"}, (3, 3)),
    "dense": ({"padding_mode": "reflect"}, (3, 3)),
    "boundary": ({"padding_mode": "zeros"}, (3, 3)),
    "krylov": ({"padding_mode": "zeros"}, (3, 3)),
}


def kernel(method: str, seed: int, dtype: torch.dtype = F64) -> torch.Tensor:
    if method == "cosine":
        k = near_identity(1, 1, 3, 3, dtype=dtype, seed=seed)
        return (k + k.flip(2) + k.flip(3) + k.flip(2, 3)) / 4
    if method == "separable":
        a, b = near_identity(1, 1, 3, dtype=dtype, seed=seed), near_identity(1, 1, 3, dtype=dtype)
        return a[..., :, None] * b[..., None, :]
    return near_identity(1, 1, 3, 3, dtype=dtype, seed=seed)


def operator(method: str, C: int, seed: int, dtype: torch.dtype = F64, **options) -> ConvOperator:
    k = kernel(method, seed, dtype)
    return ConvOperator(
        k.expand(C, 1, 3, 3), (7, 6), padding=1, groups=C, **METHODS[method][0] | options
    )


@pytest.mark.filterwarnings("ignore::unconv.AccuracyWarning")  # krylov without damp: no bound
@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("method", METHODS)
@given(C=st.integers(2, 4), seed=st.integers(0, 99), dtype=st.sampled_from([F64, C128]))
@settings(max_examples=6)
def test_it_is_the_inverse(method, damp, C, seed, dtype):
    op = operator(method, C, seed, dtype)
    y = randn(2, C, 7, 6, dtype=dtype, seed=seed + 1)
    A = dense_twin(op)
    exact = torch.linalg.solve(
        A.mH @ A + damp**2 * torch.eye(A.shape[1], dtype=A.dtype), A.mH @ y.flatten(1).mT
    ).mT.reshape(y.shape)
    solution, found = op.lstsq(y, damp, method=method)
    error = relative(solution, exact)
    assert error < (1e-4 if method == "krylov" else 1e-11)
    assert found.method == method
    unbounded = method == "krylov" and not damp
    assert unbounded or (found.error_bound >= error * (1 - 1e-6) - 1e-15).all()
    assert found.residual.shape == found.iterations.shape == (2,)
    inverse = op.tikhonov(damp, method=method) if damp else op.pinv(method=method)
    assert isinstance(inverse, SharedGroups)
    assert inverse.plan == op.plan(damp=damp, method=method)
    assert f"its {C} equal groups are factored once" in inverse.plan.reason
    g = randn(2, C, 7, 6, dtype=dtype, seed=seed + 2)
    inner = (inverse.H(g).conj() * y).sum(), (g.conj() * inverse(y)).sum()
    assert relative(*inner) < (1e-4 if method == "krylov" else 1e-11)
    if not damp and found.rank is not None and inverse.summary.rank is not None:
        assert inverse.summary.rank.tolist() == [torch.linalg.matrix_rank(A)]


@pytest.mark.parametrize("method", ["fourier", "dense", "boundary"])
def test_gradients(method):
    """In the kernel that all channels share, in the data and in damp."""
    k = kernel(method, 3).requires_grad_()
    y, damp = randn(1, 3, 7, 6).requires_grad_(), torch.tensor(0.3, dtype=F64, requires_grad=True)

    def solved(k, y, damp):
        op = ConvOperator(k.expand(3, 1, 3, 3), (7, 6), padding=1, groups=3, **METHODS[method][0])
        return op.tikhonov(damp, method=method)(y)

    assert gradcheck(solved, (k, y, damp))


def test_rank_deficient_operators_are_counted_whole():
    k = torch.tensor([[[1.0, -1.0]]], dtype=F64)
    op = ConvOperator(k.expand(3, 1, 2), (8,), padding=((0, 1),), padding_mode="circular", groups=3)
    solution, found = op.lstsq(op(randn(2, 3, 8)))
    assert (found.rank.tolist(), found.dropped.tolist()) == ([21, 21], [3, 3])
    assert solution.sum(-1).abs().max() < 1e-12


@pytest.mark.parametrize("alike", [True, False])
def test_masks_alike_are_shared(alike):
    op = operator("krylov", 3, 1)
    mask = randn(1, 7, 6) > -1
    mask = mask.expand(3, 7, 6).clone()
    mask[1, 2, 3] = mask[0, 2, 3] if alike else ~mask[0, 2, 3]
    seen = op.observed(mask)
    inverse = seen.tikhonov(0.1)
    assert isinstance(inverse, SharedGroups) == alike
    A, y = dense_twin(seen), randn(2, 3, 7, 6, seed=4)
    exact = torch.linalg.solve(
        A.mT @ A + 0.01 * torch.eye(A.shape[1], dtype=F64), A.mT @ y.flatten(1).mT
    ).mT.reshape(y.shape)
    assert relative(inverse(y.where(mask, torch.nan)), exact) < 1e-5


@pytest.mark.parametrize("C", [2, 5])
def test_unequal_groups_are_not_shared(C):
    op = operator("boundary", C, 0)
    other = op.weight.clone()
    other[-1, 0, 0, 0] += 1e-12
    assert not isinstance(op.with_weight(other).pinv(), SharedGroups)
    assert "equal groups" not in op.with_weight(other).plan().reason
    assert "equal groups" not in op.with_weight(op.weight.to("meta")).plan().reason


def test_it_moves_and_is_copied_whole():
    inverse = operator("boundary", 3, 2).pinv(method="boundary")
    y = randn(2, 3, 7, 6)
    assert torch.equal(copy.deepcopy(inverse)(y), inverse(y))
    single = copy.deepcopy(inverse).float()
    assert single.dtype == torch.float32
    assert relative(single(y.float()).double(), inverse(y)) < 1e-5


def test_what_shares_takes_the_memory_of_one():
    sizes = []
    for C in (1, 4):
        k = kernel("boundary", 1).expand(C, 1, 3, 3)
        op = ConvOperator(k, (40, 40), padding=1, groups=C)
        inverse = op.pinv(method="boundary")
        sizes.append(sum(b.nbytes for b in inverse.buffers()))
    assert math.isclose(*sizes, rel_tol=0.05)
