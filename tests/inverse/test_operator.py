"""What every rung owes: Penrose's four conditions, its adjoint, gradients, and no surprises."""

from __future__ import annotations

import copy
import pickle
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse import AccuracyWarning, Request
from unconv.inverse.plan import LADDER
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
    has_gap,
    near_identity,
    randn,
    relative,
    said_if,
)
from ..strategies import Case, cases, circulant_cases
from .diagonal.test_cosine import cosine_cases
from .diagonal.test_separable import separable_cases


@dataclass(frozen=True)
class EasyCase(Case):
    """A case near the identity, for a rung whose steps are the condition number."""

    def operator(self, dtype: torch.dtype | None = None) -> ConvOperator:
        weight = near_identity(*self.weight_shape, dtype=dtype or self.dtype, seed=self.seed)
        return ConvOperator(weight, self.input_shape, **self.options)


@st.composite
def easy_cases(draw: st.DrawFn) -> EasyCase:
    case = draw(cases(forms=("same",), dims=(1, 2), transposed=False, per_sample=False))
    c = case.weight_shape[1]
    shape = (c, c, *case.weight_shape[2:])
    options = case.options | {"groups": 1}
    return EasyCase(shape, case.input_shape, options, case.dtype, case.seed)


RUNGS = {
    "fourier": circulant_cases,
    "cosine": cosine_cases,
    "separable": separable_cases,
    "dense": cases,
    "boundary": cases,
    "krylov": easy_cases,
}
assert list(RUNGS) == [rung.name for rung in LADDER]

every_rung = pytest.mark.parametrize("method", RUNGS)
every_direct_rung = pytest.mark.parametrize("method", [name for name in RUNGS if name != "krylov"])


def draw_operator(method: str, draw) -> tuple[ConvOperator, Tensor]:
    case: Case = draw.draw(RUNGS[method]())
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    return op, A


MODES = {"fourier": "circular", "cosine": "symmetric", "separable": "reflect", "krylov": "zeros"}


def weight_for(method: str, shape: tuple[int, ...], dtype=F64, seed: int = 0) -> Tensor:
    """A random kernel (..., c, c, *k) of the kind that the rung is for."""
    nd = 2 if len(shape) > 3 else 1
    if method == "separable":
        weight = randn(*shape[:-nd], dtype=dtype, seed=seed)
        for a, k in enumerate(shape[-nd:]):
            line = randn(k, dtype=dtype, seed=seed + 1 + a)
            weight = weight[..., None] * line
        return weight
    weight = randn(*shape, dtype=dtype, seed=seed)
    if method == "cosine":
        for dim in range(-nd, 0):
            weight = weight + weight.flip(dim)
    return weight


def easy_weight(method: str, dtype=F64) -> Tensor:
    """Two channels, 3×3, cond under about 5."""
    if method not in ("cosine", "separable"):
        return near_identity(2, 2, 3, 3, dtype=dtype)
    line = torch.tensor([0.1, 1.0, 0.1]).to(dtype)
    return near_identity(2, 2, dtype=dtype)[..., None, None] * torch.outer(line, line)


def served(method: str, weight: Tensor, size: tuple[int, ...] = (4, 5)) -> ConvOperator:
    """An operator that the rung serves, padded to its own size."""
    return ConvOperator(
        weight, size, padding=weight.shape[-1] // 2, padding_mode=MODES.get(method, "replicate")
    )


def easy(method: str, dtype=F64) -> ConvOperator:
    """A well-conditioned operator that the rung serves."""
    return served(method, easy_weight(method, dtype))


def warned(method: str) -> AbstractContextManager:
    """Without damping an iteration has no bound for its answer, and says so for each."""
    if method != "krylov":
        return nullcontext()
    return pytest.warns(AccuracyWarning, match="no bound o[fn] the error is known")


# --- laws -----------------------------------------------------------------------------------------


@every_rung
@given(draw=st.data())
@settings(max_examples=50)
def test_penrose(method, draw):
    op, _ = draw_operator(method, draw)
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


@every_rung
@given(draw=st.data())
def test_adjoint_is_the_inverse_of_the_adjoint(method, draw):
    op, A = draw_operator(method, draw)
    with warned(method):
        X = op.pinv(method=method).H.to_dense()
    assert relative(X, torch.linalg.pinv(A.mH, rtol=GAP)) < 1e-10


@every_rung
@given(draw=st.data())
@settings(max_examples=15)
def test_damped_equals_the_normal_equations(method, draw):
    op, A = draw_operator(method, draw)
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
@settings(max_examples=15)
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


@every_direct_rung
@given(draw=st.data(), factor=st.sampled_from([1e6, 1e-6, 1e30, 1e-30, 1e120, 1e-120]))
@settings(max_examples=18)
def test_scale_invariance(method, draw, factor):
    op, _ = draw_operator(method, draw)
    scaled = op.with_weight(op.weight * factor)
    pinv, other = op.pinv(method=method), scaled.pinv(method=method)
    assert torch.equal(pinv.summary.rank, other.summary.rank)
    assert relative(other.to_dense() * factor, pinv.to_dense()) < 1e-11


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


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_bits_repeat_and_arguments_are_untouched(method, damp):
    op, y = easy(method), randn(2, 2, 4, 5)
    before = op.weight.clone(), y.clone()

    def inverse():
        return op.tikhonov(damp, method=method) if damp else op.pinv(method=method)

    kept = inverse()
    state = {k: v.clone() for k, v in kept.state_dict().items()}
    with warned(method) if not damp else nullcontext():
        first = kept(y)
        assert torch.equal(kept(y), first)
        assert torch.equal(inverse()(y), first)
    assert torch.equal(op.weight, before[0])
    assert torch.equal(y, before[1])
    assert all(torch.equal(v, state[k]) for k, v in kept.state_dict().items())


@every_rung
def test_images_of_a_batch_do_not_meet(method):
    pinv = easy(method).pinv(method=method)
    y = randn(3, 2, 4, 5)
    other = y.clone()
    other[1] = 1e8
    with warned(method):
        for i in (0, 2):
            assert relative(pinv(other)[i], pinv(y)[i]) < 1e-14
        assert relative(torch.cat([pinv(v[None]) for v in y]), pinv(y)) < 1e-14


@every_rung
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_copies_and_pickles_answer_alike(method, damp):
    op, y = easy(method), randn(2, 2, 4, 5)
    inverse = op.tikhonov(damp, method=method) if damp else op.pinv(method=method)
    with warned(method) if not damp else nullcontext():
        expected = inverse(y)
        for other in (copy.deepcopy(inverse), pickle.loads(pickle.dumps(inverse))):
            assert torch.equal(other(y), expected)
            assert other.method == method
            assert torch.equal(other.H(y), inverse.H(y))


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
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_gradient_in_the_data(method, dtype, damp):
    op = served(method, weight_for(method, (3, 2, 3), dtype), (4,))
    if method == "krylov":
        op = served(method, near_identity(1, 1, 3, dtype=dtype), (4,))
    options = {"method": method, "tol": 1e-12 if damp else None}
    inverse = op.tikhonov(damp, **options) if damp else op.pinv(**options)
    with warned(method) if not damp else nullcontext():
        for member in (inverse, inverse.H):
            y = data(member.domain_shape, member, N=1).requires_grad_()
            assert torch.autograd.gradcheck(member, y)
            assert torch.autograd.gradgradcheck(member, y, fast_mode=True)


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
def test_nan_and_inf_in_the_data(method, value):
    op = easy(method)
    y = randn(2, *op.range_shape)
    y[1, 0, 2, 3] = value
    pinv = op.pinv(method=method)
    for call in (pinv, pinv.H, lambda y: op.lstsq(y, method=method)):
        with pytest.raises(ValueError, match="the data holds 1") as error:
            call(y)
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
def test_wrong_data(method):
    pinv = easy(method).pinv(method=method)
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
    op = easy(method)
    y = randn(1, *op.range_shape)
    stopped, vanished = method == "krylov" and damp < 1, damp == 1e160
    with said_if(stopped or vanished, "zero to round-off" if vanished else "stopped after"):
        x = op.lstsq(y, damp, method=method).solution
    expected = op.lstsq(y, method="dense").solution if damp < 1 else torch.zeros_like(x)
    assert relative(x, expected, torch.linalg.norm(y)) < 1e-13


@every_rung
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("other", [torch.float32, F64])
def test_factor_follows_module_to(method, dtype, other):
    """`.to(dtype)` converts the factor; it never drops the imaginary half of it."""
    op = easy(method, dtype)
    y = randn(1, *op.range_shape, dtype=other)
    with warned(method):
        expected = op.pinv(method=method)(y)
        moved = op.pinv(method=method).to(other)
        assert moved(y).dtype == moved.dtype == other
        assert relative(moved(y), expected) < 8 * torch.finfo(torch.float32).eps


@every_rung
def test_factor_is_state_and_not_parameters(method):
    op = easy(method)
    pinv = op.pinv(method=method)
    assert not list(pinv.parameters())
    assert pinv.state_dict()
    assert pinv.device.type == "cpu"


@every_rung
def test_empty_batch(method):
    inverse = easy(method).pinv(method=method)
    assert inverse(torch.zeros(0, 2, 4, 5, dtype=F64)).shape == (0, 2, 4, 5)
    assert inverse.H(torch.zeros(0, 2, 4, 5, dtype=F64)).shape == (0, 2, 4, 5)
