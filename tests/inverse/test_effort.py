"""What the node of an inverse hands out beside x, and how it is judged under torch.func."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from unconv import ConvOperator
from unconv.numerics.plain_values import is_watched

from ..helpers import F64, randn, relative

SIZE = (5, 6)
RUNGS = {"fourier": "circular", "dense": "zeros", "boundary": "zeros", "krylov": "zeros"}
every_rung = pytest.mark.parametrize("method", RUNGS)


def weight_for(method: str) -> torch.Tensor:
    return 0.2 * randn(2, 2, 3, 3) + 2 * torch.eye(2, dtype=F64)[:, :, None, None]


def operator(method: str, weight: torch.Tensor) -> ConvOperator:
    return ConvOperator(weight, SIZE, padding=1, padding_mode=RUNGS[method])


class Solved:
    """y ↦ lstsq(y).solution, which keeps the certificates."""

    def __init__(self, method: str) -> None:
        self.method, self.found = method, []

    def __call__(self, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, certificate = operator(self.method, weight).lstsq(y, 0.1, method=self.method)
        self.found.append(certificate)
        return x

    def sizes(self) -> list[int]:
        return [len(c) for c in self.found]


def one_by_one(solve, weights, data):
    return torch.stack([solve(w, y) for w, y in zip(weights, data, strict=True)])


@every_rung
def test_a_map_over_data_is_judged_as_one_batch(method):
    solve, weight, y = Solved(method), weight_for(method), randn(3, 2, 2, *SIZE)
    found = torch.vmap(solve, (None, 0))(weight, y)
    assert solve.sizes() == [6]
    assert solve.found[0].converged.all()
    assert relative(found, one_by_one(solve, [weight] * 3, y)) < 1e-9
    one = solve.found[1]
    for name in ("iterations", "refinements", "residual"):
        assert torch.allclose(getattr(solve.found[0], name)[:2], getattr(one, name))


@every_rung
def test_a_map_in_a_map_is_judged_as_one_batch(method):
    solve, weight, y = Solved(method), weight_for(method), randn(2, 3, 1, 2, *SIZE)
    found = torch.vmap(torch.vmap(solve, (None, 0)), (None, 0))(weight, y)
    assert solve.sizes() == [6]
    assert relative(found[1], one_by_one(solve, [weight] * 3, y[1])) < 1e-9


@every_rung
def test_a_map_over_kernels_is_judged_for_every_image(method):
    solve, y = Solved(method), randn(2, 2, *SIZE)
    weights = torch.stack([weight_for(method), -2 * weight_for(method), weight_for(method).mT])
    found = torch.vmap(solve, (0, None))(weights, y)
    assert solve.sizes() == [6]
    assert solve.found[0].converged.all()
    assert relative(found, one_by_one(solve, weights, [y] * 3)) < 1e-9


def test_a_map_over_data_inside_one_over_kernels():
    solve, y = Solved("boundary"), randn(2, 2, 2, *SIZE)
    weights = torch.stack([weight_for("boundary"), -weight_for("boundary")])
    found = torch.vmap(lambda w: torch.vmap(lambda v: solve(w, v))(y))(weights)
    assert solve.sizes() == [8]
    assert relative(found[1], one_by_one(solve, weights[[1, 1]], y)) < 1e-9


def test_the_worst_of_several_batches_speaks():
    """One of two images is orthogonal to the range, but for round-off."""
    solve, kinds = Solved("dense"), []

    def certified(weight, y):
        x = solve(weight, y)
        kinds.append(solve.found[-1].advice)
        return x

    y = randn(2, 2, *SIZE)
    torch.vmap(certified, (0, None))(torch.stack([weight_for("dense")] * 2), y)
    worst = solve.found[0].error_bound.max()
    assert f"{float(worst):.1e}" in kinds[0]


@pytest.mark.parametrize("kernels", [False, True])
def test_kernels_of_samples(kernels):
    weight = torch.stack([weight_for("dense"), 3 * weight_for("dense")])
    A, y, found = operator("dense", weight), randn(3, 2, 2, *SIZE), []

    def solution(y):
        x, certificate = A.lstsq(y, 0.1)
        found.append(len(certificate))
        return x

    expected = torch.stack([solution(v) for v in y])
    assert relative(torch.vmap(solution)(y), expected) < 1e-12
    assert found[:3] == [2, 2, 2]
    assert found[3:] == [6]


@every_rung
def test_the_effort_has_no_derivative(method):
    y = randn(2, 2, *SIZE).requires_grad_()
    inverse = operator(method, weight_for(method)).tikhonov(0.1, method=method)
    x, effort = inverse.solution(y)
    assert x.requires_grad
    assert not any(t.requires_grad for t in effort if t is not None)
    for field in (t for t in effort if t is not None):
        assert len(field) == 2
    (gradient,) = torch.autograd.grad(x.sum(), y)
    assert relative(gradient, inverse.H(torch.ones_like(x)).detach()) < 1e-5


@every_rung
def test_no_node_where_nobody_looks_on(method):
    weight, y = weight_for(method), randn(1, 2, *SIZE)
    inverse = operator(method, weight).tikhonov(0.1, method=method)
    x = inverse(y)
    assert x.grad_fn is None
    assert inverse(y.clone().requires_grad_()).grad_fn is not None
    assert torch.equal(torch.vmap(inverse)(y[None])[0], x)
    with forward_ad.dual_level():
        tangent = randn(1, 2, *SIZE, seed=5)
        moved = forward_ad.unpack_dual(inverse(forward_ad.make_dual(y, tangent))).tangent
    assert relative(moved, inverse(tangent)) < 1e-5


def test_is_watched():
    x = torch.ones(2)
    leaf = torch.ones(2, requires_grad=True)
    seen = []
    torch.vmap(lambda t: seen.append(is_watched(t)) or t)(x)
    torch.func.grad(lambda t: seen.append(is_watched(t)) or t.sum())(x)
    assert seen == [True, True]
    assert (is_watched(x), is_watched(x, leaf)) == (False, True)
    with torch.no_grad():
        assert not is_watched(leaf)
        with forward_ad.dual_level():
            assert is_watched(forward_ad.make_dual(x, x))
