"""E copies as numpy.pad does, and its adjoint is its transpose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unconv.grid.geometry import Axis, build_geometry, extended
from unconv.grid.padding import extend, extend_adjoint, ghost_sources

from ..helpers import C128, randn

NUMPY_NAME = {
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
    "symmetric": "symmetric",
}
LIMIT = {"reflect": -1, "symmetric": 0}
CASES = [
    (mode, n, before, after)
    for mode in NUMPY_NAME
    for n, before, after in itertools.product((1, 2, 3, 5), (0, 1, 2, 7), (0, 1, 3))
    if max(before, after) <= n + LIMIT.get(mode, 10)
]


def geometry_of(mode: str, *rows: tuple[int, int, int]):
    shape = tuple(row[0] for row in rows)
    pairs = [row[1:] for row in rows]
    return build_geometry((1, 1, *[1] * len(rows)), shape, padding=pairs, padding_mode=mode)


@pytest.mark.parametrize(("mode", "n", "before", "after"), CASES)
def test_sources_as_numpy(mode, n, before, after):
    expected = np.pad(np.arange(n), (before, after), NUMPY_NAME[mode])
    left, right = ghost_sources(Axis(n, 1, 1, 1, 1, before, after, mode))
    assert [*left, *range(n), *right] == expected.tolist()


@pytest.mark.parametrize("mode", NUMPY_NAME)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, C128])
def test_extension_of_every_axis(mode, dtype):
    rows = (4, 1, 3), (3, 2, 0), (5, 0, 2)
    x = randn(2, 3, 4, 3, 5, dtype=dtype)
    padding = [(0, 0), (0, 0), *(row[1:] for row in rows)]
    expected = np.pad(x.numpy(), padding, NUMPY_NAME[mode])
    found = extend(x, geometry_of(mode, *rows))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("mode", NUMPY_NAME)
def test_adjoint_is_the_transpose(mode):
    geometry = geometry_of(mode, (4, 1, 3), (3, 2, 0))
    E = extend(torch.eye(12).reshape(12, 1, 4, 3), geometry).flatten(1)  # rows: E e_j
    ET = extend_adjoint(torch.eye(40).reshape(40, 1, 8, 5), geometry).flatten(1)
    torch.testing.assert_close(ET, E.mT, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["zeros", *NUMPY_NAME])
def test_nothing_to_copy(mode):
    geometry = geometry_of(mode, (4, 0, 0))
    x = randn(2, 1, 4)
    assert extend(x, geometry) is x
    assert extend_adjoint(x, geometry) is x


def test_zeros_are_left_to_the_convolution():
    geometry = geometry_of("zeros", (4, 2, 1))
    x = randn(2, 1, 4)
    assert extend(x, geometry) is x
    assert extended(geometry) is None


def test_zeros_have_no_sources():
    with pytest.raises(AssertionError):
        ghost_sources(Axis(4, 4, 3, 1, 1, 1, 1, "zeros"))
