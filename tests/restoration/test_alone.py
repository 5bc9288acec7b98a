"""One image without its batch axis is restored as the batch of it, and comes back without."""

from __future__ import annotations

import pytest
import torch

from unconv import ConvOperator, psf, restore, richardson_lucy
from unconv.parameter_choice import choose_damp
from unconv.restoration import restoration_path


@pytest.fixture
def seen():
    A = ConvOperator(psf.gaussian(1.0)[None, None], (16, 14))
    x = torch.zeros(1, 16, 14, dtype=torch.float64)
    x[:, 5:11, 4:9] = 100
    return A, A(x) + torch.rand(A.range_shape, dtype=torch.float64)


@pytest.mark.parametrize("x0", [False, True])
def test_restorations(seen, x0):
    A, y = seen
    start = torch.rand(A.domain_shape, dtype=torch.float64) if x0 else None
    starts = None if start is None else start[None]
    for door in (
        lambda y, x0: restore(A, y, strength=0.1, x0=x0).solution,
        lambda y, x0: restoration_path(A, y, [1.0, 0.1], x0=x0)[0].solution,
        lambda y, x0: richardson_lucy(A, y, maxiter=5, x0=x0).solution,
    ):
        alone, batch = door(y, start), door(y[None], starts)
        assert alone.shape == A.domain_shape
        assert torch.equal(alone, batch[0])


def test_damp(seen):
    A, y = seen
    assert choose_damp(A, y, "gcv").damp == choose_damp(A, y[None], "gcv").damp


def test_another_shape_is_refused(seen):
    A, y = seen
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        restore(A, y[:, 1:])
    with pytest.raises(ValueError, match="x0 must have shape"):
        restore(A, y, strength=0.1, x0=y[:, 1:])
