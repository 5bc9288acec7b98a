"""The separable rung against the dense one, its cut-off, its parities and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.diagonal import dense, filtered, separable
from unconv.inverse.diagonal.share import share_of_weight
from unconv.inverse.operator import InverseOperator
from unconv.inverse.request import Request
from unconv.psf import models as psf
from unconv.testing import dense_twin, dot_test, penrose_errors

from ...helpers import (
    C128,
    DOUBLES,
    F64,
    GAP,
    SINGLES,
    apply_matrix,
    data,
    has_gap,
    randn,
    relative,
)
from ...strategies import Case, cases


@dataclass(frozen=True)
class SeparableCase(Case):
    """A case whose weight is an outer product, with kernels of their own in every group."""

    symmetric: tuple[bool, ...]
    shared: bool

    def operator(self, dtype: torch.dtype | None = None) -> ConvOperator:
        dtype = dtype or self.dtype
        nd, groups = len(self.input_shape), self.options["groups"]
        *batch, first, second = self.weight_shape[:-nd]
        wide = C128 if dtype.is_complex else F64
        weight = randn(*batch, first, second, dtype=wide, seed=self.seed)
        for a, k in enumerate(self.weight_shape[-nd:]):
            lead = [1] * len(batch) + [1] if self.shared else [*batch, groups]
            kernel = randn(*lead, k, dtype=wide, seed=self.seed + 1 + a)
            kernel = kernel + kernel.flip(-1) if self.symmetric[a] else kernel
            kernel = kernel.repeat_interleave(first // lead[-1], -2)  # (*batch, first, k)
            weight = weight[..., None] * kernel[(..., None, *[None] * a, slice(None))]
        return ConvOperator(weight.to(dtype), self.input_shape, **self.options)


@st.composite
def separable_cases(draw: st.DrawFn, *, dtypes: list[torch.dtype] = DOUBLES) -> SeparableCase:
    """Every option of `cases`, with weights that are outer products."""
    case = draw(cases(dtypes=dtypes))
    symmetric = tuple(draw(st.booleans()) for _ in case.input_shape)
    return SeparableCase(**vars(case), symmetric=symmetric, shared=draw(st.booleans()))


@contextmanager
def splitting(split: bool) -> Iterator[None]:
    """Parities on axes of two samples and more, or never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separable, "_SPLIT", 2 if split else 10**9)
        yield


def factor(op: ConvOperator, **options: float) -> InverseOperator:
    chosen = Request(**options)
    assert separable.obstacle(op, chosen) is None
    return separable.factor(op, chosen)


def assert_same_facts(found: InverseOperator, expected: InverseOperator, tol: float) -> None:
    a, b = found.summary, expected.summary
    assert relative(a.norm, b.norm) < tol
    finite = b.floor.isfinite()
    assert torch.equal(a.floor.isfinite(), finite)
    assert relative(a.floor[finite], b.floor[finite]) < tol
    assert a.dropped.tolist() == b.dropped.tolist()
    assert (a.rank is None) == (b.rank is None)
    if a.rank is not None and b.rank is not None:
        assert a.rank.tolist() == b.rank.tolist()
        # the dense rung sees round-off where products are exactly zero
        seen = (b.gap < 1e9) | (a.gap < 1e9)
        assert relative(a.gap[seen], b.gap[seen]) < tol


# --- against the matrix ---------------------------------------------------------------------------


@given(separable_cases(), st.booleans())
@settings(max_examples=120)
def test_equals_the_matrix_and_the_dense_rung(case: SeparableCase, split: bool):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    with splitting(split):
        pinv = factor(op)
    X = torch.linalg.pinv(A, rtol=GAP)
    assert relative(pinv.to_dense(), X) < 1e-10
    oracle = dense.factor(op, Request())
    assert_same_facts(pinv, oracle, 1e-9)
    y, x = data(op.range_shape, op), data(op.domain_shape, op)
    assert relative(pinv(y), apply_matrix(X, y, op.domain_shape)) < 1e-10
    assert relative(pinv.H(x), oracle.H(x)) < 1e-10
    assert dot_test(pinv) < 1e-13


@given(separable_cases(), st.booleans(), st.floats(0.05, 0.95))
@settings(max_examples=120)
def test_cutoff_is_global(case: SeparableCase, split: bool, rtol: float):
    """One cut-off over all products, groups and parities, wherever it falls."""
    op = case.operator()
    S = torch.linalg.svdvals(dense_twin(op))
    assume(((S / S.amax(-1, keepdim=True) - rtol).abs() > 1e-9).all())
    with splitting(split):
        pinv = factor(op, rtol=rtol)
    oracle = dense.factor(op, Request(rtol=rtol))
    assert relative(pinv.to_dense(), oracle.to_dense()) < 1e-12
    assert_same_facts(pinv, oracle, 1e-11)


@given(separable_cases(), st.booleans(), st.floats(1e-3, 10))
@settings(max_examples=80)
def test_damped_equals_the_dense_rung(case: SeparableCase, split: bool, damp: float):
    op = case.operator()
    with splitting(split):
        inverse = factor(op, damp=damp)
    oracle = dense.factor(op, Request(damp=damp))
    # a rounding of A by eps·σ_max may change a direction with σ = 0 by eps·σ_max/damp²
    scale = torch.linalg.norm(oracle.to_dense()) + float(oracle.summary.norm.max()) / damp**2
    assert relative(inverse.to_dense(), oracle.to_dense(), scale) < 1e-13
    assert inverse.summary.rank is None
    assert not inverse.summary.dropped.any()
    assert relative(inverse.summary.norm, oracle.summary.norm) < 1e-12
    assert (inverse.summary.floor <= oracle.summary.floor * (1 + 1e-9)).all()
    assert (inverse.summary.floor >= damp).all()


@given(separable_cases(dtypes=SINGLES), st.booleans())
def test_single_precision(case: SeparableCase, split: bool):
    """A weight rounded to float32 is found, and A changes by no more than that rounding."""
    op = case.operator()
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    assume((1e-3 * S.amax(-1, keepdim=True) < S).all())
    assume((share_of_weight(op) == 1).all())  # rounding of the weight is rounding of A
    with splitting(split):
        pinv = factor(op)
    assert pinv.dtype == case.dtype
    assert next(pinv.buffers()).dtype.to_real() == torch.float32
    cond = float((S.amax(-1) / S.amin(-1)).max())
    eps = torch.finfo(torch.float32).eps
    assert relative(pinv.to_dense(), torch.linalg.pinv(A)) < 16 * eps * cond
    assert dot_test(pinv) < 1e-5


@given(separable_cases())
def test_penrose(case: SeparableCase):
    op = case.operator()
    assume(has_gap(dense_twin(op)))
    pinv = factor(op)
    assert max(penrose_errors(op, pinv)) < 1e-10
    assert max(penrose_errors(op.H, pinv.H)) < 1e-10


@given(separable_cases(), st.booleans())
def test_a_batch_is_its_images(case: SeparableCase, split: bool):
    op = case.operator()
    assume(not op.batch_size)
    with splitting(split):
        inverse = factor(op, damp=0.3)
    y = data(op.range_shape, op, N=3)
    assert relative(torch.cat([inverse(v[None]) for v in y]), inverse(y)) < 1e-14


def test_large_batches_go_in_slices(monkeypatch):
    op = ConvOperator(psf.gaussian(1.0)[None, None], (9, 8), padding="same")
    inverse, y = factor(op, damp=0.1), randn(7, 1, 9, 8)
    whole = inverse(y)
    monkeypatch.setattr(filtered, "BATCH_BYTES", 2 * y[:1].nbytes)
    assert relative(inverse(y), whole) < 1e-14


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [(5, 4), (4, 3)])
def test_gradient_in_the_data(dtype, split, size):
    weight = randn(2, 2, 1, 1, dtype=dtype) * torch.outer(torch.ones(3), torch.arange(1, 4))
    op = ConvOperator(weight, size, padding=1)
    with splitting(split):
        inverse = factor(op, damp=0.2)
    for member in (inverse, inverse.H):
        y = data(member.domain_shape, member, N=1).requires_grad_()
        assert torch.autograd.gradcheck(member, y)
        assert torch.autograd.gradgradcheck(member, y, fast_mode=True)


# --- the cut-off ----------------------------------------------------------------------------------


def test_cutoffs_of_the_axes_apart_are_wrong_for_a_gaussian():
    """σᵢ > rtol·σ₁ in each axis keeps products down to rtol²·σ₁², most of the norm here."""
    line = torch.exp(-0.5 * (torch.arange(-7, 8).double() / 2.0) ** 2)
    op = ConvOperator(torch.outer(line, line)[None, None], (20, 20), padding=7)
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    ratios = S / S[0]
    window = ((ratios[:-1] < 1e-4) & (ratios[1:] > 1e-6)).nonzero()[:, 0]
    best = window[(S[window] / S[window + 1]).argmax()]
    rtol = float((ratios[best] * ratios[best + 1]).sqrt())  # in the widest gap between the two
    X = torch.linalg.pinv(A, rtol=rtol)
    with splitting(True):
        pinv = factor(op, rtol=rtol)
    assert pinv.summary.rank.tolist() == [int(best) + 1]
    assert relative(pinv.to_dense(), X) < 1e-8
    single = ConvOperator(line[None, None], (20,), padding=7)
    apart = torch.linalg.pinv(dense_twin(single), rtol=rtol)
    assert relative(torch.kron(apart, apart), X) > 30


@pytest.mark.parametrize("factor_", [1e6, 1e-6, 1e30, 1e-30, 1e120, 1e-120, 1e-170, 1e200])
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_scale_invariance(factor_, damp):
    weight = randn(2, 3, 1, 1) * torch.outer(randn(3), randn(4))
    op = ConvOperator(weight, (5, 4), padding=1)
    scaled = op.with_weight(op.weight * factor_)
    inverse, other = factor(op, damp=damp), factor(scaled, damp=damp * factor_)
    assert relative(other.to_dense() * factor_, inverse.to_dense()) < 1e-11
    assert relative(other.summary.floor / factor_, inverse.summary.floor) < 1e-12
    if not damp:
        assert torch.equal(inverse.summary.rank, other.summary.rank)


@pytest.mark.parametrize("damp", [1e-300, 1e-160, 1e160, 1e300])
def test_extreme_damping(damp):
    op = ConvOperator(torch.eye(3, dtype=F64)[None, None, 1:2] + 1, (4, 5), padding=(0, 1))
    y = randn(1, *op.range_shape)
    expected = factor(op)(y) if damp < 1 else torch.zeros(1, *op.domain_shape)
    assert relative(factor(op, damp=damp)(y), expected, torch.linalg.norm(y)) < 1e-13


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 2, 3, 3), (2, 2, 2, 3, 3)])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("split", [False, True])
def test_zero_kernel(shape, dtype, split):
    op = ConvOperator(torch.zeros(shape, dtype=dtype), (4, 6), padding=1)
    with splitting(split):
        pinv, damped = factor(op), factor(op, damp=0.5)
    B = op.batch_size or 1
    assert pinv.summary.rank.tolist() == [0] * B
    assert pinv.summary.dropped.tolist() == [min(op.shape)] * B
    assert pinv.summary.floor.tolist() == pinv.summary.gap.tolist() == [math.inf] * B
    assert not pinv.to_dense().any()
    assert not damped.to_dense().any()
    assert damped.summary.floor.tolist() == [0.5] * B


def test_one_zero_kernel_among_others():
    rows = torch.stack([randn(3), torch.zeros(3, dtype=F64), 1e-9 * randn(3, seed=1)])
    op = ConvOperator(rows[:, None, None], (6,), padding=1)
    pinv = factor(op)
    assert pinv.summary.rank.tolist() == [6, 0, 6]
    assert relative(pinv.to_dense(), torch.linalg.pinv(dense_twin(op))) < 1e-11
    grouped = ConvOperator(rows[:, None], (6,), padding=1, groups=3)  # one cut-off for all groups
    assert factor(grouped).summary.rank.tolist() == [12]
    assert factor(grouped, rtol=1e-6).summary.rank.tolist() == [6]


def test_structural_zeros_are_dropped():
    """Tall along one axis, wide along the other: fewer products than min(m, n)."""
    op = ConvOperator(
        torch.ones(1, 1, 1, 2, dtype=F64), (6, 4), stride=(3, 1), padding=((0, 0), (2, 2))
    )
    oracle = dense.factor(op, Request())
    assert_same_facts(factor(op), oracle, 1e-12)
    assert int(oracle.summary.dropped) > 0
    assert float(factor(op, damp=0.5).summary.floor) == 0.5


# --- what is kept ---------------------------------------------------------------------------------


def kept(inverse: InverseOperator) -> list[str]:
    return sorted(name for name, _ in inverse.named_buffers())


def test_equal_axes_and_shared_kernels_are_factored_once():
    blur = psf.gaussian(1.5)
    op = ConvOperator(blur.expand(3, 1, -1, -1), (12, 12), padding="same", groups=3)
    inverse = factor(op)
    assert kept(inverse) == ["U0_0", "V0_0", "gains0"]
    assert inverse.U0_0.shape == (1, 1, 12, 12)
    with splitting(True):
        inverse = factor(op)
    halves = ["U0_0", "U0_1", "V0_0", "V0_1"]
    assert kept(inverse) == [*halves, "gains0", "gains1", "gains2", "gains3"]


def test_motion_along_an_axis_leaves_the_other_alone():
    op = ConvOperator(torch.full((1, 1, 1, 5), 0.2, dtype=F64), (3000, 9), padding=(0, 2))
    inverse = factor(op)
    assert kept(inverse) == ["U1_0", "V1_0", "gains0"]
    y = randn(1, 1, 3000, 9)
    lines = factor(ConvOperator(op.weight[:, :, 0], (9,), padding=2))
    assert relative(inverse(y)[0, 0], lines(y[0, 0][:, None])[:, 0]) < 1e-13


def test_factor_follows_module_to():
    op = ConvOperator(psf.gaussian(1.0)[None, None], (8, 7), padding="same")
    y = randn(1, 1, 8, 7)
    inverse = factor(op, damp=0.1)
    expected = inverse(y)
    assert relative(inverse.to(torch.float32)(y.float()), expected) < 1e-5


# --- what is refused ------------------------------------------------------------------------------


def obstacle(weight: Tensor, size: tuple[int, ...], **options) -> str | None:
    return separable.obstacle(ConvOperator(weight, size, **options), Request())


def nearly(error: float, *shape: int, dtype=F64) -> Tensor:
    """An outer product and a perturbation of this relative size."""
    weight = randn(*shape[:2], dtype=F64)
    for a, k in enumerate(shape[2:]):
        weight = weight[..., None] * randn(k, seed=a)
    noise = randn(*shape, seed=9)
    return (weight + error * noise * weight.norm() / noise.norm()).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (3, 4, 3, 2), (4, 4, 5), (2, 1, 3, 3, 3)])
def test_nearly_separable_kernels_are_refused(shape):
    size = (8,) * (len(shape) - 2)
    assert obstacle(nearly(0, *shape), size) is None
    assert obstacle(nearly(1e-16, *shape), size) is None
    assert "is no outer product" in obstacle(nearly(1e-6, *shape), size)
    assert "is no outer product" in obstacle(nearly(1e-12, *shape), size)
    single = torch.float32
    assert obstacle(nearly(0, *shape, dtype=single), size) is None
    assert "more than 2.4e-07" in obstacle(nearly(1e-5, *shape, dtype=single), size)
    half = torch.float16  # its own rounding is a thousand times what the factor may change
    if shape != (1, 1, 5):
        assert "is no outer product" in obstacle(nearly(0, *shape, dtype=half), size)


def test_psfs():
    for name, kernel in {
        "gaussian": psf.gaussian(2.5),
        "box": torch.ones(4, 5, dtype=F64),
        "horizontal": psf.motion(7.0, 0.0),
        "vertical": psf.motion(7.0, 90.0),
    }.items():
        for dtype in (F64, torch.float32):
            assert obstacle(kernel[None, None].to(dtype), (30, 30)) is None, (name, dtype)
    t = torch.arange(-20, 21).double()
    r2 = t[:, None, None] ** 2 + t[:, None] ** 2 + t**2
    for dtype in (F64, torch.float32):
        assert obstacle(torch.exp(-r2.to(dtype) / 50)[None, None], (50, 50, 50)) is None
    for kernel in (psf.disk(3.0), psf.motion(7.0, 30.0)):
        assert "is no outer product" in obstacle(kernel[None, None], (30, 30))


def test_the_sentence_names_sample_and_group():
    good, bad = nearly(0, 1, 1, 3, 3), randn(1, 1, 3, 3)
    weight = torch.stack([torch.cat([good, good]), torch.cat([good, bad])])
    assert "of sample 1 of group 1" in obstacle(weight, (5, 5), groups=2)
    assert "the weight is no outer" in obstacle(bad, (5, 5))
    assert obstacle(torch.cat([good, 3 * good]), (5, 5), groups=2) is None
    two = torch.cat([good, nearly(0, 1, 1, 3, 3).flip(2)])
    assert obstacle(two, (5, 5), groups=2) is None
    assert "is no outer product" in obstacle(two, (5, 5))  # two kernels, one input channel


def test_channels_beyond_the_first_count():
    weight = nearly(0, 6, 6, 3, 3)
    weight[5, 5, 1, 1] *= 1.001
    assert "is no outer product" in obstacle(weight, (8, 8))


@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e170, 1e300])
def test_units_do_not_matter(unit):
    assert obstacle(nearly(0, 4, 3, 3, 3) * unit, (8, 8)) is None
    assert "is no outer product" in obstacle(randn(4, 3, 3, 3) * unit, (8, 8))


def test_limits():
    lone = randn(1, 1, 3)
    assert obstacle(lone, (1024,), padding=1) is None
    assert "axis 0 needs the SVD of a matrix of side 1,025" in obstacle(lone, (1025,), padding=1)
    symmetric = lone + lone.flip(2)
    assert obstacle(symmetric, (2048,), padding=1) is None  # two halves
    plane = lone[..., None] * randn(3)
    assert obstacle(plane, (8, 2048), padding=1) is None
    assert "axis 1" in obstacle(plane, (8, 2049), padding=1)


def test_weight_that_is_not_finite_is_left_to_the_check_of_the_weight():
    weight = nearly(0, 1, 1, 3, 3)
    weight[0, 0, 1, 1] = torch.nan
    assert obstacle(weight, (5, 5)) is None


def test_memory_and_operations_grow_with_the_problem():
    def costs(n: int, weight: Tensor) -> tuple[float, ...]:
        op = ConvOperator(weight, (n, n), padding="same")
        return separable.memory(op, Request()), *separable.operations(op, Request())

    uneven = (randn(5)[:, None] * randn(5, seed=1))[None, None]
    for weight in (uneven, psf.gaussian(1.0)[None, None]):
        small, large = costs(300, weight), costs(600, weight)
        assert [round(math.log2(b / a)) for a, b in zip(small, large, strict=True)] == [2, 3, 3]
    gaussian, any_ = costs(600, psf.gaussian(1.0)[None, None]), costs(600, uneven)
    assert gaussian[1] == pytest.approx(any_[1] / 8, rel=0.01)  # one axis, two halves
    assert gaussian[2] == pytest.approx(any_[2] / 2, rel=0.01)
    identity = costs(600, torch.ones(1, 1, 1, 1, dtype=F64))
    assert identity[1:] == (0, 0)


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_small_beside_the_weight_but_not_beside_A(mode, seed):
    """Of three taps on one sample only the middle one is read, or all of them meet and cancel."""
    weight = randn(4, 4, 2, 3, seed=seed)
    outer = randn(4, 4, seed=seed + 10)[:, :, None, None] * torch.tensor([[1.0], [2]], dtype=F64)
    side = outer * torch.tensor([1.0, 0, 1 if mode == "zeros" else -1], dtype=F64)
    op = ConvOperator((side + 1e-9 * weight).float(), (4, 1), padding=(0, 1), padding_mode=mode)
    A = dense_twin(op.in_double())
    assert op.pinv().method != "separable"
    S = torch.linalg.svdvals(A)
    assert relative(op.svdvals(), S) < 1e-12
