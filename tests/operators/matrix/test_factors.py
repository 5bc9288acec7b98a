"""The patterns of single axes, against NumPy's padding."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unconv.grid.geometry import Axis, build_geometry
from unconv.grid.modes import MODES
from unconv.operators.matrix.factors import (
    axis_factor,
    factors_of,
    most_entries,
    reads,
)

NUMPY_PAD = {
    "zeros": {"mode": "constant"},
    "circular": {"mode": "wrap"},
    "reflect": {"mode": "reflect"},
    "replicate": {"mode": "edge"},
    "symmetric": {"mode": "symmetric"},
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
    return Axis(n, m, k, s, d, before, after, draw(st.sampled_from([*MODES])))


def padded_by(mode: str, x: np.ndarray, margins: list[tuple[int, int]]) -> np.ndarray:
    """A picture continued along every axis, by any number of samples."""
    for d, (before, after) in enumerate(margins):
        E = padded_unit_vectors(Axis(x.shape[d], 1, 1, 1, 1, before, after, mode))
        x = np.moveaxis(np.tensordot(E, x, (1, d)), 0, d)
    return x


def padded_unit_vectors(a: Axis) -> np.ndarray:  # (padded, n)
    """E of one axis by NumPy, and of a slope as it is defined: numpy.pad goes on otherwise."""
    pads = (a.before, a.after)
    if a.mode != "antireflective" or a.n == 1:
        kind = NUMPY_PAD.get(a.mode, {"mode": "edge"})
        return np.stack([np.pad(e, pads, **kind) for e in np.eye(a.n)], 1)

    def row(i: int) -> np.ndarray:
        if i < 0:
            return 2 * row(0) - row(-i)
        return np.eye(a.n)[i] if i < a.n else 2 * row(a.n - 1) - row(2 * a.n - 2 - i)

    return np.stack([row(i) for i in range(-a.before, a.n + a.after)])


@given(axes())
def test_reads_are_those_of_numpy_pad(a: Axis):
    E = padded_unit_vectors(a)
    found = np.zeros((a.m, a.k, a.n))
    output, sample, tap, coefficient = reads(a)
    np.add.at(found, (output, tap, sample), coefficient)
    for i, rows in enumerate(found):
        start = i * a.stride
        np.testing.assert_array_equal(rows, E[start : start + a.extent : a.dilation])


@given(axes(), st.booleans())
def test_factor_lists_every_set_of_taps_once_and_in_order(a: Axis, transposed: bool):
    expected = defaultdict(list)
    for i, j, t, c in zip(*(t.tolist() for t in reads(a)), strict=True):
        expected[(j, i) if transposed else (i, j)].append((t, c))
    f = axis_factor(a, transposed)
    rows = np.arange(f.shape[0]).repeat(f.counts).tolist()
    coefficients = np.ones(f.taps.shape) if f.coefficients is None else f.coefficients
    pairs = zip(f.taps[f.labels].tolist(), coefficients[f.labels].tolist(), strict=True)
    found = [[(t, c) for t, c in zip(*p, strict=True) if t < a.k] for p in pairs]
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
