"""What every rung owes: Penrose's four conditions, its adjoint, gradients, and no surprises."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.inverse.base import Options, default_rtol
from unconv.testing import dense_twin, dot_test, penrose_errors

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    GAP,
    HALVES,
    assert_says,
    data,
    has_gap,
    near_identity,
    randn,
    relative,
)
from ..strategies import Case, cases, circulant_cases

RUNGS = {"fourier": circulant_cases, "dense": cases}
METHODS = sorted(RUNGS)

every_rung = pytest.mark.parametrize("method", METHODS)


def draw_operator(method: str, draw) -> tuple[ConvOperator, torch.Tensor]:
    case: Case = draw.draw(RUNGS[method]())
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    return op, A


def circular(dtype=F64, method="fourier", **kwargs) -> ConvOperator:
    """A well-conditioned operator that both rungs serve."""
    return ConvOperator(
        near_identity(2, 2, 3, 3, dtype=dtype), (4, 5), padding=1, padding_mode="circular", **kwargs
    )


# --- laws -----------------------------------------------------------------------------------------


@every_rung
@given(draw=st.data())
@settings(max_examples=60)
def test_penrose(method, draw):
    op, _ = draw_operator(method, draw)
    pinv = op.pinv(method=method)
    assert pinv.method == method
    assert (pinv.domain_shape, pinv.range_shape) == (op.range_shape, op.domain_shape)
    assert pinv.dtype == op.dtype
    assert max(penrose_errors(op, pinv)) < 1e-10
    assert max(penrose_errors(op.H, pinv.H)) < 1e-10
    assert dot_test(pinv) < 1e-13


@every_rung
@given(draw=st.data())
def test_adjoint_is_the_inverse_of_the_adjoint(method, draw):
    op, A = draw_operator(method, draw)
    X = op.pinv(method=method).H.to_dense()
    assert relative(X, torch.linalg.pinv(A.mH, rtol=GAP)) < 1e-10


@every_rung
@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e30, 1e-30, 1e120, 1e-120])
@given(draw=st.data())
@settings(max_examples=8)
def test_scale_invariance(method, factor, draw):
    op, _ = draw_operator(method, draw)
    scaled = op.with_weight(op.weight * factor)
    pinv, other = op.pinv(method=method), scaled.pinv(method=method)
    assert torch.equal(pinv.summary.rank, other.summary.rank)
    assert relative(other.to_dense() * factor, pinv.to_dense()) < 1e-11


@every_rung
@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_scale_invariance_of_damping_and_certificate(method, factor):
    op = circular()
    y = randn(2, *op.range_shape)
    scaled = op.with_weight(op.weight * factor)
    x, first = op.lstsq(y, 0.3, method=method)
    z, other = scaled.lstsq(y, 0.3 * factor, method=method)
    assert relative(z * factor, x) < 1e-13
    assert relative(other.residual, first.residual) < 1e-12


@every_rung
def test_bits_repeat_and_arguments_are_untouched(method):
    op, y = circular(), randn(2, 2, 4, 5)
    before = op.weight.clone(), y.clone()
    pinv = op.pinv(method=method)
    state = {k: v.clone() for k, v in pinv.state_dict().items()}
    first = pinv(y)
    assert torch.equal(pinv(y), first)
    assert torch.equal(op.pinv(method=method)(y), first)
    assert torch.equal(op.weight, before[0])
    assert torch.equal(y, before[1])
    assert all(torch.equal(v, state[k]) for k, v in pinv.state_dict().items())


@every_rung
def test_images_of_a_batch_do_not_meet(method):
    pinv = circular().pinv(method=method)
    y = randn(3, 2, 4, 5)
    other = y.clone()
    other[1] = 1e8
    for i in (0, 2):
        assert relative(pinv(other)[i], pinv(y)[i]) < 1e-14
    assert relative(torch.cat([pinv(v[None]) for v in y]), pinv(y)) < 1e-14


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
    op = circular(own)
    if batch:
        op = ConvOperator(op.weight.expand(2, -1, -1, -1, -1), (4, 5), padding=1,
                          padding_mode="circular")  # fmt: skip
    y = randn(2, *op.range_shape, dtype=other)
    pinv = op.pinv(method=method)
    X = torch.linalg.pinv(dense_twin(op))
    X = X if batch else X[None]
    rows = y.to(torch.promote_types(X.dtype, C128)).flatten(1)[..., None]
    expected = (X.to(C128) @ rows)[..., 0]
    expected = expected if result.is_complex else expected.real
    found = pinv(y)
    assert found.dtype == result
    factor_eps = max(torch.finfo(d).eps for d in (own.to_real(), result.to_real()))
    if own in HALVES:  # their factor is in float32
        factor_eps = max(torch.finfo(torch.float32).eps, torch.finfo(result).eps)
    assert relative(found.flatten(1), expected) < 8 * factor_eps


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
        (Options(), 4 * 10 * torch.finfo(F64).eps),
        (Options(rtol=0.1), 0.4),
        (Options(atol=0.5), 0.5),
        (Options(rtol=0.1, atol=0.5), 0.5),
        (Options(rtol=0.2, atol=0.5), 0.8),
        (Options(damp=1.0, rtol=0.1), 0.0),
    ],
)
def test_cutoff_as_torch(options, expected):
    op = ConvOperator(torch.zeros(1, 1, 1, dtype=F64), (10,))
    assert float(options.cutoff(op, torch.tensor(4.0, dtype=F64))) == pytest.approx(expected)


@every_rung
@pytest.mark.parametrize("options", [{"rtol": 0.3}, {"atol": 0.9}, {"rtol": 0.1, "atol": 0.8}])
def test_cutoffs_are_global(method, options):
    op = ConvOperator(randn(2, 2, 3), (9,), padding=1, padding_mode="circular")
    A = dense_twin(op)
    pinv = op.pinv(method=method, **options)
    expected = torch.linalg.pinv(A, **options)
    rank = torch.linalg.matrix_rank(A, **options)
    assert 0 < int(rank) < 18
    assert int(pinv.summary.rank) == int(rank)
    assert relative(pinv.to_dense(), expected) < 1e-12


# --- gradients ------------------------------------------------------------------------------------


@every_rung
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_gradient_in_the_data(method, dtype, damp):
    op = ConvOperator(randn(3, 2, 3, dtype=dtype), (5,), padding=1, padding_mode="circular")
    inverse = op.tikhonov(damp, method=method) if damp else op.pinv(method=method)
    for member in (inverse, inverse.H):
        y = data(member.domain_shape, member).requires_grad_()
        assert torch.autograd.gradcheck(member, y)
        assert torch.autograd.gradgradcheck(member, y)


@every_rung
def test_gradient_in_the_weight_is_refused(method):
    op = circular()
    op = op.with_weight(op.weight.clone().requires_grad_())
    y = randn(1, *op.range_shape)
    for member in (op.pinv(method=method), op.pinv(method=method).H, op.tikhonov(1, method=method)):
        with pytest.raises(NotImplementedError) as error:
            member(y).sum().backward()
        assert_says(error, "weight", "weight.detach()")
    with pytest.raises(NotImplementedError):
        op.lstsq(y, method=method).solution.sum().backward()


@every_rung
def test_detached_weight_lets_the_data_through(method):
    op = circular()
    y = randn(1, *op.range_shape).requires_grad_()
    pinv = op.pinv(method=method)
    pinv(y).sum().backward()
    ones = torch.ones(1, *op.domain_shape, dtype=F64)
    assert relative(y.grad, pinv.H(ones)) < 1e-14


# --- failures -------------------------------------------------------------------------------------

ZERO = {
    "one channel": (1, 1, 3, 3),
    "tall": (3, 2, 3, 3),
    "wide": (2, 3, 3, 3),
    "square": (2, 2, 3, 3),
    "own kernels": (2, 2, 2, 3, 3),
}


@every_rung
@pytest.mark.parametrize("shape", ZERO.values(), ids=ZERO)
@pytest.mark.parametrize("dtype", DOUBLES)
def test_zero_kernel(method, shape, dtype):
    w = torch.zeros(shape, dtype=dtype)
    op = ConvOperator(w, (4, 6), padding=1, padding_mode="circular")
    pinv = op.pinv(method=method)
    assert pinv.summary.rank.tolist() == [0] * (op.batch_size or 1)
    assert not pinv.to_dense().any()
    damped = op.tikhonov(0.5, method=method)
    assert not damped.to_dense().any()
    y = data(op.range_shape, op)
    x, certificate = op.lstsq(y, method=method)
    assert not x.any()
    assert certificate.residual.tolist() == pytest.approx([1, 1])
    assert certificate.rank.tolist() == [0, 0]
    assert certificate.dropped.tolist() == [min(op.shape)] * 2
    for name in ("optimality", "error_bound", "gap"):
        assert not getattr(certificate, name).isnan().any()
    assert certificate.converged.all()


@every_rung
def test_one_zero_kernel_among_others(method):
    w = torch.stack([randn(2, 2, 3), torch.zeros(2, 2, 3, dtype=F64), 1e-9 * randn(2, 2, 3)])
    op = ConvOperator(w, (5,), padding=1, padding_mode="circular")
    pinv = op.pinv(method=method)
    assert pinv.summary.rank.tolist() == [10, 0, 10]
    assert relative(pinv.to_dense()[1], torch.zeros(10, 10)) == 0
    expected = torch.linalg.pinv(dense_twin(op))
    for i in (0, 2):
        assert relative(pinv.to_dense()[i], expected[i]) < 1e-11


@every_rung
def test_zero_right_hand_side(method):
    op = circular()
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
    op = circular()
    op.weight[1, 0, 2, 1] = value
    for call in (op.pinv, lambda **kw: op.tikhonov(1.0, **kw)):
        with pytest.raises(ValueError, match="weight holds 1") as error:
            call(method=method)
        assert_says(error, "(1, 0, 2, 1)", "check_finite=False")


@every_rung
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_inf_in_the_data(method, value):
    op = circular()
    y = randn(2, *op.range_shape)
    y[1, 0, 2, 3] = value
    pinv = op.pinv(method=method)
    for call in (pinv, pinv.H, lambda y: op.lstsq(y, method=method)):
        with pytest.raises(ValueError, match="the data holds 1") as error:
            call(y)
        assert_says(error, "(1, 0, 2, 3)", "check_finite=False")


@every_rung
def test_unchecked_values_spread_within_their_image(method):
    op = circular()
    y = randn(2, *op.range_shape)
    clean = y.clone()
    y[1, 0, 2, 3] = torch.nan
    for x in (op.pinv(method=method, check_finite=False)(y),
              op.lstsq(y, method=method, check_finite=False).solution):  # fmt: skip
        assert x[1].isnan().any()
        assert relative(x[0], op.pinv(method=method)(clean)[0]) < 1e-14


@every_rung
def test_wrong_data(method):
    pinv = circular().pinv(method=method)
    with pytest.raises(ValueError, match=r"\(N, 2, 4, 5\), got \(2, 4, 5\)"):
        pinv(randn(2, 4, 5))
    with pytest.raises(TypeError, match="int64"):
        pinv(torch.ones(1, 2, 4, 5).long())
    with pytest.raises(ValueError, match="meta"):
        pinv(randn(1, 2, 4, 5).to("meta"))


@every_rung
@pytest.mark.parametrize("damp", [1e-300, 1e-160, 1e160, 1e300])
def test_extreme_damping(method, damp):
    """Too little to matter, or so much that x = Aᴴy/damp² underflows; finite either way."""
    op = circular()
    y = randn(1, *op.range_shape)
    x = op.lstsq(y, damp, method=method).solution
    expected = op.pinv(method=method)(y) if damp < 1 else torch.zeros_like(x)
    assert relative(x, expected, torch.linalg.norm(y)) < 1e-13


@every_rung
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("other", [torch.float32, F64])
def test_factor_follows_module_to(method, dtype, other):
    """`.to(dtype)` converts the factor; it never drops the imaginary half of it."""
    op = circular(dtype)
    y = randn(1, *op.range_shape, dtype=other)
    expected = op.pinv(method=method)(y)
    moved = op.pinv(method=method).to(other)
    assert relative(moved(y), expected) < 8 * torch.finfo(torch.float32).eps


@every_rung
def test_gradient_of_the_data_alone_beside_a_live_weight(method):
    """Layers are parameters: only a gradient that is asked of the weight may be refused."""
    op = circular()
    op = op.with_weight(op.weight.clone().requires_grad_())
    y = randn(1, *op.range_shape).requires_grad_()
    pinv = op.pinv(method=method)
    (found,) = torch.autograd.grad(pinv(y).sum(), y)
    assert relative(found, pinv.H(torch.ones(1, *op.domain_shape, dtype=F64))) < 1e-14


@every_rung
def test_factor_is_state_and_not_parameters(method):
    op = circular()
    pinv = op.pinv(method=method)
    assert not list(pinv.parameters())
    assert pinv.state_dict()
    assert pinv.device.type == "cpu"
