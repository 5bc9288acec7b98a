"""What the figures of the commands have in common: one size, one style, colours for every eye."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe & Ito: told apart by every eye
FREQUENCY_TICKS = 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5
"""Periods a sample, of an axis of frequencies."""

_STYLE: Any = {  # large enough to read on a telephone
    "font.size": 19,
    "axes.titlesize": 20,
    "axes.labelsize": 19,
    "xtick.labelsize": 17,
    "ytick.labelsize": 17,
    "axes.linewidth": 1.2,
    "lines.linewidth": 3,
}


def small_figure(size: tuple[float, float] = (4.6, 3.6)) -> Figure:
    """An empty figure for a page in HTML, of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def page(file: IO[bytes], title: str) -> Iterator[Figure]:
    """A figure of 1400 × 1000 pixels that the block draws on; then it is written as a PNG."""
    from matplotlib import rc_context  # takes a second, and a table needs none
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(14, 10), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(textwrap.shorten(title, 70), fontsize=22, parse_math=False)
        yield figure
        figure.savefig(file, format="png")
