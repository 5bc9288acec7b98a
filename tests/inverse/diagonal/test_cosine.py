"""The cosine rung against the dense one, where it meets its neighbours, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unconv import ConvOperator
from unconv.inverse.diagonal import (
    cosine,
    dense,
    filtered,
    fourier,
    separable,
)
from unconv.inverse.operator import InverseOperator
from unconv.inverse.request import Request
from unconv.psf import models as psf
from unconv.testing import dense_twin, dot_test, penrose_errors

from ...helpers import (
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
from ...strategies import Case


@dataclass(frozen=True)
class CosineCase(Case):
    """A case whose kernels equal their own flips."""

    def operator(self, dtype: torch.dtype | None = None) -> ConvOperator:
        weight = randn(*self.weight_shape, dtype=dtype or self.dtype, seed=self.seed)
        return ConvOperator(
            symmetric(weight, len(self.input_shape)), self.input_shape, **self.options
        )


def symmetric(weight: Tensor, nd: int) -> Tensor:
    for dim in range(-nd, 0):
        weight = weight + weight.flip(dim)
    return weight


@st.composite
def cosine_cases(draw: st.DrawFn, *, dtypes: list[torch.dtype] = DOUBLES) -> CosineCase:
    """Centred kernels, odd or spread by an even dilation, under half-sample mirrors."""
    nd = draw(st.sampled_from((1, 2, 3)))
    mode = draw(st.sampled_from(("symmetric", "symmetric", "replicate")))
    kernel, dilation, padding, size = [], [], [], []
    for _ in range(nd):
        d = draw(st.integers(1, 2))
        taps = [k for k in range(1, {1: 8, 2: 6, 3: 4}[nd]) if d * (k - 1) % 2 == 0]
        if mode == "replicate":  # as `symmetric` for a ghost or none
            taps = [k for k in taps if d * (k - 1) <= 2]
        k = draw(st.sampled_from(taps))
        p = d * (k - 1) // 2
        kernel.append(k)
        dilation.append(d)
        padding.append(p)
        size.append(max(p, 1) + draw(st.integers(0, {1: 6, 2: 3, 3: 1}[nd])))
    if not any(padding):  # then the boundary has no say
        mode = draw(st.sampled_from(("zeros", "circular", "reflect", mode)))
    groups = draw(st.sampled_from([1, 1, 2]))
    channels = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    batch = (draw(st.integers(1, 2)),) if draw(st.booleans()) else ()
    options: dict[str, Any] = {
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "groups": groups,
        "padding_mode": mode,
        "flip": draw(st.booleans()),
        "transposed": draw(st.booleans()),
    }
    dtype = draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 999))
    return CosineCase((*batch, *channels, *kernel), tuple(size), options, dtype, seed)


def factor(op: ConvOperator, **options: float) -> InverseOperator:
    chosen = Request(**options)
    assert cosine.obstacle(op, chosen) is None
    return cosine.factor(op, chosen)


# --- against the matrix ---------------------------------------------------------------------------


@given(cosine_cases())
@settings(max_examples=100)
def test_equals_the_matrix_and_the_dense_rung(case: CosineCase):
    op = case.operator()
    A = dense_twin(op)
    assume(has_gap(A))
    pinv = factor(op)
    X = torch.linalg.pinv(A, rtol=GAP)
    assert relative(pinv.to_dense(), X) < 1e-10
    oracle = dense.factor(op, Request())
    assert pinv.summary.rank.tolist() == oracle.summary.rank.tolist()
    assert pinv.summary.dropped.tolist() == oracle.summary.dropped.tolist()
    assert (pinv.summary.norm <= oracle.summary.norm * (1 + 1e-12)).all()
    assert (pinv.summary.floor <= oracle.summary.floor * (1 + 1e-9)).all()
    y, x = data(op.range_shape, op), data(op.domain_shape, op)
    assert relative(pinv(y), apply_matrix(X, y, op.domain_shape)) < 1e-10
    assert relative(pinv.H(x), oracle.H(x)) < 1e-10
    assert dot_test(pinv) < 1e-13


@given(cosine_cases(), st.floats(0.05, 0.95))
@settings(max_examples=100)
def test_cutoff_is_global(case: CosineCase, rtol: float):
    op = case.operator()
    S = torch.linalg.svdvals(dense_twin(op))
    assume(((S / S.amax(-1, keepdim=True) - rtol).abs() > 1e-9).all())
    pinv, oracle = factor(op, rtol=rtol), dense.factor(op, Request(rtol=rtol))
    assert relative(pinv.to_dense(), oracle.to_dense()) < 1e-12
    assert pinv.summary.rank.tolist() == oracle.summary.rank.tolist()
    assert pinv.summary.dropped.tolist() == oracle.summary.dropped.tolist()
    assert (pinv.summary.floor <= oracle.summary.floor * (1 + 1e-12)).all()
    seen = oracle.summary.gap < 1e9  # beyond, both divide by the round-off of a zero
    assert (pinv.summary.gap <= oracle.summary.gap * (1 + 1e-9))[seen].all()
    assert (pinv.summary.gap > 1e8)[~seen].all()


@given(cosine_cases(), st.floats(1e-3, 10))
@settings(max_examples=60)
def test_damped_equals_the_dense_rung(case: CosineCase, damp: float):
    op = case.operator()
    inverse, oracle = factor(op, damp=damp), dense.factor(op, Request(damp=damp))
    # a rounding of A by eps·σ_max may change a direction with σ = 0 by eps·σ_max/damp²
    scale = torch.linalg.norm(oracle.to_dense()) + float(oracle.summary.norm.max()) / damp**2
    assert relative(inverse.to_dense(), oracle.to_dense(), scale) < 1e-13
    assert inverse.summary.rank is None
    assert (inverse.summary.floor <= oracle.summary.floor * (1 + 1e-9)).all()


@given(cosine_cases(dtypes=SINGLES))
def test_single_precision(case: CosineCase):
    op = case.operator()
    A = dense_twin(op)
    S = torch.linalg.svdvals(A)
    assume((1e-3 * S.amax(-1, keepdim=True) < S).all())
    pinv = factor(op)
    assert pinv.dtype == case.dtype
    assert next(pinv.buffers()).dtype == case.dtype  # real blocks for real kernels
    cond = float((S.amax(-1) / S.amin(-1)).max())
    eps = torch.finfo(torch.float32).eps
    assert relative(pinv.to_dense(), torch.linalg.pinv(A)) < 16 * eps * cond
    assert dot_test(pinv) < 1e-5


@given(cosine_cases())
def test_penrose(case: CosineCase):
    op = case.operator()
    assume(has_gap(dense_twin(op)))
    pinv = factor(op)
    assert max(penrose_errors(op, pinv)) < 1e-10
    assert max(penrose_errors(op.H, pinv.H)) < 1e-10


@given(cosine_cases())
def test_a_batch_is_its_images(case: CosineCase):
    op = case.operator()
    assume(not op.batch_size)
    inverse = factor(op, damp=0.3)
    y = data(op.range_shape, op, N=3)
    assert relative(torch.cat([inverse(v[None]) for v in y]), inverse(y)) < 1e-14


def mirrored(weight: Tensor, size: tuple[int, ...], **options) -> ConvOperator:
    padding = tuple((k - 1) // 2 for k in weight.shape[-len(size) :])
    return ConvOperator(weight, size, **{"padding": padding, "padding_mode": "symmetric"} | options)


def test_large_batches_go_in_slices(monkeypatch):
    inverse, y = factor(mirrored(psf.disk(1.5)[None, None], (9, 8)), damp=0.1), randn(7, 1, 9, 8)
    whole = inverse(y)
    monkeypatch.setattr(filtered, "BATCH_BYTES", 2 * y[:1].nbytes)
    assert relative(inverse(y), whole) < 1e-14


@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("size", [(4, 3), (5, 2)])
def test_gradient_in_the_data(dtype, size):
    op = mirrored(symmetric(randn(3, 2, 3, 3, dtype=dtype), 2), size)
    inverse = factor(op, damp=0.2)
    for member in (inverse, inverse.H):
        y = data(member.domain_shape, member, N=1).requires_grad_()
        assert torch.autograd.gradcheck(member, y)
        assert torch.autograd.gradgradcheck(member, y, fast_mode=True)


@pytest.mark.parametrize("factor_", [1e6, 1e-6, 1e30, 1e-30, 1e120, 1e-120])
@pytest.mark.parametrize("damp", [0.0, 0.3])
@pytest.mark.parametrize("channels", [(1, 1), (2, 3)])
def test_scale_invariance(factor_, damp, channels):
    op = mirrored(symmetric(randn(*channels, 3, 3), 2), (5, 4))
    scaled = op.with_weight(op.weight * factor_)
    inverse, other = factor(op, damp=damp), factor(scaled, damp=damp * factor_)
    assert relative(other.to_dense() * factor_, inverse.to_dense()) < 1e-11
    if not damp:
        assert torch.equal(inverse.summary.rank, other.summary.rank)


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 2, 3, 3), (2, 2, 2, 3, 3)])
@pytest.mark.parametrize("dtype", DOUBLES)
def test_zero_kernel(shape, dtype):
    op = mirrored(torch.zeros(shape, dtype=dtype), (4, 6))
    pinv = factor(op)
    B = op.batch_size or 1
    assert pinv.summary.rank.tolist() == [0] * B
    assert pinv.summary.dropped.tolist() == [min(op.shape)] * B
    assert not pinv.to_dense().any()
    assert not factor(op, damp=0.5).to_dense().any()


def test_exact_zeros_of_the_spectrum_are_dropped():
    """[1, 2, 1]/4 has no zero under a mirror (q < n), [1, 1, 1]/3 has one at q = 2n/3."""
    assert factor(mirrored(torch.tensor([[[1.0, 2, 1]]]).double(), (9,))).summary.rank == 9
    pinv = factor(mirrored(torch.ones(1, 1, 3, dtype=F64), (9,)))
    assert pinv.summary.rank == 8
    assert pinv.summary.gap > 1e12


# --- with its neighbours --------------------------------------------------------------------------


def line(n: int, sigma: float) -> Tensor:
    t = torch.arange(-(n // 2), n // 2 + 1).double()
    return torch.exp(-0.5 * (t / sigma) ** 2)


SEVERAL = {
    "mirror": ("symmetric", torch.outer(line(5, 0.6), line(3, 0.5)), [cosine, separable]),
    "edge": ("replicate", torch.outer(line(3, 0.6), line(3, 0.5)), [cosine, separable]),
    "torus": ("circular", torch.outer(line(5, 0.6), line(3, 0.5)), [fourier, separable]),
    "one tap": ("zeros", torch.full((1, 1), 2.0).double(), [fourier, cosine, separable]),
}


@pytest.mark.parametrize("where", SEVERAL)
@pytest.mark.parametrize("options", [{}, {"rtol": 0.3}, {"damp": 0.4}])
@pytest.mark.parametrize("matrix", [torch.ones(1, 1), torch.tensor([[1.0, 2, 3], [0, -1, 1]])])
def test_rungs_agree_where_several_apply(where, options, matrix):
    mode, kernel, rungs = SEVERAL[where]
    op = mirrored(matrix.double()[..., None, None] * kernel, (7, 6), padding_mode=mode)
    expected = dense.factor(op, Request(**options))
    for rung in rungs:
        assert rung.obstacle(op, Request(**options)) is None
        found = rung.factor(op, Request(**options))
        assert relative(found.to_dense(), expected.to_dense()) < 1e-12
        assert found.summary.floor <= expected.summary.floor * (1 + 1e-12)  # a lower bound
        assert found.summary.floor > 0.7 * expected.summary.floor
        if expected.summary.rank is not None:
            assert found.summary.rank.tolist() == expected.summary.rank.tolist()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "options", "reason"),
    [
        ((3, 3), {"padding_mode": "zeros"}, "axis 0: the boundary is 'zeros', not 'symmetric'"),
        ((3, 3), {"padding_mode": "circular"}, "the boundary is 'circular'"),
        ((3, 3), {"padding_mode": "reflect"}, "the boundary is 'reflect'"),
        ((3, 5), {"padding_mode": "replicate"}, "axis 1: the boundary is 'replicate'"),
        ((3, 3), {"stride": 2}, "axis 0: the stride is 2, not 1"),
        ((3, 3), {"padding": 0}, "axis 0: the padding (0, 0) does not centre"),
        ((3, 3), {"padding": ((1, 1), (0, 2))}, "axis 1: the padding (0, 2) does not centre"),
        ((2, 2), {"padding": "same"}, "does not centre a kernel that spans 2 samples"),
        ((3, 3), {"padding": "full"}, "it must be half of 2 on both sides"),
    ],
)
def test_obstacles(kernel, options, reason):
    op = mirrored(torch.ones(1, 1, *kernel), (6, 6), **options)
    assert reason in cosine.obstacle(op, Request())


@pytest.mark.parametrize("dtype", DOUBLES + SINGLES)
@pytest.mark.parametrize("unit", [1.0, 1e-30, 1e30])
def test_symmetry_is_wanted_to_rounding(dtype, unit):
    eps = torch.finfo(dtype).eps
    weight = symmetric(randn(2, 2, 5, 3, dtype=dtype), 2) * unit
    assert cosine.obstacle(mirrored(weight, (8, 8)), Request()) is None
    largest = float(weight[0].abs().amax())
    for error, refused in ((eps, False), (64 * eps, True), (1e-2, True)):
        uneven = weight.clone()
        uneven[0, 1, 4, 1] += error * largest
        found = cosine.obstacle(mirrored(uneven, (8, 8)), Request())
        assert (found is not None) == refused
        if found is not None:
            assert "axis 0: a kernel differs from its flip" in found


def test_real_factors_for_real_kernels():
    op = mirrored(symmetric(randn(2, 2, 3, 3), 2), (6, 5))
    assert factor(op).blocks.dtype == F64
    assert factor(op).blocks.shape == (30, 1, 1, 2, 2)


def test_costs_are_stated():
    op = mirrored(symmetric(randn(4, 4, 3, 3), 2), (64, 64))
    blocks = 8 * 64**2 * 16
    assert 2 * blocks < cosine.memory(op, Request()) < 6 * blocks
    setup, apply = cosine.operations(op, Request())
    assert apply < setup < math.inf
