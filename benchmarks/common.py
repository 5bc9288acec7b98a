"""Timing as ratios inside one run: candidates take turns, medians are compared."""

from __future__ import annotations

import ctypes
import gc
import math
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

import unconv

THREADS = 2
T = TypeVar("T")


def turns(
    candidates: dict[str, Callable[[], object]],
    *,
    rounds: int = 41,
    seconds: float = 2.0,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Seconds of each candidate, turn by turn.

    They take turns, so a noisy moment hits all of them, in random order, so that no candidate
    always finds the heap as one other left it (a factor of two for buffers of some megabytes).
    Unless they are `warm`, a first turn is not counted; it fills caches and allocators.  A
    candidate that has had `seconds` for itself stands aside; one whose first call takes as long
    needs no warming.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    started = time.perf_counter()
    order = list(candidates.items())
    shuffle = random.Random(0).shuffle
    for turn in range(warm, rounds + 1):
        shuffle(order)
        for name, run in order:
            if sum(times[name]) > seconds:
                continue
            taken, _ = timed(run)
            if turn or taken > seconds:
                times[name].append(taken)
        if turn >= 5 and time.perf_counter() - started > seconds:
            break
    return times


def medians(
    candidates: dict[str, Callable[[], object]],
    *,
    rounds: int = 41,
    seconds: float = 2.0,
    warm: bool = False,
) -> dict[str, float]:
    """Median seconds of each candidate, see `turns`."""
    times = turns(candidates, rounds=rounds, seconds=seconds, warm=warm)
    return {name: statistics.median(values) for name, values in times.items()}


class Ratio(NamedTuple):
    """A quotient of medians, and the quartiles of the quotients of each turn; NaN of one or two."""

    value: float
    low: float
    high: float

    def shown(self, limit: float = math.inf, digits: str = ".2f") -> str:
        """The figure with its spread, marked where it exceeds its limit."""
        figure = against(self.value, limit, digits)
        if math.isnan(self.low):
            return figure
        return f"{figure} ({self.low:{digits}}–{self.high:{digits}})"


def ratio(times: dict[str, list[float]], ours: str, *floor: str) -> Ratio:
    """`ours` over the sum of what makes its floor; within a turn the machine was the same."""
    value = statistics.median(times[ours]) / sum(statistics.median(times[n]) for n in floor)
    sums = [sum(turn) for turn in zip(*(times[name] for name in floor), strict=False)]
    each = sorted(a / b for a, b in zip(times[ours], sums, strict=False))
    if len(each) < 3:
        return Ratio(value, math.nan, math.nan)
    last = len(each) - 1
    return Ratio(value, each[last // 4], each[last - last // 4])


def least_processor_times(
    candidates: dict[str, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[str, float]:
    """Least processor seconds of each candidate on one thread: for cores that others use too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    least = dict.fromkeys(candidates, math.inf)
    started = time.perf_counter()
    for turn in range(rounds):
        for name, run in candidates.items():
            begin = time.process_time()
            run()
            least[name] = min(least[name], time.process_time() - begin)
        if turn and time.perf_counter() - started > seconds:
            break
    torch.set_num_threads(threads)
    return least


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds of one call, and what it returned."""
    synchronize()
    begin = time.perf_counter()
    result = run()
    synchronize()
    return time.perf_counter() - begin, result


def synchronize() -> None:
    """Wait for the GPU, if there is one, so that its work is timed and not its launch."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def peak_memory() -> int:
    """Bytes that this process has held at most (VmHWM; ru_maxrss would count a parent's too)."""
    return _bytes_of("VmHWM")


def held_memory() -> int:
    """Bytes that this process holds now, from which its peak counts anew.

    What the allocator of the C library keeps for later is given back before, if it can.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _bytes_of("VmRSS")


def _bytes_of(entry: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{entry}:")[1].split()[0])


TABLES: list[dict[str, Any]] = []
"""Every table of this process, for `benchmarks.one` to keep."""


def table(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    TABLES.append({"title": title, "header": header, "rows": rows})
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


def seconds_of(value: float) -> str:
    """Three significant digits, a dash for what was not measured."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def against(value: float, limit: float, digits: str = ".2f") -> str:
    """A figure, marked where it exceeds its limit."""
    return f"{value:{digits}}{'' if value <= limit else ' !'}"


def sigma_max(op: unconv.ConvOperator) -> float:
    """σ_max from below, as iterations estimate it."""
    return float(op.tikhonov(1.0, method="krylov").summary.norm)


def relative_error(x: Tensor, truth: Tensor) -> float:
    """‖x − truth‖/‖truth‖ in double precision."""
    return float((x.double() - truth).norm() / truth.norm())


def fft_pair(x: Tensor) -> Tensor:
    """There and back along the last two axes."""
    return torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:])
