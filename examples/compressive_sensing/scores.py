"""How good a restored picture is: PSNR and SSIM of pictures in [0, 1], with that data range.

The published script measures SSIM of pictures in 0 … 255 with a data range of 1, which makes its
stabilising constants 255² times too small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from .pictures import Named
from .sampling import random_mask

_MASK_SEED = 20241121  # no seed of a run: every run is tested with the same masks


Restore = Callable[[Tensor, Tensor], Tensor]
"""y and mask (N, 3, H, W) -> the pictures (N, 3, H, W)."""


class Scores(NamedTuple):
    """PSNR in dB, and SSIM."""

    psnr: float
    ssim: float


class Restored(NamedTuple):
    """A held-out picture: original, sampled and restored (3, H, W), clipped to [0, 1]."""

    original: Tensor
    sampled: Tensor
    restored: Tensor

    @property
    def scores(self) -> Scores:
        """Of the restored picture."""
        return scores(self.original, self.restored)


def scores(original: Tensor, restored: Tensor) -> Scores:
    """Of pictures (3, H, W) in [0, 1].

    Examples
    --------
    >>> x = torch.zeros(3, 8, 8)
    >>> round(scores(x, x + 0.1).psnr, 3)
    20.0
    """
    pair = original.double().numpy(), restored.double().numpy()
    return Scores(
        float(peak_signal_noise_ratio(*pair, data_range=1.0)),
        float(structural_similarity(*pair, data_range=1.0, channel_axis=0)),
    )


@torch.no_grad()
def held_out(restore: Restore, pictures: Named, ratio: float) -> dict[str, Restored]:
    """Sample and restore whole pictures; the masks depend on ratio and order alone."""
    tested: dict[str, Restored] = {}
    for number, (name, x) in enumerate(pictures.items()):
        generator = torch.Generator().manual_seed(_MASK_SEED + number)
        mask = random_mask((1, *x.shape), ratio, generator)
        y = x[None] * mask
        tested[name] = Restored(x, y[0], restore(y, mask)[0].clamp(0, 1))
    return tested


def mean_scores(tested: dict[str, Restored]) -> Scores:
    """Over pictures."""
    each = [picture.scores for picture in tested.values()]
    return Scores(
        sum(s.psnr for s in each) / len(each),
        sum(s.ssim for s in each) / len(each),
    )
