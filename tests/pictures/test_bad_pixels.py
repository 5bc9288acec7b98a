"""Clipped lights, frames, and what stands in for missing pixels."""

from __future__ import annotations

import torch

from unconv.pictures import find_missing
from unconv.pictures.bad_pixels import filled, frame_around

from ..helpers import F64


def noisy(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=F64)


def test_a_plateau_is_clipped_and_grown():
    y = 0.9 * noisy(3, 40, 50)
    y[0, 10, 20:22] = 1
    assert find_missing(y, white=1.0).observed is None  # it takes more than 0.1 % of a channel
    y[0, 10:13, 20:24] = 1
    found = find_missing(y, white=1.0)
    assert int(found.saturated.sum()) == 12
    assert (~found.observed).nonzero().amin(0).tolist() == [9, 19]
    assert (~found.observed).nonzero().amax(0).tolist() == [13, 24]


def test_what_is_no_plateau():
    dark = (20 * noisy(1, 40, 50)).round() / 255  # its largest level has a neighbour like it
    white = torch.where(noisy(1, 40, 50) < 0.3, 1.0, noisy(1, 40, 50))
    for y in (noisy(1, 40, 50), dark, white, torch.ones(1, 4, 4)):
        assert find_missing(y, white=1.0).observed is None
    assert "% of the picture" in find_missing(white, white=1.0).notes[0]


def test_frames():
    y = torch.zeros(1, 30, 40, dtype=F64)
    y[:, 5:-2, 3:] = noisy(1, 23, 37)
    assert frame_around(y) == (5, 2, 3, 0)
    assert frame_around(noisy(1, 30, 40)) == (0, 0, 0, 0)
    assert frame_around(torch.ones(1, 30, 40)) == (0, 0, 0, 0)
    drawing = torch.zeros(1, 30, 40)
    drawing[:, 10:20, 10:20] = 1  # even by itself: its surroundings are its own
    assert frame_around(drawing) == (0, 0, 0, 0)


def test_holes_are_filled_from_their_surroundings():
    ramp = torch.linspace(0, 1, 50, dtype=F64).expand(2, 40, 50)
    seen = torch.ones(40, 50, dtype=torch.bool)
    seen[10:20, 10:25], seen[0] = False, False
    found = filled(torch.where(seen, ramp, torch.nan), seen)
    assert torch.equal(found[:, seen], ramp[:, seen])
    assert float((found - ramp).abs().max()) < 0.2
