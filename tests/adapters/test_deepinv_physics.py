"""The maps against their definitions on the matrix, and deepinv's own iterations."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

import unconv
from unconv.adapters import ExactMaps, as_deepinv, deepinv_physics
from unconv.regularize import damp_path

from ..helpers import (
    C128,
    F64,
    assert_says,
    near_identity,
    randn,
    relative,
)


def conv(dtype: torch.dtype = F64, c: int = 2, **options) -> unconv.ConvOperator:
    w = torch.nn.Parameter(randn(c, 3, 3, 3, dtype=dtype))
    return unconv.ConvOperator(w, (5, 4), padding=1, **options)


OPERATORS = {
    "zeros": conv,
    "tall": lambda dtype=F64: conv(dtype, c=4),
    "circular": lambda dtype=F64: conv(dtype, padding_mode="circular"),
}


def pair(op: unconv.ConvOperator) -> tuple[torch.Tensor, torch.Tensor]:
    return randn(2, *op.domain_shape, dtype=op.dtype), randn(
        2, *op.range_shape, dtype=op.dtype, seed=1
    )


@pytest.mark.parametrize("gamma", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("name", OPERATORS)
def test_prox_is_the_minimum(name, dtype, gamma):
    op = OPERATORS[name](dtype)
    z, y = pair(op)
    x = ExactMaps(op).prox_l2(z, y, gamma)
    A = op.to_dense().detach()
    normal = gamma * A.mH @ A + torch.eye(op.shape[1], dtype=dtype)
    right = gamma * y.flatten(1) @ A.conj() + z.flatten(1)
    assert relative(x.flatten(1), torch.linalg.solve(normal, right.mT).mT) < 1e-10


def test_forms_of_z_and_gamma():
    op = conv()
    maps = ExactMaps(op)
    z, y = pair(op)
    zero = torch.zeros_like(z)
    assert torch.equal(maps.prox_l2(None, y, 2.0), maps.prox_l2(zero, y, 2.0))
    assert torch.equal(maps.prox_l2(3, y, 2.0), maps.prox_l2(zero + 3, y, 2.0))
    each = maps.prox_l2(z, y, torch.tensor([2.0, 5.0])[:, None, None, None])
    alone = [maps.prox_l2(z[i : i + 1], y[i : i + 1], g) for i, g in enumerate((2.0, 5.0))]
    assert relative(each, torch.cat(alone)) < 1e-14
    assert torch.equal(maps.prox_l2(z, y, torch.tensor([2.0])), maps.prox_l2(z, y, 2.0))


def test_dagger_is_the_pseudoinverse():
    op = conv()
    _, y = pair(op)
    maps = ExactMaps(op)
    expected = y.flatten(1) @ torch.linalg.pinv(op.to_dense().detach()).mT
    assert relative(maps.A_dagger(y).flatten(1), expected) < 1e-11
    cut = torch.linalg.pinv(op.to_dense().detach(), rtol=0.5)
    with pytest.warns(unconv.AccuracyWarning, match="ambiguous"):
        found = ExactMaps(op, rtol=0.5).A_dagger(y)
    assert relative(found.flatten(1), y.flatten(1) @ cut.mT) < 1e-11


def test_factors_are_kept_while_they_hold(monkeypatch):
    made, factorize = [], damp_path.factorize
    monkeypatch.setattr(
        damp_path, "factorize", lambda op, r: made.append(r.damp) or factorize(op, r)
    )
    op = conv()
    z, y = pair(op)
    maps = ExactMaps(op, method="boundary")
    for gamma in (4.0, 4.0, 0.04, 4.0):
        maps.prox_l2(z, y, gamma)
    assert made == [0.5, 5.0]
    with torch.no_grad():
        op.weight.mul_(2)
    assert relative(maps.prox_l2(z, y, 4.0), ExactMaps(op).prox_l2(z, y, 4.0)) < 1e-11
    assert made == [0.5, 5.0, 0.5]
    assert maps.float().prox_l2(z.float(), y.float(), 4.0).dtype == torch.float32


def test_gradients():
    op = unconv.ConvOperator(near_identity(1, 1, 3, 3), (4, 4), padding=1)
    z, y = randn(1, 1, 4, 4), randn(1, 1, 4, 4, seed=1)
    gamma = torch.tensor(2.0, dtype=F64)
    inputs = tuple(t.requires_grad_() for t in (z, y, gamma))

    def prox(z, y, gamma):
        return ExactMaps(op).prox_l2(z, y, gamma)

    assert torch.autograd.gradcheck(prox, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(prox, inputs, fast_mode=True)
    weight = op.weight.clone().requires_grad_()

    def of_weight(w):
        maps = ExactMaps(op.with_weight(w))
        return maps.prox_l2(z.detach(), y.detach(), 2.0), maps.A_dagger(y.detach())

    assert torch.autograd.gradcheck(of_weight, (weight,), fast_mode=True)


def test_refusals():
    maps = ExactMaps(conv())
    z, y = pair(maps.op)
    with pytest.raises(ValueError, match=r"gamma=-1.* must be a finite number > 0"):
        maps.prox_l2(z, y, -1.0)
    with pytest.raises(ValueError, match="gamma has 3 values for 2 samples; give one"):
        maps.prox_l2(z, y, torch.ones(3))
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        maps.prox_l2(z, y[:, :1], 1.0)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        maps.prox_l2(z[:, :1], y, 1.0)
    with pytest.raises(ValueError, match="one kernel for each of 2 samples"):
        ExactMaps(unconv.ConvOperator(randn(2, 1, 1, 3), (8,)))
    with pytest.raises(TypeError, match=r"needs an unconv\.ConvOperator, got AdjointOperator"):
        ExactMaps(maps.op.H)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    deepinv_physics._physics_classes.cache_clear()
    with pytest.raises(ImportError) as error:
        as_deepinv(conv())
    assert_says(error, "needs the package deepinv", "pip install deepinv")


# --- the real package
def test_it_is_a_linear_physics(deepinv):
    op = conv()
    physics = as_deepinv(op)
    x, y = pair(op)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    assert torch.equal(physics(x), op(x))
    assert torch.equal(physics.A_adjoint(y), op.H(y))
    assert relative(physics.A_adjoint_A(x), op.gram(x)) < 1e-14
    with torch.no_grad():
        assert float(physics.adjointness_test(x)) == pytest.approx(0, abs=1e-10)
    assert [p is op.weight for p in physics.parameters()] == [True]


def test_it_ends_where_the_iterations_of_deepinv_go(deepinv):
    op = conv()
    physics = as_deepinv(op)
    iterative = deepinv.physics.LinearPhysics(
        A=lambda x, **_: op(x), A_adjoint=lambda y, **_: op.H(y), tol=1e-12, max_iter=500
    )
    z, y = pair(op)
    slow = iterative.prox_l2(z, y, 2.0, solver="CG", max_iter=500, tol=1e-12, eps=0.0)
    assert relative(physics.prox_l2(z, y, 2.0, solver="CG", max_iter=1, tol=1.0), slow) < 1e-9
    slow = iterative.A_dagger(y, solver="lsqr", max_iter=500, tol=1e-12)
    assert relative(physics.A_dagger(y, solver="lsqr", max_iter=1), slow) < 1e-6


def test_noise_and_a_whole_algorithm(deepinv):
    op = unconv.ConvOperator(near_identity(1, 1, 3, 3), (8, 8), padding=1)
    physics = as_deepinv(op, noise_model=deepinv.physics.GaussianNoise(0.1))
    x = randn(1, 1, 8, 8)
    y = physics(x)
    assert 0 < relative(y, op(x)) < 1
    fidelity = deepinv.optim.L2()
    assert torch.equal(fidelity.prox(x, y, physics, gamma=2.0), physics.prox_l2(x, y, 2.0))
    assert float(fidelity(physics.A_dagger(y), y, physics)) < 1e-20


def test_copies_work_alone(deepinv):
    physics = as_deepinv(conv())
    _, y = pair(physics.maps.op)
    expected = physics.A_dagger(y)
    other = copy.deepcopy(physics)
    with torch.no_grad():
        physics.maps.op.weight.zero_()
    assert relative(other.A_dagger(y), expected) == 0


def test_options_are_those_of_pinv():
    op = conv(padding_mode="circular")
    z, y = pair(op)
    maps = ExactMaps(op, method="krylov", tol=1e-10, maxiter=3000, memory_limit=1e9)
    assert relative(maps.prox_l2(z, y, 4.0), ExactMaps(op).prox_l2(z, y, 4.0)) < 1e-8
    with pytest.warns(unconv.AccuracyWarning, match="iterat"):
        ExactMaps(op, method="krylov", maxiter=1).prox_l2(z, y, 1e6)
    with pytest.raises(unconv.MemoryLimitError, match="memory_limit=8 B"):
        ExactMaps(op, memory_limit=8).A_dagger(y)
    op.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        ExactMaps(op).A_dagger(y)
    assert ExactMaps(op, method="dense", check_finite=False).op is op
