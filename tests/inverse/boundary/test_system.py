"""The boundary rung against the matrix: every option, damped, cut, singular, and its neighbours."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import Tensor

from unconv import ConvOperator, MemoryLimitError
from unconv.inverse import AccuracyWarning
from unconv.inverse.boundary.deflation import count_above
from unconv.inverse.boundary.forms import SquareForm
from unconv.inverse.boundary.truncation import TruncatedForm
from unconv.numerics.lanczos import largest_eigenvalue, random_start
from unconv.psf import models as psf
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    F64,
    GAP,
    ambiguous_rank_is_said,
    apply_matrix,
    assert_says,
    data,
    has_gap,
    randn,
    relative,
)
from ...strategies import Case, cases, is_small
from .ghost_parts import parts_of

EPS = torch.finfo(F64).eps
BOUNDARY = {"method": "boundary"}


# --- every option against the matrix --------------------------------------------------------------


def assert_pseudo_inverse(op: ConvOperator, A: Tensor) -> None:
    S = torch.linalg.svdvals(A).reshape(op.batch_size or 1, -1)
    kept = GAP * S[:, :1] < S
    smallest = torch.where(kept, S, math.inf).amin(1)
    cond = float((S[:, 0] / smallest).max())
    X = torch.linalg.pinv(A, rtol=GAP)
    found = op.pinv(**BOUNDARY)
    assert found.summary.rank.tolist() == kept.sum(1).tolist()
    assert found.summary.dropped.tolist() == (~kept).sum(1).tolist()
    assert (found.summary.norm <= S[:, 0] * (1 + 1e-12)).all()
    assert (found.summary.norm >= 0.5 * S[:, 0]).all()  # what Lanczos guarantees
    assert (found.summary.floor <= smallest * (1 + 1e-2)).all()
    assert (found.summary.gap > 1e6).all()
    assert relative(found.to_dense(), X) < 1e-12 * cond
    assert relative(found.H.to_dense(), X.mH) < 1e-12 * cond
    y = data(op.range_shape, op)
    x, certificate = op.lstsq(y, **BOUNDARY)
    best = apply_matrix(X, y, op.domain_shape)
    sizes = torch.linalg.norm(y.flatten(1), dim=1) / smallest
    assert (torch.linalg.norm((x - best).flatten(1), dim=1) < 1e-12 * cond * sizes).all()
    assert certificate.converged.all()


def assert_damped(op: ConvOperator) -> None:
    A = dense_twin(op)
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    largest = float(S.amax())
    if not largest:
        return
    y = data(op.range_shape, op)
    for ratio in (0.3, 1e-3):
        damp = ratio * largest
        gains = (S / (S**2 + damp**2)).to(A.dtype)
        X = Vh.mH @ (gains[..., None] * U.mH)
        inverse = op.tikhonov(damp, **BOUNDARY)
        # a rounding of A by eps·σ_max may change a direction with σ = 0 by eps·σ_max/damp²
        scale = torch.linalg.norm(X) + largest / damp**2
        assert relative(inverse.to_dense(), X, scale) < 1e-13
        assert relative(inverse.H.to_dense(), X.mH, scale) < 1e-13
        x, found = op.lstsq(y, damp, **BOUNDARY)
        best = apply_matrix(X, y, op.domain_shape)
        error = torch.linalg.norm((x - best).flatten(1), dim=1)
        size = torch.linalg.norm(best.flatten(1), dim=1)
        assert (error <= (found.error_bound + 100 * EPS / ratio**2) * size).all()
        assert found.converged.all()


def assert_cut(op: ConvOperator, rtol: float) -> None:
    A = dense_twin(op)
    S = torch.linalg.svdvals(A).reshape(op.batch_size or 1, -1)
    lost = rtol * S[:, :1] >= S
    last, first = torch.where(lost, math.inf, S).amin(1), torch.where(lost, S, 0.0).amax(1)
    gap = last / first
    assume(bool((gap >= 1.05).all()))
    assume(bool(((S / (rtol * S[:, :1]) - 1).abs() > 1e-3).all()))  # σ_max itself is an estimate
    with ambiguous_rank_is_said(float(gap.min())):
        found = op.pinv(**BOUNDARY, rtol=rtol)
    X = torch.linalg.pinv(A, rtol=rtol)
    assert found.summary.rank.tolist() == (~lost).sum(1).tolist()
    assert found.summary.dropped.tolist() == lost.sum(1).tolist()
    clear = gap < 1e8  # beyond, the dropped ones are round-off
    assert ((found.summary.gap - gap).abs() <= 0.01 * gap)[clear].all()
    tolerance = 1e-11 / rtol / float((1 - 1 / gap).min())
    assert relative(found.to_dense(), X) < tolerance
    assert relative(found.H.to_dense(), X.mH) < tolerance


small = settings(max_examples=15, suppress_health_check=[HealthCheck.filter_too_much])


@given(cases())
@small
def test_the_pseudo_inverse_equals_the_matrix(case: Case):
    op = case.operator()
    assume(is_small(op))
    A = dense_twin(op)
    assume(has_gap(A))
    assert_pseudo_inverse(op, A)


@given(cases())
@small
def test_damping_equals_the_matrix(case: Case):
    op = case.operator()
    assume(is_small(op))
    assert_damped(op)


@pytest.mark.parametrize("rtol", [0.1, 1e-2])
@given(case=cases())
@settings(small, max_examples=5)
def test_cuts_equal_the_matrix(rtol, case: Case):
    op = case.operator()
    assume(is_small(op))
    assert_cut(op, rtol)


@pytest.mark.slow
@given(cases())
@settings(small, max_examples=1500)
def test_the_pseudo_inverse_equals_the_matrix_at_length(case: Case):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    assert_pseudo_inverse(op, A)


@pytest.mark.slow
@given(cases())
@settings(small, max_examples=1500)
def test_damping_equals_the_matrix_at_length(case: Case):
    assert_damped(case.operator())


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [0.1, 1e-2])
@given(case=cases())
@settings(small, max_examples=800)
def test_cuts_equal_the_matrix_at_length(rtol, case: Case):
    assert_cut(case.operator(), rtol)


ODD = {
    "tall in rows, wide in blocks": ((1, 1, 3, 4), (1, 1), {"stride": (1, 3), "padding": "full"}),
    "one tap among zeros": ((1, 3, 1, 1), (3, 2), {"padding": 1, "dilation": 2}),
    "full, strided, square": ((2, 2, 1, 3), (2, 2), {"stride": (1, 3), "padding": "full"}),
    "copies of one row": (
        (1, 2, 1),
        (3,),
        {"padding": 1, "padding_mode": "symmetric", "transposed": True},
    ),
    "taller than it seems": ((1, 1, 3, 2), (1, 2), {"stride": (2, 1), "padding": "full"}),
    "wide with copies": (
        (1, 2, 2, 2, 2),
        (3, 1, 1),
        {
            "stride": (1, 2, 2),
            "dilation": (1, 2, 2),
            "padding": 1,
            "padding_mode": "reflect",
            "transposed": True,
            "output_padding": (0, 1, 1),
        },
    ),
    "samples that no output reads": ((2, 1, 2), (9,), {"stride": 4}),
    "one pixel, many copies": ((1, 1, 3), (1,), {"padding": 4, "padding_mode": "replicate"}),
    "padding beyond full": ((1, 1, 2), (3,), {"padding": 4}),
    "two pixels, wrapped": ((1, 1, 5), (2,), {"padding": 4, "padding_mode": "circular"}),
    "null space on both sides": ((2, 2, 1, 1), (2, 2), {"stride": (1, 2), "padding": 1}),
    "a tap in the zeros": ((1, 2, 2, 1), (2, 1), {"stride": (2, 1), "padding": 1, "flip": True}),
}


@pytest.mark.parametrize("where", ODD)
@pytest.mark.parametrize("dtype", [F64, C128])
def test_shapes_that_leave_null_spaces(where, dtype):
    """Where the grid's blocks are singular although A is not, or A although they are not."""
    shape, size, options = ODD[where]
    op = ConvOperator(randn(*shape, dtype=dtype, seed=1), size, **options)
    A = dense_twin(op)
    assert has_gap(A)
    assert_pseudo_inverse(op, A)
    assert_damped(op)


# --- singular operators ---------------------------------------------------------------------------

CROSS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=F64)
BOX = torch.ones(3, 3, dtype=F64)
SINGULAR = [
    *[(CROSS, n, "zeros") for n in (11, 23, 29)],
    *[(BOX, n, "zeros") for n in (14, 17)],
    *[(CROSS, n, "reflect") for n in (7, 13)],
]


@pytest.mark.parametrize(("kernel", "n", "mode"), SINGULAR)
def test_exact_null_vectors_are_dropped(kernel, n, mode):
    op = ConvOperator(kernel[None, None], (n, n), padding=1, padding_mode=mode)
    A = dense_twin(op)
    found = op.pinv(**BOUNDARY)
    X = torch.linalg.pinv(A)
    assert found.summary.rank.tolist() == [int(torch.linalg.matrix_rank(A))]
    assert relative(found.to_dense(), X) < 1e-10
    y = randn(2, 1, n, n)
    x, certificate = op.lstsq(y, **BOUNDARY)
    assert relative(x, apply_matrix(X, y, op.domain_shape)) < 1e-10
    assert certificate.converged.all()


@pytest.mark.parametrize("n", [4, 5, 7, 8, 10, 13])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric"])
def test_a_singular_torus_is_no_singular_operator(n, mode):
    """The box has zeros on every grid with a multiple of 3 samples."""
    op = ConvOperator(BOX[None, None], (n, n), padding=1, padding_mode=mode)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    found = op.pinv(**BOUNDARY)
    rank = int((1e-12 * S[0] < S).sum())
    assert found.summary.rank.tolist() == [rank]
    assert relative(found.to_dense(), torch.linalg.pinv(A, rtol=1e-12)) < 1e-10


CUTS = {1e-2: 42, 1e-4: 17, 1e-6: 9, 1e-8: 3}


def noise_like(n: int, channels: int = 1, seed: int = 0) -> ConvOperator:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(channels, channels, 3, 3, dtype=F64, generator=generator)
    return ConvOperator(weight, (n, n), padding=1)


@pytest.mark.slow
@pytest.mark.parametrize("rtol", CUTS)
def test_cuts_through_a_continuum(rtol):
    """Random kernels have singular values of every size."""
    op = noise_like(32, seed=1)
    expected = torch.linalg.pinv(dense_twin(op), rtol=rtol)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        found = op.pinv(**BOUNDARY, rtol=rtol)
    assert found.summary.dropped.tolist() == [CUTS[rtol]]
    assert relative(found.to_dense(), expected) < 1e-7


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6, 1e-8])
def test_ranks_of_a_continuum(rtol):
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        found = noise_like(32, seed=1).pinv(**BOUNDARY, rtol=rtol)
    assert found.summary.dropped.tolist() == [CUTS[rtol]]


# --- sizes beyond the matrix ----------------------------------------------------------------------


def test_eight_channels_come_back():
    op = noise_like(64, 8)
    x = randn(2, 8, 64, 64)
    y = op(x)
    inverse = op.pinv()
    assert inverse.method == "boundary"
    assert isinstance(inverse.forms[0], SquareForm)
    assert relative(inverse(y), x) < 1e-8
    solution, found = op.lstsq(y)
    error = torch.linalg.norm((solution - x).flatten(1), dim=1)
    error = error / torch.linalg.norm(x.flatten(1), dim=1)
    assert (error < 1e-9).all()
    assert (found.error_bound >= error).all()
    assert (found.error_bound < 1e-4).all()
    assert (found.refinements >= 1).all()
    assert found.converged.all()


def sigma_max(op: ConvOperator) -> float:
    start = random_start((1, *op.domain_shape), op.weight)
    return float(largest_eigenvalue(lambda x: op.H(op(x)), start, steps=60, rtol=0.0).sqrt())


@pytest.mark.parametrize(("n", "channels"), [(128, 1), (64, 3)])
def test_a_little_damping_of_a_singular_operator(n, channels):
    op = noise_like(n, channels)
    damp = 1e-9 * sigma_max(op)
    y = randn(2, *op.range_shape, seed=1)
    _, found = op.lstsq(y, damp, **BOUNDARY)
    assert found.converged.all()
    assert (found.optimality < 1e-14).all()
    assert (found.error_bound < 1e-5).all()


@pytest.mark.parametrize(("n", "channels"), [(128, 1), (64, 3)])
def test_a_cut_on_the_ghosts(n, channels):
    """Dozens of singular values below 1e-8 are kept as ghost sources, and counted by inertia."""
    op = noise_like(n, channels)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        inverse = op.pinv(**BOUNDARY, rtol=1e-8)
    form = inverse.forms[0]
    assert isinstance(form, TruncatedForm)
    _, torus, blocks, ghosts = parts_of(op)
    count = count_above(1e-8 * sigma_max(op), torus, blocks, ghosts)
    assert inverse.summary.rank.tolist() == [count]
    assert 0 < int(inverse.summary.dropped) == min(op.shape) - count
    y = randn(1, *op.range_shape, seed=1)
    with pytest.warns(AccuracyWarning, match="the rank is ambiguous"):
        x, found = op.lstsq(y, rtol=1e-8, **BOUNDARY)
    assert (found.optimality < 1e-14).all()
    kept = form._kept(x, True)
    assert relative(kept, x) < 1e-8
    assert relative(inverse(op(x)), x) < 1e-8


# --- what a factor may be used for ----------------------------------------------------------------

KINDS = {
    "square": ((2, 2, 3, 3), {"padding": 1}),
    "tall": ((3, 2, 3, 3), {"padding": 1}),
    "wide": ((2, 3, 3, 3), {"padding": 1, "padding_mode": "reflect"}),
    "strided": ((4, 1, 3, 3), {"padding": 1, "stride": 2}),
    "transposed": ((2, 3, 3, 3), {"padding": 1, "transposed": True}),
    "singular": ((2, 2, 3, 3), {"padding": 1, "padding_mode": "replicate"}),
    "groups": ((4, 2, 3, 3), {"padding": 1, "groups": 2}),
}


def of_kind(kind: str, n: int = 6) -> ConvOperator:
    shape, options = KINDS[kind]
    weight = randn(*shape)
    if kind == "singular":
        weight[1] = weight[0]
    return ConvOperator(weight, (n, n + 1), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_a_factor_serves_many_images_again_and_again(kind, damp):
    op = of_kind(kind)
    inverse = op.tikhonov(damp, **BOUNDARY) if damp else op.pinv(**BOUNDARY)
    for member in (inverse, inverse.H):
        y = data(member.domain_shape, member, N=3)
        first = member(y)
        assert torch.equal(member(y), first)
        alone = torch.cat([member(v[None]) for v in y])
        assert relative(alone, first) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_pinv_of_the_transpose_is_the_transpose_of_pinv(kind):
    op = of_kind(kind)
    weight, options = op.weight, KINDS[kind][1]
    turned = not options.get("transposed", False)
    size = op.range_shape[1:]
    extra = {}
    if turned:
        spans = [s - 1 - (m - 1) * options.get("stride", 1) for s, m in
                 zip(op.domain_shape[1:], size, strict=True)]  # fmt: skip
        rest = [e + 2 * options["padding"] - 2 for e in spans]
        extra = {"output_padding": tuple(rest)} if any(rest) else {}
    other = ConvOperator(weight, size, **options | {"transposed": turned} | extra)
    assert other.domain_shape == op.range_shape
    assert relative(other.pinv(**BOUNDARY).to_dense(), op.pinv(**BOUNDARY).H.to_dense()) < 1e-10


def test_memory_that_is_too_small_leaves_the_rest_to_iterations():
    op = ConvOperator(randn(1, 1, 9, 9), (40, 40), padding=4, padding_mode="reflect")
    y, damp = randn(2, *op.range_shape), 2.0
    need = op.plan(method="boundary", damp=damp).memory
    with pytest.raises(MemoryLimitError) as error:
        op.tikhonov(damp, memory_limit=need - 1, **BOUNDARY)
    assert_says(error, "boundary", "memory_limit", "raise memory_limit")
    x, found = op.lstsq(y, damp, memory_limit=need - 1, tol=1e-9)
    assert found.method == "krylov"
    assert (found.iterations > 0).all()
    assert found.converged.all()
    exact = op.lstsq(y, damp, **BOUNDARY).solution
    error = torch.linalg.norm((x - exact).flatten(1), dim=1)
    assert (error <= (found.error_bound + 1e-13) * torch.linalg.norm(exact.flatten(1), dim=1)).all()


def test_a_zero_kernel_is_served_by_the_ladder():
    op = ConvOperator(torch.zeros(2, 2, 3, 3, dtype=F64), (40, 40), padding=1)
    x, found = op.lstsq(randn(1, 2, 40, 40))
    assert not x.any()
    assert found.rank.tolist() == [0]
    assert found.converged.all()


def test_an_interrupt_in_the_factorisation_passes_and_leaves_no_trace(monkeypatch):
    op = of_kind("square")
    before, y = op.weight.clone(), randn(1, *op.range_shape)
    expected = op.pinv(**BOUNDARY)(y)
    threads = torch.get_num_threads()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.linalg, "lu_factor_ex", interrupted)
        for call in (op.pinv, lambda **kw: op.tikhonov(0.1, **kw)):
            with pytest.raises(KeyboardInterrupt):
                call(**BOUNDARY)
    assert torch.equal(op.weight, before)
    assert torch.get_num_threads() == threads
    assert torch.equal(op.pinv(**BOUNDARY)(y), expected)


def test_what_has_not_converged_says_so():
    op = of_kind("square", 12)
    y = randn(2, *op.range_shape)
    assert op.lstsq(y, 0.1, **BOUNDARY, tol=1e-9).certificate.converged.all()
    with pytest.warns(AccuracyWarning, match="above tol=1e-17"):
        assert not op.lstsq(y, 0.1, **BOUNDARY, tol=1e-17).certificate.converged.any()
    with pytest.warns(AccuracyWarning, match="stopped after 1 iterations"):
        found = op.lstsq(y, 0.1, method="krylov", maxiter=1).certificate
    assert not found.converged.any()
    assert found.iterations.tolist() == [1, 1]


# --- neighbours on the ladder ---------------------------------------------------------------------

PAIRS = {
    "circular": (randn(2, 2, 3, 3), "circular", ("fourier", "dense")),
    "gaussian": (psf.gaussian(0.7)[None, None], "reflect", ("separable", "dense")),
    "symmetric": (psf.gaussian(0.7)[None, None], "symmetric", ("cosine", "separable", "dense")),
    "disk": (psf.disk(1.2)[None, None], "symmetric", ("cosine", "dense")),
}


@pytest.mark.parametrize("where", PAIRS)
@pytest.mark.parametrize("damp", [0.0, 0.05])
def test_rungs_that_both_apply_agree(where, damp):
    weight, mode, others = PAIRS[where]
    op = ConvOperator(weight, (9, 8), padding="same", padding_mode=mode)
    S = torch.linalg.svdvals(dense_twin(op))
    rough = float(S[0] / max(float(S[-1]), damp))
    assert rough < 1e5
    y = randn(2, *op.range_shape)
    x, found = op.lstsq(y, damp, **BOUNDARY)
    for method in others:
        z, other = op.lstsq(y, damp, method=method)
        assert relative(x, z) < 1e-13 * rough
        assert relative(found.residual, other.residual, torch.ones(())) < 1e-13 * rough
        if not damp:
            assert found.rank.tolist() == other.rank.tolist()


def test_slices_of_a_batch_agree(monkeypatch):
    op = of_kind("tall")
    inverse, y = op.pinv(**BOUNDARY), randn(7, *op.range_shape)
    whole = inverse(y)
    monkeypatch.setattr("unconv.inverse.boundary.system._DATA_BYTES", 2 * y[:1].nbytes)
    monkeypatch.setattr("unconv.inverse.boundary.ghost_system.BATCH_BYTES", 1)
    assert relative(inverse(y), whole) < 1e-13


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric", "circular"])
def test_the_minimum_norm_solution_of_a_wide_operator(mode):
    op = ConvOperator(randn(1, 2, 3), (7,), padding=1, padding_mode=mode)
    A, y = dense_twin(op), randn(2, *op.range_shape)
    x = op.lstsq(y, **BOUNDARY).solution
    null = torch.eye(A.shape[1], dtype=F64) - torch.linalg.pinv(A) @ A
    assert relative(op(x), y) < 1e-12
    assert float(torch.linalg.norm(x.flatten(1) @ null)) < 1e-12 * float(torch.linalg.norm(x))


LOW = [torch.float32, torch.complex64, torch.float16]


def in_dtype(op: ConvOperator, dtype: torch.dtype) -> ConvOperator:
    return op.with_weight(op.weight.to(dtype))


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_data_may_take_a_double_factor(dtype):
    """Of little damping: then answers are those of double precision, rounded once."""
    low = in_dtype(noise_like(9, 2), dtype)
    inverse, y = low.tikhonov(1e-3, **BOUNDARY), randn(1, *low.range_shape).to(dtype)
    assert {b.dtype.to_real() for b in inverse.buffers() if b.is_floating_point()} <= {F64}
    wide = C128 if dtype.is_complex else F64
    exact = in_dtype(low, wide).tikhonov(1e-3, **BOUNDARY)(y.to(wide))
    assert inverse(y).dtype == dtype
    assert relative(inverse(y), exact) < torch.finfo(dtype).eps
    assert relative(inverse(y.to(wide)), exact) < 1e-12


@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_answers_are_as_right_as_their_data(dtype):
    """Of a factor in float32 they lose no more than its rounding may; of double data nothing."""
    low, damp = in_dtype(noise_like(9, 2), dtype), 0.05
    inverse, y = low.tikhonov(damp, **BOUNDARY), randn(1, *low.range_shape).to(dtype)
    assert inverse.single
    wide = C128 if dtype.is_complex else F64
    exact = in_dtype(low, wide).tikhonov(damp, **BOUNDARY)(y.to(wide))
    assert inverse(y).dtype == dtype
    rounding = torch.finfo(torch.float32).eps * float(in_dtype(low, wide).norm()) / damp
    assert relative(inverse(y), exact) < max(rounding, torch.finfo(dtype).eps)
    assert relative(inverse(y.to(wide)), exact) < 1e-12
