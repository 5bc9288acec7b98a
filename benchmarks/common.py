"""Timing as ratios inside one run: candidates take turns, medians are compared."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import torch

THREADS = 2


def medians(
    candidates: dict[str, Callable[[], object]], *, rounds: int = 41, seconds: float = 2.0
) -> dict[str, float]:
    """Median seconds of each candidate.

    They take turns, so a noisy moment hits all of them, in random order, so that no candidate
    always finds the heap as one other left it (a factor of two for buffers of some megabytes).
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    started = time.perf_counter()
    order = list(candidates.items())
    shuffle = random.Random(0).shuffle
    for turn in range(rounds + 1):
        shuffle(order)
        for name, run in order:
            synchronize()
            begin = time.perf_counter()
            run()
            synchronize()
            if turn:  # the first turn warms caches and allocators
                times[name].append(time.perf_counter() - begin)
        if turn >= 5 and time.perf_counter() - started > seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def synchronize() -> None:
    """Wait for the GPU, if there is one, so that its work is timed and not its launch."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [f"\n### {title}\n"]
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """Three significant digits, and no exponents."""
    value = seconds * 1e3
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
