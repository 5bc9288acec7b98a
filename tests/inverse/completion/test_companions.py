"""What a completion finds beside its answer, and gradients that are made of it."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator

from ...helpers import C128, F64, randn, relative
from .drawn import drawn
from .test_completion import inverse_of

TOL = 1e-10


def tolerance(case) -> float:
    """What is left of tol where λ divides, or a product with w meets σ_max/damp."""
    return 10 * TOL * max(1.0, float(case.op.norm().max()) / case.damp) ** 2


DRAWS = [(seed, False) for seed in range(20)] + [(seed, True) for seed in range(1004, 1008)]
OF_ONE_KERNEL = [draw for draw in DRAWS if not drawn(draw[0], transposed=draw[1]).op.batch_size]


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(("seed", "transposed"), DRAWS)
def test_residual_and_normal_equations(seed, transposed, adjoint):
    case = drawn(seed, transposed=transposed)
    inverse, A = inverse_of(case.op, case.damp, TOL), case.matrices()
    A = A.mH if adjoint else A
    v = case.images(case.op.domain_shape if adjoint else case.op.range_shape)
    x, found = inverse.evaluate_with_companion(v, adjoint=adjoint)
    assert torch.equal(x, inverse.evaluate(v, adjoint=adjoint))
    known = inverse.companions(found, adjoint=adjoint)
    gram = A @ A.mH + case.damp**2 * torch.eye(A.shape[1], dtype=A.dtype)
    if not adjoint:
        v = case.op._masked(v)
    normal = torch.linalg.solve(gram, v.flatten(1)[..., None])[..., 0].reshape(v.shape)
    assert relative(known.residual, case.damp**2 * normal, v.norm()) < 10 * TOL
    if known.normal is not None:
        assert relative(known.normal, normal) < tolerance(case)


def exact_gradients(op, damp, y, g):
    """Of Re⟨g, x⟩ in data, weight and damp, through torch's own solve with the dense matrix."""
    y, weight = y.clone().requires_grad_(), op.weight.clone().requires_grad_()
    damp = torch.tensor(damp, dtype=F64, requires_grad=True)
    eye = torch.eye(op.shape[1], dtype=op.dtype).reshape(-1, *op.domain_shape)
    A = op.with_weight(weight)(eye).flatten(1).mT
    gram = A.mH @ A + damp**2 * torch.eye(op.shape[1], dtype=op.dtype)
    x = torch.linalg.solve(gram, A.mH @ y.flatten(1).mT)
    return torch.autograd.grad((g.flatten(1).mT.conj() * x).real.sum(), (y, weight, damp))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(("seed", "transposed"), OF_ONE_KERNEL)
def test_gradients_against_a_dense_solve(seed, transposed, create_graph):
    case = drawn(seed, transposed=transposed)
    y, g = case.images(case.op.range_shape), case.images(case.op.domain_shape, seed=2)
    expected = exact_gradients(case.op, case.damp, y, g)
    y.requires_grad_()
    weight = case.op.weight.clone().requires_grad_()
    damp = torch.tensor(case.damp, dtype=F64, requires_grad=True)
    x = case.op.with_weight(weight).tikhonov(damp, method="completion", tol=TOL)(y)
    found = torch.autograd.grad(x, (y, weight, damp), g, create_graph=create_graph)
    for a, b in zip(found, expected, strict=True):
        assert relative(a.detach(), b) < tolerance(case)


def test_one_kernel_a_sample():
    weight = randn(3, 2, 1, 3, 3).requires_grad_()
    y, g = randn(3, 2, 6, 7), randn(3, 1, 8, 9, seed=1)
    op = ConvOperator(weight, (8, 9))
    (found,) = torch.autograd.grad(op.tikhonov(0.5, method="completion", tol=TOL)(y), weight, g)
    for i in range(3):
        one = ConvOperator(weight[i].detach(), (8, 9))
        expected = exact_gradients(one, 0.5, y[i : i + 1], g[i : i + 1])[1]
        assert relative(found[i], expected) < 1e-8


def test_complex_data_of_a_real_kernel():
    op = ConvOperator(randn(2, 1, 3), (9,))
    y, g = randn(2, 2, 7, dtype=C128), randn(2, 1, 9, dtype=C128, seed=1)
    weight = op.weight.clone().requires_grad_()
    x = op.with_weight(weight).tikhonov(0.3, method="completion", tol=TOL)(y)
    (found,) = torch.autograd.grad(x, weight, g)
    parts = [exact_gradients(op, 0.3, *pair)[1] for pair in ((y.real, g.real), (y.imag, g.imag))]
    assert relative(found, sum(parts)) < 1e-8


@pytest.mark.parametrize("way", ["inverse", "lstsq"])
@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 1, 2, 2)])
def test_a_backward_is_one_solve(shape, way, monkeypatch):
    weight, damp = randn(*shape).requires_grad_(), torch.tensor(0.2, dtype=F64, requires_grad=True)
    op = ConvOperator(weight, (12, 12))
    y = randn(1, *op.range_shape).requires_grad_()
    inverse = op.tikhonov(damp, method="completion", tol=TOL)
    x = inverse(y) if way == "inverse" else inverse.solution(y)[0]
    solves, in_slices = [], inverse._in_slices
    monkeypatch.setattr(
        inverse, "_in_slices", lambda *v, **how: solves.append(1) or in_slices(*v, **how)
    )
    for name in ("_matvec", "_rmatvec"):  # nor is A applied
        monkeypatch.setattr(ConvOperator, name, None)
    g = randn(*x.shape, seed=3)
    found = torch.autograd.grad(x, (y, weight, damp), g)
    monkeypatch.undo()
    assert len(solves) == 1
    for a, b in zip(found, exact_gradients(op, 0.2, y.detach(), g), strict=True):
        assert relative(a, b) < 1e-8
