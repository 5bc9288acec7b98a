"""Which series train the network and which are held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import anatomy
from .phantom import moving_phantom

_PHANTOMS = 3
_TEST_SEED = 20241121  # no seed of a run: every run is tested with the same series

_LEAST = 7  # side of the window of SSIM


@dataclass(frozen=True)
class Data:
    """What series there are.

    Attributes
    ----------
    kinds : of `KINDS`, each as likely in training
    frames : of a series
    shrink : frames are of 216/shrink × 192/shrink pixels
    """

    kinds: tuple[str, ...] = ("phantom",)
    frames: int = 12
    shrink: int = 3

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"data {kind!r} is not known; use {' or '.join(KINDS)}.")
        if not self.kinds:
            raise ValueError(f"there must be data, got none; use {' or '.join(KINDS)}, or both.")
        if self.frames < 2:
            raise ValueError(f"a series must have at least 2 frames, got {self.frames}.")
        if self.shrink < 1 or min(self.size) < _LEAST:
            raise ValueError(
                f"shrink must leave frames of {_LEAST} pixels at least, for SSIM, got "
                f"{self.shrink}; use 1 to {min(anatomy.SIZE) // _LEAST}."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return anatomy.SIZE[0] // self.shrink, anatomy.SIZE[1] // self.shrink

    def draw(self, generator: torch.Generator) -> Tensor:
        """A series for training, (T, H, W) complex64."""
        kind = self.kinds[int(torch.randint(len(self.kinds), (), generator=generator))]
        return KINDS[kind].draw(self, generator)

    def held_out(self) -> dict[str, Tensor]:
        """The series (T, H, W) that no network is trained with, by name; the kind comes first."""
        series = {}
        for kind in self.kinds:
            for number, name in enumerate(KINDS[kind].names):
                generator = torch.Generator().manual_seed(_TEST_SEED + number)
                series[name] = KINDS[kind].test(self, number, generator)
        return series


class Kind(NamedTuple):
    """A source of series.

    Attributes
    ----------
    draw : one for training
    names : of those held out
    test : one of those held out, by number
    """

    draw: Callable[[Data, torch.Generator], Tensor]
    names: tuple[str, ...]
    test: Callable[[Data, int, torch.Generator], Tensor]


def available() -> tuple[str, ...]:
    """All kinds, but for those whose package is missing."""
    return tuple(kind for kind in KINDS if kind != "mni" or anatomy.is_installed())


def _phantom(data: Data, generator: torch.Generator) -> Tensor:
    return moving_phantom(data.frames, *data.size, generator)


def _training_slice(data: Data, generator: torch.Generator) -> Tensor:
    number = anatomy.TRAIN[int(torch.randint(len(anatomy.TRAIN), (), generator=generator))]
    return anatomy.beating_slice(number, data.frames, data.shrink, generator)


def _test_slice(data: Data, number: int, generator: torch.Generator) -> Tensor:
    return anatomy.beating_slice(anatomy.TEST[number], data.frames, data.shrink, generator)


KINDS = {
    "phantom": Kind(
        _phantom,
        tuple(f"phantom {number}" for number in range(_PHANTOMS)),
        lambda data, _, generator: _phantom(data, generator),
    ),
    "mni": Kind(_training_slice, tuple(f"mni {z} mm" for z in anatomy.TEST), _test_slice),
}
