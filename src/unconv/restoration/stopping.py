"""When a Richardson–Lucy iteration of counts ends: the picture comes first, and noise after it.

- *discrepancy*: where D(y, μ) has fallen to what it is on average for the true mean, which a fit
  of more than the picture undercuts.  Half the number of outputs where counts are many; for few,
  the exact expectation, pixel by pixel, at the fitted mean.
- *thinning*: each count is given to one of two parts by chance, which makes two independent Poisson
  data sets of one picture.  The iteration on one part ends where the other finds it likeliest, and
  all counts are then iterated as many steps.  It comes closer to the best step than the
  discrepancy, at twice the price.

Sources: Bertero, Boccacci, Talenti, Zanella & Zanni, "A discrepancy principle for Poisson data",
Inverse Problems 26 (2010); Oliveira, Lei & Tibshirani, "Unbiased test error estimation in the
Poisson means problem via coupled bootstrap techniques" (2022), for thinning.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .count_data import CountData

STOPS = ("discrepancy", "thinning")

SHARE = 0.8
"""Of the counts that are iterated on: with half of them the best step comes too early, and what one
in ten counts say is noisy."""
_LATER_STEPS = 5
"""Steps without a better score after which the best is taken, and a quarter of those so far."""


class Rule(Protocol):
    """Which images are done."""

    def ends(self, steps: int, mean: Tensor, divergence: Tensor) -> Tensor:
        """Whether each image, of this mean μ after so many steps, is one to stop at; (N,) bool."""


class Never:
    """No image: all steps are taken."""

    def ends(self, steps: int, mean: Tensor, divergence: Tensor) -> Tensor:
        """No image, (N,) bool."""
        return torch.zeros_like(divergence, dtype=torch.bool)


class AtMost:
    """After a number of steps of each image, (N,) int64."""

    def __init__(self, steps: Tensor) -> None:
        self.steps = steps

    def ends(self, steps: int, mean: Tensor, divergence: Tensor) -> Tensor:
        """Whether each image has had its steps."""
        return self.steps <= steps


class Discrepancy:
    """Where the divergence is what noise alone makes it."""

    def __init__(self, data: CountData) -> None:
        self.data = data

    def ends(self, steps: int, mean: Tensor, divergence: Tensor) -> Tensor:
        """Whether D(y, μ) is at most its expectation."""
        return divergence <= self.data.expected_divergence(mean)


class HeldOut:
    """Where the counts that were held out find further steps less likely.

    Attributes
    ----------
    best : (N,) int64, the steps at which they found each image likeliest
    """

    def __init__(self, held_out: CountData, ratio: float) -> None:
        self.held_out, self.ratio = held_out, ratio
        self.least = torch.full((len(held_out.y),), torch.inf, dtype=torch.float64)
        self.least = self.least.to(held_out.y.device)
        self.best = torch.zeros_like(self.least, dtype=torch.int64)

    def ends(self, steps: int, mean: Tensor, divergence: Tensor) -> Tensor:
        """Whether the best score is long ago."""
        score = self.held_out.divergence(self.ratio * mean)
        better = score < self.least
        self.least = self.least.where(~better, score)
        self.best = self.best.where(~better, steps)
        return self.best + self.best // 4 + _LATER_STEPS <= steps


def thinned(data: CountData, seed: int) -> tuple[CountData, HeldOut]:
    """A part of the counts to iterate on, and the rule that the rest gives for it."""
    generator = torch.Generator(data.y.device).manual_seed(seed)
    chance = torch.full_like(data.y, SHARE)
    kept = torch.binomial(data.y, chance, generator=generator)
    held_out = data.part(data.y - kept, 1 - SHARE)
    return data.part(kept, SHARE), HeldOut(held_out, (1 - SHARE) / SHARE)
