"""Which rung each kind of problem takes, and what is refused before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unconv import ConvOperator, MemoryLimitError, Plan
from unconv.inverse import Request
from unconv.inverse import plan as ladder
from unconv.inverse.boundary.sizes import rings_of
from unconv.inverse.diagonal import dense, fourier
from unconv.inverse.facts import CannotServeError
from unconv.inverse.plan import LADDER
from unconv.psf import models as psf

from ..helpers import (
    C128,
    F64,
    assert_says,
    near_identity,
    randn,
)
from ..strategies import Case, cases


def empty(*shape: int, dtype: torch.dtype = F64) -> torch.Tensor:
    """A weight without memory: a plan looks at shapes only."""
    return torch.empty(shape, dtype=dtype, device="meta")


CIRCULAR = {"padding_mode": "circular"}
CIRCULANT = [
    ((3, 3, 3, 3), (64, 64), CIRCULAR | {"padding": 1}),
    ((3, 3, 2, 4), (64, 63), CIRCULAR | {"padding": "same"}),
    ((3, 3, 3), (9,), CIRCULAR | {"padding": ((0, 2),)}),
    ((3, 3, 4), (8,), CIRCULAR | {"padding": ((1, 1),), "stride": 2}),
    ((4, 1, 3, 3), (8, 8), CIRCULAR | {"padding": 1, "groups": 4}),
    ((5, 3, 3, 3, 3), (8, 8), CIRCULAR | {"padding": 1}),  # own kernels
    ((3, 5, 3, 3, 3), (8, 8, 8), CIRCULAR | {"padding": 1}),
    ((2, 3, 4), (8,), CIRCULAR | {"padding": 1, "stride": 2, "transposed": True}),
    ((1, 1, 9), (4,), CIRCULAR | {"padding": 4}),
    ((3, 3, 1, 1), (8, 8), CIRCULAR),
    ((3, 3, 1), (9,), {}),  # one tap: no neighbours, whatever the boundary
    ((6, 3, 2, 3), (8, 9), {"stride": (2, 3)}),  # patches that do not overlap
]
OTHERS = [
    ((3, 3, 3), (9,), CIRCULAR),  # outputs missing
    ((3, 3, 3), (9,), CIRCULAR | {"padding": 2}),  # outputs to spare
    ((3, 3, 3), (9,), CIRCULAR | {"padding": 1, "stride": 2}),  # stride against size
    ((6, 3, 2, 3), (8, 10), {"stride": (2, 3)}),  # with samples that no patch reads
    *[
        ((3, 3, 3, 3), (9, 8), {"padding": 1, "padding_mode": mode})
        for mode in ("zeros", "reflect", "replicate", "symmetric")
    ],
    ((3, 3, 3, 3), (9, 8), {"padding": "valid"}),
    ((3, 3, 3, 3), (9, 8), {"padding": "full"}),
    ((3, 3, 3, 3), (9, 8), {"padding": 1, "stride": 2}),
    ((3, 3, 3, 3), (9, 8), {"padding": 1, "stride": 2, "transposed": True}),
    ((2, 3, 3, 3, 3), (4, 3, 4), {"padding": 1, "padding_mode": "reflect"}),
    ((2, 4, 3, 3, 3), (9, 8), {"padding": 1}),  # own kernels
    ((4, 1, 3, 3), (9, 8), {"padding": 1, "groups": 4}),
]
RUNG_OF = [
    *[(*case, "fourier") for case in CIRCULANT],
    *[(*case, "dense") for case in OTHERS],
    *[(shape, tuple(600 // len(size) ** 2 for _ in size), options, "boundary")
      for shape, size, options in OTHERS if len(size) == 2 and "stride" not in options],
    ((3, 3, 3, 3), (99, 98), {"padding": 1, "stride": 2}, "boundary"),
    ((3, 3, 3, 3), (49, 48), {"padding": 1, "stride": 2, "transposed": True}, "boundary"),
    ((2, 3, 3, 3, 3), (12, 13, 12), {"padding": 1, "padding_mode": "reflect"}, "boundary"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [F64, C128, torch.float32, torch.float16])
@pytest.mark.parametrize(("shape", "size", "options", "rung"), RUNG_OF)
def test_rung_by_shape(shape, size, options, rung, dtype):
    """Kernels without values can be no outer product and have no symmetry."""
    op = ConvOperator(empty(*shape, dtype=dtype), size, **options)
    plan = op.plan()
    assert isinstance(plan, Plan)
    assert plan.method == rung
    ladder = [r.name for r in LADDER]
    assert [name for name, _ in plan.rejected] == ladder[: ladder.index(rung)]
    assert plan.memory > 0
    if rung in ("fourier", "dense"):
        assert op.plan(damp=1.0).method == rung


@pytest.mark.parametrize(("shape", "size", "options"), CIRCULANT + OTHERS)
def test_the_rung_that_is_planned_answers(shape, size, options):
    if math.prod(shape) * math.prod(size) > 10**5:
        size = tuple(8 for _ in size)
    op = ConvOperator(randn(*shape), size, **options)
    rung = op.plan().method
    assert op.pinv().method == op.tikhonov(0.5).method == rung
    y = randn(op.batch_size or 1, *op.range_shape)
    assert op.lstsq(y).certificate.method == rung


PLUS = torch.tensor([[0.0, 1, 0], [1, 8, 2], [0, 2, 0]], dtype=F64)  # no symmetry, no product
EVEN = PLUS + PLUS.flip(0) + PLUS.flip(1) + PLUS.flip((0, 1))
GAUSSIAN = psf.gaussian(1.5)
MIX = torch.tensor([[1.0, 2], [3, 5]], dtype=F64)[..., None, None]
BY_VALUE = [
    (EVEN, "symmetric", "same", "cosine"),
    (EVEN, "replicate", "same", "cosine"),  # one ghost: the edge in both modes
    (EVEN, "reflect", "same", "dense"),
    (EVEN, "symmetric", "valid", "dense"),
    (PLUS, "symmetric", "same", "dense"),
    (GAUSSIAN, "symmetric", "same", "cosine"),
    (GAUSSIAN, "circular", "same", "fourier"),
    *[(GAUSSIAN, mode, "same", "separable") for mode in ("zeros", "reflect", "replicate")],
    (GAUSSIAN, "zeros", "valid", "separable"),
    (GAUSSIAN, "zeros", "full", "separable"),
    (torch.ones(5, 4, dtype=F64), "symmetric", "same", "separable"),
    (psf.motion(7.0, 0.0), "reflect", "same", "separable"),
    (psf.motion(7.0, 30.0), "reflect", "same", "dense"),
    (psf.disk(2.0), "reflect", "same", "dense"),
    (psf.disk(2.0), "symmetric", "same", "cosine"),
]


@pytest.mark.parametrize(("kernel", "mode", "padding", "rung"), BY_VALUE)
@pytest.mark.parametrize("kind", ["one", "depthwise", "mixed", "transposed"])
def test_rung_by_values(kernel, mode, padding, rung, kind):
    weight = kernel[None, None]
    options = {"padding": padding, "padding_mode": mode}
    if kind == "depthwise":
        weight, options["groups"] = weight.expand(3, -1, -1, -1), 3
    elif kind == "mixed":
        weight = MIX * kernel
    elif kind == "transposed":
        options["transposed"] = True
    op = ConvOperator(weight, (18, 17), **options)
    assert op.plan().method == op.plan(damp=0.1).method == op.tikhonov(0.1).method == rung


def test_rung_of_larger_pictures():
    """Small for an SVD, then one LU, then iterations: where set-up, solves and memory decide."""
    layer = ConvOperator(randn(2, 2, 3, 3), (64, 64), padding=1)
    assert layer.plan().method == "boundary"
    assert layer.plan(damp=1e-3).method == "boundary"
    blur = ConvOperator(psf.motion(15.0, 30.0)[None, None], (512, 512), padding="same",
                        padding_mode="reflect")  # fmt: skip
    limits: dict[str, Any] = {"memory_limit": math.inf, "expected_solves": 1}
    assert blur.plan(**limits).method == "boundary"
    assert blur.plan(memory_limit=2**29).method == "krylov"
    assert blur.plan(damp=3e-2, **limits).method == "krylov"
    many: dict[str, Any] = {"damp": 3e-2, "expected_solves": 1000}
    direct = blur.plan(**limits | many)
    assert direct.method == "boundary"
    assert blur.plan(**many, memory_limit=direct.memory - 1).method == "krylov"
    why = dict(blur.plan(damp=3e-2, **limits).rejected)["boundary"]
    for part in ("its LU takes", "iterations are cheaper for expected_solves=1"):
        assert part in why


def test_shapes_without_values_cannot_be_looked_at():
    op = ConvOperator(empty(1, 1, 3, 3), (40, 40), padding=1, padding_mode="symmetric")
    why = dict(op.plan().rejected)
    assert why["cosine"] == why["separable"] == "the weight has no values to look at"
    for method in ("cosine", "separable"):
        with pytest.raises(ValueError, match="no values to look at"):
            op.plan(method=method)


def test_reasons():
    op = ConvOperator(empty(1, 1, 3), (9,), padding=1)
    assert op.plan().rejected[0] == ("fourier", "the boundary is 'zeros', not 'circular'")
    op = ConvOperator(empty(1, 1, 3), (9,), padding=1, stride=2, padding_mode="circular")
    name, why = op.plan().rejected[0]
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
    for options, method in ((CIRCULAR, "fourier"), ({}, "dense"), ({}, "boundary")):
        for dtype in (F64, C128):
            op = ConvOperator(near_identity(3, 3, 3, 3, dtype=dtype), (9, 8), padding=1, **options)
            pinv, plan = op.pinv(method=method), op.plan(method=method)
            factor = sum(b.numel() * b.itemsize for b in pinv.buffers())
            assert pinv.method == plan.method == method
            assert 0 < factor <= plan.memory


def test_own_kernels_take_their_number_of_factors():
    one = ConvOperator(empty(2, 2, 3), (50,), padding=1)
    many = ConvOperator(empty(10, 2, 2, 3), (50,), padding=1)
    assert many.plan().memory == 10 * one.plan().memory


def test_expected_solves_enter_the_cost():
    op = ConvOperator(empty(2, 2, 3, 3), (16, 16), padding=1, **CIRCULAR)
    one, many = op.plan(expected_solves=1), op.plan(expected_solves=100)
    assert many.expected_solves == 100
    assert many.total_operations - one.total_operations == pytest.approx(99 * one.apply_operations)
    assert one.factor_operations > 0


def test_print_shows_the_plan():
    text = str(ConvOperator(empty(2, 2, 3, 3), (16, 16), padding=1).plan(expected_solves=7))
    for part in ("dense", "MB at the peak", "flop", "7 expected", "float64", "not      fourier"):
        assert part in text


def test_print_shows_what_a_deficient_operator_takes():
    for shape in ((2, 2, 3, 3), (4, 2, 3, 3), (1, 2, 3, 3)):
        op = ConvOperator(empty(*shape), (64, 64), padding=1)
        plan = op.plan(method="boundary")
        assert plan.memory < plan.memory_if_deficient
        assert "if A is rank-deficient" in str(plan)
        limited = op.plan(method="boundary", memory_limit=plan.memory)
        assert limited.memory_if_deficient == limited.memory == plan.memory
        assert "deficient" not in str(limited)
        damped = op.plan(method="boundary", damp=1.0)
        assert damped.memory_if_deficient == damped.memory


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


LARGE = ConvOperator(randn(2, 2, 3, 3), (64, 64), padding=1)


def test_no_rung_serves():
    """An iteration cannot cut at rtol, and what cuts takes more memory than is allowed."""
    for call in (LARGE.plan, LARGE.pinv):
        with pytest.raises(MemoryLimitError, match="no method fits memory_limit=500 kB") as error:
            call(rtol=1e-3, memory_limit=500_000)
        assert_says(error, "boundary needs", "B; raise memory_limit", "smaller input_shape")


def test_force_past_the_cost_but_not_past_the_mathematics():
    assert LARGE.plan(method="dense", memory_limit=math.inf).method == "dense"
    assert LARGE.plan(method="boundary", damp=1.0).method == "boundary"
    assert "forced" in LARGE.plan(method="boundary").reason
    with pytest.raises(ValueError, match="fourier: the boundary is 'zeros'"):
        LARGE.plan(method="fourier")
    with pytest.raises(ValueError, match="krylov: an iteration cannot cut") as error:
        LARGE.plan(method="krylov", rtol=0.1)
    assert not isinstance(error.value, MemoryLimitError)


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (CIRCULAR, "fourier"),
        ({}, "dense"),
        (CIRCULAR, "dense"),
        ({}, "boundary"),
        (CIRCULAR | {"stride": 3}, "boundary"),
        ({}, "krylov"),
    ],
)
def test_memory_limit_is_refused_with_the_figure(options, method):
    op = ConvOperator(randn(8, 8, 3, 3), (16, 16), padding=1, **options)
    for damp in (0.0, 1.0):
        solves = {"expected_solves": 10, "damp": damp}
        need = op.plan(method=method, **solves).memory
        limit = {"method": method, "memory_limit": need - 1}
        for call in (
            lambda limit=limit, solves=solves: op.plan(**limit, **solves),
            lambda limit=limit, damp=damp: op.tikhonov(damp, **limit) if damp else op.pinv(**limit),
        ):
            with pytest.raises(MemoryLimitError) as error:
                call()
            assert_says(error, f"{method} needs ", "no method fits memory_limit=", "B; raise")
        assert op.plan(method=method, memory_limit=need, **solves).memory == need


def test_a_rung_over_memory_leaves_the_next_its_chance():
    op = ConvOperator(empty(1, 1, 1), (1,), **CIRCULAR)
    options = Request()
    assert fourier.memory(op, options) > dense.memory(op, options)
    plan = op.plan(memory_limit=dense.memory(op, options))
    assert plan.method == "dense"
    assert "it needs" in dict(plan.rejected)["fourier"]


def test_default_memory_limit_refuses_the_largest():
    op = ConvOperator(torch.zeros(1, 1, 1, 1).expand(512, 512, 3, 3), (256, 256), padding=1,
                      **CIRCULAR)  # fmt: skip
    with pytest.raises(MemoryLimitError, match=r"memory_limit=4\.29 GB: fourier needs .* GB"):
        op.pinv(method="fourier")


def test_a_forced_rung_that_gives_up_says_why():
    """Hundreds of singular values at a cut far from zero are too many to keep as images."""
    op = ConvOperator(randn(1, 1, 3, 3), (128, 128), padding=1)
    with pytest.raises(ValueError, match=r"boundary: .* singular values lie at or under"):
        op.pinv(method="boundary", rtol=0.5)


OP = ConvOperator(near_identity(2, 2, 3), (8,), padding=1, **CIRCULAR)
Y = randn(1, 2, 8)
BAD = [
    (
        {"method": "lsqr"},
        ValueError,
        [
            "'lsqr' is not known",
            "'auto', 'fourier', 'cosine', 'separable', 'dense', 'completion', 'boundary', 'krylov'",
        ],
    ),
    ({"rtol": -1e-3}, ValueError, ["rtol=-0.001", "finite number >= 0"]),
    ({"rtol": math.nan}, ValueError, ["rtol=nan", "finite number >= 0"]),
    ({"rtol": math.inf}, ValueError, ["rtol=inf", "finite number >= 0"]),
    ({"rtol": 2.0}, ValueError, ["rtol=2.0", "finite number >= 0 and < 1", "leaves nothing"]),
    ({"rtol": 1}, ValueError, ["rtol=1", "finite number >= 0 and < 1"]),
    ({"atol": -1.0}, ValueError, ["atol=-1.0", "finite number >= 0"]),
    ({"atol": math.inf}, ValueError, ["atol=inf", "finite number >= 0"]),
    ({"tol": -1.0}, ValueError, ["tol=-1.0", "finite number > 0"]),
    ({"tol": "1"}, TypeError, ["tol must be a number, got str"]),
    ({"maxiter": 0}, ValueError, ["maxiter=0 must be at least 1"]),
    ({"maxiter": 2.0}, TypeError, ["maxiter must be an integer, got float"]),
    ({"expected_solves": -1}, ValueError, ["expected_solves"]),
    ({"expected_solves": 2.5}, TypeError, ["expected_solves must be an integer, got float"]),
    ({"memory_limit": "1GB"}, TypeError, ["memory_limit must be a number of bytes, got '1GB'"]),
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
        (torch.ones(2), TypeError, "a real tensor of one element, got torch.float32 of shape (2,)"),
        (torch.tensor(1), TypeError, "damp must be floating point or complex, got torch.int64"),
        (torch.ones((), device="meta"), ValueError, "damp is on the meta device"),
        (torch.tensor(-1.0), ValueError, "damp=-1.0 must be a finite number >= 0"),
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


RINGS = [
    (psf.disk(7.0)[None, None], 512, 1e-2, True),
    (psf.disk(7.0)[None, None], 512, 1e-6, False),  # two eliminations lose too many digits
    (torch.ones(1, 1, 3, 3, dtype=F64), 512, 1e-2, False),  # S' costs more to fill than it saves
]


@pytest.mark.parametrize(("weight", "n", "damp", "expected"), RINGS)
def test_rings_are_eliminated_where_that_is_stable_and_cheaper(weight, n, damp, expected):
    op = ConvOperator(weight, (n, n), padding="same")
    damp = damp * float(weight.sum())
    assert (rings_of(op, Request(damp=damp)) is not None) == expected


@pytest.mark.parametrize("damp", [0.5, 0.1, 1e-3])
@pytest.mark.parametrize(("k", "n"), [(7, 96), (5, 40), (3, 64)])
def test_the_same_question_gets_the_same_rung(k, n, damp):
    box = torch.full((1, 1, k, k), 1.0 / k**2, dtype=F64)
    box[0, 0, 0, 0] += 0.01  # no outer product
    op = ConvOperator(box, (n, n), padding=k // 2)
    y = randn(1, *op.range_shape)
    named = op.plan(damp=damp).method
    assert op.tikhonov(damp).method == named
    assert op.lstsq(y, damp).certificate.method == named


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("mode", ["circular", "zeros"])
def test_an_answer_carries_the_plan_that_was_carried_out(mode, damp):
    op = ConvOperator(randn(2, 2, 3, 3, seed=3), (12, 11), padding=1, padding_mode=mode)
    plan = op.plan(damp=damp)
    inverse = op.tikhonov(damp) if damp else op.pinv()
    assert inverse.plan == plan
    _, certificate = op.lstsq(randn(1, *op.range_shape), damp)
    assert certificate.plan == plan
    assert certificate.plan.method == certificate.method
    assert "plan" not in certificate.as_dict()


@pytest.mark.parametrize("kind", [CannotServeError, torch.linalg.LinAlgError])
def test_a_rung_that_gave_up_is_in_the_plan(monkeypatch, kind):
    def gives_up(op, request):
        raise kind("no such luck")

    rungs = tuple(replace(r, factor=gives_up) if r.name == "dense" else r for r in LADDER)
    monkeypatch.setattr(ladder, "LADDER", rungs)
    op = ConvOperator(randn(2, 2, 3, 3, seed=3), (12, 11), padding=1)
    assert op.plan().method == "dense"
    made = op.pinv().plan
    assert made.method == "boundary"
    assert ("dense", "no such luck") in made.rejected


# --- remedies, tried


@given(
    case=cases(dtypes=[F64], modes=("zeros", "reflect", "circular", "symmetric")), data=st.data()
)
@settings(max_examples=60)
def test_what_a_refused_method_advises_serves(case: Case, data: st.DataObject):
    """For any operator, method and damp: auto takes what the sentence names, and it answers."""
    op = case.operator()
    method = data.draw(st.sampled_from([rung.name for rung in LADDER]))
    damp = data.draw(st.sampled_from([0.0, 0.5]))
    try:
        plan = op.plan(method=method, damp=damp)
    except ValueError as error:
        said = str(error)
        assert said.startswith(f"method={method!r} does not serve this operator ({method}: ")
        instead = said.rpartition("which takes ")[2].strip("'.")
        assert op.plan(damp=damp).method == instead != method
        assert op.plan(damp=damp, method=instead).method == instead
    else:
        assert plan.method == method


def test_fourier_under_reflect_is_told_what_serves():
    op = ConvOperator(randn(1, 1, 3, 3), (9, 8), padding=1, padding_mode="reflect")
    for damp in (0.0, 0.1):
        with pytest.raises(ValueError, match="'reflect', not 'circular'") as error:
            op.lstsq(op(randn(1, 1, 9, 8)), damp, method="fourier")
        assert "give damp" not in str(error.value)
        assert_says(error, "use method='auto', which takes 'dense'.")
    assert op.lstsq(op(randn(1, 1, 9, 8)), method="dense").certificate.method == "dense"


def test_where_no_method_serves_the_remedies_do():
    """A cut in the middle of the singular values of an operator too large for its SVD."""
    op = ConvOperator(randn(1, 1, 3, 3), (128, 128), padding=1)
    with pytest.raises(ValueError, match="no method serves this operator") as error:
        op.pinv(rtol=0.5)
    assert_says(error, "give damp > 0, or method='dense' with patience.")
    assert op.lstsq(op(randn(1, 1, 128, 128)), 0.5).certificate.converged.all()
    assert op.plan(method="dense", rtol=0.5, memory_limit=math.inf).method == "dense"
