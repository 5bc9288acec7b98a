"""The krylov rung against dense solves, and its honesty where it falls short."""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import unconv.convolve
from unconv import ConvOperator
from unconv.convolve.bounds import extension_norm
from unconv.inverse import krylov
from unconv.inverse.facts import AccuracyWarning
from unconv.inverse.krylov import KrylovInverse
from unconv.inverse.prepared import (
    Prepared,
    buffer_bytes,
    engine,
    kernel_spectrum,
    spectrum_bytes,
)
from unconv.inverse.request import Request
from unconv.numerics.cgls import Cgls
from unconv.numerics.linear_map import Adjoint
from unconv.numerics.lsmr import Lsmr
from unconv.psf import motion
from unconv.testing import dense_twin, dot_test

from ..helpers import (
    C128,
    DOUBLES,
    F64,
    GAP,
    apply_matrix,
    data,
    has_gap,
    near_identity,
    randn,
    relative,
)
from ..strategies import Case, cases, circulant_cases


def unproven(damp: float = 0.0) -> AbstractContextManager[object]:
    """Without damp no bound of the error is known, and the iteration says so."""
    return nullcontext() if damp else pytest.warns(AccuracyWarning, match="without damp no bound")


ENGINES = {"direct": False, "fft": True}
every_engine = pytest.mark.parametrize("name", ENGINES)


@pytest.fixture
def name() -> str:
    return "direct"


@pytest.fixture(autouse=True)
def forced(name, monkeypatch):
    """The FFT for these small operators, or not, whatever the cost model says."""
    monkeypatch.setattr(unconv.convolve.choice, "fft_is_cheaper", lambda *_: ENGINES[name])


def inverse_of(op: ConvOperator, algorithm: type | None = None, **options) -> KrylovInverse:
    inverse = krylov.factor(op, Request(**options))
    if algorithm is not None:
        inverse.algorithm = algorithm
    return inverse


def damped_matrix(A: torch.Tensor, damp: float) -> torch.Tensor:
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    return torch.linalg.solve(A.mH @ A + damp**2 * eye, A.mH)


def largest(A: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(A).reshape(-1, min(A.shape[-2:]))[:, 0]


def blur(size=(24, 20), mode="reflect", **options) -> ConvOperator:
    kernel = motion(7, 30.0)[None, None]
    padding = tuple(k // 2 for k in kernel.shape[2:])
    return ConvOperator(kernel, size, padding=padding, padding_mode=mode, **options)


# --- against the matrix ---------------------------------------------------------------------------


@every_engine
@given(draw=st.data())
@settings(max_examples=80)
def test_pseudo_inverse(name, draw):
    case: Case = draw.draw(st.one_of(cases(), circulant_cases()))
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    X = torch.linalg.pinv(A, rtol=GAP)
    inverse = inverse_of(op, maxiter=20_000)
    y, x = data(op.range_shape, op), data(op.domain_shape, op, seed=2)
    with unproven():
        assert relative(inverse(y), apply_matrix(X, y, op.domain_shape)) < 1e-10
    with unproven():
        assert relative(inverse.H(x), apply_matrix(X.mH, x, op.range_shape)) < 1e-10
    assert inverse.advice(inverse.solution(y)[1]) is None


@every_engine
@pytest.mark.parametrize("algorithm", [Cgls, Lsmr])
@given(draw=st.data())
@settings(max_examples=50)
def test_damped(name, algorithm, draw):
    case: Case = draw.draw(cases())
    op = case.operator()
    A = dense_twin(op)
    assume(bool(A.any()))  # taps that meet padding only leave round-off of an FFT beside zero
    damp = 0.05 * float(largest(A).amax()) + 1e-3
    X = damped_matrix(A, damp)
    inverse = inverse_of(op, algorithm, damp=damp, tol=1e-9)
    y, x = data(op.range_shape, op), data(op.domain_shape, op, seed=2)
    assert relative(inverse(y), apply_matrix(X, y, op.domain_shape)) < 1e-9
    assert relative(inverse.H(x), apply_matrix(X.mH, x, op.range_shape)) < 1e-9


@every_engine
@given(draw=st.data())
@settings(max_examples=60)
def test_prepared_is_the_operator(name, draw):
    op = draw.draw(st.one_of(cases(), circulant_cases())).operator()
    A, AH = Prepared(op, kernel_spectrum(op)), op.H
    assert (A._torus is not None) == ENGINES[name]
    for seed in (1, 2):  # buffers are used again
        x, y = data(op.domain_shape, op, seed=seed), data(op.range_shape, op, seed=seed)
        size = float(op.weight.abs().sum() * (x.norm() + y.norm())) * 10
        assert relative(A.matvec(x), op(x), size) < 1e-14
        assert relative(Adjoint(A).matvec(y), AH(y), size) < 1e-14
        out = torch.full_like(x, torch.nan)
        assert relative(A.rmatvec(y, out), AH(y), size) < 1e-14


@every_engine
@given(draw=st.data())
def test_norm_is_a_close_lower_bound(name, draw):
    op = draw.draw(cases()).operator()
    sigma = largest(dense_twin(op))
    norm = inverse_of(op).summary.norm
    assert norm.shape == sigma.shape
    assert (norm <= sigma * (1 + 1e-12)).all()
    assert (norm >= 0.9 * sigma).all()
    bound = krylov.norm_bound(op) * extension_norm(op.geometry)
    assert float(sigma.amax()) <= bound * (1 + 1e-12)


def test_summary():
    op = blur()
    plain, damped = inverse_of(op).summary, inverse_of(op, damp=0.2).summary
    assert plain.rank is None
    assert damped.rank is None
    assert plain.floor.tolist() == [0]
    assert damped.floor.tolist() == [0.2]
    assert plain.gap.tolist() == damped.gap.tolist() == [math.inf]
    assert not plain.dropped.any()
    assert "iterated" in plain.rank_how
    assert "damp > 0" in damped.rank_how


def test_minimum_norm_where_many_solutions_fit():
    op = ConvOperator(randn(1, 2, 3), (6,))  # 4 equations, 12 unknowns
    y = randn(2, 1, 4)
    with unproven():
        x = inverse_of(op)(y)
    assert relative(op(x), y) < 1e-13
    A = dense_twin(op)
    null = torch.eye(12, dtype=F64) - torch.linalg.pinv(A) @ A
    assert float(torch.linalg.norm(x.flatten(1) @ null)) < 1e-12 * float(torch.linalg.norm(x))


# --- images of a batch ----------------------------------------------------------------------------


def easy_and_hard(op: ConvOperator) -> torch.Tensor:
    """A zero image, one that is a singular vector, and one with every frequency."""
    smooth = torch.ones(op.domain_shape, dtype=F64)
    rough = randn(*op.domain_shape)
    return op(torch.stack([0 * smooth, smooth, rough, 1e-7 * smooth]))


@every_engine
def test_every_image_stops_by_itself(name):
    op = blur(mode="circular")
    y = easy_and_hard(op)
    inverse = inverse_of(op, damp=0.02)
    x, effort = inverse.solution(y)
    zero, smooth, rough, faint = effort.iterations.tolist()
    assert zero == 0
    assert smooth == faint <= 3
    assert rough > 30
    assert not x[0].any()
    for i in range(4):
        alone, one = inverse.solution(y[i : i + 1])
        assert relative(alone[0], x[i]) < 2e-6  # both have an error_bound of 1e-6
        assert abs(int(one.iterations) - int(effort.iterations[i])) <= 2


@pytest.mark.parametrize("algorithm", [Cgls, Lsmr])
def test_slices_do_not_show(algorithm, monkeypatch):
    op = blur()
    y = op(randn(5, 1, 24, 20))
    whole = inverse_of(op, algorithm, damp=0.02).solution(y)
    monkeypatch.setitem(krylov._SLICE_BYTES, "cpu", 2 * krylov._bytes_an_image(op))
    assert krylov._images_at_once(op) == 2
    parts = inverse_of(op, algorithm, damp=0.02).solution(y)
    assert relative(parts[0], whole[0]) < 2e-6
    assert (parts[1].iterations - whole[1].iterations).abs().max() <= 2


@every_engine
@pytest.mark.parametrize("damp", [0.0, 0.01, 0.3])
def test_one_kernel_a_sample(name, damp):
    """Images that are done wait for the others, unchanged."""
    weight = torch.stack([near_identity(2, 2, 3), randn(2, 2, 3), torch.zeros(2, 2, 3, dtype=F64)])
    op = ConvOperator(weight, (7,), padding=1)
    y = randn(3, 2, 7)
    x, effort = inverse_of(op, damp=damp, tol=1e-10, maxiter=500).solution(y)
    assert effort.iterations[2] == 0
    assert effort.iterations[0] < effort.iterations[1]
    assert not x[2].any()
    for i in range(2):
        one = ConvOperator(weight[i], (7,), padding=1)
        with unproven(damp):
            expected = inverse_of(one, damp=damp, tol=1e-10, maxiter=500)(y[i : i + 1])
        assert relative(x[i], expected[0]) < 1e-9


def test_large_grouped_images_go_through_the_fft_in_slices(monkeypatch):
    monkeypatch.setattr(unconv.convolve.choice, "fft_is_cheaper", lambda *_: True)
    monkeypatch.setattr("unconv.inverse.prepared.SLAB_BYTES", 1)
    for batch in ((), (3,)):
        op = ConvOperator(randn(*batch, 4, 2, 3, 3), (6, 7), padding=1, groups=2, stride=2)
        A, x, y = Prepared(op, kernel_spectrum(op)), data(op.domain_shape, op), None
        assert len(list(A._slices(len(x)))) == 2 * len(x)
        y = op(x)
        assert relative(A.matvec(x), y) < 1e-13
        assert relative(A.rmatvec(y), op.H(y)) < 1e-13


def test_empty_batch():
    inverse = inverse_of(blur(), damp=0.1)
    y = torch.zeros(0, 1, 24, 20, dtype=F64)
    x, effort = inverse.solution(y)
    assert x.shape == (0, 1, 24, 20)
    assert effort.iterations is None
    assert inverse.advice(effort) is None


# --- honesty --------------------------------------------------------------------------------------


def true_bound(op: ConvOperator, x: torch.Tensor, y: torch.Tensor, damp: float) -> float:
    g = op.H(y - op(x)) - damp**2 * x
    return float(g.norm() / (damp**2 * x.norm()))


@pytest.mark.parametrize("algorithm", [Cgls, Lsmr])
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
def test_the_bound_is_true_and_bounds_the_error(algorithm, tol):
    op = blur()
    y, damp = op(randn(1, 1, 24, 20)) + 0.01 * randn(1, 1, 24, 20, seed=3), 0.01
    inverse = inverse_of(op, algorithm, damp=damp, tol=tol)
    x, effort = inverse.solution(y)
    bound = true_bound(op, x, y, damp)
    assert bound <= tol
    assert inverse.advice(effort) is None
    exact = apply_matrix(damped_matrix(dense_twin(op), damp), y, op.domain_shape)
    assert relative(x, exact) <= bound * (1 + 1e-3) + 1e-12


@pytest.mark.parametrize("algorithm", [Cgls, Lsmr])
def test_strong_damping_needs_few_steps(algorithm):
    op = blur()
    y = randn(2, *op.range_shape)
    _, effort = inverse_of(op, algorithm, damp=1.0).solution(y)
    assert (effort.iterations <= 20).all()


@pytest.mark.parametrize("damp", [0.0, 1e-3])
def test_maxiter_is_an_answer_with_advice(damp):
    op = blur()
    y = op(randn(2, *op.domain_shape))
    inverse = inverse_of(op, damp=damp, maxiter=1)
    with pytest.warns(AccuracyWarning, match="stopped after 1 iterations") as caught:
        x, effort = inverse.solution(y)
    assert effort.iterations.tolist() == [1, 1]
    assert x.isfinite().all()
    assert x.any()
    what = "error_bound" if damp else "optimality"
    for part in (
        what,
        "2 of 2 images",
        "tol=1e-06" if damp else "round-off",
        "damp",
        "maxiter",
        "memory_limit",
    ):
        assert part in inverse.advice(effort)
    assert str(caught[0].message) == inverse.advice(effort)
    for call in (inverse, inverse.H):
        with pytest.warns(AccuracyWarning, match=what):
            call(y)


def test_more_than_rounding_allows():
    """tol below the floor of rounding: given up long before maxiter."""
    op = blur()
    y = op(randn(1, *op.domain_shape))
    for algorithm in (Cgls, Lsmr):
        inverse = inverse_of(op, algorithm, damp=1e-2, tol=1e-16)
        with pytest.warns(
            AccuracyWarning, match="above tol=1e-16: use a larger damp, or raise tol"
        ):
            x, effort = inverse.solution(y)
        assert int(effort.iterations) < inverse.maxiter / 2
        assert true_bound(op, x, y, 1e-2) < 1e-10


def test_undamped_answers_are_never_silent():
    op = ConvOperator(near_identity(2, 2, 3), (9,), padding=1)
    inverse, y = inverse_of(op), randn(2, 2, 9)
    for call in (inverse, inverse.H):
        with pytest.warns(AccuracyWarning, match="no bound on the error is known") as caught:
            call(y)
        assert_sentence(str(caught[0].message))
    with warnings.catch_warnings():  # the certificate speaks for this one
        warnings.simplefilter("error")
        assert inverse.advice(inverse.solution(y)[1]) is None
        damped = inverse_of(op, damp=0.1)
        damped(y), damped.H(y)


def assert_sentence(message: str) -> None:
    for part in ("optimality of", "round-off", "damp > 0"):
        assert part in message


def test_nothing_is_remembered():
    inverse = inverse_of(blur(), damp=0.02)
    y = randn(2, 1, 24, 20)
    before, state = y.clone(), copy.deepcopy(inverse.state_dict())
    first = inverse(y)
    inverse(randn(3, 1, 24, 20, seed=9))
    assert torch.equal(inverse(y), first)
    assert torch.equal(y, before)
    assert all(torch.equal(v, state[k]) for k, v in inverse.state_dict().items())
    assert relative(copy.deepcopy(inverse)(y), first) == 0


# --- scales, zeros, NaN ---------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("scale", [1e-170, 1e-30, 1e30, 1e170])
@pytest.mark.parametrize("size", [1e-100, 1.0, 1e100])
@pytest.mark.parametrize("rel", [0.0, 0.1])
def test_units_do_not_show(name, scale, size, rel):
    w = near_identity(2, 2, 3, 3)
    op = ConvOperator(w, (5, 6), padding=1)
    scaled = op.with_weight(w * scale)
    y = randn(2, 2, 5, 6)
    with unproven(rel):
        expected = inverse_of(op, damp=rel, tol=1e-12)(y)
    with unproven(rel):
        found = inverse_of(scaled, damp=rel * scale, tol=1e-12)(y * size)
    assert relative(found / size * scale, expected) < 1e-11
    norm, other = (inverse_of(o).summary.norm for o in (op, scaled))
    assert relative(other / scale, norm) < 1e-13


@pytest.mark.parametrize("damp", [1e-300, 1e-160, 1e-20])
def test_damping_too_small_to_matter(damp):
    op = ConvOperator(near_identity(2, 2, 3, 3), (5, 6), padding=1, padding_mode="circular")
    y = randn(2, 2, 5, 6)
    inverse = inverse_of(op, damp=damp)
    expected = apply_matrix(torch.linalg.pinv(dense_twin(op)), y, op.domain_shape)
    with pytest.warns(AccuracyWarning, match="stopped after 2[0-2] iterations"):
        x, effort = inverse.solution(y)
    steps = effort.iterations
    assert ((steps >= 20) & (steps <= 22)).all()  # by the round-off of the processor
    assert relative(x, expected) < 1e-13
    assert (effort.iterations < 200).all()


@pytest.mark.parametrize("damp", [1e3, 1e20, 1e100, 1e160, 1e300])
@pytest.mark.parametrize("size", [1.0, 1e300])
def test_damping_beyond_the_operator(damp, size):
    """x = Aᴴy/damp², down to where that underflows."""
    op = ConvOperator(near_identity(2, 2, 3, 3), (5, 6), padding=1)
    y = size * randn(2, 2, 5, 6)
    inverse = inverse_of(op, damp=damp, tol=1e-12)
    x, effort = inverse.solution(y)
    expected = op.H(y / damp / damp)
    largest = float(expected.abs().max())
    if largest > 1e-300:  # representable; either can underflow before it
        assert relative(x / largest, expected / largest) < max(1e-11, 30 * damp**-2)
    assert float(x.abs().max()) <= 1.01 * largest + 1e-300
    assert inverse.advice(effort) is None


@pytest.mark.parametrize("shape", [(2, 2, 3), (3, 2, 3), (2, 3, 3), (2, 2, 2, 3)])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_zero_kernel(shape, dtype, damp):
    op = ConvOperator(torch.zeros(shape, dtype=dtype), (6,), padding=1)
    inverse = inverse_of(op, damp=damp)
    assert inverse.summary.norm.tolist() == [0] * (op.batch_size or 1)
    x, effort = inverse.solution(data(op.range_shape, op))
    assert not x.any()
    assert effort.iterations.tolist() == [0, 0]
    assert inverse.advice(effort) is None


@every_engine
@pytest.mark.parametrize("damp", [0.0, 0.1])
def test_unchecked_nan_stays_in_its_image(name, damp):
    op = ConvOperator(near_identity(2, 2, 3), (9,), padding=1)
    inverse = krylov.factor(op, Request(damp=damp, check_finite=False))
    y = randn(3, 2, 9)
    with unproven(damp):
        expected = inverse(y)
    y[1, 0, 3] = torch.nan
    y[2, 1, 0] = torch.inf
    with unproven(damp):
        x = inverse(y)
    assert relative(x[0], expected[0]) < 1e-12
    assert x[1].isnan().all()
    assert not x[2].isfinite().any()
    spoilt = krylov.factor(
        op.with_weight(op.weight * torch.nan), Request(damp=damp, check_finite=False)
    )
    with unproven(damp):
        assert spoilt(y).isnan().all()


# --- dtypes, devices, gradients -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        (F64, torch.float32, F64),
        (F64, torch.complex64, C128),
        (C128, F64, C128),
        (torch.float32, torch.complex64, torch.complex64),
        (torch.float32, torch.float32, torch.float32),
        (torch.float16, torch.float16, torch.float16),
        (torch.bfloat16, torch.float32, torch.float32),
    ],
)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_dtypes_promote_and_work_is_double(own, other, result, batch):
    w = near_identity(2, 2, 3, dtype=own).expand(*batch, 2, 2, 3)
    op = ConvOperator(w, (9,), padding=1)
    y = randn(2, 2, 9, dtype=other)
    inverse = inverse_of(op, damp=0.1, tol=1e-12)
    X = damped_matrix(dense_twin(op), 0.1)
    expected = apply_matrix(X, y, op.domain_shape)
    x, effort = inverse.solution(y)
    assert x.dtype == (C128 if result.is_complex else F64)
    assert effort.iterations.shape == (2,)
    assert relative(x, expected.to(x.dtype)) < 1e-11
    assert inverse(y).dtype == result


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.float16])
def test_moves_without_losing_precision(dtype):
    w = near_identity(2, 2, 3, dtype=dtype)
    inverse = inverse_of(ConvOperator(w, (9,), padding=1), damp=0.1, tol=1e-12)
    y = randn(2, 2, 9, dtype=dtype)
    expected = inverse.solution(y)[0]
    for moved in (inverse.half(), inverse.double(), inverse.float(), inverse.to("cpu")):
        assert moved.weight.dtype.to_real() == F64
        assert torch.equal(moved.solution(y)[0], expected)
    assert not list(inverse.parameters())


@every_engine
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_adjoint_and_gradient(name, dtype, damp):
    op = ConvOperator(randn(3, 2, 3, dtype=dtype), (5,), padding=1, padding_mode="circular")
    inverse = inverse_of(op, damp=damp, tol=1e-13)
    with unproven(damp):
        assert dot_test(inverse) < 1e-11
    for member in (inverse, inverse.H):
        y = data(member.domain_shape, member).requires_grad_()
        v = data(member.range_shape, member, seed=4)
        with unproven(damp):
            (found,) = torch.autograd.grad(member(y), y, v)
            assert relative(found, member.H(v)) < 1e-11
        with unproven(damp):
            assert torch.autograd.gradcheck(member, y, fast_mode=True)
            assert torch.autograd.gradgradcheck(member, y, fast_mode=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own
def test_vmap_and_forward_mode():
    op = blur(size=(9, 8))
    inverse = krylov.factor(op, Request(damp=0.3, tol=1e-12))
    y = randn(3, 2, *op.range_shape)
    mapped = torch.func.vmap(inverse)(y)
    assert relative(mapped[1], inverse(y[1])) < 1e-11
    _, tangent = torch.func.jvp(inverse, (y[0],), (y[1],))
    assert relative(tangent, inverse(y[1])) < 1e-11


# --- the plan -------------------------------------------------------------------------------------


def test_obstacle_is_a_cut_off_of_ones_own():
    op = blur()
    assert krylov.obstacle(op, Request()) is None
    assert krylov.obstacle(op, Request(damp=0.1, rtol=0.1, atol=1.0)) is None
    for options in (Request(rtol=0.1), Request(atol=0.1)):
        assert "cannot cut singular values" in krylov.obstacle(op, options)


def test_memory_counts_what_runs_together():
    op = blur()
    one, three = (krylov.memory(op, Request(expected_solves=n)) for n in (1, 3))
    assert one >= krylov._bytes_an_image(op)
    assert 2 * krylov._bytes_an_image(op) <= three - one < 2 * one
    assert krylov.memory(op, Request(expected_solves=10**9)) <= 32 * 2**20
    own = ConvOperator(randn(5, 1, 1, 3), (64,), padding=1)
    assert krylov.memory(own, Request()) >= 5 * krylov._bytes_an_image(own)


@pytest.mark.parametrize("name", ["fft"])
def test_memory_counts_the_spectrum(name):
    for op in (blur(), ConvOperator(randn(4, 2, 3, 3, dtype=C128), (9, 8), groups=2, stride=2)):
        assert spectrum_bytes(op) == kernel_spectrum(op).nbytes
        A, x = Prepared(op, kernel_spectrum(op)), data(op.domain_shape, op, N=1)
        A.rmatvec(A.matvec(x))
        kept = sum(b.nbytes for b in A._buffers.values())
        assert kept <= buffer_bytes(op, 1) <= 6 * kept
        expected = krylov._bytes_an_image(op) + buffer_bytes(op, 1) + 2 * spectrum_bytes(op)
        assert krylov.memory(op, Request()) == expected


def test_a_spectrum_that_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(unconv.convolve.choice, "fft_is_cheaper", lambda *_: True)
    op, y = blur(), randn(1, 1, 24, 20)
    expected = inverse_of(op, damp=0.1, tol=1e-12)(y)
    monkeypatch.setattr("unconv.inverse.prepared._LARGEST_SPECTRUM", 100)
    assert kernel_spectrum(op) is None
    assert engine(op) is not None
    inverse = inverse_of(op, damp=0.1, tol=1e-12)
    assert inverse.blocks is None
    assert relative(inverse(y), expected) < 1e-10


@pytest.mark.parametrize("rel", [0.1, 0.03, 0.01])
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_iterations_are_foreseen(rel, tol):
    op = blur(size=(64, 60))
    options = Request(damp=rel, tol=tol)
    y = op(randn(1, 1, 64, 60)) + 0.01 * randn(1, 1, 64, 60, seed=3)
    took = int(inverse_of(op, damp=rel, tol=tol).solution(y)[1].iterations)
    foreseen = krylov.expected_iterations(op, options)
    assert foreseen / 2 < took < 1.2 * foreseen
    setup, solve = krylov.operations(op, options)
    assert 0 < setup < solve


def test_iterations_are_capped():
    op = blur()
    assert krylov.expected_iterations(op, Request()) == 4 * 24 * 20
    assert krylov.expected_iterations(op, Request(maxiter=7)) == 7
    assert krylov.expected_iterations(op, Request(damp=1e-300)) == 20_000
    assert krylov.expected_iterations(op, Request(damp=1e300)) >= 1
    nan = op.with_weight(op.weight * torch.nan)
    assert krylov.expected_iterations(nan, Request(damp=0.1)) == 20_000
    assert inverse_of(op, damp=0.1).algorithm is Cgls
    assert inverse_of(op, damp=1e-3).algorithm is Lsmr
    assert inverse_of(op).algorithm is Lsmr
