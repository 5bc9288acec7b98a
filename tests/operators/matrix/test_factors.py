"""The patterns of single axes, against NumPy's padding."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unconv.grid.geometry import MODES, Axis, build_geometry
from unconv.grid.padding import ghost_sources
from unconv.operators.matrix.factors import (
    axis_factor,
    factors_of,
    most_entries,
    sources,
)

NUMPY_NAME = {
    "zeros": "constant",
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
    "symmetric": "symmetric",
}


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """Any axis with an output, however wide its padding."""
    n, k = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    s, d = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    before, after = draw(st.integers(0, 15)), draw(st.integers(0, 15))
    room = n + before + after - d * (k - 1) - 1
    after -= min(room, 0)
    m = max(room, 0) // s + 1
    return Axis(n, m, k, s, d, before, after, draw(st.sampled_from(MODES)))


@given(axes())
def test_sources_are_those_of_numpy_pad(a: Axis):
    fill = {"constant_values": -1} if a.mode == "zeros" else {}
    padded = np.pad(np.arange(a.n), (a.before, a.after), NUMPY_NAME[a.mode], **fill)
    for i, row in enumerate(sources(a).tolist()):
        start = i * a.stride
        assert row == padded[start : start + a.extent : a.dilation].tolist()


@pytest.mark.parametrize("mode", MODES[1:])
def test_sources_are_those_of_the_operators_padding(mode):
    a = Axis(n=5, m=5 + 4 + 3, k=1, stride=1, dilation=1, before=4, after=3, mode=mode)
    left, right = ghost_sources(a)
    assert sources(a)[:, 0].tolist() == [*left, *range(5), *right]


@given(axes(), st.booleans())
def test_factor_lists_every_set_of_taps_once_and_in_order(a: Axis, transposed: bool):
    expected = defaultdict(list)
    for i, row in enumerate(sources(a).tolist()):
        for t, j in enumerate(row):
            if j >= 0:
                expected[(j, i) if transposed else (i, j)].append(t)
    f = axis_factor(a, transposed)
    rows = np.arange(f.shape[0]).repeat(f.counts).tolist()
    found = [[t for t in taps if t < a.k] for taps in f.taps[f.labels].tolist()]
    positions = list(zip(rows, f.columns.tolist(), strict=True))
    assert dict(zip(positions, found, strict=True)) == expected
    assert positions == sorted(expected)
    assert f.starts.tolist() == [sum(r < i for r in rows) for i in range(f.shape[0])]


@given(axes())
def test_bound_on_the_entries(a: Axis):
    entries = len(axis_factor(a, False).columns)
    assert entries <= most_entries(a)
    if a.mode == "zeros":
        assert entries == most_entries(a)


def test_labels_of_single_taps_are_shared():
    """The table of values of a large picture is hardly larger than the kernel."""
    a = Axis(n=500, m=500, k=5, stride=1, dilation=1, before=2, after=2, mode="symmetric")
    assert len(axis_factor(a, False).taps) < 5 + 10


@pytest.mark.parametrize("transposed", [False, True])
def test_channels_are_block_diagonal(transposed):
    geometry = build_geometry((6, 2, 1), (4,), groups=3)
    f = factors_of(geometry, transposed)[0]
    found = np.zeros(f.shape, dtype=int)
    found[np.arange(f.shape[0]).repeat(f.counts), f.columns] = f.labels + 1
    blocks = torch.block_diag(*torch.arange(1, 13).view(6, 2).chunk(3)).numpy()
    np.testing.assert_array_equal(found, blocks.T if transposed else blocks)
