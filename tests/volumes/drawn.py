"""Volumes that tests draw: beads and fibres, blurred by a Gaussian, periodic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def beads(shape: Sequence[int], seed: int, spacing: Sequence[float]) -> Array:
    """Balls of a radius of 1.5 to 4 of the finest sample, in volumes whose samples are longer."""
    draw = np.random.default_rng(seed)
    finest = min(spacing)
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    volume = np.zeros(shape)
    size = math.prod(n * s / finest for n, s in zip(shape, spacing, strict=True))
    for _ in range(max(1, round(size / 6000))):
        centre = [draw.uniform(0, n) for n in shape]
        radius, bright = draw.uniform(1.5, 4), draw.uniform(0.3, 1)
        squares = sum(
            ((axis - c) * s / finest) ** 2 for axis, c, s in zip(axes, centre, spacing, strict=True)
        )
        volume += bright / (1 + np.exp(2 * (np.sqrt(squares) - radius)))
    return volume / volume.max()


def gaussian_psf(*sigmas: float) -> Tensor:
    """A Gaussian of one standard deviation an axis, sum 1."""
    psf = torch.ones((), dtype=torch.float64)
    for sigma in sigmas:
        half = math.ceil(4 * sigma)
        line = torch.exp(-torch.arange(-half, half + 1).double().square() / (2 * sigma**2))
        psf = psf[..., None] * (line / line.sum())
    return psf


def transfer(psf: Tensor, shape: Sequence[int]) -> NDArray[np.complex128]:
    """F of a psf with its centre at n//2, by NumPy."""
    grid = np.zeros(shape)
    grid[tuple(slice(0, k) for k in psf.shape)] = psf.numpy()
    shifts = [-(k // 2) for k in psf.shape]
    return np.fft.rfftn(np.roll(grid, shifts, tuple(range(len(shape)))))


def filtered(x: Array, response: NDArray[np.complex128]) -> Array:
    return np.fft.irfftn(np.fft.rfftn(x) * response, s=x.shape, axes=tuple(range(x.ndim)))
