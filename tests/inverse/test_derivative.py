"""Derivatives of solves: every rung, every shape, both ways, twice, and what has none."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.inverse import AccuracyWarning
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    assert_differentiable,
    assert_says,
    randn,
    relative,
)
from .rung_operators import (
    easy_weight,
    every_direct_rung,
    served,
    warned,
)

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
TALL, SQUARE, WIDE = (3, 2, 3), (2, 2, 3), (1, 2, 3)

CASES = {
    "fourier": [(TALL, CIRCULAR), (SQUARE, CIRCULAR), (WIDE, CIRCULAR), ((2, 2, 2), {"stride": 2})],
    "dense": [(TALL, {"padding": 1}), (SQUARE, {"padding": 1}), (WIDE, {})],
    "boundary": [(TALL, {"padding": 1}), (SQUARE, {"padding": 1}), (WIDE, {})],
    "separable": [(s, {"padding": 1, "padding_mode": "reflect"}) for s in ((1, 1, 3), (2, 1, 1))],
    "krylov": [(s, {"padding": 1}) for s in ((2, 1, 3), SQUARE, (1, 2, 3))],
}
SLOW = {("krylov", (2, 1, 3), C128), ("krylov", (1, 2, 3), C128)}


def cases():
    """Each operator in each dtype, one way round; the other ways are slow.

    Of a method both dtypes are differentiated both ways.
    """
    for method, operators in CASES.items():
        for i, (shape, options) in enumerate(operators):
            for j, dtype in enumerate(DOUBLES):
                for adjoint in (False, True):
                    slow = (method, shape, dtype) in SLOW or adjoint != bool((i + j) % 2)
                    marks = pytest.mark.slow if slow else ()
                    yield pytest.param(method, shape, options, dtype, adjoint, marks=marks)


every_case = pytest.mark.parametrize(
    ("method", "shape", "options", "dtype", "adjoint"), list(cases())
)


def size_of(method):
    return (4,) if method == "krylov" else (6,)


def inputs_of(shape, options, dtype, adjoint, size=(6,)):
    """(v, weight) for a well-conditioned operator."""
    K = randn(*shape, dtype=dtype)
    for i in range(min(shape[:2])):
        K[i, i, shape[2] // 2] += 4 if size == (6,) else 9
    op = ConvOperator(K, size, **options)
    v = randn(2, *(op.domain_shape if adjoint else op.range_shape), dtype=dtype, seed=1)
    return v.requires_grad_(), K.requires_grad_()


@every_case
def test_pinv(method, shape, options, dtype, adjoint):
    size = size_of(method)

    def solve(v, weight):
        inverse = ConvOperator(weight, size, **options).pinv(method=method)
        return (inverse.H if adjoint else inverse)(v)

    with warned(method):
        inputs = inputs_of(shape, options, dtype, adjoint, size)
        assert_differentiable(solve, inputs, undefined=method not in ("boundary", "krylov"))


@every_case
def test_tikhonov(method, shape, options, dtype, adjoint):
    size = size_of(method)

    def solve(v, weight, damp):
        op = ConvOperator(weight, size, **options)
        inverse = op.tikhonov(damp, method=method, tol=1e-12)
        return (inverse.H if adjoint else inverse)(v)

    damp = torch.tensor(0.7, dtype=F64, requires_grad=True)
    inputs = (*inputs_of(shape, options, dtype, adjoint, size), damp)
    assert_differentiable(solve, inputs, undefined=method not in ("boundary", "krylov"))


@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_cosine_within_its_kernels(damp):
    """The rung holds on symmetric kernels; the gradient is that of the whole space of kernels."""
    half = randn(2, 2, 2)
    half[[0, 1], [0, 1], 1] += 4
    y = randn(1, 2, 6, seed=2).requires_grad_()

    def kernel(half):
        return torch.cat([half, half[..., :1]], -1)

    def solve(y, half):
        op = ConvOperator(kernel(half), (6,), padding=1, padding_mode="symmetric")
        return op.lstsq(y, damp, method="cosine").solution

    assert_differentiable(solve, (y, half.requires_grad_()))
    weight = kernel(half).detach().requires_grad_()
    grads = []
    for method in ("cosine", "dense"):
        op = ConvOperator(weight, (6,), padding=1, padding_mode="symmetric")
        grads.append(torch.autograd.grad(op.lstsq(y, damp, method=method).solution.sum(), weight))
    assert relative(grads[0][0], grads[1][0]) < 1e-11


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("method", ["fourier", "dense"])
def test_known_deficient_rank(method, dtype, adjoint):
    """Kernels θ ∗ (1, −1) lose the constants whatever θ is: all three terms count."""
    theta = randn(2, 2, 2, dtype=dtype)
    theta[[0, 1], [0, 1], 0] += 3
    v = randn(2, 2, 5, dtype=dtype, seed=1).requires_grad_()

    def solve(v, theta):
        weight = torch.nn.functional.pad(theta, (1, 0)) - torch.nn.functional.pad(theta, (0, 1))
        op = ConvOperator(weight, (5,), **CIRCULAR)
        inverse = op.pinv(method=method)
        assert inverse.summary.rank == 8
        return (inverse.H if adjoint else inverse)(v)

    assert_differentiable(solve, (v, theta.requires_grad_()))


@every_direct_rung
def test_against_the_dense_pinv(method):
    """The whole chain against torch's own derivative of the pseudo-inverse of the matrix."""
    weight = easy_weight(method).requires_grad_()
    op = served(method, weight)
    y = randn(3, *op.range_shape, seed=5)
    (found,) = torch.autograd.grad(op.pinv(method=method)(y).square().sum(), weight)
    A = dense_twin(op.with_weight(weight.detach())).requires_grad_()
    (of_A,) = torch.autograd.grad((y.flatten(1) @ torch.linalg.pinv(A).mT).square().sum(), A)
    expected = torch.zeros_like(weight)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in weight.shape)):
        unit = torch.zeros_like(weight, requires_grad=False)
        unit[tuple(index)] = 1
        expected[tuple(index)] = (of_A * dense_twin(op.with_weight(unit))).sum()
    assert relative(found, expected) < 1e-11


@pytest.mark.parametrize("damp", [1e-1, 2e-2, 1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("adjoint", [False, True])
def test_tall_operators_of_little_damp_keep_their_digits(damp, adjoint):
    """N g by 1 − AᴴBᴴ alone would lose (σ_min/damp)² of them."""
    K = randn(3, 2, 3)
    K[[0, 1], [0, 1], 1] += 4
    K = K.transpose(0, 1).contiguous() if adjoint else K
    weight = K.requires_grad_()
    op = ConvOperator(weight, (6,), padding=1)
    v = randn(1, *(op.domain_shape if adjoint else op.range_shape), seed=1)
    inverse = op.tikhonov(damp)
    x = (inverse.H if adjoint else inverse)(v)
    (found,) = torch.autograd.grad(x.square().sum(), weight)
    small = torch.tensor(damp, dtype=F64)
    A = dense_twin(op.with_weight(weight.detach())).requires_grad_()
    tall = A.mT if adjoint else A
    B = torch.linalg.solve(tall.mT @ tall + small**2 * torch.eye(tall.shape[1], dtype=F64), tall.mT)
    x = B @ v.flatten()
    (of_A,) = torch.autograd.grad(x.square().sum(), A)
    change = randn(*weight.shape, seed=9)
    expected = (of_A * dense_twin(op.with_weight(change))).sum()
    assert abs((found * change).sum() - expected) < 1e-10 * abs(expected)


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
def test_repeated_singular_values(options, damp):
    """All are one for the identity, where a gradient through an SVD is NaN."""
    y, weight = randn(1, 2, 6).requires_grad_(), torch.zeros(2, 2, 3, dtype=F64)
    weight[[0, 1], [0, 1], 1] = 1
    assert_differentiable(
        lambda y, w: ConvOperator(w, (6,), **options).lstsq(y, damp).solution,
        (y, weight.requires_grad_()),
    )


@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_finite_at_zero(options, damp):
    y, weight = randn(1, 2, 6).requires_grad_(), torch.zeros(2, 2, 3, dtype=F64).requires_grad_()
    x = ConvOperator(weight, (6,), **options).lstsq(y, damp).solution
    (first,) = torch.autograd.grad(x.sum(), weight, create_graph=True)
    assert first.isfinite().all()
    if damp:
        (second,) = torch.autograd.grad(first.square().sum(), weight)
        assert second.isfinite().all()


# --- one kernel per sample, complex data, precision ----------------------------------------------


@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
def test_one_kernel_a_sample(options):
    K = randn(2, 2, 2, 3)
    K[:, [0, 1], [0, 1], 1] += 4
    y = randn(2, 2, 6, seed=1).requires_grad_()
    for data in (y, torch.complex(y, 2 * y).detach().requires_grad_()):
        assert_differentiable(
            lambda y, K: ConvOperator(K, (6,), **options).lstsq(y, 0.3).solution,
            (data, K.requires_grad_()),
        )


@every_direct_rung
def test_real_kernel_and_complex_data(method):
    weight = easy_weight(method).requires_grad_()
    y = randn(1, *served(method, weight).range_shape, dtype=C128).requires_grad_()

    def solve(y, weight):
        return served(method, weight).tikhonov(0.5)(y)

    assert_differentiable(solve, (y, weight)) if method in ("dense", "boundary", "fourier") else (
        torch.autograd.grad(solve(y, weight).abs().sum(), (y, weight))
    )


@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
def test_gradients_have_the_dtypes_of_their_inputs(options):
    y, K = randn(1, 2, 6).float().requires_grad_(), randn(2, 2, 3).requires_grad_()
    damp = torch.tensor([0.5], requires_grad=True)
    grads = torch.autograd.grad(
        ConvOperator(K, (6,), **options).tikhonov(damp)(y).sum(), (y, K, damp)
    )
    for grad, t in zip(grads, (y, K, damp), strict=True):
        assert (grad.dtype, grad.shape) == (t.dtype, t.shape)


# --- what has no derivative -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [CIRCULAR, {"padding": 1}])
def test_a_cut_through_values_that_are_not_zero_is_refused(options):
    op = ConvOperator(randn(2, 2, 3), (8,), **options)
    S = op.svdvals()
    i = int((S[:-1] / S[1:])[2:-2].argmax()) + 2
    cut = float((S[i] * S[i + 1]).sqrt() / S[0])
    op = op.with_weight(op.weight.clone().requires_grad_())
    y = randn(1, *op.range_shape).requires_grad_()
    with pytest.warns(AccuracyWarning, match="ambiguous"):
        x = op.pinv(rtol=cut)(y)
    with pytest.raises(NotImplementedError) as error:
        x.sum().backward()
    assert_says(error, "not differentiable", "damp > 0", "rtol", "weight.detach()")
    with pytest.warns(AccuracyWarning):
        constant = op.with_weight(op.weight.detach()).pinv(rtol=cut)(y)
    assert torch.autograd.grad(constant.sum(), y)[0].isfinite().all()
    with pytest.warns(AccuracyWarning), pytest.raises(NotImplementedError):
        torch.func.jvp(lambda w: op.with_weight(w).pinv(rtol=cut)(y), (op.weight,), (op.weight,))


def test_filters_are_refused():
    weight = randn(1, 1, 3).requires_grad_()
    op = ConvOperator(weight, (6,), **CIRCULAR)
    y = randn(1, 1, 6).requires_grad_()
    x = op.filtered(lambda s: s / (s**2 + 1))(y)
    with pytest.raises(NotImplementedError, match="filtered inverse"):
        x.sum().backward()


def test_no_gradient_at_damp_zero():
    op = ConvOperator(randn(1, 1, 3), (6,), padding=1)
    with pytest.raises(ValueError, match="no gradient in damp"):
        op.lstsq(randn(1, 1, 6), torch.zeros((), requires_grad=True))


@pytest.mark.parametrize("damp", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("shape", [SQUARE, WIDE])
def test_the_gradient_in_damp_in_single_precision(shape, damp):
    """For a learnt damp it is the whole signal."""
    grads = []
    for dtype in (torch.float32, F64):
        v, weight = inputs_of(shape, CIRCULAR, F64, False)
        small = torch.tensor(damp, dtype=dtype, requires_grad=True)
        op = ConvOperator(weight.detach().to(dtype), (6,), **CIRCULAR)
        x = op.tikhonov(small)(v.detach().to(dtype))
        grads.append(torch.autograd.grad(x.square().sum(), small)[0].double())
    assert relative(*grads) < 2e-3


# --- cost and memory ------------------------------------------------------------------------------


class Counted:
    """How many solves of each kind an inverse has done."""

    def __init__(self, inverse, monkeypatch):
        self.count = 0
        for name in ("_solve", "_solve_adjoint", "_solve_recorded"):
            monkeypatch.setattr(inverse, name, self._counting(getattr(inverse, name)))

    def _counting(self, solve):
        def counted(v):
            self.count += 1
            return solve(v)

        return counted


@pytest.mark.parametrize(
    ("shape", "damp", "solves"),
    [(SQUARE, 0, 1), (TALL, 0, 2), (WIDE, 0, 2)]
    + [
        (shape, *case)
        for case in ((0.5, 1), (1e-4, 2), (1e-9, 3))
        for shape in (SQUARE, TALL, WIDE)
    ],
)
def test_solves_of_a_backward(shape, damp, solves, monkeypatch):
    v, weight = inputs_of(shape, {"padding": 1}, F64, False)
    op = ConvOperator(weight, (6,), padding=1)
    inverse = op.tikhonov(damp) if damp else op.pinv()
    x = inverse(v)
    counted = Counted(inverse, monkeypatch)
    x.sum().backward()
    assert counted.count == solves


def test_solves_where_the_rank_is_deficient(monkeypatch):
    weight = torch.tensor([[[1.0, -2, 1]]], dtype=F64, requires_grad=True)
    inverse = ConvOperator(weight, (6,), **CIRCULAR).pinv()
    x = inverse(randn(1, 1, 6))
    counted = Counted(inverse, monkeypatch)
    x.sum().backward()
    assert counted.count == 3
