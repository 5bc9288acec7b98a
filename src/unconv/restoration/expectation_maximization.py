"""The loop of Richardson–Lucy: steps, a step ahead of each where that is likelier, and a rule.

An iterate is a point x whose mean μ = A x + b is known, and with it D(y, μ) + λ TV(x).  A step from
it costs one Aᴴ, the mean of the point ahead of it one A; where the objective is higher there than
at the iterate before, the step itself takes its place, at the price of one more A.  No step raises
the objective, so that of the iterates never rises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .count_data import CountData, per_image
from .extrapolation import Extrapolation
from .stopping import Rule
from .tv_step import TotalVariation


@dataclass
class Iterate:
    """A point with what is known of it: μ, and of every image D and D + λ TV, (N,) in float64."""

    x: Tensor
    mean: Tensor
    divergence: Tensor
    objective: Tensor


@dataclass
class Run:
    """Where an iteration ended: the last x, the steps of each image and whether its rule ended it,
    (N,), and D of every iterate, (steps + 1, N)."""

    x: Tensor
    steps: Tensor
    ended: Tensor
    history: Tensor


class Iteration:
    """Richardson–Lucy on one data set.

    accelerate : extrapolate
    tv : λ, the strength of total variation
    """

    def __init__(self, data: CountData, *, accelerate: bool, tv: float) -> None:
        self.data, self.accelerate = data, accelerate
        self.tv = TotalVariation(data, tv)
        # With background or total variation the likeliest x has another mass than the data.
        self.keeps_mass = not tv and not bool(data.background.any())

    def run(
        self, x: Tensor, rule: Rule, maxiter: int, callback: Callable[[int, Tensor], object] | None
    ) -> Run:
        """From x until the rule ends every image, or maxiter steps."""
        at, extrapolation = self._iterate(x), Extrapolation(self.data.level)
        ended = rule.ends(0, at.mean, at.divergence)
        steps, history = torch.zeros_like(ended, dtype=torch.int64), [at.divergence]
        for k in range(1, maxiter + 1):
            if bool(ended.all()):
                break
            at = _chosen(ended, at, self._next(at, extrapolation))
            steps = steps.where(ended, k)
            history.append(at.divergence)
            if callback is not None:
                callback(k, at.x)
            ended = ended | rule.ends(k, at.mean, at.divergence)
        return Run(at.x, steps, ended, torch.stack(history))

    def _next(self, at: Iterate, extrapolation: Extrapolation) -> Iterate:
        step = self._step(at)
        if not self.accelerate:
            return self._iterate(step)
        ahead = self._iterate(extrapolation.ahead(at.x, step))
        worse = ahead.objective > at.objective
        if bool(worse.any()):
            extrapolation.restart(worse)
            ahead = self._iterate(step.where(per_image(worse, step), ahead.x))
        return ahead

    def _step(self, at: Iterate) -> Tensor:
        return self.tv.step(at.x, at.x * self.data.back(at.mean))

    def _iterate(self, x: Tensor) -> Iterate:
        mean = self.data.mean(x)
        if self.keeps_mass:
            x, mean = self.data.scaled_to_mass(x, mean)
        divergence = self.data.divergence(mean)
        return Iterate(x, mean, divergence, divergence + self.tv.value(x))


def _chosen(kept: Tensor, a: Iterate, b: Iterate) -> Iterate:
    """a where images are kept, b elsewhere."""

    def chosen(one: Tensor, other: Tensor) -> Tensor:
        return one.where(per_image(kept, one), other)

    return Iterate(
        chosen(a.x, b.x),
        chosen(a.mean, b.mean),
        chosen(a.divergence, b.divergence),
        chosen(a.objective, b.objective),
    )
