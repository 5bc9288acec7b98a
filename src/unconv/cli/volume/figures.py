"""The figures of a volume's report: planes, projections, the bound by pass, spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing import BLUE, FREQUENCY_TICKS, GREY, ORANGE, small_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from ...volumes.look import Look, Plane

_LOW_SHARE, _HIGH = 0.005, 0.998  # quantiles that are drawn black and white


def of_planes(before: Mapping[str, Plane], after: Mapping[str, Plane], look: Look) -> Figure:
    """A plane for each pair of axes, of the input on the left and of the answer on the right."""
    figure = small_figure((10.4, 5.6))
    parts: Any = figure.subfigures(1, 2, wspace=0.03)
    for part, planes, name in zip(parts, (before, after), ("before", "restored"), strict=True):
        part.suptitle(name)
        _three(part, planes, look)
    return figure


def _three(part: SubFigure, planes: Mapping[str, Plane], look: Look) -> None:
    """yx at the top left, zx below it, and yz, turned, at its right."""
    values = np.concatenate([plane.ravel() for plane in planes.values()])
    values = values[np.isfinite(values)]
    window = tuple(np.quantile(values, (_LOW_SHARE, _HIGH))) if values.size else (0.0, 1.0)
    pitch = dict(zip(look.axes, look.spacing, strict=True))
    if len(planes) == 1:
        _draw(part.subplots(), planes["yx"], pitch["y"], pitch["x"], window)
        return
    z, y, x = (n.stop - n.start for n in look.box)
    depth, height, width = z * pitch["z"], y * pitch["y"], x * pitch["x"]
    axes = part.subplots(
        2, 2, width_ratios=[width, depth], height_ratios=[height, depth], squeeze=False
    )
    _draw(axes[0, 0], planes["yx"], pitch["y"], pitch["x"], window, "y, x")
    _draw(axes[1, 0], planes["zx"], pitch["z"], pitch["x"], window, "z, x")
    _draw(axes[0, 1], planes["zy"].T, pitch["y"], pitch["z"], window, "y, z")
    axes[1, 1].set_axis_off()


def _draw(
    ax: Axes, plane: Plane, high: float, wide: float, window: Any, name: str | None = None
) -> None:
    ax.imshow(
        plane, cmap="gray", vmin=window[0], vmax=window[1], aspect=high / wide,
        interpolation="nearest",
    )  # fmt: skip
    ax.set_axis_off()
    if name is not None:
        ax.set_title(name, fontsize=9)


def of_overview(look: Look) -> Figure:
    """The largest values of the whole along its first axis."""
    figure = small_figure((5.2, 4.2))
    window = np.nanquantile(look.overview, (_LOW_SHARE, _HIGH)) if look.overview.size else (0, 1)
    _draw(figure.subplots(), look.overview, *look.overview_spacing, window)
    return figure


def of_bounds(bounds: Sequence[float], tol: float) -> Figure:
    """The bound of the error before the first pass, which tiles begin alone, and after each."""
    figure = small_figure()
    ax = figure.subplots()
    passes = np.arange(len(bounds))
    ax.semilogy(passes, bounds, "o-", color=BLUE, linewidth=2, label="bound of the error")
    ax.axhline(tol, color=ORANGE, linestyle="--", label=f"asked for: {tol:g}")
    ax.set_xlabel("passes")
    ax.set_ylabel("of the standard deviation of x")
    ax.set_xticks(passes[:: max(1, len(passes) // 8)])
    ax.legend(frameon=False)
    ax.grid(visible=True, alpha=0.3)
    return figure


def of_spectra(spectra: Mapping[str, Any]) -> Figure:
    """The mean periodogram of the tiles beside the model that was fitted to it."""
    figure = small_figure()
    ax = figure.subplots()
    rings = spectra["rings"]
    ax.loglog(rings, spectra["measured"], "o", color=GREY, markersize=4, label="data")
    ax.loglog(rings, spectra["fitted"], color=BLUE, label="signal · |psf|² + noise, fitted")
    ax.loglog(rings, spectra["noise"], "--", color=ORANGE, label="noise alone")
    ticks = [tick for tick in FREQUENCY_TICKS if rings[0] <= tick <= rings[-1]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("frequency, periods per sample of the finest axis")
    ax.set_ylabel("power")
    ax.legend(frameon=False)
    ax.grid(visible=True, alpha=0.3)
    return figure
