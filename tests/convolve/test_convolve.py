"""Every engine computes the same map: the dense twin's."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings

import unconv.convolve
from unconv import ConvOperator
from unconv.convolve import correlate, correlate_transpose
from unconv.convolve.choice import fft_is_cheaper
from unconv.grid.geometry import build_geometry
from unconv.grid.modes import MODES
from unconv.testing import dense_twin

from ..helpers import (
    C128,
    DOUBLES,
    ENGINES,
    F64,
    HALVES,
    ROUND_OFF,
    SINGLES,
    apply_matrix,
    data,
    engine,
    randn,
    relative,
    scale_of,
)
from ..strategies import Case, cases


def assert_twins(op: ConvOperator, name: str, dtype: torch.dtype | None = None) -> None:
    """Forward and adjoint of one engine against the dense twin."""
    A = dense_twin(op)
    x, y = data(op.domain_shape, op, dtype=dtype), data(op.range_shape, op, dtype=dtype)
    with engine(name):
        Ax, AHy = op(x), op.H(y)
    expected = torch.promote_types(op.dtype, x.dtype)
    assert Ax.dtype == AHy.dtype == expected
    tolerance = ROUND_OFF[expected]
    assert relative(Ax, apply_matrix(A, x, op.range_shape), scale_of(op, x)) < tolerance
    assert relative(AHy, apply_matrix(A.mH, y, op.domain_shape), scale_of(op, y)) < tolerance


@pytest.mark.parametrize("name", ENGINES)
@given(case=cases())
@settings(max_examples=60)
def test_every_option(name, case: Case):
    assert_twins(case.operator(), name)


@pytest.mark.parametrize("name", ENGINES)
@given(case=cases(dtypes=SINGLES + HALVES))
@settings(max_examples=30)
def test_every_option_in_low_precision(name, case: Case):
    assert_twins(case.operator(), name)


MIXED = [
    (F64, C128),
    (C128, F64),
    (torch.float32, F64),
    (F64, torch.float32),
    (torch.complex64, F64),
    (torch.float16, torch.complex64),
    (torch.bfloat16, torch.float16),
    (torch.bfloat16, torch.float32),
]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("own", "other"), MIXED)
@given(case=cases())
@settings(max_examples=4)
def test_mixed_dtypes_promote(name, own, other, case: Case):
    assert_twins(case.operator(own), name, other)


FORCED = {
    "direct": (unconv.convolve, "correlate_real"),
    "gradient": (unconv.convolve, "transpose_real"),
    "fft": (unconv.convolve, "correlate_fft"),
    "fft, byte limits": (unconv.convolve.by_fft, "_by_groups"),
    "byte limits": (unconv.convolve.direct, "_direct"),
}


@pytest.mark.parametrize("name", FORCED)
def test_engines_can_be_forced(name, monkeypatch):
    """Or the tests above would all run the same one."""
    calls = []
    real = getattr(*FORCED[name])
    monkeypatch.setattr(*FORCED[name], lambda *args: (calls.append(args), real(*args))[1])
    op = ConvOperator(randn(2, 1, 3), (5,), padding=1, groups=2)
    with engine(name):
        op(randn(1, 2, 5))
        op.H(randn(1, 2, 5))
    assert len(calls) >= (5 if name == "byte limits" else 1)


# --- named cases: what a fast path might get wrong --------------------------------------------

NAMED = {
    "kernel larger than image": ((1, 1, 9), (2,), {"padding": "full"}),
    "one pixel": ((2, 3, 3, 3), (1, 1), {"padding": 1}),
    "kernel of one": ((2, 3, 1, 1), (4, 5), {}),
    "kernel of one, padded": ((2, 3, 1), (4,), {"padding": 3}),
    "kernel of two": ((2, 3, 2, 2), (4, 5), {"padding": "same"}),
    "before only": ((1, 1, 3, 3), (5, 4), {"padding": ((2, 0), (1, 0))}),
    "after only": ((1, 1, 3, 3), (5, 4), {"padding": ((0, 2), (0, 1))}),
    "beyond full": ((1, 1, 3), (4,), {"padding": 7}),
    "beyond full, one side": ((1, 1, 3), (4,), {"padding": ((0, 9),), "stride": 2}),
    "stride beyond kernel": ((2, 1, 2), (13,), {"stride": 5}),
    "tail": ((2, 1, 3), (12,), {"stride": 5, "padding": ((1, 0),)}),
    "tail longer than padding": ((2, 1, 1), (9,), {"stride": 5, "padding": ((0, 2),)}),
    "unread output_padding": ((1, 1, 3), (3,), {"dilation": 4, "output_padding": 3}),
    "tall": ((7, 1, 3, 3), (4, 4), {"padding": 1}),
    "wide": ((1, 7, 3, 3), (4, 4), {"padding": 1}),
    "depthwise": ((4, 1, 3, 3), (5, 6), {"padding": 1, "groups": 4}),
    "depthwise, multiplied": ((8, 1, 3, 3), (5, 6), {"padding": 1, "groups": 4}),
    "depthwise, large": ((3, 1, 10, 11), (12, 13), {"padding": 5, "groups": 3}),
    "depthwise, large, beyond full": ((3, 1, 10, 11), (9, 9), {"padding": 12, "groups": 3}),
    "many channels": ((33, 17, 3), (6,), {"padding": 1}),
    "dilated beyond image": ((1, 1, 3), (2,), {"padding": 6, "dilation": 5}),
    "volume": ((2, 2, 2, 3, 1), (3, 4, 2), {"padding": (1, 2, 0), "stride": (2, 1, 2)}),
    "wrapped thrice": ((1, 2, 3), (2,), {"padding": 7, "padding_mode": "circular"}),
    "replicated one pixel": ((2, 2, 3), (1,), {"padding": 3, "padding_mode": "replicate"}),
}


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", [F64, C128, torch.float32])
@pytest.mark.parametrize("case", NAMED)
def test_named(name, dtype, case):
    shape, size, options = NAMED[case]
    options = options | {"transposed": "output_padding" in options}
    assert_twins(ConvOperator(randn(*shape, dtype=dtype), size, **options), name)


def test_natural_slabs_and_sample_loop():
    """An im2col matrix of 38 MB goes in slabs by itself, a batch one by one."""
    x, w = randn(2, 1, 150, 140), randn(1, 1, 15, 15, seed=3)
    op = ConvOperator(w, (150, 140), padding=(7, 0))
    assert len(unconv.convolve.direct._slabs(x, w, op.geometry)) > 1
    with engine("direct"):
        y = op(x)
    torch_y = torch.nn.functional.conv2d(x, w, padding=(7, 0))
    assert relative(y, torch_y) < 1e-13
    with engine("fft"):
        assert relative(op(x), y) < 1e-13


def test_cost_model_gives_large_kernels_to_the_fft():
    def cheaper(k: int, n: int) -> bool:
        geometry = build_geometry((1, 1, k, k), (n, n), padding=k // 2)
        return fft_is_cheaper(1, geometry, F64, "cpu")

    assert cheaper(63, 256)
    assert not cheaper(3, 256)
    assert not cheaper(3, 1)


def test_transpose_takes_no_conjugate():
    geometry = build_geometry((2, 3, 3), (6,), padding=1, stride=2)
    w = randn(2, 3, 3, dtype=C128)
    x, y = randn(2, 3, 6, dtype=C128), randn(2, 2, 3, dtype=C128, seed=2)
    left = (correlate(x, w, geometry) * y).sum()
    right = (x * correlate_transpose(y, w, geometry)).sum()
    assert relative(left, right) < 1e-13


# --- gradients --------------------------------------------------------------------------------

GRADED = [
    ((2, 2, 3), (5,), {"padding": 1}),
    ((2, 1, 2, 3), (4, 3), {"padding": ((0, 1), (2, 1)), "stride": (1, 2), "groups": 2}),
    ((2, 1, 2, 2), (3, 3), {"padding": 1, "padding_mode": "reflect", "flip": True}),
    ((2, 1, 2), (3,), {"stride": 2, "transposed": True, "output_padding": 1}),
    ((2, 1, 2, 2, 1), (2, 3, 2), {"dilation": (1, 2, 1), "padding_mode": "circular", "padding": 1}),
    ((2, 2, 1, 2), (4,), {"padding": "full", "padding_mode": "replicate"}),
]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, forward mode
@pytest.mark.parametrize("name", ["direct", "gradient", "fft"])
@pytest.mark.parametrize("dtype", DOUBLES)
@pytest.mark.parametrize("case", GRADED, ids=str)
def test_gradients_of_both_maps(name, dtype, case):
    shape, size, options = case
    w = randn(*shape, dtype=dtype).requires_grad_()
    op = ConvOperator(w.detach(), size, **options)
    x = data(op.domain_shape, op, seed=2).requires_grad_()
    y = data(op.range_shape, op, seed=3).requires_grad_()

    def forward(w, x):
        return op.with_weight(w)(x)

    def adjoint(w, y):
        return op.with_weight(w).H(y)

    for function, v in ((forward, x), (adjoint, y)):
        with engine(name):
            assert torch.autograd.gradcheck(
                function, (w, v), check_forward_ad=True, fast_mode=dtype.is_complex
            )


@pytest.mark.parametrize("name", ["direct", "gradient", "fft"])
def test_second_derivatives(name):
    op = ConvOperator(randn(2, 1, 2), (4,), padding=1, stride=2, padding_mode="symmetric")
    w, x = op.weight.clone().requires_grad_(), randn(1, 1, 4, seed=1).requires_grad_()
    with engine(name):
        assert torch.autograd.gradgradcheck(lambda w, x: op.with_weight(w)(x), (w, x))


# --- everything with everything ----------------------------------------------------------------

CROSSED = list(
    itertools.product(
        MODES,
        (1, 2, 3),  # stride
        (1, 2),  # dilation
        ((1, 1), (2, 2), (3, 4), (5, 1)),  # kernel
        (0, 1, 2, "full", ((1, 0), (0, 2))),
        (1, 2),  # groups
        (False, True),  # transposed
    )
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [F64, C128, torch.float32, torch.bfloat16])
def test_crossing(name, mode, dtype):
    done = 0
    for own_mode, s, d, k, p, g, transposed in CROSSED:
        if own_mode != mode:
            continue
        options = {"stride": s, "dilation": d, "padding": p, "groups": g, "padding_mode": mode}
        options["transposed"] = transposed
        try:
            op = ConvOperator(randn(2, 2, *k, dtype=dtype), (5, 6), **options)
        except ValueError:  # an empty output, or more padding than the mode can
            continue
        assert_twins(op, name)
        done += 1
    assert done > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@given(case=cases())
@settings(max_examples=1500)
def test_every_option_at_length(name, case: Case):
    assert_twins(case.operator(), name)
