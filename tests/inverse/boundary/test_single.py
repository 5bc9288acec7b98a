"""Factors in single precision: where they serve, how right their answers are, what else keeps."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import Tensor

from unconv import ConvOperator
from unconv.grid.modes import MODES
from unconv.inverse.boundary.one_pass import Trial, limit_in_single
from unconv.inverse.krylov import norm_bound
from unconv.psf import models as psf
from unconv.testing import dense_twin

from ...helpers import F64, near_identity, randn, relative

F32, C64 = torch.float32, torch.complex64
BOUNDARY = {"method": "boundary"}
COPIES = ["zeros", "reflect", "replicate", "symmetric", "circular"]
(SUMS,) = MODES.keys() - COPIES


def damped_matrix(A: Tensor, damp: float) -> Tensor:
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    return (Vh.mH * (S / (S.square() + damp**2))) @ U.mH


def applied(X: Tensor, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    return (y.flatten(1).to(X.dtype) @ X.mT).reshape(len(y), *shape)


def limit_of(inverse) -> float:
    """What a pass in single precision may be wrong by, whatever factor was kept."""
    facts = inverse.summary
    return limit_in_single(float((facts.norm / facts.floor).max()))


def identity(c: int, k: int = 3, seed: int = 0, dtype: torch.dtype = F32) -> Tensor:
    return near_identity(c, c, k, k, seed=seed, dtype=F64).to(dtype)


# --- against the matrix ---------------------------------------------------------------------------


def random_operator(seed: int) -> ConvOperator:
    """Float32 operators of all boundaries, channels and strides, forward and transposed.

    Modes that copy take turns until seed 14, then comes the one that sums; every fourth seed is
    transposed and pads zeros.
    """
    torch.manual_seed(seed)
    r, c = 1 + seed % 3, 1 + seed // 3 % 3
    dtype = C64 if seed % 7 == 6 else F32
    K = torch.randn(r, c, 3, 2 + seed % 2, dtype=dtype)
    mode = COPIES[seed % 5] if seed < 15 else SUMS
    options = {"padding": 1, "padding_mode": mode, "stride": 1 + seed // 5 % 2}
    if seed % 4 == 3:
        return ConvOperator(K.transpose(0, 1), (7, 8), padding=1, stride=2, transposed=True)
    return ConvOperator(K, (9, 8), **options)


@pytest.mark.parametrize("damp", [1e-4, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("seed", [*range(15), 16, 17, 18, 20, 21, 22])
def test_damped_answers_are_those_of_the_matrix(seed, damp):
    op = random_operator(seed)
    damp = damp * float(op.norm())
    inverse = op.tikhonov(damp, **BOUNDARY)
    A = dense_twin(op.in_double())
    X = damped_matrix(A, damp)
    y = randn(3, *op.range_shape, dtype=op.dtype, seed=seed)
    x = randn(3, *op.domain_shape, dtype=op.dtype, seed=seed + 1)
    for found, matrix, v, shape in (
        (inverse(y), X, y, op.domain_shape),
        (inverse.H(x), X.mH, x, op.range_shape),
    ):
        assert found.dtype == op.dtype
        best = applied(matrix, v, shape)
        # what a trial asks for, and twice that of data at hand
        assert relative(found.to(best.dtype), best) < 2 * limit_of(inverse)
    doubled = inverse(y.to(A.dtype))
    assert doubled.dtype == A.dtype
    assert relative(doubled, applied(X, y, op.domain_shape)) < 1e-11
    assert op.lstsq(y, damp, **BOUNDARY).certificate.converged.all()


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_pseudo_inverses_are_those_of_the_matrix(shape, stride):
    K = near_identity(*shape, 3, 3, dtype=F64).float()
    op = ConvOperator(K, (9, 8), padding=1, stride=stride)
    inverse = op.pinv(**BOUNDARY)
    X = torch.linalg.pinv(dense_twin(op.in_double()), rtol=1e-7)
    for N in (1, 4):
        y = randn(N, *op.range_shape, dtype=F32)
        best = applied(X, y, op.domain_shape)
        assert relative(inverse(y).double(), best) < 2 * limit_of(inverse)
        assert relative(inverse(y.double()), best) < 1e-11
    certificate = op.lstsq(y, **BOUNDARY).certificate
    assert certificate.converged.all()
    assert (certificate.error_bound < 1e-4).all()


@pytest.mark.parametrize("size", [(64,), (6, 7, 5)])
def test_other_dimensions(size):
    K = near_identity(2, 2, *(3,) * len(size), dtype=F64).float()
    op = ConvOperator(K, size, padding=1)
    y = randn(2, 2, *size, dtype=F32)
    for inverse, X in (
        (op.pinv(**BOUNDARY), torch.linalg.inv(dense_twin(op.in_double()))),
        (op.tikhonov(0.5, **BOUNDARY), damped_matrix(dense_twin(op.in_double()), 0.5)),
    ):
        assert inverse.single
        assert relative(inverse(y).double(), applied(X, y, op.domain_shape)) < 1e-6


def test_one_kernel_a_sample():
    K = torch.stack([identity(2, seed=1), identity(2, seed=2)])
    op = ConvOperator(K, (8, 8), padding=1)
    inverse = op.pinv(**BOUNDARY)
    assert inverse.single
    y = randn(2, 2, 8, 8, dtype=F32)
    best = torch.cat([op.of_sample(i).in_double().pinv()(y[i : i + 1].double()) for i in (0, 1)])
    assert relative(inverse(y).double(), best) < 1e-6


def test_kernels_of_which_one_needs_double():
    """One factor in double is one too many for all: the batch takes its data in double then."""
    op = ConvOperator(
        torch.stack([identity(4), randn(4, 4, 3, 3, seed=2).float()]), (16, 16), padding=1
    )
    inverse = op.pinv(**BOUNDARY)
    assert [form.system.single for form in inverse.forms] == [True, False]
    assert not inverse.single
    assert inverse.plan.factor_dtype == F64
    y = randn(2, 4, 16, 16, dtype=F32)
    for i in (0, 1):
        one, data = op.of_sample(i).in_double().pinv(**BOUNDARY), y[i : i + 1].double()
        assert relative(inverse(y)[i : i + 1], one(data)) < torch.finfo(F32).eps
        assert relative(inverse(y.double())[i : i + 1], one(data)) < 1e-11


def test_data_that_the_inverse_nearly_annihilates_are_refined():
    op = ConvOperator(identity(3)[:, :1], (12, 12), padding=1)
    inverse = op.pinv(**BOUNDARY)
    assert inverse.single
    A = dense_twin(op.in_double())
    y = randn(A.shape[0], dtype=F64)
    outside = y - A @ torch.linalg.lstsq(A, y).solution
    y = (outside + 1e-5 * y).float().reshape(1, *op.range_shape)
    best = applied(torch.linalg.pinv(A), y, op.domain_shape)
    assert relative(inverse(y).double(), best) < 2 * limit_of(inverse)


# --- which precision ------------------------------------------------------------------------------


def bytes_of(inverse) -> int:
    return sum(
        b.nbytes
        for b in inverse.forms[0].system.buffers()
        if b.is_floating_point() or b.is_complex()
    )


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_half_of_the_bytes(mode, damp):
    def factored(dtype):
        op = ConvOperator(identity(2, dtype=F64).to(dtype), (24, 24), padding=1, padding_mode=mode)
        return op.tikhonov(damp, **BOUNDARY) if damp else op.pinv(**BOUNDARY)

    single, double = factored(F32), factored(F64)
    assert single.single
    assert not double.single
    assert bytes_of(single) == bytes_of(double) / 2


def test_plans_say_so():
    op = ConvOperator(psf.disk(2).float()[None, None], (40, 40), padding=2)
    before, after = op.plan(damp=0.05, **BOUNDARY), op.tikhonov(0.05, **BOUNDARY).plan
    assert before.factor_dtype == after.factor_dtype == F32
    assert "kept in torch.float32, if one pass of it is enough" in str(before)
    assert "kept in torch.float32, as one pass of it is right to" in str(after)
    assert before.memory < op.in_double().plan(damp=0.05, **BOUNDARY).memory
    assert before.memory_if_deficient >= op.in_double().plan(damp=0.05, **BOUNDARY).memory
    assert "if a factor in double precision is needed" in str(before)


def test_plans_say_why_not():
    blur = ConvOperator(psf.disk(2).float()[None, None], (40, 40), padding=2)
    small = str(blur.plan(damp=1e-5, **BOUNDARY))
    assert "kept in torch.float64, as damp is under 1e-03 of what σ_max may be" in small
    assert blur.tikhonov(1e-5, **BOUNDARY).plan.factor_dtype == F64
    K = randn(4, 4, 3, 3, seed=2).float()
    inverse = ConvOperator(K, (40, 40), padding=1).pinv(**BOUNDARY)
    assert not inverse.single
    assert inverse.plan.factor_dtype == F64
    assert "leaves a pass in float32 too few digits" in str(inverse.plan)
    laplace = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    for mode, kernel in (("replicate", laplace), ("zeros", torch.ones(1, 1, 3, 3))):
        op = ConvOperator(kernel, (8, 8), padding=1, padding_mode=mode)
        inverse = op.pinv(**BOUNDARY)
        assert inverse.summary.dropped.all()
        assert not inverse.single
        assert "small singular values of A were taken out" in str(inverse.plan)


def test_a_trial_that_fails_makes_the_factor_anew_in_double():
    torch.manual_seed(0)
    op = ConvOperator(torch.randn(1, 1, 9, 9) / 9, (64, 64), padding=4)
    damp = 1.1e-3 * norm_bound(op)
    inverse = op.tikhonov(damp, **BOUNDARY)
    assert not inverse.single
    assert "one pass in float32 is wrong by" in str(inverse.plan)
    assert inverse.plan.memory == op.plan(damp=damp, **BOUNDARY).memory_if_deficient
    limited = op.plan(damp=damp, **BOUNDARY).memory
    refined = op.tikhonov(damp, memory_limit=limited, **BOUNDARY)
    assert refined.single
    assert "memory_limit leaves no room for more; each answer is refined" in str(refined.plan)
    y = randn(2, *op.range_shape, dtype=F32)
    assert relative(refined(y), inverse(y)) < 1e-7


def test_double_operators_have_double_factors():
    op = ConvOperator(identity(2, dtype=F64), (9, 9), padding=1)
    for inverse in (op.pinv(**BOUNDARY), op.tikhonov(0.5, **BOUNDARY)):
        assert not inverse.single
        assert inverse.plan.factor_why == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    op = ConvOperator(identity(2).to(dtype), (9, 9), padding=1)
    inverse = op.pinv(**BOUNDARY)
    assert inverse.single
    y = randn(2, *op.range_shape).to(dtype)
    best = applied(torch.linalg.inv(dense_twin(op.in_double())), y, op.domain_shape)
    assert inverse(y).dtype == dtype
    assert relative(inverse(y).double(), best) < torch.finfo(dtype).eps


# --- what a factor is used for --------------------------------------------------------------------


@pytest.mark.parametrize("damp", [0.0, 0.4])
def test_gradients(damp):
    """Of weight and data, as in float64, to the digits of float32."""

    def gradients(dtype):
        W = identity(2, dtype=F64).to(dtype).requires_grad_()
        op = ConvOperator(W, (9, 8), padding=1)
        inverse = op.tikhonov(damp, **BOUNDARY) if damp else op.pinv(**BOUNDARY)
        y = randn(3, *op.range_shape).to(F32).to(dtype).requires_grad_()
        (inverse(y) ** 2).sum().backward()
        return W.grad.double(), y.grad.double()

    for found, best in zip(gradients(F32), gradients(F64), strict=True):
        assert relative(found, best) < 1e-5


def test_second_and_forward_derivatives():
    op = ConvOperator(identity(2), (6, 6), padding=1)
    double = op.in_double()
    y, v = randn(1, *op.range_shape, dtype=F32), randn(1, *op.range_shape, dtype=F32, seed=5)

    def twice(op, y, v):
        def of_weight(W):
            return (op.with_weight(W).tikhonov(0.4, **BOUNDARY)(y) * v).sum()

        return torch.func.jvp(torch.func.grad(of_weight), (op.weight,), (op.weight,))[1]

    assert relative(twice(op, y, v).double(), twice(double, y.double(), v.double())) < 1e-5


def test_vmap_over_data_and_weights():
    op = ConvOperator(identity(2), (6, 6), padding=1)
    inverse = op.pinv(**BOUNDARY)
    y = randn(4, 1, *op.range_shape, dtype=F32)
    assert relative(torch.func.vmap(inverse)(y), torch.stack([inverse(v) for v in y])) < 1e-5
    W = torch.stack([op.weight, identity(2, seed=3)])

    def solved(w, v):
        return op.with_weight(w).pinv(**BOUNDARY)(v)

    each = torch.stack([solved(w, v) for w, v in zip(W, y[:2], strict=True)])
    assert relative(torch.func.vmap(solved)(W, y[:2]), each) < 1e-5


def test_copies_files_and_dtypes():
    op = ConvOperator(identity(2), (9, 8), padding=1, padding_mode="reflect")
    inverse = op.tikhonov(0.4, **BOUNDARY)
    y = randn(2, *op.range_shape, dtype=F32)
    best = applied(damped_matrix(dense_twin(op.in_double()), 0.4), y, op.domain_shape)
    file = io.BytesIO()
    torch.save(inverse, file)
    file.seek(0)
    for other in (copy.deepcopy(inverse), torch.load(file, weights_only=False)):
        assert other.single
        assert torch.equal(other(y), inverse(y))
    doubled = copy.deepcopy(inverse).double()
    for v in (y, y.double()):
        assert doubled(v).dtype == F64
        assert relative(doubled(v), best) < 1e-11
    assert relative(doubled.float()(y).double(), best) < 1e-6


def test_equal_groups_and_complex_data():
    K = identity(1).expand(3, 1, 3, 3)
    op = ConvOperator(K, (9, 8), padding=1, groups=3)
    inverse = op.tikhonov(0.4, **BOUNDARY)
    X = damped_matrix(dense_twin(op.in_double()), 0.4)
    y = randn(2, *op.range_shape, dtype=C64)
    best = applied(X.to(torch.complex128), y, op.domain_shape)
    assert inverse.one.single
    assert inverse(y).dtype == C64
    assert relative(inverse(y).to(best.dtype), best) < 1e-6
    assert relative(inverse(y.to(best.dtype)), best) < 1e-11
    assert inverse.plan.factor_dtype == F32


def test_compiled():
    op = ConvOperator(identity(2), (9, 8), padding=1)
    inverse = op.pinv(**BOUNDARY)
    y = randn(2, *op.range_shape, dtype=F32)
    assert relative(torch.compile(inverse, backend="aot_eager")(y), inverse(y)) < 1e-6


# --- trials ---------------------------------------------------------------------------------------


def test_trials():
    y, x = torch.ones(1, 4), torch.ones(1, 4)
    fine = Trial(1e-6, beside=1e-3, loss=1e-6, single=True, limit=limit_in_single(10.0))
    assert fine.passed
    assert not fine.passed_for_both
    assert fine.answers(y)
    assert not fine.answers(y.double())
    assert fine.is_enough(y, x)
    assert not fine.is_enough(y, 1e-3 * x)
    assert not Trial(change=math.inf, single=True).passed
    assert not Trial(change=1e-6).passed
    assert Trial(change=1e-5, limit=limit_in_single(100.0)).passed
    assert not Trial(change=1e-5, limit=limit_in_single(2.0)).passed
    assert not Trial(change=1e-4, limit=limit_in_single(1e6)).passed
    assert Trial(change=1e-13).answers(y.double())
    assert Trial(change=1e-13, loss=0.0).is_enough(y, 0 * x)


@pytest.mark.parametrize("damp", [0.0, 0.1])
@pytest.mark.parametrize("size", [1e-90, 1e-45, 1e38, 1e100])
def test_data_out_of_the_range_of_float32(size, damp):
    K = 0.1 * torch.randn(1, 1, 3, 3)
    K[..., 1, 1] += 1
    op = ConvOperator(K, (16, 16), padding=1)
    inverse = op.tikhonov(damp, method="boundary") if damp else op.pinv(method="boundary")
    assert inverse.single
    y = torch.randn(2, 1, 16, 16, dtype=F64)
    torch.testing.assert_close(inverse(size * y) / size, inverse(y), rtol=1e-12, atol=1e-12)
    largest = (1e38 * y / y.abs().max()).float()
    assert bool(inverse(largest).isfinite().all())


@pytest.mark.parametrize("seed", range(12))
def test_single_samples_at_corners(seed):
    """All of them is the business of few border unknowns: a pass misses most there."""
    torch.manual_seed(seed)
    K = 0.2 / 30**0.5 * torch.randn(2, 2, 6, 5, dtype=torch.complex64)
    K[:, 0, 3, 2] += 1
    op, exact = (ConvOperator(k, (15, 20)) for k in (K, K.to(torch.complex128)))
    inverse, reference = (o.pinv(method="boundary") for o in (op, exact))
    v = torch.zeros(2, *op.domain_shape, dtype=K.dtype)
    v[0, 0].flatten()[0] = v[1, 0].flatten()[-1] = 1
    expected = reference.H(v.to(torch.complex128))
    assert float((inverse.H(v) - expected).norm() / expected.norm()) < 6.2e-5
