"""Factors that are kept: by the values they were made from, the latest few, and in no copy."""

from __future__ import annotations

import copy
import pickle

import torch

from unconv import ConvOperator
from unconv.inverse.cache import FactorCache

from ..helpers import randn


class Layer:
    """A cache, and how often it had to factor."""

    def __init__(self) -> None:
        self.cache, self.weight, self.made = FactorCache(), randn(1, 1, 3), 0

    def inverse(self, size: int = 6):
        def factor():
            self.made += 1
            return ConvOperator(self.weight, (size,), padding=1).tikhonov(0.5)

        return self.cache.get(size, [self.weight], factor)


def test_a_factor_is_made_once():
    layer = Layer()
    assert layer.inverse() is layer.inverse()
    assert layer.made == 1


def test_values_decide_and_not_the_tensor_they_are_in():
    layer = Layer()
    first = layer.inverse()
    layer.weight = layer.weight.clone()
    assert layer.inverse() is first
    layer.weight.data.mul_(2)  # which no count of changes sees
    assert layer.inverse() is not first
    layer.weight = layer.weight.float()
    layer.inverse()
    assert layer.made == 3


def test_nan_is_never_the_same():
    layer = Layer()
    layer.weight[0, 0, 1] = torch.nan
    made = []
    for _ in range(2):
        layer.cache.get("any", [layer.weight], lambda: made.append(1))
    assert len(made) == 2


def test_the_latest_sizes_are_kept():
    layer = Layer()
    for size in (5, 6, 7, 8):
        layer.inverse(size)
    layer.inverse(5)  # is the latest now, and 6 the oldest
    layer.inverse(9)
    assert layer.made == 5
    layer.inverse(5)
    assert layer.made == 5
    layer.inverse(6)
    assert layer.made == 6


def test_a_factor_is_made_outside_of_the_graph():
    layer = Layer()
    layer.weight.requires_grad_()
    seen = []
    layer.cache.get("any", [layer.weight], lambda: seen.append(torch.is_grad_enabled()))
    assert seen == [False]


def test_it_can_be_forgotten():
    layer = Layer()
    layer.inverse()
    layer.cache.clear()
    layer.inverse()
    assert layer.made == 2


def test_copies_and_pickles_are_empty():
    layer = Layer()
    layer.inverse()
    for other in (copy.deepcopy(layer.cache), pickle.loads(pickle.dumps(layer.cache))):
        assert isinstance(other, FactorCache)
        made = []
        other.get(6, [layer.weight], lambda made=made: made.append(1))
        assert made == [1]
    layer.inverse()
    assert layer.made == 1
