"""Bad pixels: found, and nothing else."""

from __future__ import annotations

import torch

from unconv.pictures.outliers import agreeing, completed, disagreeing

SEEN = torch.ones(60, 70, dtype=torch.bool)


def noise(std: torch.Tensor | float = 1.0) -> torch.Tensor:
    return std * torch.randn(2, 60, 70, generator=torch.Generator().manual_seed(0)).double()


def test_noise_alone_has_no_outliers():
    assert not disagreeing(noise(), SEEN, (9, 9)).any()
    growing = torch.linspace(0.1, 5, 70)  # as light does
    assert not disagreeing(noise(growing), SEEN, (9, 9)).any()


def test_an_outlier_in_one_colour_and_its_shadow():
    r = noise()
    r[1, 20, 30], r[1, 20, 31], r[0, 50, 5] = 60, 15, -20
    bad = disagreeing(r, SEEN, (9, 9))
    assert bad.nonzero().tolist() == [[20, 30], [50, 5]]
    seen = SEEN & ~bad
    assert disagreeing(torch.where(bad, 0.0, r), seen, (9, 9)).nonzero().tolist() == [[20, 31]]


def test_what_was_not_seen_is_no_outlier():
    r, seen = noise(), SEEN.clone()
    r[:, 20, 30], seen[20, 30] = 1e6, False
    assert not disagreeing(r, seen, (9, 9)).any()
    assert not agreeing(r, seen).any()
    r[:, 20, 30] = 1.0
    assert agreeing(r, seen).nonzero().tolist() == [[20, 30]]


def test_lines_and_gaps_are_completed():
    bad = torch.zeros_like(SEEN)
    bad[10, ::2], bad[30, 30], bad[30, 33] = True, True, True
    bad[10, 1::3] = True
    found = completed(bad)
    assert found[10].all()
    assert found.nonzero()[:, 0].unique().tolist() == [10, 30]
    assert found[30].nonzero()[:, 0].tolist() == [30, 31, 32, 33]
