"""A photograph whose blur grows to the corners, restored with one psf and with many.

The truth is dense: every point of the scene is spread by a Gaussian of its own width, σ = 0.8 in
the middle to 3 in the corners.  What is told is a grid of 5 × 5 psfs.

    python -m examples.varying_psf              writes varying-psf.jpg
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage import data
from torch import Tensor

import unconv
from unconv.pictures.formats import check_writable

SIDE, KERNEL, GRID, NOISE_STD = 256, 19, 5, 0.01
SHARP, SOFT = 0.8, 3.0  # σ in the middle and in the corners
ZONES = {"middle": (0.0, 0.4), "between": (0.4, 0.75), "corners": (0.75, 1.01)}
"""Distance from the middle, in units of that of a corner."""


class Scene(NamedTuple):
    """The truth and the picture of it, (1, 1, …), white = 1."""

    truth: Tensor
    seen: Tensor


def gaussian(sigma: Tensor) -> Tensor:
    """(…) widths -> (…, KERNEL, KERNEL) psfs with sum 1."""
    at = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    line = torch.exp(-at.square() / (2 * sigma[..., None] ** 2))
    line = line / line.sum(-1, keepdim=True)
    return line[..., :, None] * line[..., None, :]


def width(row: Tensor, column: Tensor, side: int) -> Tensor:
    """σ at places of the picture."""
    middle = (side - 1) / 2
    radius = torch.hypot(row - middle, column - middle) / (math.sqrt(2) * middle)
    return SHARP + (SOFT - SHARP) * radius.clamp(max=1)


def scene(side: int = SIDE) -> Scene:
    """A photograph with KERNEL − 1 samples more than its picture, point by point."""
    n = side + KERNEL - 1
    photograph = torch.from_numpy(data.camera()).double()[None, None] / 255
    truth = torch.nn.functional.interpolate(photograph, size=(n, n), mode="area")
    at = torch.arange(n, dtype=torch.float64) - KERNEL // 2
    whole = torch.zeros(n + KERNEL - 1, n + KERNEL - 1, dtype=torch.float64)
    for i in range(n):  # a row of points at a time, each with its psf
        light = truth[0, 0, i, :, None, None] * gaussian(width(at[i], at, side))
        for s in range(KERNEL):
            whole[i : i + KERNEL, s : s + n] += light[:, :, s].T
    seen = whole[KERNEL - 1 : n, KERNEL - 1 : n]
    noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0), dtype=seen.dtype)
    return Scene(truth, (seen + NOISE_STD * noise)[None, None])


def operators(side: int) -> dict[str, unconv.ConvOperator | unconv.ProductConvolution]:
    """One psf for all, that of the middle or a mean one, and a grid of them."""
    shape = (side + KERNEL - 1,) * 2
    nodes = torch.linspace(0, side - 1, GRID, dtype=torch.float64)
    psfs = gaussian(width(nodes[:, None], nodes[None, :], side))
    places = torch.arange(side, dtype=torch.float64)
    mean = gaussian(width(places[:, None], places[None, :], side).mean())
    middle = gaussian(torch.tensor(SHARP, dtype=torch.float64))
    return {
        "psf of the middle": unconv.ConvOperator(middle[None, None], shape, flip=True),
        "mean psf": unconv.ConvOperator(mean[None, None], shape, flip=True),
        "5 × 5 psfs": unconv.ProductConvolution(psfs, (nodes, nodes), shape),
    }


def restorations(found: Scene) -> dict[str, Tensor]:
    """What was seen, and what each operator makes of it by total variation, (h, w) each."""
    side = found.seen.shape[-1]
    inner = (0, 0, *[slice(KERNEL // 2, KERNEL // 2 + side)] * 2)
    pictures = {"original": found.truth[inner], "seen": found.seen[0, 0]}
    for name, A in operators(side).items():
        x = unconv.restore(A, found.seen, noise_std=NOISE_STD, bounds=(0, 1)).solution
        pictures[name] = x[inner]
    return pictures


def psnr_by_zone(picture: Tensor, truth: Tensor) -> dict[str, float]:
    """In decibels, in each zone and in the whole."""
    at = torch.linspace(-1, 1, truth.shape[-1], dtype=torch.float64)
    radius = torch.hypot(at[:, None], at[None, :]) / math.sqrt(2)
    squares = (picture.clamp(0, 1) - truth).square()
    found = {
        name: float(-10 * squares[(least <= radius) & (radius < most)].mean().log10())
        for name, (least, most) in ZONES.items()
    }
    return found | {"whole": float(-10 * squares.mean().log10())}


def draw(path: Path, pictures: dict[str, Tensor]) -> None:
    """The whole picture above, the middle and a corner below."""
    truth = pictures["original"]
    side = truth.shape[-1]
    part = side * 3 // 10
    middle = slice(side * 3 // 10, side * 3 // 10 + part)
    cuts = [(slice(None),) * 2, (middle, middle), (slice(side - part, side), slice(0, part))]
    figure = Figure(figsize=(2.1 * len(pictures), 6.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cuts), len(pictures))
    for column, (name, picture) in zip(axes.T, pictures.items(), strict=True):
        for ax, cut in zip(column, cuts, strict=True):
            shown = picture[cut].clamp(0, 1).numpy()
            ax.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_axis_off()
        column[0].set_title(name, fontsize=10)
        if name != "original":
            scores = psnr_by_zone(picture, truth)
            column[1].set_title(f"{scores['middle']:.1f} dB in the middle", fontsize=9)
            column[2].set_title(f"{scores['corners']:.1f} dB in the corners", fontsize=9)
    figure.savefig(path, format="jpg", pil_kwargs={"quality": 85})


def main(
    output: Annotated[Path, typer.Option("-o", help="Where the picture goes.")] = Path(
        "varying-psf.jpg"
    ),
) -> None:
    """Restore a photograph whose blur grows to the corners."""
    check_writable(output)
    pictures = restorations(scene())
    for name, picture in pictures.items():
        if name != "original":
            scores = psnr_by_zone(picture, pictures["original"]).items()
            line = "  ".join(f"{zone} {score:5.2f} dB" for zone, score in scores)
            typer.echo(f"{name:20}{line}")
    draw(output, pictures)


if __name__ == "__main__":
    typer.run(main)
