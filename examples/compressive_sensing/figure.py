"""The picture: what was there, what was sampled, and what each method makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from unconv.pictures.formats.atomic import replacing

from .scores import Restored, Scores


def draw(path: Path, title: str, methods: Mapping[str, Mapping[str, Restored]]) -> None:
    """Write a PNG: a row for each picture; original, samples, and a column for each method."""
    names = list(next(iter(methods.values())))
    figure = Figure(
        figsize=(2.9 * (2 + len(methods)), 2.7 * len(names) + 0.5), dpi=110, layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots(len(names), 2 + len(methods), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        first = next(iter(methods.values()))[name]
        _show(row[0], first.original, name)
        _show(row[1], first.sampled, "samples")
        for ax, (method, tested) in zip(row[2:], methods.items(), strict=True):
            _show(ax, tested[name].restored, method, tested[name].scores)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _show(ax: Any, picture: Tensor, name: str, scores: Scores | None = None) -> None:
    ax.imshow(picture.permute(1, 2, 0).numpy(), vmin=0, vmax=1)
    measured = "" if scores is None else f"\n{scores.psnr:.2f} dB, SSIM {scores.ssim:.3f}"
    ax.set_title(name + measured, fontsize=10, parse_math=False)  # names may hold dollars
    ax.set_axis_off()
