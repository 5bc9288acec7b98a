"""Norms outside the range of squares, exact units, and refinement of data that A⁺ annihilates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unconv import ConvOperator
from unconv.numerics.norms import in_unit, norms, quotient_in_halves, unit_of

from ..helpers import DOUBLES, F64, randn

POWERS = [-1000, -600, -130, -70, 0, 70, 120, 500, 1000]
IN_RANGE = [
    (dtype, power)
    for dtype in (torch.float32, torch.float64, torch.complex128)
    for power in POWERS
    if math.log2(torch.finfo(dtype).tiny) + 30 < power < math.log2(torch.finfo(dtype).max) - 10
]


@pytest.mark.parametrize(("dtype", "power"), IN_RANGE)
def test_norms_of_any_size(dtype: torch.dtype, power: int) -> None:
    info = torch.finfo(dtype)
    t = randn(3, 2, 5, dtype=torch.promote_types(dtype, torch.float64), seed=power + 2000)
    t = t.to(dtype)
    exact = torch.linalg.vector_norm(t.to(torch.complex128).flatten(1), dim=1)
    t[1] = 0
    exact[1] = 0
    t = (t * 2.0 ** (power / 2)) * 2.0 ** (power / 2)
    found = norms(t).double() / 2.0 ** (power / 2) / 2.0 ** (power / 2)
    torch.testing.assert_close(found, exact, rtol=8 * info.eps, atol=0.0)


def test_norms_say_what_is_not_finite() -> None:
    t = torch.tensor([[1.0, 2.0], [math.nan, 1.0], [math.inf, 1.0]])
    assert norms(t).isfinite().tolist() == [True, False, False]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(3, 1, 5), (2, 2, 5)])
@pytest.mark.parametrize("size", [1e-160, 1.0, 1e150])
def test_data_outside_the_range(shape: tuple[int, int, int], seed: int, size: float) -> None:
    """A⁺ of what is orthogonal to the range is round-off of y, whatever the unit."""
    weight = randn(*shape, seed=seed)
    if shape == (2, 2, 5):  # rank-deficient
        weight[1] = 2 * weight[0]
    op = ConvOperator(weight, (40,), padding=2, padding_mode="reflect")
    A = op.to_sparse("dense")
    U, S, _ = torch.linalg.svd(A, full_matrices=False)
    U, S = U[:, 1e-10 * S[0] < S], S[1e-10 * S[0] < S]
    y = randn(1, *op.range_shape, seed=seed + 100)
    flat = y.flatten()
    outside = (flat - U @ (U.mH @ flat)).reshape(y.shape)
    pinv = op.pinv(method="boundary")
    for data, expected in ((outside, 0 * y), (y, y)):
        x = pinv(data * size) / size
        truth = torch.linalg.lstsq(A, expected.flatten()[:, None], driver="gelsd").solution[:, 0]
        error = float((x.flatten() - truth).norm())
        assert error <= 300 * 2.0**-52 * float(data.norm() * S[0] / S[-1] ** 2)


# --- units ----------------------------------------------------------------------------------------


SIZES = [5e-324, 1e-310, 1e-170, 0.3, 1.0, 3.0, 1e200, 1.7e308]


@given(st.sampled_from(SIZES), st.sampled_from(DOUBLES), st.integers(0, 2), st.integers(0, 99))
def test_there_and_back_is_exact(size, dtype, dims, seed):
    t = randn(2, 3, 4, dtype=dtype, seed=seed)
    t = t / torch.view_as_real(t.to(torch.complex128)).abs().max() * size
    scaled, unit = in_unit(t, dims)
    assert unit.shape == t.shape[:dims]
    assert (unit.log2() == unit.log2().round()).all()
    back = scaled * unit.reshape(*unit.shape, *[1] * (3 - dims))
    assert torch.equal(back, t)
    parts = torch.view_as_real(scaled) if scaled.is_complex() else scaled
    largest = parts.abs().flatten(dims).amax(dims)
    assert ((largest >= 1) & (largest < 2) | (largest == 0)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex64])
def test_a_tensor_keeps_its_dtype(dtype):
    scaled, unit = in_unit(100 * torch.ones(2, 3, dtype=dtype))
    assert scaled.dtype == dtype
    assert torch.equal(scaled, torch.full_like(scaled, 100 / 64))
    assert unit.tolist() == [64, 64]
    assert unit.dtype == F64


def test_what_has_no_size_keeps_its_values():
    t = torch.tensor([[0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0]])
    scaled, unit = in_unit(t)
    assert unit.tolist() == [1, 1, 1]
    assert torch.equal(scaled.nan_to_num(7), t.nan_to_num(7))
    assert in_unit(t[:0])[1].shape == (0,)
    assert unit_of(torch.tensor([0.0, math.nan])).tolist() == [1, 1]


@given(st.integers(-1074, 1023), st.integers(-1074, 1023))
def test_a_quotient_that_is_no_number_has_halves_that_are(up, down):
    a, b = quotient_in_halves(*(torch.tensor([2.0**e], dtype=F64) for e in (up, down)))
    assert float(a.log2() + b.log2()) == up - down
