"""The tail of an inverse kernel."""

from __future__ import annotations

import pytest
import torch

from unconv.fir import decay, inverse_kernel

from ..helpers import C128, F64, randn


@pytest.mark.parametrize("center", [None, (0, 3), (4, 0)])
@pytest.mark.parametrize("dtype", [F64, C128, torch.float32])
def test_is_what_lies_outside(center, dtype):
    g = randn(2, 3, 5, 4, dtype=dtype)
    tail = decay(g, center)
    r, c = center or (2, 1)
    for L, found in enumerate(tail.tolist()):
        outside = g.abs().double()
        outside[..., max(0, r - L) : r + L + 1, max(0, c - L) : c + L + 1] = 0
        expected = outside.flatten(2).sum((1, 2)).max()
        assert found == pytest.approx(float(expected), abs=1e-12)
    assert tail[-1] == 0


def test_small_tails_keep_their_digits():
    g = torch.tensor([1e-30, 0.0, 1.0, 0.0, 2e-30], dtype=F64)
    assert decay(g).tolist() == pytest.approx([3e-30, 3e-30, 0], rel=1e-14, abs=0)


def test_falls_exponentially_for_a_stable_inverse():
    g = inverse_kernel(torch.tensor([1.0, 4.0, 1.0], dtype=F64), 61)
    tail = decay(g.weight)
    ratios = tail[1:20] / tail[:19]
    assert torch.allclose(ratios, torch.full_like(ratios, 2 - 3**0.5), rtol=1e-3)


@pytest.mark.parametrize(
    ("g", "center", "error", "says"),
    [
        (torch.ones(3), (3,), ValueError, "is no tap"),
        (torch.ones(3), (1, 1), ValueError, "one position per axis"),
        (torch.ones(0), None, ValueError, "empty"),
        (torch.ones(()), None, ValueError, "expected taps"),
        (torch.ones(3).long(), None, TypeError, "int64"),
    ],
)
def test_failures(g, center, error, says):
    with pytest.raises(error, match=says):
        decay(g, center)
