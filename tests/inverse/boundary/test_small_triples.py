"""The smallest singular triples, of a known number or up to a cut-off."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.inverse.boundary.small_triples import ritz, smallest_triples, triples_up_to
from unconv.inverse.facts import CannotServeError
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    ambiguous_rank_is_said,
    apply_matrix,
    data,
    randn,
    relative,
)


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


# --- all up to a cut-off of a square operator -----------------------------------------------------


def between(S: torch.Tensor, dropped: int) -> float:
    """An rtol that drops so many of the singular values S."""
    kept, lost = S[-dropped - 1], S[-dropped]
    return float((kept * lost).sqrt() / S[0])


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("dropped", [1, 2, 5])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "symmetric"])
def test_few_are_dropped_by_the_inverse(mode, dropped, dtype):
    op = ConvOperator(randn(3, 3, 3, 3, dtype=dtype), (7, 6), padding=1, padding_mode=mode)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    rtol = between(S, dropped)
    X = torch.linalg.pinv(A, rtol=rtol)
    y, gap = data(op.range_shape, op), float(S[-dropped - 1] / S[-dropped])
    with ambiguous_rank_is_said(gap):
        found = op.pinv(method="boundary", rtol=rtol)
    with ambiguous_rank_is_said(gap):
        x, certificate = op.lstsq(y, rtol=rtol, method="boundary")
    assert "on the inverse" in found.summary.rank_how
    assert found.summary.rank.tolist() == [len(S) - dropped]
    assert found.summary.gap == pytest.approx(gap, rel=1e-2)
    assert relative(found.to_dense(), X) < 1e-10
    assert relative(found.H.to_dense(), X.mH) < 1e-10
    assert relative(x, apply_matrix(X, y, op.domain_shape)) < 1e-10
    assert certificate.converged.all()


def test_full_rank_near_the_cut_off():
    op = ConvOperator(randn(3, 3, 3, 3), (7, 6), padding=1)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    found = op.pinv(method="boundary", rtol=float(S[-1] / S[0]) / 2)
    assert found.summary.rank.tolist() == [len(S)]
    assert 0.9 * S[-1] < found.summary.floor < S[-1]
    assert relative(found.to_dense(), torch.linalg.inv(A)) < 1e-10


def test_float32_layers_are_cut_at_their_precision():
    """Every factor is double, but a weight of float32 does not know σ below its eps."""
    op = ConvOperator(randn(4, 4, 3, 3), (12, 12), padding=1)
    S = torch.linalg.svdvals(dense_twin(op))
    eps = torch.finfo(torch.float32).eps
    rank = op.with_weight(op.weight.float()).pinv(method="boundary").summary.rank
    assert rank.tolist() == [int((eps * S[0] < S).sum())]


@pytest.mark.parametrize("dtype", [F64, C128])
def test_pairs_of_equal_values_are_both_found(dtype):
    """A symmetric kernel on a square has them; one Lanczos vector would see one of each."""
    K = torch.tensor([[0.3, 1, 0.3], [1, 2.9, 1], [0.3, 1, 0.3]]).to(dtype)
    op = ConvOperator(K[None, None], (9, 9), padding=1)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A).flip(0)
    inverse = torch.linalg.inv(A)

    def of_gram(v: torch.Tensor, *, of_data: bool) -> torch.Tensor:
        gram = inverse.mH @ inverse if of_data else inverse @ inverse.mH
        return (v.flatten(1) @ gram.mT).reshape(v.shape)

    tau = float(S[6]) * 1.01
    found = triples_up_to(tau, op, of_gram, float(S[-1]), 1e9)
    assert relative(found.S[:7], S[:7]) < 1e-10
    with pytest.raises(CannotServeError):
        triples_up_to(tau, op, of_gram, float(S[-1]), 4 * sum(op.shape))


@pytest.mark.parametrize("method", ["dense", "boundary"])
@pytest.mark.parametrize("ratio", [1.0 + 1e-3, 2.0])
def test_a_cut_of_everything_leaves_nothing(method, ratio):
    op = ConvOperator(randn(1, 1, 3, 3), (6, 6), padding=1)
    cut = {"atol": ratio * float(op.norm()), "method": method}
    found = op.pinv(**cut)
    assert found.summary.rank.tolist() == [0]
    assert not found(data(op.range_shape, op)).any()
    assert op.lstsq(data(op.range_shape, op), 0.1, **cut).solution.any()
