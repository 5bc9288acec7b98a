"""The figure: held-out pictures by row, restorations by column, and the loss below."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .training import Restored

_SIDE = 160  # of the part that is shown, so that single pixels can be told
_TITLES = {
    "original": "original",
    "blurred": "blurred, noisy",
    "tikhonov": "Tikhonov",
    "gradient": "Tikhonov on the gradient",
    "unrolled": "unrolled network",
}


def draw(path: Path, restored: dict[str, Restored], losses: list[float]) -> None:
    """A row for each picture, a part of it enlarged; PSNR is that of the whole picture."""
    rows = len(restored)
    figure = Figure(figsize=(13, 2.9 * rows + 2.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    pictures, below = figure.subfigures(2, 1, height_ratios=[2.9 * rows, 2.6])
    axes = pictures.subplots(rows, len(_TITLES), squeeze=False)
    for row, one in zip(axes, restored.values(), strict=True):
        for ax, (name, title) in zip(row, _TITLES.items(), strict=True):
            planes = one.planes[name]
            top, left = (max(side - _SIDE, 0) // 3 for side in planes.shape)
            part = planes[top : top + _SIDE, left : left + _SIDE].clamp(0, 1)
            ax.imshow(part.numpy(), cmap="gray", vmin=0, vmax=1)
            score = f"\n{one.psnr[name]:.2f} dB" if name in one.psnr else "\n"
            at = f", damp {one.damps[name]:g}" if name in one.damps else ""
            ax.set_title(title + score + at, fontsize=10)
            ax.set_axis_off()
    curve = below.subplots()
    curve.semilogy(losses, color="0.75", linewidth=0.8, label="each step")
    width = max(1, len(losses) // 20)
    means = [sum(losses[i : i + width]) / width for i in range(len(losses) - width + 1)]
    curve.semilogy(range(width - 1, len(losses)), means, color="C0", label=f"mean of {width}")
    curve.set_xlabel("training step")
    curve.set_ylabel("mean square error")
    curve.legend()
    figure.savefig(path, format="png")
