"""The figure of `unconv inspect`: singular values, |F(ω)|, the kernel and the key figures."""

from __future__ import annotations

import math
import textwrap
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..inspection import (
    RTOLS,
    Bounded,
    Inspection,
    Transfer,
)
from .drawing import BLUE, GREY, ORANGE, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEAR_ZERO = 1e-2  # of the largest |F|, where the contour runs
_SPECTRUM_FLOOR = -120.0  # dB
_POINTS = 2000  # of a curve


def draw(file: IO[bytes], title: str, found: Inspection) -> None:
    """Draw one inspection into a PNG of 1400 × 1000 pixels."""
    with page(file, title) as figure:
        rows: Any = figure.subfigures(2, 1, height_ratios=(1.35, 1))
        upper, lower = rows
        wide = 2.0 if found.kernel.ndim == 5 else 1.15  # three maps side by side
        left, right = upper.subfigures(1, 2, width_ratios=(1, wide))
        _draw_values(left.subplots(), found)
        if found.kernel.ndim == 3:
            _draw_curve(right.subplots(), found.transfer)
        else:
            _draw_maps(right, found.transfer)
        small, text = lower.subfigures(1, 2, width_ratios=(1, 2.4))
        _draw_kernel(small.subplots(), found.kernel)
        _write_figures(text.subplots(), found)


# --- singular values
def _draw_values(ax: Axes, found: Inspection) -> None:
    S = found.singular_values.numpy()
    top = found.sigma_max.value or 1.0
    bottom = max(S[-1] / top, found.levels[-1].rtol / 30)
    index = np.unique(np.linspace(0, len(S) - 1, _POINTS).round().astype(int))
    where = (index + 0.5) / len(S)
    ax.semilogy(where, np.maximum(S[index] / top, 1e-30), color=BLUE)
    lowest = min(bottom, RTOLS[0]) / 4
    for rtol in (*RTOLS, found.levels[-1].rtol):
        default = rtol == found.levels[-1].rtol
        colour, dashes = (ORANGE, "-") if default else (GREY, "--")
        if rtol >= lowest:
            ax.axhline(rtol, color=colour, ls=dashes, lw=1.6)
            name = "round-off" if default else f"1e{round(math.log10(rtol))}"
            behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0}
            ax.text(0.02, rtol * 1.25, name, color=colour, va="bottom", bbox=behind)
    if found.values_of != "A":
        _mark_extremes(ax, found, top, lowest)
    ax.set(ylim=(lowest, 3), xlim=(0, 1.0), xlabel="index / number", ylabel="σ / largest σ")
    of = "A" if found.values_of == "A" else "the circular operator"
    ax.set_title(f"singular values of {of}")


def _mark_extremes(ax: Axes, found: Inspection, top: float, lowest: float) -> None:
    """The last σ of A itself, or the bound that is known."""
    low = found.sigma_min
    known = not math.isnan(low.value)
    height = (low.value if known else low.upper) / top
    name = "smallest of A" if known else "smallest of A is below"
    shown = max(height, lowest * 2)
    ax.plot([0.985], [shown], "v", color=ORANGE, ms=15, clip_on=False)
    up = shown < 30 * lowest
    ax.text(0.94, shown * (2.0 if up else 0.5), name, color=ORANGE, ha="right",
            va="bottom" if up else "top")  # fmt: skip


# --- the response
def _decibels(values: Tensor, top: float) -> Any:
    """20 log₁₀(|F|/max |F|), not under the floor."""
    return (20 * (values / (top or 1.0)).clamp(min=10 ** (_SPECTRUM_FLOOR / 20)).log10()).numpy()


def _draw_curve(ax: Axes, transfer: Transfer) -> None:
    f = transfer.frequencies[0].numpy()
    lowest = _decibels(transfer.smallest, transfer.maximum)
    ax.plot(f, lowest, color=BLUE, label="smallest")
    if transfer.largest is not transfer.smallest and (transfer.largest > transfer.smallest).any():
        ax.plot(f, _decibels(transfer.largest, transfer.maximum), color=ORANGE, ls="--",
                label="largest")  # fmt: skip
        ax.legend(loc="lower center")
    floor = max(_SPECTRUM_FLOOR, min(-45.0, float(lowest.min()) - 5))
    for zero in transfer.zeros:
        ax.plot([zero[0], -zero[0]], [floor + 2] * 2, "^", color=ORANGE, ms=13)
    ax.set(ylim=(floor, 5), xlim=(f[0], f[-1]), xlabel="frequency, cycles/sample", ylabel="dB")
    ax.set_title("|F(ω)|" + (", zeros ▲" if transfer.zeros else ""))
    ax.grid(alpha=0.4)


def _draw_maps(figure: Any, transfer: Transfer) -> None:
    """|F| in dB; in three dimensions the three planes through zero frequency."""
    slices = _central_slices(transfer)
    alone = len(slices) == 1
    axes = figure.subplots(1, len(slices), squeeze=False)[0]
    shown = [_decibels(values, transfer.maximum) for _, _, values in slices]
    # Exact zeros shall not take the colours of all the rest.
    low = min(float(np.quantile(s, 0.005)) for s in shown)
    floor = max(_SPECTRUM_FLOOR, min(-20.0, 10 * math.floor(low / 10)))
    image: Any = None
    for ax, (name, ends, _), values in zip(axes, slices, shown, strict=True):
        image = _draw_map(ax, values, ends, floor)
        ax.set_xlabel("columns, cycles/sample" if alone else f"axis {name[1]}")
        ax.set_ylabel("rows, cycles/sample" if alone else f"axis {name[0]}", labelpad=0)
        if ax is not axes[0]:
            ax.set_yticks([])
    side = "right" if alone else "bottom"
    figure.colorbar(image, ax=list(axes), label="dB", location=side, shrink=0.9)
    several = bool((transfer.largest > transfer.smallest * (1 + 1e-9)).any())
    what = "smallest gain |F(ω)|" if several else "|F(ω)|"
    where = "" if alone else " through 0, cycles/sample"
    figure.suptitle(f"{what}{where}, line at −40 dB", fontsize=20)


def _draw_map(ax: Axes, values: Any, ends: tuple[float, float], floor: float) -> Any:
    """One plane, closed by the first row and column, which is also the last."""
    values = np.pad(values, ((0, 1), (0, 1)), mode="wrap")
    y, x = ends
    image = ax.imshow(values, extent=(-x, x, y, -y), cmap="viridis", vmin=floor, vmax=0,
                      aspect="auto")  # fmt: skip
    level = 20 * math.log10(_NEAR_ZERO)
    if values.min() < level < values.max():
        grids = (np.linspace(-end, end, n) for end, n in zip((x, y), values.shape[::-1],
                                                             strict=True))  # fmt: skip
        ax.contour(*grids, values, [level], colors=ORANGE, linewidths=2, linestyles="solid")
    ax.set_box_aspect(1)
    ax.set_xticks([-x, 0, x], [f"{-x:.2g}", "0", f"{x:.2g}"])
    ax.set_yticks([-y, 0, y], [f"{-y:.2g}", "0", f"{y:.2g}"])
    return image


_Slice = tuple[tuple[int, int], tuple[float, float], Tensor]  # axes, their last frequencies, |F|


def _central_slices(transfer: Transfer) -> list[_Slice]:
    ends = [-float(f[0]) for f in transfer.frequencies]
    if len(ends) == 2:
        return [((0, 1), (ends[0], ends[1]), transfer.smallest)]
    planes = ((1, 2), (0, 2), (0, 1))
    return [
        ((a, b), (ends[a], ends[b]), transfer.smallest.select(d, transfer.smallest.shape[d] // 2))
        for d, (a, b) in enumerate(planes)
    ]


# --- the kernel
def _draw_kernel(ax: Axes, kernel: Tensor) -> None:
    """Its taps; of several channels their root mean square, of a volume the middle slice."""
    shown, notes = kernel[0, 0].cpu(), []
    if kernel.shape[0] * kernel.shape[1] > 1 or kernel.is_complex():
        shown = kernel.abs().double().square().mean((0, 1)).sqrt().cpu()
        notes.append("rms of channels" if kernel.ndim < 5 else "rms")
    if shown.ndim == 3:
        shown = shown[len(shown) // 2]
        notes.append("middle slice")
    (_draw_taps if shown.ndim == 1 else _draw_picture)(ax, shown.double())
    size = " × ".join(map(str, kernel.shape[2:])) + (" taps" if kernel.ndim == 3 else "")
    ax.set_title("\n".join([f"kernel, {size}", ", ".join(notes)]).strip())


def _draw_taps(ax: Axes, taps: Tensor) -> None:
    t = np.arange(len(taps))
    ax.vlines(t, 0, taps.numpy(), color=BLUE, lw=4)
    ax.plot(t, taps.numpy(), "o", color=BLUE, ms=9)
    ax.axhline(0, color=GREY, lw=1)
    ax.set_xlabel("tap")
    ax.margins(0.15)


def _draw_picture(ax: Axes, taps: Tensor) -> None:
    signed, top = bool((taps < -1e-9 * taps.abs().max()).any()), float(taps.abs().max())
    top = top or 1.0
    limits = (-top if signed else 0.0, top)
    colours = "PuOr" if signed else "cividis"
    image = ax.imshow(taps.numpy(), cmap=colours, vmin=limits[0], vmax=top)
    ax.set_xticks([])
    ax.set_yticks([])
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85)
    bar.ax.set_yticks(limits, [f"{v:.2g}" for v in limits])


# --- the figures
def _write_figures(ax: Axes, found: Inspection) -> None:
    ax.set_axis_off()
    lines = [
        f"σ max {_short(found.sigma_max)}   σ min {_short(found.sigma_min)}",
        f"condition {_short(found.cond)}   pinv by {found.method}",
    ]
    if found.values_of != "A":
        lines.append("of the circular operator:")
    for level in (*found.levels[:2], found.levels[-1]):
        default = " (default)" if level is found.levels[-1] else ""
        lines.append(
            f"σ > {level.rtol:.0e}{default}: {100 * level.rank / level.of:.3g} % kept, "
            f"noise × {_plain(level.noise_gain)}"
        )
    size, width = (20, 58) if len(found.advice) < 3 else (17, 68)
    for sentence in found.advice:
        lines += textwrap.wrap(sentence, width)
    ax.text(0, 1, "\n".join(lines), va="top", ha="left", fontsize=size, linespacing=1.2,
            transform=ax.transAxes, parse_math=False)  # fmt: skip


def _plain(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= value < 1e6 else f"{value:.3g}"


def _short(b: Bounded) -> str:
    if not math.isnan(b.value):
        return _plain(b.value)
    return f"≤ {b.upper:.2g}" if math.isfinite(b.upper) else f"≥ {b.lower:.2g}"
