"""Photographs that installed packages ship, in grey; split by picture into training and test."""

from __future__ import annotations

import matplotlib.cbook
import matplotlib.pyplot as plt
import torch
from skimage import data
from torch import Tensor
from torch.nn.functional import avg_pool2d

TRAIN = (
    "coffee",
    "rocket",
    "retina",
    "immunohistochemistry",
    "hubble_deep_field",
    "stereo_motorcycle",
    "moon",
    "grass",
    "gravel",
    "brick",
    "page",
    "china.jpg",
    "flower.jpg",
    "grace_hopper.jpg",
)
TEST = ("camera", "astronaut", "chelsea")

_LUMA = (0.299, 0.587, 0.114)


def load(name: str) -> Tensor:
    """(H, W) float32 in [0, 1]."""
    if name == "grace_hopper.jpg":
        found = plt.imread(matplotlib.cbook.get_sample_data(name, asfileobj=False))
    elif name.endswith(".jpg"):
        from sklearn.datasets import load_sample_image  # for training alone

        found = load_sample_image(name)
    else:
        found = getattr(data, name)()
    pixels = found[0] if isinstance(found, tuple) else found  # a stereo pair: its left picture
    picture = torch.from_numpy(pixels.copy()).float() / 255
    return picture if picture.ndim == 2 else picture @ torch.tensor(_LUMA)


def scene(name: str, size: int) -> Tensor:
    """The middle of a picture, averaged over 2 × 2 pixels: (1, 1, size, size) in [0, 1]."""
    small = avg_pool2d(load(name)[None, None], 2)
    top, left = ((n - size) // 2 for n in small.shape[2:])
    return small[..., top : top + size, left : left + size]


def training_pictures() -> list[Tensor]:
    """Every training picture in two sizes: as it is, and averaged over 2 × 2 pixels."""
    found = [load(name) for name in TRAIN]
    return found + [avg_pool2d(picture[None, None], 2)[0, 0] for picture in found]
