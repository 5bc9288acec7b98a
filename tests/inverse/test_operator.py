"""What every rung owes, on operators that are drawn: Penrose's conditions, bounds, cut-offs.

Laws of all inverses, whatever they are made of, are in test_laws.py.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse import AccuracyWarning, Request
from unconv.inverse.request import default_rtol
from unconv.testing import dense_twin, dot_test, penrose_errors

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    GAP,
    HALVES,
    assert_says,
    data,
    randn,
    relative,
    said_if,
)
from .rung_operators import (
    draw_operator,
    easy,
    every_direct_rung,
    every_rung,
    served,
    warned,
    weight_for,
)

# --- laws -----------------------------------------------------------------------------------------


def assert_penrose(op: ConvOperator, method: str) -> None:
    pinv = op.pinv(method=method)
    assert pinv.method == method
    assert (pinv.domain_shape, pinv.range_shape) == (op.range_shape, op.domain_shape)
    assert pinv.dtype == op.dtype
    # An iteration ends where the gradient is round-off: x is known to eps·cond².
    limit = 1e-10 if method != "krylov" else 1e-8
    with warned(method):
        assert max(penrose_errors(op, pinv)) < limit
        assert max(penrose_errors(op.H, pinv.H)) < limit
        assert dot_test(pinv) < 1e-13


few = settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
fewer = settings(few, max_examples=15)
many = settings(few, max_examples=100)


@every_rung
@given(draw=st.data())
@few
def test_penrose(method, draw):
    assert_penrose(draw_operator(method, draw)[0], method)


@pytest.mark.slow
@every_rung
@given(draw=st.data())
@many
def test_penrose_at_length(method, draw):
    assert_penrose(draw_operator(method, draw, any_size=True)[0], method)


@every_rung
@given(draw=st.data())
@few
def test_adjoint_is_the_inverse_of_the_adjoint(method, draw):
    op, A = draw_operator(method, draw)
    with warned(method):
        X = op.pinv(method=method).H.to_dense()
    assert relative(X, torch.linalg.pinv(A.mH, rtol=GAP)) < 1e-10


@every_rung
@given(draw=st.data())
@fewer
def test_damped_equals_the_normal_equations(method, draw):
    op, A = draw_operator(method, draw, damped=True)
    damp = 0.2 * float(torch.linalg.matrix_norm(A, 2).max()) + 1e-3
    eye = damp**2 * torch.eye(A.shape[-1], dtype=A.dtype)
    expected = torch.linalg.solve(A.mH @ A + eye, A.mH)
    inverse = op.tikhonov(damp, method=method, tol=1e-9)
    tolerance = 1e-9 if inverse.iterates else 1e-12
    assert relative(inverse.to_dense(), expected) < tolerance
    assert relative(inverse.H.to_dense(), expected.mH) < tolerance
    assert inverse.summary.rank is None
    assert not inverse.summary.dropped.any()


@every_rung
@given(draw=st.data())
@fewer
def test_error_bound_holds(method, draw):
    """Up to what a rounding of A by a few eps changes in the solution that it is held against."""
    op, A = draw_operator(method, draw)
    y = data(op.range_shape, op)
    norms = [torch.linalg.norm(y.flatten(1), dim=1), torch.linalg.matrix_norm(A, 2)]
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    for damp in (0.0, 0.3):
        kept = GAP * norms[1][..., None] < S
        gains = torch.where(kept, S / (torch.where(kept, S, 1.0) ** 2 + damp**2), 0.0)
        best = Vh.mH @ (gains[..., None] * (U.mH @ y.flatten(1)[..., None]))
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            x, found = op.lstsq(y, damp, method=method)
        assert bool(heard) == (not found.converged.all())
        error = torch.linalg.norm(x.flatten(1) - best[..., 0], dim=1)
        size = torch.linalg.norm(best[..., 0], dim=1)
        steepest = gains.amax(-1) ** 2 + (1 / damp**2 if damp else 0.0)
        slack = 1e-14 * (gains.amax(-1) + norms[1] * steepest) * norms[0]
        assert found.converged.all() or method == "krylov"
        assert (error <= found.error_bound * size + slack).all()


FACTORS = st.sampled_from([1e6, 1e-6, 1e30, 1e-30, 1e120, 1e-120])


def assert_scale_invariance(op: ConvOperator, method: str, factor: float) -> None:
    scaled = op.with_weight(op.weight * factor)
    pinv, other = op.pinv(method=method), scaled.pinv(method=method)
    assert torch.equal(pinv.summary.rank, other.summary.rank)
    assert relative(other.to_dense() * factor, pinv.to_dense()) < 1e-11


@every_direct_rung
@given(draw=st.data(), factor=FACTORS)
@settings(fewer, max_examples=18)
def test_scale_invariance(method, draw, factor):
    assert_scale_invariance(draw_operator(method, draw)[0], method, factor)


@pytest.mark.slow
@every_direct_rung
@given(draw=st.data(), factor=FACTORS)
@many
def test_scale_invariance_at_length(method, draw, factor):
    assert_scale_invariance(draw_operator(method, draw, any_size=True)[0], method, factor)


@every_rung
@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e120, 1e-120])
def test_scale_invariance_of_damping_and_certificate(method, factor):
    op = easy(method)
    y = randn(2, *op.range_shape)
    scaled = op.with_weight(op.weight * factor)
    x, first = op.lstsq(y, 0.3, method=method)
    z, other = scaled.lstsq(y, 0.3 * factor, method=method)
    tolerance = 2e-6 if method == "krylov" else 1e-13
    assert relative(z * factor, x) < tolerance
    assert relative(other.residual, first.residual) < tolerance


# --- dtypes ---------------------------------------------------------------------------------------


@every_rung
@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        (F64, F64, F64),
        (F64, torch.float32, F64),
        (F64, C128, C128),
        (F64, torch.complex64, C128),
        (C128, F64, C128),
        (torch.float32, torch.complex64, torch.complex64),
        (torch.float16, torch.float16, torch.float16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float16, torch.complex64, torch.complex64),
    ],
)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_dtypes_promote(method, own, other, result, batch):
    if method == "separable" and own in HALVES:
        pytest.skip("rounded to half precision, an outer product is none")
    op = easy(method, own)
    if batch:
        op = served(method, op.weight.expand(2, -1, -1, -1, -1))
    y = randn(2, *op.range_shape, dtype=other)
    pinv = op.pinv(method=method)
    X = torch.linalg.pinv(dense_twin(op))
    X = X if batch else X[None]
    rows = y.to(torch.promote_types(X.dtype, C128)).flatten(1)[..., None]
    expected = (X.to(C128) @ rows)[..., 0]
    expected = expected if result.is_complex else expected.real
    with warned(method):
        found = pinv(y)
    assert found.dtype == result
    factor_eps = max(torch.finfo(d).eps for d in (own.to_real(), result.to_real()))
    if own in HALVES:  # their factor is in float32
        factor_eps = max(torch.finfo(torch.float32).eps, torch.finfo(result).eps)
    cond = float(torch.linalg.cond(X).max())
    cond = cond**2 if method == "krylov" else cond  # of a gradient that is round-off
    assert relative(found.flatten(1), expected) < 8 * cond * factor_eps


def test_default_cutoff_is_that_of_double_precision():
    def rtol(dtype, n=10):
        return default_rtol(ConvOperator(torch.zeros(1, 1, 1, dtype=dtype), (n,)))

    eps = torch.finfo(F64).eps
    single = torch.finfo(torch.float32).eps
    assert rtol(F64) == rtol(C128) == 10 * eps
    assert rtol(torch.float32) == rtol(torch.complex64) == rtol(torch.float16) == single
    assert rtol(torch.float32, n=10**10) == pytest.approx(10**10 * eps)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Request(), 4 * 10 * torch.finfo(F64).eps),
        (Request(rtol=0.1), 0.4),
        (Request(atol=0.5), 0.5),
        (Request(rtol=0.1, atol=0.5), 0.5),
        (Request(rtol=0.2, atol=0.5), 0.8),
        (Request(damp=1.0, rtol=0.1), 0.0),
    ],
)
def test_cutoff_as_torch(options, expected):
    op = ConvOperator(torch.zeros(1, 1, 1, dtype=F64), (10,))
    assert float(options.cutoff(op, torch.tensor(4.0, dtype=F64))) == pytest.approx(expected)


@every_direct_rung
@pytest.mark.parametrize("options", [{"rtol": 0.3}, {"atol": 0.9}, {"rtol": 0.1, "atol": 0.8}])
def test_cutoffs_are_global(method, options):
    op = served(method, weight_for(method, (2, 2, 3), seed=3 * (method == "separable")), (9,))
    A = dense_twin(op)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        pinv = op.pinv(method=method, **options)
    expected = torch.linalg.pinv(A, **options)
    rank = torch.linalg.matrix_rank(A, **options)
    assert 0 < int(rank) < 18
    assert int(pinv.summary.rank) == int(rank)
    assert relative(pinv.to_dense(), expected) < 1e-12


# --- gradients ------------------------------------------------------------------------------------


@every_rung
def test_detached_weight_lets_the_data_through(method):
    op = easy(method)
    y = randn(1, *op.range_shape).requires_grad_()
    pinv = op.pinv(method=method)
    ones = torch.ones(1, *op.domain_shape, dtype=F64)
    with warned(method):
        pinv(y).sum().backward()
        assert relative(y.grad, pinv.H(ones)) < 1e-14


@every_rung
def test_gradient_of_the_data_alone_beside_a_live_weight(method):
    """Layers are parameters: their gradients cost nothing where nobody asks for them."""
    op = easy(method)
    op = op.with_weight(op.weight.clone().requires_grad_())
    y = randn(1, *op.range_shape).requires_grad_()
    pinv = op.pinv(method=method)
    with warned(method):
        (found,) = torch.autograd.grad(pinv(y).sum(), y)
        assert relative(found, pinv.H(torch.ones(1, *op.domain_shape, dtype=F64))) < 1e-14


# --- failures -------------------------------------------------------------------------------------

ZERO = {
    "one channel": (1, 1, 3, 3),
    "tall": (3, 2, 3, 3),
    "wide": (2, 3, 3, 3),
    "square": (2, 2, 3, 3),
    "own kernels": (2, 2, 2, 3, 3),
}
every_shape = pytest.mark.parametrize("shape", ZERO.values(), ids=ZERO)


@every_direct_rung
@every_shape
@pytest.mark.parametrize("dtype", DOUBLES)
def test_zero_kernel(method, shape, dtype):
    op = served(method, torch.zeros(shape, dtype=dtype), (4, 6))
    pinv = op.pinv(method=method)
    assert pinv.summary.rank.tolist() == [0] * (op.batch_size or 1)
    assert not pinv.to_dense().any()
    x, certificate = op.lstsq(data(op.range_shape, op), method=method)
    assert not x.any()
    assert certificate.residual.tolist() == pytest.approx([1, 1])
    assert certificate.rank.tolist() == [0, 0]
    assert certificate.dropped.tolist() == [min(op.shape)] * 2
    for name in ("optimality", "error_bound", "gap"):
        assert not getattr(certificate, name).isnan().any()
    assert certificate.converged.all()


@every_rung
@every_shape
def test_zero_kernel_with_damping(method, shape):
    op = served(method, torch.zeros(shape, dtype=F64), (4, 6))
    assert not op.tikhonov(0.5, method=method).to_dense().any()
    x, certificate = op.lstsq(data(op.range_shape, op), 0.5, method=method)
    assert not x.any()
    assert certificate.converged.all()
    assert certificate.error_bound.tolist() == [0, 0]


@every_direct_rung
def test_one_zero_kernel_among_others(method):
    first, second = (weight_for(method, (2, 2, 3), seed=seed) for seed in (0, 5))
    w = torch.stack([first, torch.zeros(2, 2, 3, dtype=F64), 1e-9 * second])
    op = served(method, w, (5,))
    pinv = op.pinv(method=method)
    A = dense_twin(op)
    assert pinv.summary.rank.tolist() == torch.linalg.matrix_rank(A, rtol=GAP).tolist()
    assert relative(pinv.to_dense()[1], torch.zeros(10, 10)) == 0
    expected = torch.linalg.pinv(A, rtol=GAP)
    for i in (0, 2):
        assert relative(pinv.to_dense()[i], expected[i]) < 1e-11


@every_rung
def test_zero_right_hand_side(method):
    op = easy(method)
    y = torch.zeros(2, *op.range_shape, dtype=F64)
    for damp in (0.0, 1.0):
        x, certificate = op.lstsq(y, damp, method=method)
        assert not x.any()
        for name in ("residual", "optimality", "error_bound"):
            assert getattr(certificate, name).tolist() == [0, 0]
        assert certificate.converged.all()


@every_rung
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_inf_in_the_weight(method, value):
    op = easy(method)
    op.weight[1, 0, 2, 1] = value
    for call in (op.pinv, lambda **kw: op.tikhonov(1.0, **kw)):
        with pytest.raises(ValueError, match="weight holds 1") as error:
            call(method=method)
        assert_says(error, "(1, 0, 2, 1)", "check_finite=False")


@every_rung
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_inf_in_the_data_of_lstsq(method, value):
    op = easy(method)
    y = randn(2, *op.range_shape)
    y[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match="the data holds 1") as error:
        op.lstsq(y, method=method)
    assert_says(error, "(1, 0, 2, 3)", "check_finite=False")


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_unchecked_values_spread_within_their_image(method, damp):
    op = easy(method)
    y = randn(2, *op.range_shape)
    with warned(method) if not damp else nullcontext():
        clean = op.lstsq(y, damp, method=method).solution
    y[1, 0, 2, 3] = torch.nan
    options = {"method": method, "check_finite": False}
    inverse = op.tikhonov(damp, **options) if damp else op.pinv(**options)
    with warned(method) if not damp else nullcontext():
        alone = inverse(y)
    with warned(method) if not damp else nullcontext():
        x, certificate = op.lstsq(y, damp, **options)
    for found in (alone, x):
        assert found[1].isnan().any()
        assert relative(found[0], clean[0]) < 1e-14
    known = damp > 0 or method != "krylov"  # without damping an iteration proves nothing
    assert certificate.converged.tolist() == [known, False]


@every_rung
@pytest.mark.parametrize("damp", [1e-300, 1e-160, 1e160, 1e300])
def test_extreme_damping(method, damp):
    """Too little to matter, or so much that x = Aᴴy/damp² underflows; finite either way."""
    op = easy(method)
    y = randn(1, *op.range_shape)
    stopped, vanished = method == "krylov" and damp < 1, damp == 1e160
    with said_if(stopped or vanished, "zero to round-off" if vanished else "stopped after"):
        x = op.lstsq(y, damp, method=method).solution
    expected = op.lstsq(y, method="dense").solution if damp < 1 else torch.zeros_like(x)
    assert relative(x, expected, torch.linalg.norm(y)) < 1e-13
