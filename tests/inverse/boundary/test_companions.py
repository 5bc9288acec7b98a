"""What an augmented system finds beside its answer, and gradients that are made of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse.boundary.forms import AugmentedForm
from unconv.testing import dense_twin

from ...helpers import C128, F64, data, randn, relative

KINDS = [(1, 1), (2, 2), (2, 3), (3, 2)]
TALL, WIDE = (3, 2, 3), (2, 3, 3)


@st.composite
def problems(draw):
    """An operator that the rung serves, and a damp, 0 or relative to σ_max."""
    nd = draw(st.sampled_from((1, 2)))
    channels, dtype = draw(st.sampled_from(KINDS)), draw(st.sampled_from((F64, C128)))
    kernel = [draw(st.sampled_from((2, 3))) for _ in range(nd)]
    size = [draw(st.sampled_from((5, 6, 7))) for _ in range(nd)]
    turned = draw(st.booleans())
    options = {
        "padding": draw(st.sampled_from((0, 1))),
        "stride": draw(st.sampled_from((1, 1, 2))),
        "padding_mode": "zeros" if turned else draw(st.sampled_from(("zeros", "reflect"))),
        "transposed": turned,
    }
    scale = draw(st.sampled_from((1.0, 1e-3, 1e4)))
    weight = scale * randn(*channels, *kernel, dtype=dtype, seed=draw(st.integers(0, 99)))
    op = ConvOperator(weight, size, **options)
    S = torch.linalg.svdvals(dense_twin(op))
    damp = float(S[0]) * draw(st.sampled_from((0.0, 1.0, 1e-1, 1e-2, 1e-3)))
    assume(damp or float(S[-1]) > 1e-3 * float(S[0]))
    return op, damp


def inverse_of(op, damp):
    return op.tikhonov(damp, method="boundary") if damp else op.pinv(method="boundary")


@given(problems(), st.booleans())
@settings(max_examples=20)
def test_residual_and_normal_equations(problem, adjoint):
    op, damp = problem
    inverse, A = inverse_of(op, damp), dense_twin(op)
    A = A.mH if adjoint else A
    v = data(op.domain_shape if adjoint else op.range_shape, op)
    x, found = inverse.evaluate_with_companion(v, adjoint=adjoint)
    assert relative(x, inverse.evaluate(v, adjoint=adjoint)) < 1e-11
    known = inverse.companions(found, adjoint=adjoint)
    V, eye = v.flatten(1).mT, torch.eye(len(A), dtype=A.dtype)
    gram = A @ A.mH + damp**2 * eye
    if known.normal is not None:
        solved = torch.linalg.solve(gram, V)
        worst = 1e-14 * float(torch.linalg.cond(gram))
        assert relative(known.normal.flatten(1).mT, solved) < max(worst, 1e-12)
    if known.residual is not None:
        U, S, _ = torch.linalg.svd(A)
        share = torch.ones(len(A), dtype=F64)
        share[: len(S)] = damp**2 / (S**2 + damp**2)
        expected = (U * share) @ (U.mH @ V)
        assert relative(known.residual.flatten(1).mT, expected, V.norm()) < 1e-12


def exact_gradients(op, damp, y, g):
    """Of Re⟨g, x⟩ in the weight and damp, in coordinates of the SVD."""
    weight = op.weight.clone().requires_grad_()
    A = op.with_weight(weight)
    eye = torch.eye(op.shape[1], dtype=op.dtype).reshape(-1, *op.domain_shape)
    M = A(eye).flatten(1).mT
    U, S, Vh = torch.linalg.svd(M.detach())
    r, a, b = len(S), U.mH @ y.flatten(1).mT, Vh @ g.flatten(1).mT
    σ, λ = S[:, None].to(M.dtype), damp**2
    x, w = Vh.mH[:, :r] @ (σ / (σ**2 + λ) * a[:r]), U[:, :r] @ (σ / (σ**2 + λ) * b[:r])
    u, v = U[:, :r] @ (a[:r] / (σ**2 + λ)), Vh.mH[:, :r] @ (b[:r] / (σ**2 + λ))
    of_M = -w @ x.mH + λ * u @ v.mH + (U[:, r:] @ a[r:]) @ v.mH + u @ (Vh.mH[:, r:] @ b[r:]).mH
    (of_weight,) = torch.autograd.grad((of_M.conj() * M).real.sum(), weight)
    return of_weight, -2 * damp * (v.conj() * x).real.sum()


@given(problems(), st.sampled_from(("inverse", "lstsq")))
@settings(max_examples=20)
def test_gradients_made_of_them(problem, way):
    """As exact as those of the graph, which is made where second derivatives may be asked for."""
    op, damp = problem
    y, g = data(op.range_shape, op), data(op.domain_shape, op, seed=2)
    expected = exact_gradients(op, damp, y, g)
    weight = op.weight.clone().requires_grad_()
    live = torch.tensor(damp, dtype=F64, requires_grad=bool(damp))
    A = op.with_weight(weight)
    x = A.lstsq(y, live, method="boundary").solution if way == "lstsq" else inverse_of(A, live)(y)
    wanted = (weight, live) if damp else (weight,)
    plain = torch.autograd.grad(x, wanted, g, retain_graph=True)
    graph = torch.autograd.grad(x, wanted, g, create_graph=True)
    S = torch.linalg.svdvals(dense_twin(op))
    roundoff = 4e-16 * float(S[0] / S[-1].clamp(min=damp)) ** 2
    for a, b, exact in zip(plain, graph, expected, strict=False):
        size = relative(b, exact)
        assert relative(a, exact) < 4 * size + roundoff + 1e-13
        assert size < 10 * roundoff + 1e-11


@pytest.mark.parametrize("damp", [0.0, 0.5, 1e-3])
@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_a_backward_is_one_solve(shape, damp, monkeypatch):
    weight = randn(*shape).requires_grad_()
    op = ConvOperator(weight, (40,), padding=1)
    inverse = inverse_of(op, damp)
    x = inverse(randn(1, *op.range_shape))
    (form,), solves = inverse.forms, []
    assert isinstance(form, AugmentedForm)
    both = form.both
    monkeypatch.setattr(form, "both", lambda *v, **way: solves.append(1) or both(*v, **way))
    monkeypatch.setattr(form, "pinv", None)
    monkeypatch.setattr(form, "pinv_adjoint", None)
    (found,) = torch.autograd.grad(x.square().sum(), weight, retain_graph=True)
    assert len(solves) == 1
    monkeypatch.undo()
    (expected,) = torch.autograd.grad(x.square().sum(), weight, create_graph=True)
    assert relative(found, expected) < 1e-9
