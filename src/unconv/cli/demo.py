"""`unconv demo`: blur photographs, restore them, show what the boundary does."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..pictures import restoration as library
from ..pictures.formats import PictureError, check_writable
from ..pictures.formats.atomic import replacing
from .common import (
    UNCERTIFIED,
    JsonOption,
    friendly,
    report,
)
from .figure import Trial, comparison, overview
from .progress_bar import progress
from .psf_option import parse_psf

PICTURES = ("astronaut", "camera", "chelsea", "coffee")
ALL_PICTURES = ("astronaut", "camera", "coffee")
ALL_PSFS = ("gaussian:2", "motion:15,30", "disk:4")


@friendly
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The PNG with the pictures.")
    ] = Path("demo.png"),
    picture: Annotated[
        str | None,
        typer.Option(
            help=f"A photograph of scikit-image: {', '.join(PICTURES)}.", show_default="astronaut"
        ),
    ] = None,
    psf: Annotated[
        str | None,
        typer.Option(help="As for unconv deblur.", show_default="motion:15,30"),
    ] = None,
    noise_std: Annotated[
        float, typer.Option(help="Standard deviation of the noise, white = 1.")
    ] = 0.01,
    every: Annotated[
        bool,
        typer.Option("--all", help="Three photographs with three psfs each, as one table."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Blur a real photograph, restore it without telling noise or surroundings, measure, draw.

    Restored twice: as circular, which is usual, and as valid, like unconv deblur.

    PSNR is that of the whole frame, and of its border, one psf wide.

    Example: unconv demo -o demo.png --picture coffee --psf disk:4
    """
    if output.suffix.lower() != ".png":
        raise PictureError(f"the demo's figure is a PNG, got {output.name!r}; end it in .png.")
    if every and not (picture is None and psf is None):
        raise ValueError("--all has its own photographs and psfs; leave out --picture and --psf.")
    check_writable(output)
    pictures = ALL_PICTURES if every else (picture or "astronaut",)
    psfs = ALL_PSFS if every else (psf or "motion:15,30",)
    with progress() as step:
        trials = []
        for name in pictures:
            for kernel in psfs:
                step(f"{name}, {kernel}")
                trials.append(_trial(name, kernel, noise_std))
        step("drawing")
        with replacing(output) as file:
            if every:
                overview(file, f"PSNR in dB (near the edges), noise {noise_std:g}", trials)
            else:
                title = f"{trials[0].picture}, psf {trials[0].psf}, noise {noise_std:g}"
                comparison(file, title, trials[0])
    last = {"noise_std": noise_std, "figure": str(output)}
    if not every:
        report("demo", trials[0].facts() | last, as_json)
    elif as_json:
        report("demo", {"trials": [t.facts() for t in trials]} | last, as_json)
    else:
        _print_table(trials)
        report("demo", last, as_json)
    if not all(t.solved for t in trials):
        raise typer.Exit(UNCERTIFIED)


def _trial(picture: str, psf: str, noise_std: float) -> Trial:
    kernel = parse_psf(psf)
    scene = _photograph(picture)
    blurred = library.blur(scene, kernel, boundary="valid", noise_std=noise_std)
    began = time.perf_counter()
    restored = library.deblur(blurred, kernel)
    seconds = time.perf_counter() - began
    shown = {
        "original": library.frame(scene, kernel),
        "blurred": blurred,
        "circular": library.deblur(blurred, kernel, boundary="circular").planes,
        "valid": restored.planes,
    }
    size = kernel.shape[0], kernel.shape[1]
    scores = {
        name: _scores(shown["original"], planes, size)
        for name, planes in shown.items()
        if name != "original"
    }
    return Trial(picture, psf, size, restored, seconds, shown, scores)


def _photograph(name: str) -> Tensor:  # -> (C, H, W) float64 in [0, 1]
    if name not in PICTURES:
        raise ValueError(f"picture {name!r} is not known; use one of {', '.join(PICTURES)}.")
    from skimage import data

    pixels = torch.from_numpy(getattr(data, name)()).double() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _scores(reference: Tensor, picture: Tensor, border: Sequence[int]) -> dict[str, float]:
    """PSNR in dB, whole and in the border, and SSIM of pictures in [0, 1], clipped as shown."""
    from skimage.metrics import structural_similarity

    shown = picture.clamp(0, 1)
    squares = (shown - reference) ** 2
    (h, w), (H, W) = border, squares.shape[1:]
    edges = torch.ones(H, W, dtype=torch.bool)
    edges[h : H - h, w : W - w] = False
    similar = structural_similarity(
        reference.numpy(), shown.numpy(), data_range=1.0, channel_axis=0
    )
    return {
        "psnr": _decibels(squares),
        "psnr_edges": _decibels(squares[:, edges]),
        "ssim": float(similar),
    }


def _decibels(squares: Tensor) -> float:
    mean = float(squares.mean())
    return -10 * math.log10(mean) if mean else math.inf


def _print_table(trials: Sequence[Trial]) -> None:
    table = Table(title="PSNR in dB, whole (near the edges)", title_justify="left", box=None)
    names = list(trials[0].scores)
    for head in ("picture", "psf"):
        table.add_column(head, no_wrap=True)
    for head in (*names, "noise", "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    for t in trials:
        cells = [f"{t.scores[n]['psnr']:.2f} ({t.scores[n]['psnr_edges']:.2f})" for n in names]
        table.add_row(t.picture, t.psf, *cells, t.noise, f"{t.seconds:.1f}")
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, soft_wrap=True, width=width).print(table)
