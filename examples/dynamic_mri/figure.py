"""The picture: a frame, its error, and the profile of a column over time, for every method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unconv.pictures.formats.atomic import replacing

from .series import Data
from .table import Magnitude, Result

_AMPLIFIED = 5


def draw(path: Path, data: Data, results: Sequence[Result]) -> None:
    """Write a PNG: three rows for the first series of each kind, and a column for each method.

    All results are of one acceleration.
    """
    references = {name: x.abs().numpy() for name, x in data.held_out().items()}
    names = list({name.split()[0]: name for name in reversed(references)}.values())[::-1]
    methods = list(dict.fromkeys(r.row.method for r in results))
    figure = Figure(
        figsize=(2.1 * (1 + len(methods)), 6.1 * len(names) + 0.4), dpi=100, layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.suptitle(f"acceleration {results[0].row.acceleration:g}", fontsize=13)
    axes = figure.subplots(3 * len(names), 1 + len(methods), squeeze=False)
    for number, name in enumerate(names):
        of_series = {r.row.method: r for r in results if r.row.series == name}
        _draw_series(
            axes[3 * number : 3 * number + 3], name, references[name], [*of_series.values()]
        )
    with replacing(path) as file:
        figure.savefig(file, format="png")


def _draw_series(axes: Any, name: str, x: Magnitude, results: Sequence[Result]) -> None:
    """Frame, error and profile, in three rows of axes."""
    deviation = np.square(x - x.mean(0))
    frame = int(deviation.sum((1, 2)).argmax())  # farthest from the mean, which is easy to restore
    margin = x.shape[2] // 4
    inner = deviation.sum((0, 1))[margin:-margin]  # no column along the rim
    column = margin + int(inner.argmax())  # where most moves
    largest = float(x.max())
    titles = [name, *(_title(r) for r in results)]
    series = [x, *(r.restored for r in results)]
    for number, (title, shown) in enumerate(zip(titles, series, strict=True)):
        top, middle, bottom = axes[:, number]
        _show(top, shown[frame], largest)
        top.set_title(title, fontsize=9)
        if number:
            _show(middle, np.abs(shown[frame] - x[frame]), largest / _AMPLIFIED)
        else:
            middle.set(frame_on=False, xticks=[], yticks=[])
            top.axvline(column, color="tab:orange", linewidth=1)
        _show(bottom, shown[:, :, column].T, largest)
        bottom.set_aspect("auto")  # frames are far fewer than rows
    for ax, label in zip(
        axes[:, 0],
        (f"frame {frame}", f"error ×{_AMPLIFIED}", "orange column, over time"),
        strict=True,
    ):
        ax.set_ylabel(label, fontsize=9)


def _title(result: Result) -> str:
    row = result.row
    return f"{row.method}\n{row.psnr:.2f} dB, SSIM {row.ssim:.3f}"


def _show(ax: Any, picture: Magnitude, largest: float) -> None:
    ax.imshow(picture, cmap="gray", vmin=0, vmax=largest, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
