"""Memory is known before any work."""

import pytest
import torch

import unconv
from unconv.restoration.memory import memory_needed

from ..helpers import randn


def test_it_grows_with_the_picture_and_its_channels():
    kernel = randn(1, 1, 3, 3)
    sizes = (64, 128, 256)
    needs = [
        memory_needed(unconv.ConvOperator(kernel, (n, n)), "gradient", torch.float32) for n in sizes
    ]
    assert needs[2] == pytest.approx(16 * needs[0], rel=0.05)
    colours = unconv.ConvOperator(kernel.repeat(3, 1, 1, 1), (64, 64), groups=3)
    assert memory_needed(colours, "gradient", torch.float32) == 3 * needs[0]
    op = unconv.ConvOperator(kernel, (64, 64))
    assert memory_needed(op, "hessian", torch.float32) > needs[0]


def test_what_does_not_fit_is_refused():
    A = unconv.ConvOperator(randn(1, 1, 3, 3), (64, 64))
    sentence = "restoring an image of .* takes .*, memory_limit=.*; raise memory_limit, or restore"
    with pytest.raises(unconv.MemoryLimitError, match=sentence):
        unconv.restore(A, randn(1, 1, 62, 62), memory_limit=1e5)
