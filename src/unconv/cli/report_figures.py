"""The figures of a report's page: what is left, what was not seen, spectra, curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from ..parameter_choice.model_check import RadialSpectra
from ..parameter_choice.residual_whiteness import Whiteness
from ..pictures import Scene
from .drawing import BLUE, FREQUENCY_TICKS, GREY, ORANGE, small_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[list[float], list[float], str, float]
"""(damps, values, name of the values, chosen damp) of the rule that chose it."""

_FREQUENCIES = 0.004, 0.55  # the lowest of a tile of 512 samples is 0.005


def _new_figure() -> tuple[Figure, Axes]:
    figure = small_figure()
    return figure, figure.subplots()


def of_curve(curve: Curve) -> Figure:
    """What a rule looked at, for each damp."""
    damps, values, name, chosen = curve
    figure, ax = _new_figure()
    ax.plot(damps, values, color=BLUE, linewidth=2)
    ax.axvline(chosen, color=ORANGE, linewidth=2, linestyle="--")
    ax.set_xscale("log")
    if values and min(values) > 0:
        ax.set_yscale("log")
    ax.set_xlabel("damp")
    ax.set_ylabel(name)
    ax.grid(visible=True, alpha=0.3)
    return figure


def of_unseen(planes: Tensor, observed: Tensor) -> Figure:
    """The pixels that were no data, in orange over the answer; planes as they are stored."""
    figure, ax = _new_figure()
    grey = planes.mean(0).clamp(0, 1).cpu().numpy()
    colours = np.repeat(0.3 + 0.6 * grey[..., None], 3, axis=-1)
    colours[~observed.cpu().numpy()] = (0.84, 0.37, 0.0)
    ax.imshow(colours)
    ax.set_axis_off()
    return figure


def of_scene(scene: Scene) -> Figure:
    """The scene with what was completed beyond the edges; its planes as they are stored."""
    from matplotlib.patches import Rectangle

    figure, ax = _new_figure()
    planes = scene.planes.clamp(0, 1).cpu()
    pixels = planes[:3] if len(planes) >= 3 else planes[:1].expand(3, -1, -1)
    ax.imshow(pixels.permute(1, 2, 0).numpy())
    rows, columns = scene.inside
    corner = columns.start - 0.5, rows.start - 0.5
    size = columns.stop - columns.start, rows.stop - rows.start
    ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=ORANGE, linewidth=1.5))
    ax.set_axis_off()
    return figure


def of_residual(residual: Tensor) -> Figure:
    """y − Ax, the mean of its planes."""
    figure, ax = _new_figure()
    grey = residual.mean(0).cpu().numpy()
    span = float(np.quantile(np.abs(grey), 0.995)) or 1.0
    shown = ax.imshow(grey, cmap="RdBu_r", vmin=-span, vmax=span)
    ax.set_axis_off()
    figure.colorbar(shown, ax=ax, shrink=0.9)
    return figure


def of_whiteness(found: Whiteness) -> Figure:
    """The cumulative periodogram."""
    figure, ax = _new_figure()
    cumulative = found.cumulative.cpu().numpy()
    share = np.arange(1, len(cumulative) + 1) / len(cumulative)
    limit = found.limit
    ax.fill_between(
        share, share - limit, share + limit, color="#56b4e9", alpha=0.5, label="usual where white"
    )
    ax.plot(share, cumulative, color=ORANGE, linewidth=2, label="residual")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of the frequencies, low to high")
    ax.set_ylabel("share of the power")
    ax.legend(loc="lower right", frameon=False)
    ax.grid(visible=True, alpha=0.3)
    return figure


def of_spectra(profile: RadialSpectra) -> Figure:
    """The data beside the model that was fitted to them."""
    figure, ax = _new_figure()
    frequency = profile.frequency.cpu().numpy()
    ax.loglog(frequency, profile.data.cpu().numpy(), "o", color=GREY, markersize=4, label="data")
    ax.loglog(
        frequency, profile.fitted.cpu().numpy(), color=BLUE, label="signal · |psf|² + noise, fitted"
    )
    ax.loglog(frequency, profile.noise.cpu().numpy(), "--", color=ORANGE, label="noise alone")
    _by_frequency(ax, "power", "upper right")
    return figure


def of_residual_spectrum(profile: RadialSpectra) -> Figure:
    """The power of the residual over what the model expects of it."""
    figure, ax = _new_figure()
    ratio = profile.residual.cpu().numpy()
    ax.loglog(profile.frequency.cpu().numpy(), ratio, "o-", color=BLUE, markersize=4)
    ax.axhline(1, color=ORANGE, linestyle="--", label="as the model expects")
    known = ratio[np.isfinite(ratio) & (ratio > 0)]
    if known.size:  # a small departure must not fill the page
        ax.set_ylim(min(0.1, known.min()), max(10.0, known.max()))
    _by_frequency(ax, "residual / expected", "lower left")
    return figure


def _by_frequency(ax: Axes, name: str, corner: Literal["upper right", "lower left"]) -> None:
    ax.set_xlim(*_FREQUENCIES)
    ax.set_xticks(FREQUENCY_TICKS, [f"{tick:g}" for tick in FREQUENCY_TICKS])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("frequency, periods per sample")
    ax.set_ylabel(name)
    ax.legend(loc=corner, frameon=False)
    ax.grid(visible=True, alpha=0.3)
