"""The node of a solve in a graph: what it keeps, when it is stale, the transforms of torch.func."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch

from unconv import ConvOperator
from unconv.testing import dense_twin

from ..helpers import (
    F64,
    assert_says,
    randn,
    relative,
)
from .rung_operators import (
    RUNGS,
    easy_weight,
    served,
)

every_rung = pytest.mark.parametrize("method", RUNGS)


def test_a_weight_changed_between_forward_and_backward():
    weight = randn(1, 1, 3).requires_grad_()
    x = ConvOperator(weight, (6,), padding=1).tikhonov(0.5)(randn(1, 1, 6))
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_a_stale_factor():
    weight, y = randn(1, 1, 3).requires_grad_(), randn(1, 1, 6)
    op = ConvOperator(weight, (6,), padding=1)
    inverse = op.tikhonov(0.5)
    before = inverse(y).detach()
    with torch.no_grad():
        weight.mul_(2)
        assert torch.equal(inverse(y), before)  # as it was factored: nobody can be misled by it
    with pytest.raises(RuntimeError) as error:
        inverse(y)
    assert_says(error, "changed in place", "factor it again")


def test_copies_and_moves_are_not_stale():
    weight = torch.nn.init.normal_(torch.empty(1, 1, 3, dtype=F64)).requires_grad_()
    log_damp = torch.zeros((), dtype=F64, requires_grad=True)
    inverse = ConvOperator(weight, (6,), padding=1).tikhonov(log_damp.exp())
    y = randn(1, 1, 6)
    for other in (copy.deepcopy(inverse), pickle.loads(pickle.dumps(inverse)), inverse.to("cpu")):
        assert torch.equal(other(y), inverse(y))
    penalised = ConvOperator(weight, (6,), padding=1).tikhonov(0.5, penalty="gradient")
    other = weight.detach().clone().requires_grad_()
    penalised.bound_to(other, *penalised.params[1:])(y).sum().backward()
    assert other.grad is not None
    assert weight.grad is None


def test_fused_optimisers_are_noticed():
    weight = torch.nn.Parameter(randn(1, 1, 3))
    inverse = ConvOperator(weight, (6,), padding=1).tikhonov(0.5)
    inverse(randn(1, 1, 6)).sum().backward()
    torch.optim.Adam([weight], fused=True).step()
    with pytest.raises(RuntimeError, match="factor it again"):
        inverse(randn(1, 1, 6))


def test_the_graph_keeps_data_and_solution_alone():
    """Whatever the number of iterations."""
    op = ConvOperator(randn(1, 1, 3, 3).requires_grad_(), (16, 16), padding=1)
    inverse = op.tikhonov(0.5, method="krylov")
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape), lambda t: t):
        inverse(randn(2, 1, 16, 16))
    assert sum(s.numel() for s in saved) == 2 * 2 * 256 + 9 + 1


def test_nothing_outlives_its_graph():
    op = ConvOperator(randn(1, 1, 3).requires_grad_(), (6,), padding=1)
    inverse = op.tikhonov(0.5)
    gc.collect()
    gc.disable()
    try:
        x = inverse(randn(1, 1, 6))
        gone = weakref.ref(x)
        del x
        assert gone() is None
    finally:
        gc.enable()


def loss_of(method):
    def loss(weight, y):
        return served(method, weight).tikhonov(0.7, method=method, tol=1e-12)(y).square().sum()

    return loss


@every_rung
def test_transforms_agree_with_autograd(method):
    weight, loss = easy_weight(method), loss_of(method)
    y = randn(2, *served(method, weight).range_shape)
    leaf = weight.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf, y), leaf)
    assert relative(torch.func.grad(loss)(weight, y), expected) < 1e-9
    assert relative(torch.func.jacrev(loss)(weight, y), expected) < 1e-9
    _, along = torch.func.jvp(loss, (weight, y), (weight, torch.zeros_like(y)))
    assert abs(along - (expected * weight).sum()) < 1e-9 * expected.norm() * weight.norm()
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, y[:, None])
    assert relative(each.sum(0), expected) < 1e-9


@pytest.mark.parametrize("method", ["fourier", "dense", "boundary"])
def test_hessian(method):
    weight, loss = easy_weight(method), loss_of(method)
    y = randn(1, *served(method, weight).range_shape)
    found = torch.func.hessian(loss)(weight, y)
    expected = torch.autograd.functional.hessian(lambda w: loss(w, y), weight)
    assert relative(found, expected) < 1e-10


@every_rung
def test_vmap_over_weights_factors_and_solves_as_one_batch(method):
    weights = torch.stack([easy_weight(method), 2 * easy_weight(method)])
    loss = loss_of(method)
    y = randn(3, *served(method, weights[0]).range_shape)
    for function in (loss, torch.func.grad(loss)):
        expected = torch.stack([function(w, y) for w in weights])
        assert relative(torch.func.vmap(function, (0, None))(weights, y), expected) < 1e-9
        many = torch.func.vmap(function)(weights, y[:2, None])
        expected = torch.stack([function(w, v[None]) for w, v in zip(weights, y, strict=False)])
        assert relative(many, expected) < 1e-9


@every_rung
def test_vmap_over_damp_is_one_solve_after_the_other(method):
    """Alone, with the data and with the weight; values and gradients of both."""
    weight, damps = easy_weight(method), torch.tensor([0.2, 0.7, 3.0], dtype=F64)
    y = randn(3, *served(method, weight).range_shape)

    def solve(damp, weight, y):
        return served(method, weight).tikhonov(damp, method=method, tol=1e-12)(y)

    def loss(damp, weight, y):
        return solve(damp, weight, y).square().sum()

    weights = torch.stack([weight, 2 * weight, -weight])
    for function in (solve, torch.func.grad(loss), torch.func.grad(loss, 1)):
        found = torch.func.vmap(function, (0, None, None))(damps, weight, y)
        assert relative(found, torch.stack([function(d, weight, y) for d in damps])) < 1e-9
        found = torch.func.vmap(function)(damps, weights, y)  # each image without a batch axis
        each = [function(*row) for row in zip(damps, weights, y, strict=True)]
        assert relative(found, torch.stack(each)) < 1e-9
    summed = torch.func.grad(lambda d: torch.func.vmap(loss, (0, None, None))(d, weight, y).sum())
    expected = torch.stack([torch.func.grad(loss)(d, weight, y) for d in damps])
    assert relative(summed(damps), expected) < 1e-9


def test_lstsq_under_vmap_over_damp_certifies_every_slice():
    op, y, seen = served("dense", easy_weight("dense")), randn(2, 2, 4, 5), []

    def solution(damp):
        found = op.lstsq(y, damp)
        seen.append(found.certificate)
        return found.solution

    damps = torch.tensor([1e-6, 0.1, 10.0], dtype=F64)
    found = torch.func.vmap(solution)(damps)
    A = dense_twin(op)
    for x, damp in zip(found, damps, strict=True):
        gram = A.mT @ A + damp**2 * torch.eye(A.shape[1], dtype=F64)
        expected = torch.linalg.solve(gram, A.mT @ y.flatten(1).mT).mT
        assert relative(x.flatten(1), expected) < 1e-9
    assert len(seen[0]) == 6
    assert bool(seen[0].converged.all())


def test_lstsq_under_vmap_over_weights():
    weights = torch.stack([easy_weight("dense"), 2 * easy_weight("dense")])
    y = randn(1, *served("dense", weights[0]).range_shape)

    def solution(weight):
        return served("dense", weight).lstsq(y, 0.1).solution

    expected = torch.stack([solution(w) for w in weights])
    assert relative(torch.func.vmap(solution)(weights), expected) < 1e-12


def test_certificates_under_transforms():
    weight, y = easy_weight("dense"), randn(2, 2, 4, 5)
    ranks = []

    def loss(weight):
        x, certificate = served("dense", weight).lstsq(y)
        ranks.append(certificate.rank.tolist())
        return x.sum()

    torch.func.grad(loss)(weight)
    assert ranks == [[40, 40]]


def test_what_vmap_cannot_do_is_said():
    y = randn(1, 1, 6)

    def tikhonov(weight, damp):
        return ConvOperator(weight, (6,), padding=1).tikhonov(damp)(y)

    weights = randn(2, 2, 1, 1, 3)
    with pytest.raises(ValueError, match="damp > 0 in every slice"):
        torch.func.vmap(tikhonov, (None, 0))(weights[0, 0], torch.tensor([1.0, 0.0]))
    with pytest.raises(NotImplementedError, match="one vmap inside another"):
        torch.func.vmap(torch.func.vmap(tikhonov, (None, 0)), (0, None))(weights[0], randn(2).exp())
    op = ConvOperator(weights[0, 0], (6,), padding=1)
    for unmapped in (
        lambda damp: op.tikhonov(damp, penalty="gradient")(y),
        lambda damp: op.lstsq(y, damp, penalty="gradient").solution,
        lambda damp: op.prox(y, y, damp),
        lambda damp: op.plan(damp=damp),
    ):
        with pytest.raises(NotImplementedError, match="is not supported here"):
            torch.func.vmap(unmapped)(torch.tensor([1.0, 2.0]))
    with pytest.raises(NotImplementedError, match="one vmap inside another"):
        torch.func.vmap(torch.func.vmap(lambda w: tikhonov(w, 1.0)))(weights)
    with pytest.raises(NotImplementedError, match="one kernel per sample"):
        torch.func.vmap(lambda w: tikhonov(w, 1.0), 1)(randn(1, 2, 1, 1, 3))
    leaked = []
    torch.func.vmap(lambda w: leaked.append(ConvOperator(w, (6,), padding=1).pinv()) or w)(
        weights[0]
    )
    with pytest.raises(RuntimeError, match="cannot leave"):
        leaked[0].evaluate(y, adjoint=False)
