"""Which rung each kind of problem takes, and what is refused before anything is allocated."""

from __future__ import annotations

import math

import pytest
import torch

from unconv import ConvOperator, MemoryLimitError, Plan
from unconv.inverse import dense, fourier
from unconv.inverse.plan import LADDER

from ..helpers import C128, F64, assert_says, near_identity, randn


def empty(*shape: int, dtype: torch.dtype = F64) -> torch.Tensor:
    """A weight without memory: a plan looks at shapes only."""
    return torch.empty(shape, dtype=dtype, device="meta")


CIRCULAR = {"padding_mode": "circular"}
RUNG_OF = [
    ((3, 3, 3, 3), (64, 64), CIRCULAR | {"padding": 1}, "fourier"),
    ((3, 3, 2, 4), (64, 63), CIRCULAR | {"padding": "same"}, "fourier"),
    ((3, 3, 3), (9,), CIRCULAR | {"padding": ((0, 2),)}, "fourier"),
    ((3, 3, 4), (8,), CIRCULAR | {"padding": ((1, 1),), "stride": 2}, "fourier"),
    ((4, 1, 3, 3), (8, 8), CIRCULAR | {"padding": 1, "groups": 4}, "fourier"),
    ((5, 3, 3, 3, 3), (8, 8), CIRCULAR | {"padding": 1}, "fourier"),  # own kernels
    ((3, 5, 3, 3, 3), (8, 8, 8), CIRCULAR | {"padding": 1}, "fourier"),
    ((2, 3, 4), (8,), CIRCULAR | {"padding": 1, "stride": 2, "transposed": True}, "fourier"),
    ((1, 1, 9), (4,), CIRCULAR | {"padding": 4}, "fourier"),
    ((3, 3, 1, 1), (8, 8), CIRCULAR, "fourier"),
    ((3, 3, 3), (9,), CIRCULAR, "dense"),  # outputs missing
    ((3, 3, 3), (9,), CIRCULAR | {"padding": 2}, "dense"),  # outputs to spare
    ((3, 3, 3), (9,), CIRCULAR | {"padding": 1, "stride": 2}, "dense"),  # stride against size
    ((3, 3, 3), (9,), {"padding": 1}, "dense"),
    ((3, 3, 1), (9,), {}, "fourier"),  # one tap: no neighbours, whatever the boundary
    ((6, 3, 2, 3), (8, 9), {"stride": (2, 3)}, "fourier"),  # patches that do not overlap
    ((6, 3, 2, 3), (8, 10), {"stride": (2, 3)}, "dense"),  # with samples that no patch reads
    ((3, 3, 3), (9,), {"padding": 1, "padding_mode": "reflect"}, "dense"),
    ((3, 3, 3), (9,), {"padding": 1, "padding_mode": "replicate"}, "dense"),
    ((3, 3, 3), (9,), {"padding": 1, "padding_mode": "symmetric"}, "dense"),
    ((3, 3, 3), (9,), {"padding": "full"}, "dense"),
    ((1, 1, 3, 3), (64, 64), {"padding": 1}, "dense"),  # 4096 unknowns
]


@pytest.mark.parametrize("dtype", [F64, C128, torch.float32, torch.float16])
@pytest.mark.parametrize(("shape", "size", "options", "rung"), RUNG_OF)
def test_rung(shape, size, options, rung, dtype):
    op = ConvOperator(empty(*shape, dtype=dtype), size, **options)
    plan = op.plan()
    assert isinstance(plan, Plan)
    assert plan.method == rung
    ladder = [r.name for r in LADDER]
    assert [name for name, _ in plan.rejected] == ladder[: ladder.index(rung)]
    assert op.plan(damp=1.0).method == rung
    assert plan.memory > 0


@pytest.mark.parametrize(("shape", "size", "options", "rung"), RUNG_OF[:-1])
def test_the_rung_that_is_planned_answers(shape, size, options, rung):
    if math.prod(shape) * math.prod(size) > 10**5:
        size = tuple(8 for _ in size)
    op = ConvOperator(randn(*shape), size, **options)
    assert op.plan().method == op.pinv().method == op.tikhonov(0.5).method == rung
    y = randn(op.batch_size or 1, *op.range_shape)
    assert op.lstsq(y).certificate.method == rung


def test_reasons():
    op = ConvOperator(empty(1, 1, 3), (9,), padding=1)
    assert op.plan().rejected == (("fourier", "the boundary is 'zeros', not 'circular'"),)
    op = ConvOperator(empty(1, 1, 3), (9,), padding=1, stride=2, padding_mode="circular")
    (name, why), = op.plan().rejected  # fmt: skip
    assert name == "fourier"
    for part in ("axis 0", "5 outputs", "stride 2", "9 samples"):
        assert part in why
    assert "forced" in op.plan(method="dense").reason


def test_memory_grows_with_the_problem():
    def memory(channels: int, n: int, **options) -> int:
        return ConvOperator(empty(channels, channels, 3, 3), (n, n), padding=1, **options).plan(
            memory_limit=math.inf, method="auto" if options else "dense"
        ).memory  # fmt: skip

    for options in ({}, CIRCULAR):
        assert memory(2, 8, **options) < memory(2, 16, **options) < memory(4, 16, **options)
    # the blocks dominate in the end: four times the frequencies, four times the channel pairs
    assert memory(16, 1024, **CIRCULAR) > 12 * memory(16, 256, **CIRCULAR)
    assert memory(256, 64, **CIRCULAR) > 12 * memory(64, 64, **CIRCULAR)


def test_memory_figure_covers_the_factor():
    for options, method in ((CIRCULAR, "fourier"), ({}, "dense")):
        for dtype in (F64, C128):
            op = ConvOperator(near_identity(3, 3, 3, 3, dtype=dtype), (9, 8), padding=1, **options)
            pinv = op.pinv()
            factor = sum(b.numel() * b.itemsize for b in pinv.buffers())
            assert op.plan().method == method
            assert 0 < factor <= op.plan().memory


def test_own_kernels_take_their_number_of_factors():
    one = ConvOperator(empty(2, 2, 3), (50,), padding=1)
    many = ConvOperator(empty(10, 2, 2, 3), (50,), padding=1)
    assert many.plan().memory == 10 * one.plan().memory


def test_expected_solves_enter_the_cost():
    op = ConvOperator(empty(2, 2, 3, 3), (16, 16), padding=1, **CIRCULAR)
    one, many = op.plan(), op.plan(expected_solves=100)
    assert many.expected_solves == 100
    assert many.total_operations - one.total_operations == pytest.approx(99 * one.apply_operations)
    assert one.factor_operations > 0


def test_print_shows_the_plan():
    text = str(ConvOperator(empty(2, 2, 3, 3), (16, 16), padding=1).plan(expected_solves=7))
    for part in ("dense", "MB at the peak", "flop", "7 expected", "float64", "not      fourier"):
        assert part in text


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (F64, F64),
        (torch.complex64, torch.complex64),
        (C128, C128),
    ],
)
def test_factor_dtype(dtype, kept):
    op = ConvOperator(empty(2, 2, 3, dtype=dtype), (16,), padding=1)
    assert op.plan().factor_dtype == kept


# --- refusals -------------------------------------------------------------------------------------


def test_no_rung_serves():
    op = ConvOperator(empty(2, 2, 3, 3), (64, 64), padding=1)
    for call in (op.plan, op.pinv, lambda: op.tikhonov(1.0)):
        with pytest.raises(ValueError, match="no method serves this operator") as error:
            call()
        assert not isinstance(error.value, MemoryLimitError)
        assert_says(error, "fourier: the boundary is 'zeros'", "dense: min(m, n) = 8,192")
        assert_says(error, "padding_mode='circular'", "smaller input_shape", "method='dense'")


def test_force_past_the_cost_but_not_past_the_mathematics():
    big = ConvOperator(empty(2, 2, 3, 3), (64, 64), padding=1)
    assert big.plan(method="dense", memory_limit=math.inf).method == "dense"
    with pytest.raises(ValueError, match="fourier: the boundary is 'zeros'"):
        big.plan(method="fourier")


@pytest.mark.parametrize(
    ("options", "method"), [(CIRCULAR, "fourier"), ({}, "dense"), (CIRCULAR, "dense")]
)
def test_memory_limit_is_refused_with_the_figure(options, method):
    """A weight on 'meta' has no values: only a refusal before the arithmetic can succeed."""
    op = ConvOperator(empty(8, 8, 3, 3), (16, 16), padding=1, **options)
    need = op.plan(method=method).memory
    for call in (
        lambda: op.plan(method=method, memory_limit=need - 1),
        lambda: op.pinv(method=method, memory_limit=need - 1),
        lambda: op.tikhonov(1.0, method=method, memory_limit=need - 1),
    ):
        with pytest.raises(MemoryLimitError) as error:
            call()
        assert_says(error, f"{method}: it needs ", "B, memory_limit is", "raise memory_limit")
    assert op.plan(method=method, memory_limit=need).memory == need


def test_a_rung_over_memory_leaves_the_next_its_chance():
    op = ConvOperator(empty(1, 1, 1), (1,), **CIRCULAR)
    assert fourier.memory(op) > dense.memory(op)
    plan = op.plan(memory_limit=dense.memory(op))
    assert plan.method == "dense"
    assert "it needs" in dict(plan.rejected)["fourier"]


def test_default_memory_limit_refuses_the_largest():
    op = ConvOperator(empty(512, 512, 3, 3), (256, 256), padding=1, **CIRCULAR)
    with pytest.raises(MemoryLimitError, match=r"GB, memory_limit is 4\.29 GB"):
        op.pinv()


OP = ConvOperator(near_identity(2, 2, 3), (8,), padding=1, **CIRCULAR)
Y = randn(1, 2, 8)
BAD = [
    ({"method": "lsqr"}, ValueError, ["'lsqr' is not known", "'auto', 'fourier', 'dense'"]),
    ({"rtol": -1e-3}, ValueError, ["rtol=-0.001", "finite number >= 0"]),
    ({"rtol": math.nan}, ValueError, ["rtol=nan", "finite number >= 0"]),
    ({"rtol": math.inf}, ValueError, ["rtol=inf", "finite number >= 0"]),
    ({"atol": -1.0}, ValueError, ["atol=-1.0", "finite number >= 0"]),
    ({"atol": math.inf}, ValueError, ["atol=inf", "finite number >= 0"]),
]


@pytest.mark.parametrize(("options", "kind", "parts"), BAD, ids=[str(b[0]) for b in BAD])
def test_bad_options(options, kind, parts):
    for call in (OP.pinv, lambda **kw: OP.lstsq(Y, **kw)):
        with pytest.raises(kind) as error:
            call(**options)
        assert_says(error, *parts)


@pytest.mark.parametrize(
    ("damp", "kind", "part"),
    [
        (-1.0, ValueError, "damp=-1.0 must be a finite number >= 0"),
        (math.nan, ValueError, "damp=nan must be a finite number >= 0"),
        (math.inf, ValueError, "damp=inf must be a finite number >= 0"),
        ("1", TypeError, "damp must be a number, got str"),
        (True, TypeError, "damp must be a number, got bool"),
        (None, TypeError, "damp must be a number, got NoneType"),
        (1j, TypeError, "damp must be a number, got complex"),
        (torch.tensor(1.0), TypeError, "damp must be a number, got Tensor; use float(damp)"),
    ],
)
def test_bad_damp(damp, kind, part):
    for call in (
        lambda: OP.tikhonov(damp),
        lambda: OP.plan(damp=damp),
        lambda: OP.lstsq(Y, damp),
    ):
        with pytest.raises(kind) as error:
            call()
        assert_says(error, part)


def test_tikhonov_without_damping():
    with pytest.raises(ValueError, match=r"damp=0 .* use pinv\(\)"):
        OP.tikhonov(0)


def test_integers_are_numbers():
    assert OP.tikhonov(1).damp == 1.0
    assert OP.lstsq(Y, 2).certificate.damp == 2.0
