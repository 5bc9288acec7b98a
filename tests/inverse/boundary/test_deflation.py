"""Counting, finding and taking out the smallest singular values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse.boundary.deflation import (
    Deflation,
    Triples,
    _positive_eigenvalues,
    count_above,
    ritz,
    smallest_triples,
)
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    randn,
    relative,
)
from ...strategies import Case, cases
from .ghost_parts import parts_of


def counted(op: ConvOperator, tau: float) -> int:
    _, torus, blocks, ghosts = parts_of(op)
    return count_above(tau, blocks, ghosts, torus, torus.multiplicity(torch.device("cpu")))


def assert_counts(op: ConvOperator, ratio: float) -> None:
    S = torch.linalg.svdvals(dense_twin(op))
    tau = ratio * float(S[0])
    assume(bool(((S / tau - 1).abs() > 1e-6).all()))
    assert counted(op, tau) == int((tau < S).sum())


@given(cases(transposed=False, per_sample=False), st.floats(-3, -0.5))
@settings(max_examples=100)
def test_the_count_is_that_of_the_matrix(case: Case, exponent: float):
    assert_counts(case.operator(), 10**exponent)


@pytest.mark.slow
@given(cases(transposed=False, per_sample=False), st.floats(-3, -0.5))
@settings(max_examples=3000)
def test_the_count_is_that_of_the_matrix_at_length(case: Case, exponent: float):
    assert_counts(case.operator(), 10**exponent)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric", "circular"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("channels", [(1, 1), (3, 2), (2, 3)])
def test_counts_at_every_threshold(mode, stride, dtype, channels):
    weight = randn(*channels, 3, 3, dtype=dtype)
    op = ConvOperator(weight, (7, 6), padding=1, stride=stride, padding_mode=mode)
    S = torch.linalg.svdvals(dense_twin(op))
    for ratio in (1e-3, 1e-2, 0.03, 0.1, 0.3):
        tau = ratio * float(S[0])
        assert counted(op, tau) == int((tau < S).sum())


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 40])
def test_inertia_of_a_hermitian_matrix(dtype, n):
    for seed in range(5):
        H = randn(n, n, dtype=dtype, seed=seed)
        H = H + H.mH
        H.diagonal().mul_(seed % 2)  # zeros on the diagonal force pivots of two by two
        assert int(_positive_eigenvalues(H)) == int((torch.linalg.eigvalsh(H) > 0).sum())


def inverse_of_gram(op: ConvOperator, mu: float):
    """By the damped augmented system, dense."""
    A = dense_twin(op)
    m, n = A.shape
    top = torch.cat([mu * torch.eye(m, dtype=A.dtype), A], 1)
    K = torch.cat([top, torch.cat([A.mH, -mu * torch.eye(n, dtype=A.dtype)], 1)])

    def apply(v: torch.Tensor, *, of_data: bool) -> torch.Tensor:
        own = slice(None, m) if of_data else slice(m, None)
        f = torch.zeros(len(v), m + n, dtype=A.dtype)
        f[:, own] = v.flatten(1)
        return torch.linalg.solve(K, f.mT).mT[:, own].reshape(v.shape)

    return apply


@pytest.mark.parametrize("shape", [(2, 2, 3, 3), (3, 2, 3, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_the_smallest_triples(shape, dtype):
    op = ConvOperator(randn(*shape, dtype=dtype), (5, 4), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    count = 3
    found = smallest_triples(op, inverse_of_gram(op, 1e-3 * float(S[0])), count, float(S[0]))
    assert relative(found.S, S.flip(0)[:count]) < 1e-10
    for k in range(count):
        U, V = found.U[k : k + 1], found.V[k : k + 1]
        assert relative(op(V), found.S[k] * U, S[0]) < 1e-10
        assert relative(op.H(U), found.S[k] * V, S[0]) < 1e-10
    for W in (found.U, found.V):
        gram = W.flatten(1).conj() @ W.flatten(1).mT
        assert relative(gram, torch.eye(count, dtype=dtype)) < 1e-12


def test_a_null_vector_has_no_partner_on_the_longer_side():
    weight = randn(3, 2, 3, 3)
    weight[:, 1] = weight[:, 0]
    op = ConvOperator(weight, (3, 3), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    found = smallest_triples(op, inverse_of_gram(op, 1e-3 * float(S[0])), 9, float(S[0]))
    assert (1e-13 * S[0] > found.S).all()
    assert not found.U.any()
    assert torch.linalg.norm(op(found.V)) < 1e-13 * S[0]


@pytest.mark.parametrize("dtype", DOUBLES)
def test_taking_out_what_is_known(dtype):
    """A⁺ = its part on the triples + A⁺ of the rest; a gain of zero drops the direction."""
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (5,), padding=1)
    A = dense_twin(op)
    U, S, Vh = torch.linalg.svd(A)
    k = 3
    triples = Triples(
        U.mT[-k:].flip(0).reshape(k, 2, 5),
        S[-k:].flip(0),
        Vh.conj()[-k:].flip(0).reshape(k, 2, 5),
    )
    gains = torch.tensor([0.0, *(1 / triples.S[1:]).tolist()], dtype=F64)
    deflation = Deflation(triples, gains)
    X = torch.linalg.pinv(A)
    y = randn(4, 2, 5, dtype=dtype)
    dropped = torch.linalg.pinv(A, rtol=float(S[-1] / S[0]) * (1 + 1e-9))
    for adjoint, inverse, cut in ((False, X, dropped), (True, X.mH, dropped.mH)):
        rest, apart = deflation.take_out(y, adjoint=adjoint)
        found = (rest.flatten(1) @ inverse.mT).reshape(y.shape) + apart
        assert relative(found.flatten(1), y.flatten(1) @ cut.mT) < 1e-11
    f, g = deflation.without(y, y)
    again = deflation.without(f, g)
    assert relative(again[0], f) < 1e-14
    assert relative(again[1], g) < 1e-14


@pytest.mark.parametrize("dtype", [F64, C128])
def test_ritz_values_of_the_whole_space_are_the_singular_values(dtype):
    op = ConvOperator(randn(2, 2, 3, dtype=dtype), (4,), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    Q, _ = torch.linalg.qr(randn(8, 8, dtype=dtype))
    W = Q.reshape(8, 2, 4)
    for U, V in ((W, None), (None, W), (W, W)):
        found = ritz(op, U, V, float(S[0]))
        assert relative(found.S, S.flip(0)) < 1e-13
        assert relative(op(found.V), found.S.reshape(-1, 1, 1) * found.U) < 1e-12
