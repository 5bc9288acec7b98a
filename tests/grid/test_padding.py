"""E continues as numpy.pad does, and its adjoint is its transpose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unconv.grid.geometry import Axis, build_geometry, extended
from unconv.grid.padding import extend, extend_adjoint, line_of, sums_of

from ..helpers import C128, F64, randn

NUMPY_PAD = {
    "circular": {"mode": "wrap"},
    "reflect": {"mode": "reflect"},
    "replicate": {"mode": "edge"},
    "symmetric": {"mode": "symmetric"},
    "antireflective": {"mode": "reflect", "reflect_type": "odd"},
}
LIMIT = {"reflect": -1, "symmetric": 0, "antireflective": -1}
CASES = [
    (mode, n, before, after)
    for mode in NUMPY_PAD
    for n, before, after in itertools.product((1, 2, 3, 5), (0, 1, 2, 7), (0, 1, 3))
    if max(before, after) <= n + LIMIT.get(mode, 10)
]


def geometry_of(mode: str, *rows: tuple[int, int, int]):
    shape = tuple(row[0] for row in rows)
    pairs = [row[1:] for row in rows]
    return build_geometry((1, 1, *[1] * len(rows)), shape, padding=pairs, padding_mode=mode)


@pytest.mark.parametrize(("mode", "n", "before", "after"), CASES)
def test_every_sample_of_a_line_as_numpy(mode, n, before, after):
    E = np.stack([np.pad(e, (before, after), **NUMPY_PAD[mode]) for e in np.eye(n)], 1)
    sources, factors = line_of(Axis(n, 1, 1, 1, 1, before, after, mode))
    found = np.zeros_like(E)
    for source, factor in zip(sources, factors, strict=True):
        np.add.at(found, (np.arange(len(E)), source), factor)
    np.testing.assert_array_equal(found, E)


@pytest.mark.parametrize("mode", NUMPY_PAD)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, C128])
def test_extension_of_every_axis(mode, dtype):
    rows = (4, 1, 3), (3, 2, 0), (5, 0, 2)
    x = randn(2, 3, 4, 3, 5, dtype=dtype)
    padding = [(0, 0), (0, 0), *(row[1:] for row in rows)]
    found = extend(x, geometry_of(mode, *rows))
    assert found.dtype == dtype
    if mode == "antireflective":  # sums, each of which is rounded
        exact = np.pad(x.to(torch.promote_types(dtype, F64)).numpy(), padding, **NUMPY_PAD[mode])
        error = np.abs(found.numpy().astype(exact.dtype) - exact).max()
        assert error <= 4 * torch.finfo(dtype).eps * np.abs(exact).max()
    else:
        expected = np.pad(x.numpy(), padding, **NUMPY_PAD[mode])
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("mode", NUMPY_PAD)
def test_adjoint_is_the_transpose(mode):
    geometry = geometry_of(mode, (4, 1, 3), (3, 2, 0))
    E = extend(torch.eye(12).reshape(12, 1, 4, 3), geometry).flatten(1)  # rows: E e_j
    ET = extend_adjoint(torch.eye(40).reshape(40, 1, 8, 5), geometry).flatten(1)
    torch.testing.assert_close(ET, E.mT, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["zeros", *NUMPY_PAD])
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
    axis = Axis(4, 4, 3, 1, 1, 1, 1, "zeros")
    with pytest.raises(AssertionError):
        _ = axis.pads
    sources, factors = line_of(axis)
    assert sources.tolist() == [[0, 0, 1, 2, 3, 0]]
    assert factors.tolist() == [[0, 1, 1, 1, 1, 0]]


@pytest.mark.parametrize("mode", ["zeros", *NUMPY_PAD])
def test_places_of_a_plane_are_products_of_sums(mode):
    geometry = geometry_of(mode, (4, 1, 3), (3, 2, 0))
    x = randn(4, 3)
    padding = dict(NUMPY_PAD.get(mode, {"mode": "constant"}))
    expected = torch.from_numpy(np.pad(x.numpy(), [(1, 3), (2, 0)], **padding)).flatten()
    places = torch.cartesian_prod(torch.arange(8), torch.arange(5)).unbind(1)
    found = torch.zeros(40, dtype=x.dtype)
    for source, factor in sums_of(geometry.axes, places):
        found += x[(*source.T,)] * factor
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("x", [torch.float32, torch.float16])
def test_sums_have_the_precision_of_what_they_meet(x):
    geometry = geometry_of("antireflective", (3, 2, 2))
    line = torch.tensor([[[0.1, 0.2, 0.7]]]).to(x)
    found = extend(line, geometry, torch.float64)
    expected = np.pad(line[0, 0].double().numpy(), 2, **NUMPY_PAD["antireflective"])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0, 0].numpy(), expected, 0, 1e-15)
    assert extend(line, geometry).dtype == x
