"""Rings eliminated: the whole ghost system's answers, the matrix's, at the predicted size."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse import InverseOperator
from unconv.inverse.boundary.bordered import Corners
from unconv.inverse.boundary.candidates import damped_form
from unconv.inverse.boundary.forms import AugmentedForm, norms
from unconv.inverse.boundary.problem import augmented, augmented_by_rings, prepare
from unconv.inverse.boundary.ring_system import RingSystem
from unconv.inverse.boundary.sizes import grid_of, ring_axis, ring_sizes
from unconv.inverse.facts import CannotServeError
from unconv.inverse.request import Request
from unconv.pictures.restoration import blur_operator
from unconv.psf import models as psf
from unconv.testing import dense_twin

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    apply_matrix,
    data,
    randn,
    relative,
)
from ...strategies import Case, cases, is_small

EPS = torch.finfo(F64).eps
BOUNDARY = {"method": "boundary"}


@pytest.fixture
def rings_for_all(monkeypatch):
    """Rings are eliminated wherever there are any, whether or not that is cheaper or stable."""

    def always(op: ConvOperator, options: Request):
        return ring_sizes(op.geometry, not op.dtype.is_complex) if options.damp else None

    monkeypatch.setattr("unconv.inverse.boundary.problem.rings_of", always)
    monkeypatch.setattr("unconv.inverse.boundary.sizes.rings_of", always)


pytestmark = pytest.mark.usefixtures("rings_for_all")
small = settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])


def form_of(op: ConvOperator, damp: float) -> AugmentedForm:
    problem = prepare(op, Request(damp=damp), 1)
    form = augmented_by_rings(problem, Corners(problem.damp, problem.damp))
    assert form is not None
    return form


def damped_inverse(A: Tensor, damp: float) -> Tensor:
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return Vh.mH @ ((S / (S**2 + damp**2)).to(A.dtype)[..., None] * U.mH)


def sigma_max(A: Tensor) -> float:
    return float(torch.linalg.matrix_norm(A, 2).amax())


# --- against the whole system and the matrix ------------------------------------------------------


@given(cases(dims=(2, 3), per_sample=False))
@small
def test_the_rings_change_no_answer(case: Case):
    """Both rows of the augmented system, for data in both rows."""
    op = case.operator()
    size = sigma_max(dense_twin(op))
    assume(size > 0 and ring_axis(op.geometry, not op.dtype.is_complex) is not None)
    problem = prepare(op, Request(damp=0.1 * size), 1)
    corners = Corners(problem.damp, problem.damp)
    rings = augmented_by_rings(problem, corners)
    whole = augmented(problem, grid_of(problem.geometry, problem.real), corners)
    assert rings is not None
    a = randn(2, *problem.A.range_shape, dtype=op.dtype, seed=1)
    b = randn(2, *problem.A.domain_shape, dtype=op.dtype, seed=2)
    for found, expected in zip(rings.once(a, b), whole.once(a, b), strict=True):
        assert relative(found, expected) < 1e-11


every_ratio = pytest.mark.parametrize("ratio", [1.0, 1e-2, 1e-4, 1e-6])


@every_ratio
@given(case=cases())
@small
def test_any_damp_equals_the_matrix(ratio, case: Case):
    op = case.operator()
    assume(is_small(op))
    assert_damped(op, ratio)


@pytest.mark.slow
@every_ratio
@given(case=cases())
@settings(small, max_examples=100)
def test_any_damp_equals_the_matrix_at_length(ratio, case: Case):
    assert_damped(case.operator(), ratio)


def assert_damped(op: ConvOperator, ratio: float) -> None:
    A = dense_twin(op)
    size = sigma_max(A)
    assume(size > 0)
    damp = ratio * size
    X = damped_inverse(A, damp)
    inverse = op.tikhonov(damp, **BOUNDARY)
    # 1e-10 is what one pass may leave; a rounding of A by eps·σ_max may change a direction with
    # σ = 0 by eps·σ_max/damp².
    tolerance = 1e-10 * sigma_max(X) + 100 * EPS * size / damp**2
    for found, expected in ((inverse.to_dense(), X), (inverse.H.to_dense(), X.mH)):
        assert float((found - expected).abs().max()) <= tolerance
    y = data(op.range_shape, op)
    x, certificate = op.lstsq(y, damp, **BOUNDARY)
    best = apply_matrix(X, y, op.domain_shape)
    error, of_best = (torch.linalg.norm(t.flatten(1), dim=1) for t in (x - best, best))
    assert (error <= (certificate.error_bound + 100 * EPS / ratio**2) * of_best).all()


SHAPES = {
    "kernel larger than the image": ((1, 1, 5, 7), (3, 4), {"padding": (2, 3)}),
    "even, uneven": ((2, 2, 4, 2), (7, 6), {"padding": [(1, 2), (0, 1)]}),
    "one axis padded": ((2, 1, 3, 3), (6, 9), {"padding": (0, 1), "stride": (3, 1)}),
    "strides and groups": ((4, 2, 3, 3), (7, 8), {"padding": 1, "groups": 2, "stride": (2, 3)}),
    "dilated": ((1, 2, 3, 3), (9, 8), {"padding": 2, "dilation": 2}),
    "transposed": ((2, 3, 3, 3), (4, 6), {"padding": 1, "transposed": True, "stride": 2}),
    "three axes": ((2, 1, 2, 3, 3), (4, 3, 6), {"padding": (0, 1, 1), "stride": (1, 1, 2)}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "symmetric", "circular"])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_options_that_meet(shape, mode, dtype):
    weight, size, options = SHAPES[shape]
    op = ConvOperator(randn(*weight, dtype=dtype), size, padding_mode=mode, **options)
    A = dense_twin(op)
    damp = 0.03 * sigma_max(A)
    inverse = op.tikhonov(damp, **BOUNDARY)
    X = damped_inverse(A, damp)
    assert relative(inverse.to_dense(), X) < 1e-9
    assert relative(inverse.H.to_dense(), X.mH) < 1e-9
    x, _ = op.lstsq(data(op.range_shape, op), damp, **BOUNDARY)
    assert relative(x, apply_matrix(X, data(op.range_shape, op), op.domain_shape)) < 1e-12


# --- sizes ----------------------------------------------------------------------------------------


@given(cases(dims=(2, 3), per_sample=False, transposed=False))
@small
def test_sizes_are_predicted(case: Case):
    op = case.operator()
    assume(float(op.weight.abs().max()) > 0)
    sizes = ring_sizes(op.geometry, not op.dtype.is_complex)
    assume(sizes is not None)
    system = form_of(op, 1.0).system
    assert isinstance(system, RingSystem)
    assert system.ring_inverse.shape == (sizes.others, op.geometry.groups, sizes.order, sizes.order)
    assert system.size == sizes.unknowns
    assert system.torus.frequencies == sizes.frequencies


@pytest.mark.parametrize("first", [0, 1])
def test_the_rings_run_around_the_thicker_side(first):
    size = (6, 30) if first == 0 else (30, 6)
    op = ConvOperator(randn(1, 1, 5, 5), size, padding=2)
    assert ring_axis(op.geometry, True) == first
    assert form_of(op, 1.0).system.size == 2 * 2 * 6


def test_one_padded_axis_leaves_nothing_dense():
    free = ConvOperator(randn(1, 1, 5, 1), (9, 8), padding=(2, 0))
    assert form_of(free, 1.0).system.size == 0
    X = damped_inverse(dense_twin(free), 0.5)
    assert relative(free.tikhonov(0.5, **BOUNDARY).to_dense(), X) < 1e-13


def test_one_dimension_and_no_ghosts_have_no_rings():
    assert ring_axis(ConvOperator(randn(1, 1, 5), (9,), padding=2).geometry, True) is None
    assert ring_axis(ConvOperator(randn(1, 1, 2, 2), (8, 8), stride=2).geometry, True) is None


def test_half_of_a_square_picture_is_dense():
    op = ConvOperator(randn(1, 1, 7, 7), (64, 64), padding=3)
    plan = op.plan(damp=1.0, **BOUNDARY)
    unknowns = ring_sizes(op.geometry, True).unknowns
    assert unknowns == 2 * 3 * 64
    assert plan.memory >= 8 * unknowns**2


# --- a small damp ---------------------------------------------------------------------------------

MOTION = psf.motion(8 * math.sqrt(2), 45).double()


def test_ill_conditioned_rings_are_not_eliminated():
    """Two Schur complements in a row lose (σ_max/damp)² twice."""
    op = blur_operator(MOTION, (24, 24), "reflect")
    inverse = op.tikhonov(1e-6, **BOUNDARY)
    assert not isinstance(inverse.forms[0].system, RingSystem)
    X = damped_inverse(dense_twin(op), 1e-6)
    y = randn(1, *op.range_shape)
    assert relative(inverse(y), apply_matrix(X, y, op.domain_shape)) < 1e-4
    assert isinstance(op.tikhonov(1e-3, **BOUNDARY).forms[0].system, RingSystem)


def test_memory_for_all_ghosts_is_asked_for():
    op = blur_operator(MOTION, (24, 24), "reflect")
    problem = prepare(op, Request(damp=1e-6, memory_limit=1e6), 1)
    with pytest.raises(CannotServeError, match=r"all border unknowns at once.*memory_limit"):
        damped_form(problem)


# --- one pass -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["zeros", "reflect", "valid"])
@pytest.mark.parametrize("damp", [1e-1, 1e-2, 1e-4])
def test_one_pass_where_refining_changes_nothing(boundary, damp):
    op = blur_operator(MOTION, (40, 40), boundary)
    inverse = op.tikhonov(damp, **BOUNDARY)
    form = inverse.forms[0]
    assert form.trial.passed == (damp > 1e-4)
    y = randn(2, *op.range_shape, seed=3)
    careful = form.pinv(y, careful=True)
    assert careful.refinements >= 1
    quick = form.pinv(y, careful=False)
    assert quick.refinements == (0 if form.trial.passed else careful.refinements)
    assert (norms(quick.value - careful.value) <= 1e-11 * norms(careful.value)).all()
    _, certificate = op.lstsq(y, damp, **BOUNDARY)
    assert (certificate.refinements >= 1).all()
    assert certificate.converged.all()


@pytest.mark.parametrize("seed", range(12))
def test_one_pass_is_refined_where_it_is_not_enough_for_the_data(seed):
    """Data outside the range keep little: their solution must not be round-off of their pass."""
    torch.manual_seed(seed)
    outputs, n = 3 + seed % 2, 3 + seed % 3
    op = ConvOperator(torch.randn(outputs, 1, 4, 4, dtype=F64), (n, n - 1), stride=2, padding=4)
    damp = 10 ** -(2 + seed % 6 / 5) * float(op.norm())
    inverse = op.tikhonov(damp, **BOUNDARY)
    A = dense_twin(op)
    y = torch.randn(op.shape[0], dtype=F64)
    outside = y - A @ torch.linalg.lstsq(A, y, driver="gelsd").solution
    y = outside + 10.0 ** -(2 + seed // 3) * (y - outside)
    x = inverse(y.reshape(1, *op.range_shape)).flatten()
    exact = damped_inverse(A, damp) @ y
    # what rounding y alone does to x, beside the accuracy of a solve
    lost = torch.finfo(F64).eps * y.norm() * torch.linalg.matrix_norm(damped_inverse(A, damp), 2)
    assert (x - exact).norm() <= 3e-12 * exact.norm() + 30 * lost


# --- what a factor may be used for ----------------------------------------------------------------


def example(dtype: torch.dtype = F64) -> tuple[ConvOperator, InverseOperator]:
    op = ConvOperator(randn(2, 2, 3, 3, dtype=dtype), (6, 9), padding=1, padding_mode="reflect")
    return op, op.tikhonov(0.5, **BOUNDARY)


def test_images_are_solved_together():
    _, inverse = example()
    y = data(inverse.domain_shape, inverse, N=5)
    assert relative(torch.cat([inverse(v[None]) for v in y]), inverse(y)) < 1e-13
    z = randn(2, *inverse.domain_shape, dtype=C128)
    assert relative(inverse(z), torch.complex(inverse(z.real), inverse(z.imag))) < 1e-13


def test_adjoint():
    for dtype in DOUBLES:
        op, inverse = example(dtype)
        y, x = data(op.range_shape, op), data(op.domain_shape, op, seed=2)
        left, right = torch.vdot(inverse(y).flatten(), x.flatten()), inverse.H(x).flatten()
        assert abs(left - torch.vdot(y.flatten(), right)) < 1e-12 * float(y.norm() * x.norm())


def test_the_inverse_of_the_adjoint_is_the_adjoint_of_the_inverse():
    weight = randn(2, 2, 3, 3)
    op = ConvOperator(weight, (6, 9), padding=1)
    turned = ConvOperator(weight, (6, 9), padding=1, transposed=True)
    inverse = op.tikhonov(0.5, **BOUNDARY)
    assert relative(turned.tikhonov(0.5, **BOUNDARY).to_dense(), inverse.H.to_dense()) < 1e-12


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_answer_alike(copied):
    _, inverse = example()
    y = data(inverse.domain_shape, inverse)
    assert torch.equal(copied(inverse)(y), inverse(y))


def test_moving_keeps_the_factor_in_double_precision():
    _, inverse = example()
    y = data(inverse.domain_shape, inverse)
    expected = inverse(y)
    moved = inverse.to(torch.float32)
    assert moved.forms[0].system.ring_inverse.dtype == C128
    x = moved(y.float())
    assert x.dtype == torch.float32
    assert relative(x, expected) < 1e-6


def test_every_tensor_of_the_system_moves():
    """Buffers, rings and strips; the meta device stands for another one."""
    system = form_of(example()[0], 0.5).system.to("meta")
    assert {b.device.type for b in system.buffers()} == {"meta"}
    tensors = [t for ring in system.rings for place in ring.terms for t in place]
    tensors += [p.position for strip in system.constraints for p in strip.terms]
    assert {t.device.type for t in tensors} == {"meta"}
