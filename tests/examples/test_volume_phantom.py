"""A drawn volume is the same whoever draws which part of it."""

import numpy as np
import pytest

from examples.volume_phantom import Phantom


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_those_of_the_whole(seed):
    phantom = Phantom((30, 70, 90), (0.3, 0.1, 0.12), seed=seed)
    whole = phantom.draw()
    assert whole.shape == (30, 70, 90)
    assert whole.dtype == np.float32
    random = np.random.default_rng(seed)
    for _ in range(8):
        start = [int(random.integers(0, n - 1)) for n in whole.shape]
        box = tuple(
            slice(s, int(random.integers(s + 1, n + 1)))
            for s, n in zip(start, whole.shape, strict=True)
        )
        np.testing.assert_array_equal(phantom.draw(box), whole[box])


def test_brightness():
    whole = Phantom((60, 120, 120)).draw()
    assert 0 == whole.min() < whole.max() <= 1
    assert 0.002 < whole.mean() < 0.1  # dark but for thin things


def test_seeds_differ():
    shape = (24, 60, 60)
    assert (Phantom(shape).draw() != Phantom(shape, seed=1).draw()).any()
