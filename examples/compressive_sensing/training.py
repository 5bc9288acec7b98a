"""Training: Adam, 1e-3 times 0.95 for every epoch, on the mean squared error of whole patches.

A share of the patches is black, as parts of many pictures are.  A step whose loss or gradient is
not finite is counted and left out, with every variant alike: with one NaN in the weights the rest
of the run would say nothing more.

Patches and masks of an epoch depend on the seed and on its number alone, so that a run that is
resumed from a checkpoint is the run that was never interrupted, to the last bit.

Source: Zhang & Hu, arXiv 2411.14141 (2024), for the optimiser.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unconv.pictures.formats.atomic import replacing

from .network import CELLS, UnrolledNetwork, check_variant
from .pictures import Named, check_patch_size, draw_patches
from .sampling import check_ratio, random_mask

LEARNING_RATE = 1e-3
DECAY = 0.95
_STATE = {"settings", "network", "optimizer", "epochs"}  # of a checkpoint


@dataclass(frozen=True)
class Settings:
    """What decides the weights, apart from the pictures and the number of epochs.

    Attributes
    ----------
    ratio : share of the elements that are sampled
    variant : a name in `network.VARIANTS`
    seed : of the weights, patches and masks
    steps : of an epoch
    batch : patches of a step
    patch : side of a patch
    cells : of the network
    black : share of the patches that are black
    """

    ratio: float = 0.1
    variant: str = "unconv"
    seed: int = 0
    steps: int = 100
    batch: int = 4
    patch: int = 32
    cells: int = CELLS
    black: float = 0.02

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_variant(self.variant)
        for name in ("steps", "batch", "patch"):
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


class Run:
    """A network in training, with its optimiser and the epochs so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            self.network = UnrolledNetwork(settings.variant, settings.cells)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.epochs: list[Epoch] = []

    def train(
        self, pictures: Named, epochs: int, progress: Callable[[Epoch | Step], None] | None = None
    ) -> None:
        """Go on until there are so many epochs; progress hears of every step and epoch."""
        check_patch_size(pictures, self.settings.patch)
        tell = progress or (lambda _: None)
        for number in range(len(self.epochs) + 1, epochs + 1):
            self.epochs.append(self._epoch(number, pictures, tell))
            tell(self.epochs[-1])

    def _epoch(self, number: int, pictures: Named, tell: Callable[[Epoch | Step], None]) -> Epoch:
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * DECAY ** (number - 1)
        generator = torch.Generator().manual_seed(1_000_003 * self.settings.seed + number)
        losses, seconds, black_steps, bad, bad_black = [], [], 0, 0, 0
        for _ in range(self.settings.steps):
            patches, mask = draw_batch(self.settings, pictures, generator)
            black = not patches.flatten(1).any(1).all()
            began = time.process_time()
            step = train_step(self.network, self.optimizer, patches, mask)
            seconds.append(time.process_time() - began)
            losses.append(step.loss)
            black_steps, bad = black_steps + black, bad + (not step.finite)
            bad_black += black and not step.finite
            tell(step)
        loss = float(torch.tensor(losses).nan_to_num(torch.nan, torch.nan).nanmean())
        middle = float(torch.tensor(seconds).median())
        return Epoch(number, loss, self.settings.steps, black_steps, bad, bad_black, middle)

    def save(self, path: Path) -> None:
        """Write all that resuming needs; the file is replaced whole or not at all."""
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epochs": [tuple(epoch) for epoch in self.epochs],
        }
        with replacing(path) as file:
            torch.save(state, file)

    @classmethod
    def load(cls, path: Path) -> Run:
        """The run that `save` wrote."""
        state = _read_checkpoint(path)
        run = cls(Settings(**state["settings"]))
        run.network.load_state_dict(state["network"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.epochs = [Epoch(*epoch) for epoch in state["epochs"]]
        return run


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, patches: Tensor, mask: Tensor
) -> Step:
    """One step of Adam, taken only if loss and gradient are finite.

    Patches and mask (N, 3, H, W).
    """
    optimizer.zero_grad()
    loss = (network(patches * mask, mask) - patches).square().mean()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = bool(loss.isfinite()) and all(bool(g.isfinite().all()) for g in gradients)
    if finite:
        optimizer.step()
    return Step(float(loss.detach()), finite)


def draw_batch(
    settings: Settings, pictures: Named, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Patches and mask (N, 3, H, W), some of the patches black."""
    patches = draw_patches(pictures, settings.batch, settings.patch, generator)
    black = torch.rand(settings.batch, generator=generator) < settings.black
    patches[black] = 0
    return patches, random_mask(patches.shape, settings.ratio, generator)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint {str(path)!r}; train writes one.") from None
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint ({type(error).__name__}); give one that "
            "train wrote."
        ) from error
    if not isinstance(state, dict) or state.keys() != _STATE:
        raise ValueError(f"{str(path)!r} is no checkpoint of this example; give one of train.")
    return state
