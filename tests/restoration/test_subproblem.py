"""The part of large data on which a strength is chosen explains them as the whole does."""

from __future__ import annotations

import pytest
import torch

import unconv
from unconv.restoration import subproblem

from ..helpers import randn, relative


@pytest.mark.parametrize("mode", ["valid", "zeros", "circular", "reflect"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_it_sees_what_the_whole_sees_there(monkeypatch, mode, stride, dilation, flip):
    monkeypatch.setitem(subproblem._MOST, 2, 64)
    padding = {} if mode == "valid" else {"padding": (2, 1), "padding_mode": mode}
    options = {"stride": stride, "dilation": dilation, "flip": flip, **padding}
    A = unconv.ConvOperator(randn(2, 3, 3, 2), (60, 57), **options)
    A = A.observed(randn(*A.range_shape[1:], seed=1) > -1)
    x = randn(1, 3, 60, 57, seed=2)
    found = subproblem.part_of(A, A(x))
    assert found is not None
    part, where = found
    assert part.range_shape == (2, 8, 8)
    read = [
        slice(place.start * stride - a.before, place.start * stride - a.before + n)
        for place, a, n in zip(where[2:], A.geometry.axes, part.domain_shape[1:], strict=True)
    ]
    assert relative(part(x[:, :, *read]), A(x)[where]) < 1e-13


def test_few_data_are_taken_whole():
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (30, 30))
    assert subproblem.part_of(A, torch.zeros(1, 1, 28, 28)) is None
