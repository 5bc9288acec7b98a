"""Log–log pictures of the growth tables: `python -m benchmarks.plots bench.json [docs/growth.png]`.

The file is one that `python -m benchmarks growth --json bench.json` keeps.  Time of set-up and one
solve, time of the next solve and peak memory against the number of samples, a column of pictures
for each number of channels; one FFT pair of the data is the floor of a solve.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from .bench_growth import BESIDE_TITLE
from .peers import FLOOR, OURS

matplotlib.use("Agg")

PANELS = {  # column of the table: label, what one of its units is
    "set-up and one solve, s": ("set-up and one solve, s", 1.0),
    "next solve, ms": ("next solve, s", 1e-3),
    "peak, MB": ("peak memory, GB", 1e-3),
}
COLOURS = {
    OURS: "#0b6e4f",
    FLOOR: "#6b6b6b",
    "SuperLU": "#c8553d",
    "PARDISO": "#2f5d9b",
    "CHOLMOD on AᴴA": "#8d5aa5",
    "SuiteSparseQR": "#b07d12",
    "SciPy lsqr": "#3a9bb0",
}
LEAST = {"peak, MB": 1.0}  # under which the allocator's pages are measured, not the method

Curves = dict[str, list[tuple[float, float]]]
"""A list of (samples, figure) for each method."""


def curves(rows: Iterable[Mapping[str, str]], channels: str, column: str) -> Curves:
    """The points of one picture; cells that hold no figure are passed over."""
    found: Curves = defaultdict(list)
    for row in rows:
        if row["channels"] == channels and row[column][:1].isdigit():
            value = max(float(row[column]), LEAST.get(column, 0.0))
            found[row["method"]].append((float(row["N"].replace(",", "")), value))
    return dict(found)


def growth_rows(told: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of the growth table in what `--json` keeps, by their heads.

    Raises
    ------
    ValueError
        if the file holds no such table.
    """
    for each in told["benchmarks"].values():
        for table in each["tables"]:
            if table["title"] == BESIDE_TITLE:
                return [dict(zip(table["header"], row, strict=True)) for row in table["rows"]]
    raise ValueError(
        f"no table {BESIDE_TITLE!r} in the file; `python -m benchmarks growth --json FILE` makes it"
    )


def draw(told: Mapping[str, Any], out: Path) -> None:
    """Draw all pictures into one file."""
    from matplotlib import pyplot

    rows = growth_rows(told)
    channels = list(dict.fromkeys(row["channels"] for row in rows))
    figure, axes = pyplot.subplots(
        len(PANELS), len(channels), figsize=(5 * len(channels), 10), sharex="col", squeeze=False
    )
    for axis, c in zip(axes[0], channels, strict=True):
        axis.set_title(f"{c} channel{'s' * (c != '1')}, 3×3 kernel, zero padding", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("samples")
    for line, (column, (label, unit)) in zip(axes, PANELS.items(), strict=True):
        for axis, c in zip(line, channels, strict=True):
            _panel(axis, curves(rows, c, column), unit)
        line[0].set_ylabel(label)
        low, high = (pick(a.get_ylim()[i] for a in line) for i, pick in enumerate((min, max)))
        for axis in line:
            axis.set_ylim(low, high)
    where = told["environment"]
    figure.suptitle(
        f"{where['date']}, {where['processor']}, torch {where['torch']}, one thread, float64",
        fontsize=9,
    )
    named = {
        text: handle
        for a in axes.flat
        for handle, text in zip(*a.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(out, dpi=100)
    pyplot.close(figure)


def _panel(axis: Axes, found: Curves, unit: float) -> None:
    for method, points in found.items():
        samples, figures = zip(*points, strict=True)
        axis.loglog(
            samples,
            [unit * f for f in figures],
            marker="o",
            markersize=4,
            color=COLOURS[method],
            linestyle="--" if method == FLOOR else "-",
            linewidth=2.4 if method == OURS else 1.4,
            label="one FFT pair" if method == FLOOR else method,
            zorder=3 if method == OURS else 2,
        )
    axis.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw what a file holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("json", type=Path, help="a file of `python -m benchmarks --json`")
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs/growth.png"))
    args = parser.parse_args()
    draw(json.loads(args.json.read_text()), args.out)
    print(args.out)


if __name__ == "__main__":
    main()
