"""Tikhonov with a penalty against the normal equations of dense matrices."""

from __future__ import annotations

import warnings

import pytest
import torch

from unconv import ConvOperator
from unconv.grid.modes import MODES
from unconv.inverse import AccuracyWarning, request_of
from unconv.regularize.penalized import penalized, solve_penalized
from unconv.regularize.penalty import penalty_operator
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    assert_differentiable,
    assert_says,
    data,
    near_identity,
    randn,
    relative,
)


def options(damp: float, method: str = "auto"):
    return request_of(damp, None, 0.0, 2**32, method=method)


def expected(A, L, damp):
    """By the stack: normal equations would square a condition that is large where A and L agree."""
    return torch.linalg.pinv(torch.cat([A, damp * L]))[:, : len(A)]


def assert_equals_the_matrix(op: ConvOperator, penalty, damp: float, method: str = "auto") -> None:
    L = penalty_operator(op, penalty)
    X = expected(dense_twin(op), dense_twin(L), damp)
    found = penalized(op, penalty, options(damp, method))
    assert relative(found.to_dense(), X) < 1e-9
    assert relative(found.H.to_dense(), X.mH) < 1e-9
    y = data(op.range_shape, op)
    x, certificate = solve_penalized(op, y, penalty, options(damp, method))
    best = (y.flatten(1) @ X.mT).reshape(-1, *op.domain_shape)
    assert relative(x, best) < 1e-9
    assert (certificate.optimality < 1e-13).all()
    r = (op(x) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    assert relative(certificate.residual, r) < 1e-6
    if certificate.method != "krylov":
        assert certificate.converged.all()
        assert relative(x, best) <= certificate.error_bound.max()


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("penalty", ["gradient", "laplacian"])
@pytest.mark.parametrize("mode", MODES)
def test_same_padding(mode, penalty, dtype):
    op = ConvOperator(randn(2, 2, 5, 3, dtype=dtype), (7, 6), padding="same", padding_mode=mode)
    assert_equals_the_matrix(op, penalty, 0.3)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_kernels_groups_and_dilation(rows, groups):
    op = ConvOperator(
        randn(2, 2 // groups, 3, dtype=F64), (9,), padding=2, dilation=2, groups=groups
    )
    assert_equals_the_matrix(op, randn(rows, 2, 5, dtype=F64, seed=1), 0.2)
    assert_equals_the_matrix(op, randn(3, dtype=F64, seed=1), 0.2)


def test_three_axes_and_flip():
    op = ConvOperator(randn(1, 1, 3, 3, 3), (4, 3, 5), padding=1, padding_mode="reflect", flip=True)
    assert_equals_the_matrix(op, "gradient", 0.1)


@pytest.mark.parametrize(
    ("shape", "extra"),
    [
        ((2, 1, 3, 3), {"stride": 2, "padding": 1}),
        ((1, 2, 3, 3), {"transposed": True, "padding": 1}),
    ],
)
def test_other_grids_are_iterated(shape, extra):
    op = ConvOperator(randn(*shape), (6, 7), **extra)
    L = penalty_operator(op, "gradient")
    X = expected(dense_twin(op), dense_twin(L), 0.5)
    found = penalized(op, "gradient", options(0.5))
    assert found.method == "krylov"
    assert relative(found.to_dense(), X) < 1e-6
    assert_equals_the_matrix(op, "gradient", 0.5)


def test_an_iteration_that_is_cut_short_says_so():
    op = ConvOperator(randn(1, 1, 3, 3), (16, 16), padding="valid")
    few = request_of(1e-3, None, 0.0, 2**32, maxiter=3)
    with pytest.warns(AccuracyWarning, match="optimality"):
        _, certificate = solve_penalized(op, data(op.range_shape, op), "laplacian", few)
    assert not certificate.converged.any()


def test_a_common_null_vector_gives_the_smallest_x():
    """Constants are seen neither by a difference kernel nor by the gradient."""
    K = torch.tensor([[0.0, 0, 0], [1, -2, 1], [0, 0, 0]], dtype=F64)[None, None]
    op = ConvOperator(K, (6, 5), padding=1, padding_mode="circular")
    x = penalized(op, "gradient", options(0.1))(data(op.range_shape, op))
    assert x.mean((-1, -2)).abs().max() < 1e-12


def test_smoothness_is_what_a_gradient_penalty_buys():
    op = ConvOperator(randn(1, 1, 3, 3).abs(), (24, 24), padding=1, padding_mode="reflect")
    ramp = torch.linspace(0, 1, 24, dtype=F64).expand(1, 1, 24, 24)
    y = op(ramp) + 0.05 * data(op.range_shape, op, N=1)
    plain = op.tikhonov(1.0)(y)
    smooth = penalized(op, "gradient", options(1.0))(y)
    assert relative(smooth, ramp) < relative(plain, ramp) / 2


@pytest.mark.parametrize(
    ("penalty", "words"),
    [
        ("gradients", ["'gradient'", "'laplacian'"]),
        (torch.ones(3, dtype=torch.long), ["floating point"]),
        (randn(2, 5, 3, 3), ["(rows, 1, *k)", "(2, 5, 3, 3)"]),
        (ConvOperator(randn(1, 1, 3, 3), (5, 5)), ["input_shape"]),
    ],
)
def test_bad_penalties(penalty, words):
    op = ConvOperator(randn(1, 1, 3, 3), (6, 7), padding=1)
    with pytest.raises((TypeError, ValueError)) as error:
        penalized(op, penalty, options(0.1))
    assert_says(error, *words)


def test_gradients_in_the_data_and_a_complex_penalty():
    op = ConvOperator(randn(2, 2, 3, dtype=C128), (6,), padding=1)
    inverse = penalized(op, randn(3, dtype=C128, seed=3), options(0.3))
    y = data(op.range_shape, op).requires_grad_()
    assert torch.autograd.gradcheck(inverse, (y,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inverse(y)


# --- what must not pass in silence


def test_the_bound_covers_the_rounding_of_low_precision():
    op = ConvOperator(randn(2, 2, 3, 3), (8, 8), padding=1)
    y = data(op.range_shape, op)
    single = op.with_weight(op.weight.float())
    x, certificate = single.lstsq(y.float(), 0.1, penalty="gradient")
    exact = op.with_weight(single.weight.double()).lstsq(
        y.float().double(), 0.1, penalty="gradient"
    )
    assert relative(x, exact.solution) <= certificate.error_bound.max()
    tight = single.lstsq(y.float(), 0.1, penalty="gradient", tol=1e-10)
    assert tight.certificate.error_bound.max() > 1e-10


def test_rtol_says_nothing_of_a_damped_problem():
    op = ConvOperator(randn(2, 2, 3, 3), (8, 8), padding=1)
    y = data(op.range_shape, op)
    cut = op.lstsq(y, 0.1, penalty="gradient", rtol=0.5).solution
    assert relative(cut, op.lstsq(y, 0.1, penalty="gradient").solution) < 1e-12


@pytest.mark.parametrize("method", ["banana", "dense"])
def test_a_method_that_cannot_serve_is_refused(method):
    op = ConvOperator(randn(2, 2, 3, 3), (8, 8), padding=1, stride=2)
    with pytest.raises(ValueError, match=f"method='{method}'"):
        op.tikhonov(0.1, penalty="gradient", method=method)


def test_complex_and_broken_penalties_are_refused():
    op = ConvOperator(randn(2, 2, 3), (8,), padding=1)
    with pytest.raises(ValueError, match="complex operator"):
        op.tikhonov(0.1, penalty=randn(3, dtype=C128))
    with pytest.raises(ValueError, match="the penalty holds"):
        op.tikhonov(0.1, penalty=torch.full((3,), float("nan"), dtype=F64))
    with pytest.raises(ValueError, match="weight holds"):
        op.with_weight(op.weight * float("nan")).tikhonov(0.1, penalty="gradient")
    with pytest.raises(ValueError, match="damp=0"):
        op.lstsq(data(op.range_shape, op), penalty="gradient")


every_side = pytest.mark.parametrize("adjoint", [False, True])


@every_side
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize(("stride", "c", "n"), [(1, 2, 6), (2, 1, 4)], ids=["direct", "iterated"])
def test_derivatives_in_both_weights_and_damp(stride, c, n, dtype, adjoint):
    twice = stride == 1 or not dtype.is_complex
    assert_derivatives(stride, c, n, dtype, adjoint, twice=twice)


@pytest.mark.slow
@every_side
def test_second_derivatives_of_complex_iterations(adjoint):
    assert_derivatives(2, 1, 4, C128, adjoint)


def assert_derivatives(stride, c, n, dtype, adjoint, *, twice=True):
    options = {"padding": 1, "stride": stride}
    K, P = near_identity(c, c, 3, dtype=dtype).requires_grad_(), randn(c, 1, 3, dtype=dtype)
    P = P.requires_grad_()
    damp = torch.tensor(0.7, dtype=F64, requires_grad=True)
    op = ConvOperator(K.detach(), (n,), **options)
    shape = op.domain_shape if adjoint else op.range_shape
    v = randn(1, *shape, dtype=dtype, seed=4).requires_grad_()

    def solve(v, K, P, damp):
        L = ConvOperator(P, (n,), padding=1, groups=c)
        inverse = ConvOperator(K, (n,), **options).tikhonov(damp, penalty=L, maxiter=3000)
        assert inverse.iterates == (stride == 2)
        return (inverse.H if adjoint else inverse)(v)

    atol = 1e-4 if stride == 2 else 1e-6
    assert_differentiable(solve, (v, K, P, damp), atol, undefined=stride == 1, twice=twice)


def test_vmap_over_the_weights_is_refused():
    op = ConvOperator(randn(3, 1, 1, 3)[0], (6,), padding=1)
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.func.vmap(lambda w: op.with_weight(w).tikhonov(1.0, penalty="gradient")(Y))(K3)


Y, K3 = randn(1, 1, 6), randn(3, 1, 1, 3)


def test_taps_that_would_not_fit_are_not_spread():
    op = ConvOperator(randn(1, 1, 3, 3), (64, 64), padding=20, dilation=20)
    found = op.tikhonov(0.5, penalty="gradient", memory_limit=1e4)
    assert found.method == "krylov"
