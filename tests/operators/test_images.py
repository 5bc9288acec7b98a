"""One image or a batch, channels first or last in memory."""

from __future__ import annotations

import torch

from unconv.operators.images import in_layout_of, is_alone

from ..helpers import randn


def test_an_image_is_alone_by_its_shape():
    assert is_alone(randn(2, 5), (2, 5))
    assert not is_alone(randn(1, 2, 5), (2, 5))
    assert not is_alone(randn(2, 6), (2, 5))
    assert not is_alone([[1.0]], (1, 1))


def test_the_layout_is_that_of_the_data():
    for shape, layout in (
        ((2, 3, 4, 5), torch.channels_last),
        ((2, 3, 4, 5, 2), torch.channels_last_3d),
    ):
        y = randn(*shape)
        last = in_layout_of(y, randn(*shape).to(memory_format=layout))
        assert last.is_contiguous(memory_format=layout)
        assert torch.equal(last, y)
        for x in (randn(*shape), randn(*shape).transpose(-1, -2), randn(3, 5)):
            assert in_layout_of(y, x) is y
    mapped = torch.func.vmap(lambda x: in_layout_of(2 * x, x))(randn(2, 2, 3, 4, 5))
    assert mapped.shape == (2, 2, 3, 4, 5)
