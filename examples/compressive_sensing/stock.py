"""Patches that train: drawn, sampled and given their linear start once, then used in eight ways.

The start costs more than a step of training, and turned or mirrored with its patch and mask it is
the start of the turned patch: the covariance is the same for all symmetries of the square.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .linear import covariance, lmmse
from .pictures import Named, check_patch_size, draw_patches
from .sampling import random_mask

_SEED = 20241123  # no seed of a run: runs share the stock
_SYMMETRIES = 8


@dataclass(frozen=True)
class Stock:
    """Patches x, mask (True where sampled) and start, (N, 3, side, side), and the covariance."""

    x: Tensor
    mask: Tensor
    start: Tensor
    covariance: Tensor

    @classmethod
    def of(
        cls,
        train: Named,
        typical: Named,
        ratios: tuple[float, ...],
        *,
        count: int,
        side: int,
        black: float,
    ) -> Stock:
        """Draw `count` patches of the pictures `train`, a share of them black, at all ratios.

        The covariance is that of the pictures `typical`.
        """
        check_patch_size(train, side)
        generator = torch.Generator().manual_seed(_SEED)
        x = draw_patches(train, count, side, generator)
        x[torch.rand(count, generator=generator) < black] = 0
        of_each = (ratios[number % len(ratios)] for number in range(count))
        mask = torch.cat([random_mask((1, *x.shape[1:]), ratio, generator) for ratio in of_each])
        table = covariance(typical, side)
        return cls(x, mask, lmmse(x * mask, mask, table), table)

    def draw(self, count: int, generator: torch.Generator) -> Stock:
        """Patches for one step, all turned and mirrored in the same way."""
        which = torch.randint(len(self.x), (count,), generator=generator)
        symmetry = int(torch.randint(_SYMMETRIES, (), generator=generator))
        x, mask, start = (_turned(of[which], symmetry) for of in (self.x, self.mask, self.start))
        return Stock(x, mask, start, self.covariance)


def _turned(x: Tensor, symmetry: int) -> Tensor:
    """One of the eight symmetries of the square."""
    turned = x.rot90(symmetry % 4, (2, 3))
    return (turned.flip(3) if symmetry >= 4 else turned).contiguous()
