"""Working dtypes, and no silent TF32 or bfloat16 inside."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator
from unconv.numerics.precision import ieee_arithmetic, real_working_dtype, working_dtype

from ..helpers import randn

HALF, BRAIN, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
C64, C128 = torch.complex64, torch.complex128


@pytest.mark.parametrize(
    ("dtype", "real"),
    [(HALF, F32), (BRAIN, F32), (F32, F32), (F64, F64), (C64, F32), (C128, F64)],
)
def test_at_least_single(dtype, real):
    assert real_working_dtype(dtype) == real


@pytest.mark.parametrize(
    ("own", "result", "working"),
    [
        (HALF, HALF, F32),
        (HALF, F64, F64),
        (F32, C64, F32),
        (F32, C128, F64),
        (C64, C128, C128),
        (BRAIN, C64, F32),
        (C64, C64, C64),
    ],
)
def test_real_operands_stay_real(own, result, working):
    assert working_dtype(own, result) == working


@pytest.fixture
def loose():
    slots = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    before = [slot.fp32_precision for slot in slots]
    for slot in slots:
        slot.fp32_precision = "bf16"
    yield slots
    for slot, value in zip(slots, before, strict=True):
        slot.fp32_precision = value


def test_switches_are_tightened_and_put_back(loose):
    with ieee_arithmetic("cpu"):
        assert [slot.fp32_precision for slot in loose] == ["ieee", "ieee"]
    assert [slot.fp32_precision for slot in loose] == ["bf16", "bf16"]


def test_switches_are_put_back_after_an_error(loose):
    with pytest.raises(KeyError), ieee_arithmetic("cpu"):
        raise KeyError
    assert [slot.fp32_precision for slot in loose] == ["bf16", "bf16"]


def test_convolution_ignores_loose_switches(loose):
    from unconv import ConvOperator
    from unconv.testing import dot_test

    op = ConvOperator(torch.randn(32, 32, 3, 3), (16, 16), padding=1)
    assert dot_test(op) < 1e-6


def test_unknown_devices_have_no_switches(loose):
    with ieee_arithmetic("meta"):
        assert [slot.fp32_precision for slot in loose] == ["bf16", "bf16"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_the_result_and_does_not_reach_inside(dtype):
    op = ConvOperator(randn(4, 4, 3, 3, dtype=F32), (8, 8), padding=1, padding_mode="circular")
    x = randn(2, 4, 8, 8, dtype=F32)
    y, inverse = op(x), op.pinv()
    solution, adjoint = inverse(y), op.H(y)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(op(x), y.to(dtype))
        assert torch.equal(op.H(y), adjoint.to(dtype))
        assert torch.equal(inverse(y), solution.to(dtype))
        assert torch.equal(op.pinv()(y), solution.to(dtype))
        assert op.lstsq(y).solution.dtype == op.lstsq(y, 0.1, penalty="gradient")[0].dtype == dtype
        assert op(x.double()).dtype == torch.float64  # as torch's own layers
