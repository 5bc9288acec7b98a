"""Shape arithmetic against torch, and every refusal with its remedy."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given

from unconv.grid.geometry import (
    Axis,
    build_geometry,
    extended,
    padding_pairs,
    per_axis,
    smallest_domain,
)

from ..helpers import assert_says
from ..strategies import Case, cases

GRID = list(itertools.product((1, 2, 5, 8), (1, 2, 3, 4), (1, 2, 3), (1, 2), (0, 1, 3)))


@pytest.mark.parametrize(("n", "k", "s", "d", "p"), GRID)
def test_outputs_as_torch(n, k, s, d, p):
    x, w = torch.empty(1, 1, n, device="meta"), torch.empty(1, 1, k, device="meta")
    options = {"stride": s, "padding": p, "dilation": d}
    if n + 2 * p < d * (k - 1) + 1:
        with pytest.raises(ValueError, match="the output would be empty"):
            build_geometry((1, 1, k), (n,), **options)
        return
    m = torch.nn.functional.conv1d(x, w, **options).shape[-1]
    assert build_geometry((1, 1, k), (n,), **options).range_shape == (1, m)


@pytest.mark.parametrize(("m", "k", "s", "d", "p"), GRID)
def test_transposed_outputs_as_torch(m, k, s, d, p):
    y, w = torch.empty(1, 1, m, device="meta"), torch.empty(1, 1, k, device="meta")
    for extra in range(max(s, d)):
        options = {"stride": s, "padding": p, "dilation": d, "output_padding": extra}
        n = (m - 1) * s + d * (k - 1) + 1 + extra - 2 * p
        if n < 1:
            with pytest.raises(ValueError, match="the output would be empty"):
                build_geometry((1, 1, k), (m,), transposed=True, **options)
            continue
        assert torch.nn.functional.conv_transpose1d(y, w, **options).shape[-1] == n
        geometry = build_geometry((1, 1, k), (m,), transposed=True, **options)
        assert geometry.domain_shape == (1, n)
        assert geometry.range_shape == (1, m)
        if extra == 0:
            found = smallest_domain((m,), (k,), stride=s, padding=p, dilation=d)
            assert found == (n,)


@given(cases())
def test_every_draw_is_consistent(case: Case):
    geometry = case.operator().geometry
    assert geometry.nd == len(case.input_shape)
    for a in geometry.axes:
        reach = (a.m - 1) * a.stride + a.extent
        assert a.m >= 1
        assert a.n >= 1
        assert a.extent <= a.padded
        assert a.tail == a.padded - reach
        if not case.options.get("transposed"):
            assert 0 <= a.tail < a.stride


@pytest.mark.parametrize(
    ("padding", "kernel", "expected"),
    [
        ("valid", (3, 4), ((0, 0), (0, 0))),
        ("full", (3, 4), ((2, 2), (3, 3))),
        ("same", (3, 4), ((1, 1), (1, 2))),
        ("same", (1, 2), ((0, 0), (0, 1))),
        (2, (3, 4), ((2, 2), (2, 2))),
        ((1, 2), (3, 4), ((1, 1), (2, 2))),
        ([1, 2], (3, 4), ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), (3, 4), ((1, 2), (3, 4))),
        ((1, (3, 4)), (3, 4), ((1, 1), (3, 4))),
        (((0, 3),), (4,), ((0, 3),)),
    ],
)
def test_padding_forms(padding, kernel, expected):
    ones = (1,) * len(kernel)
    assert padding_pairs(padding, kernel, ones, ones) == expected


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_same_and_full_count_dilation(k, d):
    span = d * (k - 1)
    assert padding_pairs("full", (k,), (1,), (d,)) == ((span, span),)
    assert padding_pairs("same", (k,), (1,), (d,)) == ((span // 2, span - span // 2),)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "expected"),
    [(1, "full", 1, (6,)), (1, "same", 1, (8,)), (2, "valid", 2, (19,)), (3, ((2, 0),), 1, (22,))],
)
def test_smallest_domain(stride, padding, dilation, expected):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    assert smallest_domain((8,), (3,), **options) == expected


def test_properties_of_an_axis():
    axis = Axis(n=10, m=4, k=3, stride=2, dilation=2, before=1, after=2, mode="circular")
    assert (axis.extent, axis.padded, axis.tail) == (5, 13, 2)
    assert not axis.on_torus
    assert Axis(8, 4, 3, 2, 1, 1, 1, "circular").on_torus
    assert not Axis(8, 4, 3, 2, 1, 1, 1, "zeros").on_torus
    whole = axis.extended()
    assert (whole.n, whole.m, whole.before, whole.after, whole.mode) == (13, 4, 0, 0, "zeros")


def test_extension_is_needed_only_with_ghosts():
    def needs(**options):
        return extended(build_geometry((1, 1, 3), (5,), **options)) is not None

    assert not needs(padding=1)
    assert not needs(padding=0, padding_mode="reflect")
    assert needs(padding=((0, 1),), padding_mode="reflect")


def test_large_counts_are_exact():
    geometry = build_geometry((64, 64, 3, 3, 3), (10**6,) * 3, padding=1)
    assert math.prod(geometry.domain_shape) == 64 * 10**18


def test_per_axis():
    assert per_axis("stride", 2, 3, 1) == (2, 2, 2)
    assert per_axis("stride", [1, 2], 2, 1) == (1, 2)
    assert per_axis("input_shape", torch.Size([4, 5]), 2, 1) == (4, 5)


# --- refusals -------------------------------------------------------------------------------------

SHAPE = ((8, 6, 3, 3), (5, 5))
REFUSED = [
    ({"groups": 3}, ValueError, ["groups=3 must divide out_channels=8; use 1, 2, 4 or 8."]),
    ({"groups": 0}, ValueError, ["groups=0", "positive"]),
    ({"groups": 1.0}, TypeError, ["groups=1.0", "integer"]),
    ({"stride": 0}, ValueError, ["stride=0", "at least 1"]),
    ({"stride": (1, 2, 3)}, ValueError, ["stride=(1, 2, 3)", "3 entries", "2 axes", "give one"]),
    ({"stride": (1, 2.5)}, TypeError, ["stride=(1, 2.5)", "integer"]),
    ({"stride": 1.5}, TypeError, ["stride=1.5", "integer"]),
    ({"stride": True}, TypeError, ["stride=True", "integer"]),
    ({"dilation": 0}, ValueError, ["dilation=0", "at least 1"]),
    ({"padding": -1}, ValueError, ["padding=-1", "negative", "crop"]),
    ({"padding": ((1, -1), 0)}, ValueError, ["-1", "negative", "crop"]),
    ({"padding": (1, 2, 3)}, ValueError, ["(1, 2, 3)", "3 entries", "2 axes"]),
    ({"padding": ((1, 2, 3), 0)}, TypeError, ["(before, after)"]),
    ({"padding": 1.5}, TypeError, ["padding=1.5", "integer"]),
    ({"padding": (1, 0.5)}, TypeError, ["padding=0.5", "integer"]),
    ({"padding": "wide"}, ValueError, ["'wide' is not known", "'valid', 'same', 'full'"]),
    ({"padding": "same", "stride": 2}, ValueError, ["'same'", "stride=(2, 2)", "pairs"]),
    ({"padding_mode": "mirror"}, ValueError, ["'mirror' is not known", "reflect", "symmetric"]),
    (
        {"padding": 5, "padding_mode": "reflect"},
        ValueError,
        ["'reflect'", "at most 4", "(5, 5)", "axis 0", "'replicate'"],
    ),
    (
        {"padding": (0, 6), "padding_mode": "symmetric"},
        ValueError,
        ["'symmetric'", "at most 5", "(6, 6)", "axis 1", "'replicate'"],
    ),
    ({"dilation": 3}, ValueError, ["output would be empty", "spans 7", "only 5", "pad more"]),
    ({"output_padding": 1}, ValueError, ["output_padding=1", "transposed=True"]),
    (
        {"output_padding": 2, "stride": 2, "transposed": True},
        ValueError,
        ["output_padding=2", "smaller", "stride=2", "dilation=1"],
    ),
    ({"output_padding": -1, "transposed": True}, ValueError, ["output_padding=-1", "at least 0"]),
    (
        {"padding": 4, "transposed": True, "groups": 1},
        ValueError,
        ["output would be empty", "(4, 4)", "pad less"],
    ),
    ({"groups": 3, "transposed": True}, ValueError, ["groups=3 must divide in_channels=8"]),
]


@pytest.mark.parametrize(("options", "kind", "parts"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_refused(options, kind, parts):
    with pytest.raises(kind) as error:
        build_geometry(*SHAPE, **options)
    assert_says(error, *parts)


@pytest.mark.parametrize(
    ("channels", "groups", "remedy"),
    [(1, 2, "use 1, or weight.expand(2, 1, 3)"), (2, 3, "use 1 or 2."), (7, 2, "use 1 or 7.")],
)
def test_divisors_read_as_a_sentence(channels, groups, remedy):
    with pytest.raises(ValueError, match="must divide") as error:
        build_geometry((channels, 1, 3), (5,), groups=groups)
    assert_says(error, remedy)


def test_empty_weight_and_input_are_refused():
    with pytest.raises(ValueError, match=r"\(0, 1, 3\), which is empty"):
        build_geometry((0, 1, 3), (5,))
    with pytest.raises(ValueError, match=r"input_shape=\(0,\) must be at least 1"):
        build_geometry((1, 1, 3), (0,))


def test_no_domain_for_these_outputs():
    with pytest.raises(ValueError, match="no input has the output size") as error:
        smallest_domain((1,), (3,), stride=1, padding=2, dilation=1)
    assert_says(error, "(1,)", "padding=2", "pass input_shape")


def test_pickles_without_its_hash():
    geometry = build_geometry((4, 2, 3), (9,), groups=2, padding_mode="circular", padding=1)
    constructor, arguments = geometry.__reduce__()
    assert constructor(*arguments) == geometry
    assert pickle.loads(pickle.dumps(geometry)) == geometry == copy.deepcopy(geometry)
