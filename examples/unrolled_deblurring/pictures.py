"""Photographs that scikit-image installs, in grey; split by picture into training and test."""

from __future__ import annotations

import torch
from skimage import data
from torch import Tensor

TRAIN = ("astronaut", "coffee", "rocket", "stereo_motorcycle")
TEST = ("camera", "chelsea", "coins")

_LUMA = (0.299, 0.587, 0.114)


def load(name: str) -> Tensor:
    """(H, W) float32 in [0, 1]."""
    found = getattr(data, name)()
    pixels = found[0] if isinstance(found, tuple) else found  # a stereo pair: its left picture
    picture = torch.from_numpy(pixels).float() / 255
    return picture if picture.ndim == 2 else picture @ torch.tensor(_LUMA)


def draw_patches(
    pictures: list[Tensor], count: int, size: int, generator: torch.Generator
) -> Tensor:
    """Patches (count, 1, size, size) from anywhere, turned and mirrored at random."""

    def draw(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    patches = []
    for _ in range(count):
        picture = pictures[draw(len(pictures))]
        top, left = (draw(side - size + 1) for side in picture.shape)
        patch = picture[top : top + size, left : left + size].rot90(draw(4))
        patches.append(patch.flip(1) if draw(2) else patch)
    return torch.stack(patches)[:, None]
