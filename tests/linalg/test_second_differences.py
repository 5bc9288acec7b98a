"""Second derivatives of U f(S) Vᴴ at ties, zeros and near them, against matrix functions of A.

For odd f there is no need of an SVD: A p(AᴴA) and A (AᴴA + t)⁻¹ are products and solves, which
torch differentiates exactly at any A.
"""

from __future__ import annotations

import random

import pytest
import torch
from torch.autograd import gradgradcheck

from unconv.linalg import pinv, spectral_apply, svt

from .test_svd import DOUBLE, draw

C = (0.3, -0.7, 0.2)  # of s, s³, s⁵
VALUES = [
    (3, 2, 0), (2, 2, 1), (2, 2, 0), (2, 0, 0), (2, 2, 2), (0, 0, 0), (1,), (0,), (1, 0),
    (1, 1 - 1e-7, 1 - 2e-7), (1, 1 - 1e-12, 0.5), (1, 0.99, 0.98), (1, 0.7, 0.5, 0.5), (1, 1, 1e-9),
    (1, 1e-3, 1e-6, 1e-9), (1, 1e-6, 1e-6, 0), (1, 1, 0.5, 0.5, 0, 0),
]  # fmt: skip


def with_values(S, m, n, dtype, seed):
    U, V = (torch.linalg.qr(draw(s, s, dtype=dtype, seed=seed + i)).Q for i, s in enumerate((m, n)))
    return (U[:, : len(S)] * torch.tensor(S, dtype=dtype)) @ V[:, : len(S)].mH


def polynomial(A):
    total, X = 0, A
    for c in C:
        total, X = total + c * X, X @ A.mH @ A
    return total


def by_values(A):
    return spectral_apply(
        A,
        lambda s: sum(c * s ** (2 * i + 1) for i, c in enumerate(C)),
        lambda s: sum((2 * i + 1) * c * s ** (2 * i) for i, c in enumerate(C)),
    )


def resolvent(A, t):
    gram = A.mH @ A + t * torch.eye(A.shape[-1], dtype=A.dtype)
    return torch.linalg.solve(gram, A.mH).mH


def resolvent_by_values(A, t):
    return spectral_apply(
        A, lambda s, t: s / (s**2 + t), lambda s, t: (t - s**2) / (s**2 + t) ** 2, t
    )


def derivatives(function, inputs, G, changes):
    """Value, gradients of Re⟨G, f⟩, and those of their sum along changes, in G too."""
    inputs = [t.clone().requires_grad_() for t in inputs]
    G = G.clone().requires_grad_()
    Y = function(*inputs)
    first = torch.autograd.grad((G.conj() * Y).real.sum(), inputs, create_graph=True)
    slope = sum((c.conj() * f).real.sum() for c, f in zip(changes, first, strict=True))
    return [t.detach() for t in (Y, *first, *torch.autograd.grad(slope, [*inputs, G]))]


def check(S, m, n, dtype, seed):
    A, G, dA = with_values(S, m, n, dtype, seed), *(draw(m, n, dtype=dtype, seed=i) for i in (7, 8))
    t, dt = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    for found, exact, inputs, changes in (
        (by_values, polynomial, (A,), (dA,)),
        (resolvent_by_values, resolvent, (A, t), (dA, dt)),
    ):
        pairs = zip(
            derivatives(found, inputs, G, changes),
            derivatives(exact, inputs, G, changes),
            strict=True,
        )
        for a, b in pairs:
            assert (a - b).abs().amax() <= 1e-11 * max(1.0, float(b.abs().amax())), (S, m, n)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("S", VALUES)
def test_square_tall_and_wide(S, dtype):
    k = len(S)
    for m, n in ((k, k), (k + 2, k), (k, k + 1)):
        check(S, m, n, dtype, seed=1)


@pytest.mark.parametrize("dtype", DOUBLE)
def test_any_gap(dtype):
    chance = random.Random(3)
    for seed in range(12):
        S = [chance.choice([2.0, 1.0, 0.0])]
        while len(S) < chance.randint(2, 5):
            S.append(abs(S[-1] + chance.choice([0, 1, -1]) * 10.0 ** chance.uniform(-16, 0)))
        check(S, len(S) + chance.randint(0, 2), len(S) + chance.randint(0, 2), dtype, seed)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 4)])
@pytest.mark.parametrize("S", [(3, 3, 1), (2, 2, 2), (3, 2, 1), (2, 2 - 1e-5, 0.5)])
def test_thresholds_and_pseudo_inverses_at_ties(S, shape, dtype):
    A = with_values(S, *shape, dtype, 2).requires_grad_()
    tau = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(svt, (A, tau), check_fwd_over_rev=True, fast_mode=True)
    assert gradgradcheck(pinv, A, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("dtype", DOUBLE)
def test_pseudo_inverses_as_normal_equations(dtype):
    A, G, dA = (
        with_values((2, 2, 1, 1), 6, 4, dtype, 3),
        draw(4, 6, dtype=dtype),
        draw(6, 4, dtype=dtype),
    )
    found = derivatives(pinv, (A,), G, (dA,))
    exact = derivatives(lambda A: torch.linalg.solve(A.mH @ A, A.mH), (A,), G, (dA,))
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_slices_and_batches(monkeypatch):
    A = torch.stack(
        [with_values(S, 6, 5, torch.float64, 4) for S in ((2, 2, 1, 1, 0), (3, 2, 1, 1, 1))]
    )
    G, dA = draw(2, 6, 5, seed=5), draw(2, 6, 5, seed=6)
    whole = derivatives(by_values, (A,), G, (dA,))
    monkeypatch.setattr("unconv.linalg.second_differences._ENTRIES", 1)
    for a, b in zip(whole, derivatives(by_values, (A,), G, (dA,)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
    mapped = torch.func.vmap(torch.func.hessian(lambda A: by_values(A).pow(3).sum()))(A)
    exact = torch.stack([torch.func.hessian(lambda A: polynomial(A).pow(3).sum())(a) for a in A])
    torch.testing.assert_close(mapped, exact, rtol=1e-11, atol=1e-11)
