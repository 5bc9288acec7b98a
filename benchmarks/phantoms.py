"""Counts to restore: a drawn volume of bars and three photographs, blurred, with Poisson noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unconv import ConvOperator, psf

from .bench_damp import photograph

PEAKS = (30, 100, 1000)
BACKGROUND = 0.05
"""Of the peak, in the volume: light from out of focus and dark counts."""

PICTURES = {
    "camera": psf.gaussian(2.0),
    "astronaut": psf.disk(4.0),
    "coffee": psf.motion(15, 30),
}


class PoissonCase(NamedTuple):
    """One restoration of counts.

    Attributes
    ----------
    A : for pictures without padding, so that surroundings are unknown
    truth : (1, 1, *domain), in counts
    y : (1, 1, *range), whole counts
    inside : slices of the axes of the domain that the data show
    """

    name: str
    peak: int
    A: ConvOperator
    truth: Tensor
    y: Tensor
    background: float
    inside: tuple[slice, ...]

    def decibels(self, x: Tensor) -> float:
        """PSNR where the data are, of the range of the truth."""
        where = (..., *self.inside)
        truth, error = self.truth[where], (x - self.truth)[where]
        size = float(truth.max() - truth.min())
        return -10 * float((error / size).square().mean().log10())


def bars(shape: tuple[int, int, int] = (32, 64, 64), *, seed: int = 0) -> Tensor:
    """Hollow bars along the three axes and across, in [0, 1], (depth, height, width) float64.

    A bar is a segment with a radius; its wall is bright, its inside a third as bright, and its
    surface falls over one sample, so that nothing depends on where the samples lie.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(shape, dtype=torch.float64)
    grid = torch.stack(
        torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"), -1
    )
    volume = torch.zeros(shape, dtype=torch.float64)
    for i in range(9):
        ends = (0.1 + 0.8 * torch.rand(2, 3, generator=generator, dtype=torch.float64)) * sizes
        if i < 6:  # along an axis
            along = i % 3
            ends[1] = ends[0]
            ends[:, along] = torch.tensor([0.12, 0.88]) * sizes[along]
        radius = 2 + 2 * float(torch.rand((), generator=generator))
        bright = 0.4 + 0.6 * float(torch.rand((), generator=generator))
        distance = _distance(grid, ends[0], ends[1])
        solid = (radius + 0.5 - distance).clamp(0, 1)
        hollow = (radius - 1.5 - distance + 0.5).clamp(0, 1)
        volume = volume.maximum(bright * (solid - 2 / 3 * hollow))
    return volume / volume.max()


def _distance(grid: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From every sample to a segment."""
    along = end - start
    share = ((grid - start) @ along / (along @ along)).clamp(0, 1)
    return (grid - start - share[..., None] * along).norm(dim=-1)


def anisotropic_psf(sigmas: tuple[float, float, float] = (2.5, 1.2, 1.2)) -> Tensor:
    """A Gaussian that is longer in depth, as of a microscope, with sum 1."""
    kernel = torch.ones((), dtype=torch.float64)
    for sigma in sigmas:
        radius = int(4 * sigma + 0.5)
        t = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = kernel[..., None] * torch.exp(-0.5 * (t / sigma) ** 2)
    return kernel / kernel.sum()


def volume_case(peak: int, shape: tuple[int, int, int] = (32, 64, 64)) -> PoissonCase:
    """The bars, dark around, with a background; data of the same shape."""
    options = {"padding": "same", "padding_mode": "zeros"}
    return _counted("bars", peak, bars(shape), anisotropic_psf(), BACKGROUND * peak, **options)


def picture_case(name: str, peak: int) -> PoissonCase:
    """A photograph of which the blur has carried the surroundings into the data."""
    return _counted(name, peak, photograph(name)[0], PICTURES[name], 0.0)


def cases() -> Iterator[PoissonCase]:
    """Three pictures and the volume, at every peak."""
    for name in PICTURES:
        yield from (picture_case(name, peak) for peak in PEAKS)
    yield from (volume_case(peak) for peak in PEAKS)


def _counted(
    name: str, peak: int, scene: Tensor, kernel: Tensor, background: float, **options: Any
) -> PoissonCase:
    """Counts of a scene of which the brightest sample is `peak` photons."""
    A = ConvOperator(kernel[None, None], scene.shape, flip=True, **options)
    truth = (peak / float(scene.max()) * scene)[None, None]
    mean = A(truth).clamp(min=0) + background
    y = torch.poisson(mean, torch.Generator().manual_seed(peak))
    margins = [(n - m) // 2 for n, m in zip(scene.shape, A.range_shape[1:], strict=True)]
    inside = tuple(slice(b, b + m) for b, m in zip(margins, A.range_shape[1:], strict=True))
    return PoissonCase(name, peak, A, truth, y, background, inside)
