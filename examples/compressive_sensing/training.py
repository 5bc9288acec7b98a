"""Training: Adam on the share of the start's error that is left, its rate falling as a cosine does.

The loss is the mean over patches of |x̂ − x|²/(|x₀ − x|² + ε), x₀ the linear start: a patch counts
as much at each ratio, and a smooth one as much as a rough one, as in PSNR in decibels.

A share of the patches is black, as parts of many pictures are.  A step whose loss or gradient is
not finite is counted and left out, with every variant alike: with one NaN in the weights the rest
of the run would say nothing more.

Patches of an epoch depend on the seed and on its number alone, so that a run that is resumed from a
checkpoint is the run that was never interrupted, to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoints import read_checkpoint, write_checkpoint
from .linear import lmmse
from .network import CELLS, UnrolledNetwork, check_variant, in_tiles
from .sampling import RATIOS, check_ratio
from .stock import Stock

LEARNING_RATE = 4e-3
_RISE = 20  # steps
_LEAST = 1e-5  # ε: an error of 50 dB is as good as none
_CLIP = 1.0  # of the norm of a gradient
_STATE = {"settings", "network", "covariance", "optimizer", "epochs"}  # of a checkpoint
_WEIGHTS = {"settings", "network", "covariance"}


@dataclass(frozen=True)
class Settings:
    """What decides the weights, apart from the pictures.

    Attributes
    ----------
    ratios : shares of the elements that are sampled; a patch has one of them
    variant : a name in `network.VARIANTS`
    seed : of the weights, and of the order and orientation of patches
    epochs : of the whole training; the rate falls to 0 in the last
    steps : of an epoch
    batch : patches of a step
    patch : side of a patch
    cells : of the network
    black : share of the patches that are black
    stock : patches that are drawn, and sampled, once for all epochs
    """

    ratios: tuple[float, ...] = RATIOS
    variant: str = "unconv"
    seed: int = 0
    epochs: int = 20
    steps: int = 100
    batch: int = 16
    patch: int = 32
    cells: int = CELLS
    black: float = 0.02
    stock: int = 2500

    def __post_init__(self) -> None:
        for ratio in self.ratios:
            check_ratio(ratio)
        check_variant(self.variant)
        for name in ("epochs", "steps", "batch", "patch", "stock"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.black < 1:
            raise ValueError(
                f"black must be at least 0 and below 1, got {self.black}; 0.02 makes one patch in "
                "50 black, 0 none."
            )


class Epoch(NamedTuple):
    """What is recorded of an epoch.

    Attributes
    ----------
    number : from 1
    loss : mean over the steps where it is finite
    steps, black_steps : all, and those with a black patch
    bad, bad_black : of these, with a loss or gradient that is not finite, and left out
    seconds : of CPU per step, in the median: whatever else the machine does; with one thread, what
        the step takes on an idle core
    """

    number: int
    loss: float
    steps: int
    black_steps: int
    bad: int
    bad_black: int
    seconds: float


class Step(NamedTuple):
    """Loss of a step, and whether it and its gradient were finite, so that the step was taken."""

    loss: float
    finite: bool


class Model:
    """A network with the covariance of its start: all that restores pictures."""

    def __init__(self, settings: Settings, covariance: Tensor | None = None) -> None:
        self.settings = settings
        self.covariance = covariance
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            self.network = UnrolledNetwork(settings.variant, settings.cells)

    def restore(self, y: Tensor, mask: Tensor) -> Tensor:
        """Whole pictures (N, 3, H, W): start and network, in overlapping tiles."""
        covariance = self.covariance
        if covariance is None:
            raise ValueError("the covariance of the start is not known before training; train.")
        return in_tiles(
            lambda y, mask: self.network(lmmse(y, mask, covariance), mask),
            y,
            mask,
            self.settings.patch,
        )

    def export(self, path: Path) -> None:
        """Write the weights in half precision, to be shipped."""
        network = {name: w.half() for name, w in self.network.state_dict().items()}
        state = {"settings": asdict(self.settings), "network": network}
        write_checkpoint(path, state | {"covariance": self.covariance})

    @classmethod
    def load(cls, path: Path) -> Model:
        """The model of weights that `export` wrote, or of a checkpoint."""
        state = read_checkpoint(path, _STATE, _WEIGHTS)
        model = cls(_settings(state), state["covariance"])
        model.network.load_state_dict(state["network"])
        return model


class Run(Model):
    """A network in training, with its optimiser and the epochs so far."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.epochs: list[Epoch] = []

    def train(
        self,
        stock: Stock,
        stop: int | None = None,
        progress: Callable[[Epoch | Step], None] | None = None,
    ) -> None:
        """Go on until all epochs are done, or `stop`; progress hears of every step and epoch."""
        self.covariance = stock.covariance
        tell = progress or (lambda _: None)
        last = min(self.settings.epochs, stop or self.settings.epochs)
        for number in range(len(self.epochs) + 1, last + 1):
            self.epochs.append(self._epoch(number, stock, tell))
            tell(self.epochs[-1])

    def _epoch(self, number: int, stock: Stock, tell: Callable[[Epoch | Step], None]) -> Epoch:
        settings = self.settings
        generator = torch.Generator().manual_seed(1_000_003 * settings.seed + number)
        losses, seconds, black_steps, bad, bad_black = [], [], 0, 0, 0
        for place in range(settings.steps):
            rate = _rate((number - 1) * settings.steps + place, settings.epochs * settings.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            batch = stock.draw(settings.batch, generator)
            black = not batch.x.flatten(1).any(1).all()
            began = time.process_time()
            step = train_step(self.network, self.optimizer, batch)
            seconds.append(time.process_time() - began)
            losses.append(step.loss)
            black_steps, bad = black_steps + black, bad + (not step.finite)
            bad_black += black and not step.finite
            tell(step)
        loss = float(torch.tensor(losses).nan_to_num(torch.nan, torch.nan).nanmean())
        middle = float(torch.tensor(seconds).median())
        return Epoch(number, loss, settings.steps, black_steps, bad, bad_black, middle)

    def save(self, path: Path) -> None:
        """Write all that resuming needs; the file is replaced whole or not at all."""
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "covariance": self.covariance,
            "optimizer": self.optimizer.state_dict(),
            "epochs": [tuple(epoch) for epoch in self.epochs],
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
        run = cls(_settings(state))
        run.covariance = state["covariance"]
        run.network.load_state_dict(state["network"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.epochs = [Epoch(*epoch) for epoch in state["epochs"]]
        return run


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Stock) -> Step:
    """One step of Adam, taken only if loss and gradient are finite."""
    optimizer.zero_grad()
    loss = share_left(network(batch.start, batch.mask), batch)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    finite = bool(loss.isfinite()) and bool(norm.isfinite())
    if finite:
        optimizer.step()
    return Step(float(loss.detach()), finite)


def share_left(restored: Tensor, batch: Stock) -> Tensor:
    """Mean over patches of the squared error, in units of that of the start."""
    left, before = ((x - batch.x).square().flatten(1).mean(1) for x in (restored, batch.start))
    return (left / (before + _LEAST)).mean()


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate."""
    return min(1.0, (step + 1) / _RISE) * (1 + math.cos(math.pi * step / steps)) / 2


def _settings(state: dict[str, Any]) -> Settings:
    return Settings(**state["settings"] | {"ratios": tuple(state["settings"]["ratios"])})
