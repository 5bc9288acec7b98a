"""Operators of which only some outputs were seen, against the matrix with those rows zero."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import AccuracyWarning, ConvOperator
from unconv.inverse.diagonal import dense
from unconv.parameter_choice import choose_damp
from unconv.regularize.penalty import penalty_operator

from ..helpers import C128, F64, assert_says, randn, relative

OPERATORS = {
    "valid": (((2, 1, 3, 3), (8, 7)), {}),
    "zeros": (((2, 2, 3, 3), (6, 7)), {"padding": 1}),
    "circular": (((2, 2, 3), (16,)), {"padding": 1, "padding_mode": "circular"}),
    "complex": (((2, 1, 3, 3), (6, 7)), {"padding": 1, "padding_mode": "reflect"}),
    "transposed": (((2, 2, 3, 3), (5, 4)), {"stride": 2, "transposed": True}),
    "groups": (((4, 1, 3, 3), (6, 5)), {"padding": 1, "groups": 2}),
    "volume": (((1, 1, 2, 2, 2), (5, 4, 4)), {}),
}


@pytest.fixture(params=OPERATORS)
def whole(request) -> ConvOperator:
    (shape, size), options = OPERATORS[request.param]
    dtype = C128 if request.param == "complex" else F64
    return ConvOperator(randn(*shape, dtype=dtype), size, **options)


@pytest.fixture(params=["every channel", "an axis of one", "apart"])
def case(request, whole):
    """The operator, its matrix and the mask of its rows."""
    torch.manual_seed(3)
    sizes = whole.range_shape[1:]
    shape = {"every channel": sizes, "an axis of one": (1, *sizes)}.get(
        request.param, whole.range_shape
    )
    mask = torch.rand(shape) > 0.3
    op = whole.observed(mask)
    rows = mask.expand(whole.range_shape).flatten()
    return op, whole.to_dense() * rows[:, None], rows


def apply(A, v, shape):
    return (v.flatten(1) @ A.mT).reshape(len(v), *shape)


def test_forward_adjoint_and_matrices(case):
    op, A, _ = case
    x, y = (randn(2, *s, dtype=op.dtype) for s in (op.domain_shape, op.range_shape))
    assert relative(op(x), apply(A, x, op.range_shape)) < 1e-14
    assert relative(op.H(y), apply(A.mH, y, op.domain_shape)) < 1e-14
    assert relative(op.gram(x), apply(A.mH @ A, x, op.domain_shape)) < 1e-14
    assert torch.equal(op.to_dense(), A)
    assert torch.equal(op.to_sparse("dense"), A)
    for layout in ("sparse_csr", "sparse_coo"):
        assert torch.equal(op.to_sparse(layout).to_dense(), A)
    assert torch.equal(torch.from_numpy(op.to_sparse("scipy").toarray()), A)


def test_what_one_operator_has_seen_another_is_told(whole):
    mask = torch.rand(whole.range_shape[1:]) > 0.3
    seen = whole.observed(mask).seen
    assert torch.equal(whole.observed(seen).seen, seen)


def test_order_of_the_matrix():
    op = ConvOperator(randn(2, 1, 3, 3), (6, 7)).observed(torch.rand(4, 5) > 0.5)
    whole = op.to_sparse("dense", order="F")
    rows = op.to_dense().reshape(*op.range_shape, *op.domain_shape)
    rows = rows.permute(2, 1, 0, 5, 4, 3).reshape(op.shape)
    assert torch.equal(whole, rows)


def test_inverses(case):
    op, A, _ = case
    y = randn(2, *op.range_shape, dtype=op.dtype, seed=2)
    exact = apply(torch.linalg.pinv(A, rtol=1e-12), y, op.domain_shape)
    assert relative(op.pinv()(y), exact) < 1e-10
    x, certificate = op.lstsq(y)
    assert relative(x, exact) < 1e-10
    assert certificate.converged.all()
    damp, eye = 0.3, torch.eye(op.shape[1], dtype=A.dtype)
    X = torch.linalg.solve(A.mH @ A + damp**2 * eye, A.mH)
    for method in ("auto", "dense", "krylov"):
        found = op.tikhonov(damp, method=method, tol=1e-12)(y)
        assert relative(found, apply(X, y, op.domain_shape)) < 1e-10
    x, certificate = op.lstsq(y, damp)
    assert certificate.converged.all()
    assert relative(x, apply(X, y, op.domain_shape)) <= float(certificate.error_bound.max())


def test_spectrum(case):
    op, A, _ = case
    S = torch.linalg.svdvals(A)
    assert relative(op.svdvals(), S) < 1e-12
    assert float(op.norm()) == pytest.approx(float(S[0]))
    assert int(op.matrix_rank()) == int(torch.linalg.matrix_rank(A))
    padded = torch.cat([S, S.new_zeros(op.shape[1] - len(S))]) if len(S) < op.shape[1] else S
    damped = torch.hypot(padded, torch.tensor(0.3, dtype=F64)).log().sum()
    assert float(op.logabsdet(0.3)) == pytest.approx(float(damped), rel=1e-10)
    y = randn(2, *op.range_shape, dtype=op.dtype, seed=2)
    P = A @ torch.linalg.pinv(A, rtol=1e-12)
    assert relative(op.range_projector()(y), apply(P, y, op.range_shape)) < 1e-10


def test_a_square_operator_with_a_row_unseen_is_singular():
    op = ConvOperator(randn(1, 1, 3, 3), (6, 6), padding=1)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[2, 3] = False
    assert float(op.observed(mask).logabsdet()) == -math.inf


def test_penalties(case):
    op, A, _ = case
    y = randn(1, *op.range_shape, dtype=op.dtype, seed=2)
    L = penalty_operator(op, "gradient").to_dense().to(A.dtype)
    X = torch.linalg.solve(A.mH @ A + 0.25 * L.mH @ L, A.mH)
    found = op.tikhonov(0.5, penalty="gradient", method="krylov")(y)
    assert relative(found, apply(X, y, op.domain_shape)) < 1e-6


def test_gradients_in_the_weight(case):
    op, _, rows = case
    y = randn(1, *op.range_shape, dtype=op.dtype, seed=2)
    eye = torch.eye(op.shape[1], dtype=op.dtype).reshape(-1, *op.domain_shape)

    def dense_loss(weight):
        A = op.with_weight(weight)(eye).flatten(1).mT * rows[:, None]
        X = torch.linalg.solve(A.mH @ A + 0.09 * torch.eye(len(eye), dtype=A.dtype), A.mH)
        return apply(X, y, op.domain_shape).abs().square().sum()

    def loss(weight):
        return op.with_weight(weight).tikhonov(0.3, tol=1e-13)(y).abs().square().sum()

    grads = []
    for f in (loss, dense_loss):
        weight = op.weight.clone().requires_grad_()
        grads.append(torch.autograd.grad(f(weight), weight)[0])
    assert relative(grads[0], grads[1]) < 1e-8


def test_larger_than_what_a_matrix_serves(monkeypatch):
    """Every rung but `dense` either takes the mask into account or leaves the operator alone."""
    op = ConvOperator(randn(1, 1, 3, 3), (14, 13), padding=1)
    B = op.observed(torch.rand(14, 13) > 0.2)
    A, y = B.to_dense(), randn(1, *B.range_shape)
    monkeypatch.setattr(dense, "LIMIT", 10)
    monkeypatch.setattr(dense, "LAST_RESORT", 10)
    X = torch.linalg.solve(A.mT @ A + 0.25 * torch.eye(len(A), dtype=F64), A.mT)
    assert relative(B.tikhonov(0.5, tol=1e-10)(y), apply(X, y, B.domain_shape)) < 1e-9
    assert float(B.norm()) == pytest.approx(float(torch.linalg.matrix_norm(A, 2)), rel=1e-8)
    exact = apply(torch.linalg.pinv(A), y, B.domain_shape)
    with pytest.warns(AccuracyWarning, match="without damp no bound"):
        assert relative(B.pinv()(y), exact) < 1e-6


def test_masks_add_up():
    op = ConvOperator(randn(2, 1, 3), (9,))
    a, b = torch.rand(7) > 0.3, torch.rand(2, 7) > 0.3
    assert torch.equal(op.observed(a).observed(b).seen, a & b)
    a[:] = False
    assert op.observed(b).seen.any()


def test_the_mask_is_copied_and_follows():
    op = ConvOperator(randn(2, 1, 3), (9,))
    mask = torch.ones(7, dtype=torch.bool)
    mask[3] = False
    B = op.observed(mask)
    mask[:] = True
    assert not B.seen[..., 3].any()
    assert torch.equal(B.with_weight(op.weight.double()).seen, B.seen)
    assert torch.equal(B.in_double().seen, B.seen)
    assert "seen" in dict(B.named_buffers())
    assert "seen" not in B.state_dict()
    assert "observed=12 of 14" in repr(B)


@pytest.mark.parametrize(
    ("mask", "error", "parts"),
    [
        (torch.ones(6), TypeError, ("bool tensor", "torch.float32", "mask != 0")),
        ([True] * 6, TypeError, ("mask must be a Tensor", "torch.from_numpy")),
        (torch.ones(6, dtype=torch.bool), ValueError, ("(7,)", "(2, 7)", "got (6,)")),
        (torch.zeros(7, dtype=torch.bool), ValueError, ("seen no output at all",)),
    ],
)
def test_refusals(mask, error, parts):
    op = ConvOperator(randn(2, 1, 3), (9,))
    with pytest.raises(error) as said:
        op.observed(mask)
    assert_says(said, *parts)


def test_functions_layers_and_adapters_take_it():
    op = ConvOperator(randn(1, 1, 3, 3), (8, 7))
    B = op.observed(torch.rand(6, 5) > 0.3)
    x = randn(1, 1, 8, 7)
    S = B.as_scipy()
    assert relative(torch.from_numpy(S @ x.flatten().numpy()), B(x).flatten()) < 1e-14
    with pytest.raises(NotImplementedError, match="the rules count every output"):
        choose_damp(B, B(x), "discrepancy", noise_std=0.1)


def test_nan_may_stand_where_nothing_was_seen(case):
    op, _, rows = case
    y = randn(2, *op.range_shape, dtype=op.dtype, seed=2)
    broken = y.where(rows.reshape(op.range_shape), torch.nan)
    assert relative(op.H(broken), op.H(y)) == 0
    for make in (op.pinv, lambda: op.tikhonov(0.3), lambda: op.tikhonov(0.3, penalty="gradient")):
        inverse = make()
        assert relative(inverse(broken), inverse(y)) == 0
    for damp in (0.0, 0.3):
        (x, found), (expected, other) = op.lstsq(broken, damp), op.lstsq(y, damp)
        assert relative(x, expected) == 0
        assert torch.equal(found.residual, other.residual)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_the_small_end_beyond_a_matrix(mode, monkeypatch):
    """Zeros that are certain are told, the rest is refused: no factor knows of the mask."""
    monkeypatch.setattr(dense, "LIMIT", 8)
    monkeypatch.setattr(dense, "LAST_RESORT", 8)
    op = ConvOperator(randn(1, 1, 3, 3), (5, 7), padding=1, padding_mode=mode)
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[0, 0] = False
    B = op.observed(mask)
    assert float(B.svdvals(1, "smallest")) == 0
    assert float(B.cond()) == math.inf
    bracket = B.norm(bracket=True)
    true = float(torch.linalg.matrix_norm(B.to_dense(), 2))
    assert float(bracket.lower) <= true * (1 + 1e-12)
    assert float(bracket.upper) >= true * (1 - 1e-12)
    for ask in (lambda: B.svdvals(2, "smallest"), B.matrix_rank, lambda: B.svd(1, "smallest")):
        with pytest.raises(NotImplementedError, match="not observed"):
            ask()
