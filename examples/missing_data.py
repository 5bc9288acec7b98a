"""A photograph with unknown surroundings, dead pixels and something in front of it, restored.

A motion blur carries the surroundings into the picture's edges, 2 % of its pixels are dead and a
square hides a part.  All of these are outputs that nobody saw: the Wiener filter of
`A.observed(mask)` estimates the whole scene, at the price of some FFTs.

    python -m examples.missing_data              writes missing-data.jpg
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import skimage.data
import torch
import typer
from PIL import Image
from torch import Tensor

import unconv
from unconv import psf

NOISE_STD = 0.004
MARGIN = 16  # samples by which the grid of the spectrum is larger than the scene


class Restored(NamedTuple):
    """Pictures (h, w) with white = 1: what was seen, black where nothing; the scene, the truth."""

    seen: Tensor
    scene: Tensor
    truth: Tensor
    psnr: float


def power_law(sizes: list[int], variance: float) -> Tensor:
    """The spectrum |ω|⁻² of pictures on a grid, in the order of torch.fft.fftn."""
    axes = [torch.fft.fftfreq(n, dtype=torch.float64) for n in sizes]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    power = radius.clamp(min=1 / max(sizes)) ** -2.0
    return power * variance / power.mean()


def restored(size: int = 512) -> Restored:
    """Blur, break and restore astronaut, cut to `size`."""
    generator = torch.Generator().manual_seed(0)
    picture = skimage.data.astronaut()[:size, :size].mean(2) / 255
    truth = torch.from_numpy(picture)[None, None]
    A = unconv.ConvOperator(psf.motion(15, 30).double()[None, None], truth.shape[2:])
    y = A(truth)
    y = y + NOISE_STD * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    mask = torch.rand(y.shape[2:], generator=generator) > 0.02
    mask[size * 2 // 5 : size * 2 // 5 + 30, size * 3 // 5 : size * 3 // 5 + 30] = False
    y = torch.where(mask, y, torch.nan)
    mean = y.nanmean()
    signal = power_law([n + MARGIN for n in truth.shape[2:]], float((y - mean).square().nanmean()))
    scene = A.observed(mask).wiener(NOISE_STD**2, signal)(y - mean) + mean
    psnr = float(-10 * (scene - truth).square().mean().log10())
    return Restored(y[0, 0].nan_to_num(), scene[0, 0], truth[0, 0], psnr)


def main(
    output: Annotated[Path, typer.Option("-o", help="Where the picture goes.")] = Path(
        "missing-data.jpg"
    ),
) -> None:
    """Write what the camera saw beside the restored scene."""
    found = restored()
    h, w = found.seen.shape
    both = torch.cat([found.seen, found.scene[:h, :w]], 1).clamp(0, 1)
    Image.fromarray((both * 255).byte().numpy()).save(output, quality=90)
    typer.echo(f"{output}: {found.psnr:.1f} dB")


if __name__ == "__main__":
    typer.run(main)
