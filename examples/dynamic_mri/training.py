"""Training: Adam on the mean squared error, series and masks drawn anew for every step.

The rate falls to 0 as a cosine does, after a short rise, and gradients are clipped: every step sees
a single series, and some are far harder than others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .kspace import line_count, line_masks, measure
from .network import CELLS, UnrolledNetwork
from .series import Data

LEARNING_RATE = 4e-3
_RISE = 20  # steps
_CLIP = 0.05


@dataclass(frozen=True)
class Settings:
    """What decides the weights.

    Attributes
    ----------
    acceleration : lines of a frame by lines sampled
    seed : of the weights, series and masks
    steps : of training, a series each
    cells : of the network
    low_rank : whether the network has its thresholding
    data : where series come from
    """

    acceleration: float = 8
    seed: int = 0
    steps: int = 400
    cells: int = CELLS
    low_rank: bool = True
    data: Data = field(default_factory=Data)

    def __post_init__(self) -> None:
        line_count(self.data.size[0], self.acceleration)
        for name in ("steps", "cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


def train(settings: Settings, progress: Callable[[float], None] | None = None) -> UnrolledNetwork:
    """The trained network; progress hears the loss of every step."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        network = UnrolledNetwork(settings.cells, settings.low_rank)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: _rate(n, settings.steps))
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.steps):
        x = settings.data.draw(generator)[None]
        mask = line_masks(1, x.shape[1], x.shape[2], settings.acceleration, generator)
        loss = train_step(network, optimizer, x, mask)
        schedule.step()
        if progress is not None:
            progress(loss)
    return network.eval()


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, mask: Tensor
) -> float:
    """One step of Adam on series x (N, T, H, W); the loss before it."""
    optimizer.zero_grad()
    loss = squared_error(network(measure(x, mask), mask), x)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), _CLIP, error_if_nonfinite=True)
    optimizer.step()
    return float(loss.detach())


def squared_error(x: Tensor, reference: Tensor) -> Tensor:
    """Mean of |x − reference|², by real and imaginary part: |·| has no gradient at 0."""
    return torch.view_as_real(x - reference).square().sum(-1).mean()


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate."""
    return min(1.0, (step + 1) / _RISE) * (1 + math.cos(math.pi * step / steps)) / 2
