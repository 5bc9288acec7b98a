"""A beating series made of a real anatomy: slices of the MNI152 head, warped over time.

nilearn installs the volume, of 1 mm, with its code: nothing is downloaded.  A slice contracts about
a point, as a heart does, and drifts to and fro, as with breathing.  It is warped at 1 mm and only
then averaged to pixels of `shrink` mm, so that motion of a part of a pixel is right.

What it is not: a heart.  Anatomy and texture are real, motion and phase are made.

Source: Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage
54 (2011), for the volume.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from .phantom import smooth_phase

SIZE = (216, 192)
"""Rows and columns, in mm, that are cut from the middle of an axial slice."""

TEST = (90, 102, 114)
TRAIN = (*range(45, 78), *range(127, 145))
"""Axial slices, in mm from the lowest; 12 mm lie between those held out and any that trains."""


def is_installed() -> bool:
    """Whether nilearn can be imported."""
    return importlib.util.find_spec("nilearn") is not None


@functools.cache
def load_slices() -> Tensor:
    """All axial slices (189, *SIZE), nose up, float32 in [0, 1]."""
    if not is_installed():
        raise ValueError(
            "the MNI152 series are made of a volume that nilearn installs, and it cannot be "
            "imported; use pip install nilearn, or --data phantom."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what nilearn's own imports have to say
        from nilearn.datasets import load_mni152_template

        volume = load_mni152_template(resolution=1).get_fdata(dtype="float32")
    slices = torch.from_numpy(volume.copy()).permute(2, 1, 0).flip(1)
    top, left = ((have - want) // 2 for have, want in zip(slices.shape[1:], SIZE, strict=True))
    return slices[:, top : top + SIZE[0], left : left + SIZE[1]].clamp(0, 1).contiguous()


def beating_slice(number: int, frames: int, shrink: int, generator: torch.Generator) -> Tensor:
    """One beat of an axial slice.

    Returns
    -------
    (frames, 216/shrink, 192/shrink), complex64, with magnitudes in [0, 1]
    """
    plane = load_slices()[number]
    moved = grid_sample(
        plane.expand(frames, 1, *SIZE), _beat(frames, generator), align_corners=True
    )
    magnitude = avg_pool2d(moved[:, 0], shrink)
    height, width = magnitude.shape[1:]
    return magnitude * smooth_phase(height, width, generator)


def _beat(frames: int, generator: torch.Generator) -> Tensor:
    """Where each pixel comes from, p + a·s(t)·(p − c)·exp(−|p − c|²/2σ²) + drift; (T, *SIZE, 2).

    s(t) goes from 0 to 1 and back once, fast about 1.  The map is one to one for a < 2.2.
    """
    draw = torch.rand(5, generator=generator)
    t = 2 * math.pi * (torch.arange(frames) / frames + draw[0])
    strength = (0.25 + 0.3 * draw[1]) * ((1 - t.cos()) / 2) ** 1.5
    sigma = 0.25 + 0.2 * draw[2]
    centre = 0.8 * (draw[3:] - 0.5)
    rows, columns = (torch.linspace(-1, 1, side) for side in SIZE)
    p = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # x first, for grid_sample
    away = p - centre
    bell = torch.exp(-away.square().sum(-1, keepdim=True) / (2 * sigma**2))
    drift = torch.stack([torch.zeros(frames), 0.02 * torch.sin(t + 1)], -1)
    return p + strength[:, None, None, None] * away * bell + drift[:, None, None]
