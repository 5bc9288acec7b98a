"""Photographs as a camera sees them, and how good an answer is near the edges of its frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from unconv import ConvOperator

from .pictures import scene


class Case(NamedTuple):
    """A scene, and blurred, thinned out and noisy data of a frame in it.

    Attributes
    ----------
    op : from the whole scene (1, 1, n, n): what lies around the frame is unknown, and blurs in
    circular : the blur of a picture as large as the frame that goes on as if it were a tile
    y : (1, 1, m, m)
    truth : (1, 1, m·stride, m·stride) the part of the scene in the frame
    noise_std : of y
    """

    op: ConvOperator
    circular: ConvOperator
    y: Tensor
    truth: Tensor
    noise_std: float

    @property
    def reach(self) -> int:
        """Samples of the psf on either side of its centre."""
        return int(self.op.weight.shape[-1]) // 2

    def in_frame(self, x: Tensor) -> Tensor:
        """The part of a picture of the whole scene that lies in the frame."""
        side, first = self.truth.shape[-1], self.reach
        return x if x.shape[-1] == side else x[..., first : first + side, first : first + side]


class Score(NamedTuple):
    """In dB; misfit is the size of y − A x where the frame alone decides it, over the noise."""

    frame: float
    inside: float
    edges: float
    misfit: float


def make_case(
    name: str, kernel: Tensor, size: int, noise_std: float, stride: int = 1, seed: int = 0
) -> Case:
    """The middle of a picture, blurred by a psf of odd sides; every stride-th sample is kept."""
    x, k = scene(name, size), max(kernel.shape)
    weight = _square(kernel.float(), k)[None, None]
    op = ConvOperator(weight, (size, size), stride=stride)
    clean = op(x)
    side = clean.shape[-1] * stride
    circular = ConvOperator(
        weight, (side, side), stride=stride, padding=k // 2, padding_mode="circular"
    )
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    first = k // 2
    truth = x[..., first : first + side, first : first + side]
    return Case(op, circular, clean + noise_std * noise, truth, noise_std)


def score(case: Case, x: Tensor) -> Score:
    """Of a picture of the scene or of the frame; its edges are as wide as the psf."""
    x = case.in_frame(x)
    square = (x - case.truth).square()
    width = 2 * case.reach + 1
    middle = square[..., width:-width, width:-width]
    rim = (square.sum() - middle.sum()) / (square.numel() - middle.numel())
    first = -(-case.reach // case.op.geometry.axes[0].stride)
    left = (case.circular(x) - case.y)[..., first:-first, first:-first]
    misfit = float(left.square().mean().sqrt()) / max(case.noise_std, 1e-3)
    return Score(_decibels(square.mean()), _decibels(middle.mean()), _decibels(rim), misfit)


def _square(kernel: Tensor, side: int) -> Tensor:
    """A kernel in the middle of zeros."""
    first, second = ((side - n) // 2 for n in kernel.shape)
    return pad(kernel, (second, second, first, first))


def _decibels(mean_square: Tensor) -> float:
    return float(-10 * mean_square.log10())
