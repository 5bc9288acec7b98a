"""Training: Adam on the share of the start's error that is left, series and masks drawn anew.

The loss is |x̂ − x|²/|x₀ − x|², x₀ the linear start: hard series count as much as easy ones.  The
rate falls to 0 as a cosine does, after a short rise, and gradients are clipped: every step sees a
single series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import read_checkpoint, write_checkpoint
from .kspace import ACCELERATIONS, line_count, line_masks, measure_noisy
from .linear import lmmse, mean_power
from .network import CELLS, UnrolledNetwork
from .series import Data

LEARNING_RATE = 2e-3
_RISE = 20  # steps
_CLIP = 1.0
_WEIGHTS = {"settings", "network", "power"}
_STATE = _WEIGHTS | {"optimizer", "losses", "generator"}  # of a checkpoint


@dataclass(frozen=True)
class Settings:
    """What decides the weights.

    Attributes
    ----------
    accelerations : lines of a frame by lines sampled; a series of training has one of them
    seed : of the weights, series and masks
    steps : of training, a series each
    cells : of the network
    low_rank : whether the network has its thresholding
    noise : standard deviation of the samples, of a series of magnitudes up to 1
    data : where series come from
    """

    accelerations: tuple[float, ...] = ACCELERATIONS
    seed: int = 0
    steps: int = 1000
    cells: int = CELLS
    low_rank: bool = True
    noise: float = 0.02
    data: Data = field(default_factory=Data)

    def __post_init__(self) -> None:
        for acceleration in self.accelerations:
            line_count(self.data.size[0], acceleration)
        for name in ("steps", "cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be at least 0 and finite, got {self.noise}.")


class Model:
    """A network with the mean power of its start: all that restores series."""

    def __init__(self, settings: Settings, power: Tensor) -> None:
        self.settings, self.power = settings, power
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            self.network = UnrolledNetwork(settings.cells, settings.low_rank)

    def start(self, y: Tensor, mask: Tensor) -> Tensor:
        """The best linear restoration."""
        return lmmse(y, mask, self.power, self.settings.noise)

    def restore(self, y: Tensor, mask: Tensor) -> Tensor:
        """Start and network: y (N, T, H, W) and mask (N, T, H, 1) -> (N, T, H, W)."""
        return self.network(self.start(y, mask), y, mask)

    def export(self, path: Path) -> None:
        """Write the weights in half precision, to be shipped."""
        network = {name: w.half() for name, w in self.network.state_dict().items()}
        write_checkpoint(
            path, {"settings": asdict(self.settings), "network": network, "power": self.power}
        )

    @classmethod
    def load(cls, path: Path) -> Model:
        """The model of weights that `export` wrote, or of a checkpoint."""
        state = read_checkpoint(path, _STATE, _WEIGHTS)
        model = cls(_settings(state), state["power"])
        model.network.load_state_dict(state["network"])
        return model


class Run(Model):
    """A network in training."""

    def __init__(self, settings: Settings, power: Tensor | None = None) -> None:
        super().__init__(settings, mean_power(settings.data) if power is None else power)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.losses: list[float] = []

    def train(
        self, stop: int | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """Go on until all steps are done, or `stop`; progress hears the loss of every step."""
        steps = self.settings.steps
        for step in range(len(self.losses), min(steps, stop or steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = LEARNING_RATE * _rate(step, steps)
            x, y, mask = self._draw(step)
            self.losses.append(
                train_step(self.network, self.optimizer, x, y, mask, self.start(y, mask))
            )
            if progress is not None:
                progress(self.losses[-1])

    def _draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """A series, its samples and their mask; the accelerations take turns."""
        s, generator = self.settings, self.generator
        x = s.data.draw(generator)[None]
        acceleration = s.accelerations[step % len(s.accelerations)]
        mask = line_masks(1, x.shape[1], x.shape[2], acceleration, generator)
        return x, measure_noisy(x, mask, s.noise, generator), mask

    def save(self, path: Path) -> None:
        """Write all that resuming needs; the file is replaced whole or not at all."""
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "power": self.power,
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
            "generator": self.generator.get_state(),
        }
        write_checkpoint(path, state)

    @classmethod
    def load(cls, path: Path) -> Run:
        """The run that `save` wrote."""
        state = read_checkpoint(path, _STATE, _WEIGHTS)
        if state.keys() != _STATE:
            raise ValueError(
                f"{str(path)!r} holds weights alone; training goes on from a checkpoint of train."
            )
        run = cls(_settings(state), state["power"])
        run.network.load_state_dict(state["network"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.losses = state["losses"]
        run.generator.set_state(state["generator"])
        return run


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    start: Tensor,
) -> float:
    """One step of Adam on series x (N, T, H, W); the loss before it."""
    optimizer.zero_grad()
    before = squared_error(start, x) + torch.finfo(x.real.dtype).eps
    loss = squared_error(network(start, y, mask), x) / before
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


def _settings(state: dict[str, Any]) -> Settings:
    given = dict(state["settings"])
    data = given.pop("data")
    given["accelerations"] = tuple(given["accelerations"])
    return Settings(data=Data(**data | {"kinds": tuple(data["kinds"])}), **given)
