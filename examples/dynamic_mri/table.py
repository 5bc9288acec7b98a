"""Every method on every held-out series, in parallel processes, and the files they fill.

All methods see the same series, masks and noise; both networks of a seed are trained with the same
series, masks and noise.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from unconv.pictures.formats.atomic import replacing

from .baselines import oracle_svt, zero_filling
from .kspace import line_masks, measure_noisy
from .linear import lmmse, mean_power
from .training import Model, Run, Settings

_MASK_SEED = 20241121  # no seed of a run: every run is tested with the same masks and noise

Magnitude = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[float], None] | None
Restore = Callable[[Tensor, Tensor, Tensor], Tensor]
"""y, mask, and the reference for the oracle alone, -> the series (1, T, H, W)."""


class Row(NamedTuple):
    """A line of the file.

    Attributes
    ----------
    acceleration, method, series : what was restored
    psnr, ssim : of the magnitude; dB, and the mean over frames
    seconds : of CPU, to restore the series
    training : of CPU, to train what restored it
    """

    acceleration: float
    method: str
    series: str
    psnr: float
    ssim: float
    seconds: float
    training: float


class Result(NamedTuple):
    """A row, and the magnitude (T, H, W) it is about."""

    row: Row
    restored: Magnitude


def _zero_filling(settings: Settings, _: Progress) -> Restore:
    return lambda y, mask, _: zero_filling(y, mask)


def _iterative(settings: Settings, _: Progress) -> Restore:
    return oracle_svt


def _linear(settings: Settings, _: Progress) -> Restore:
    power = mean_power(settings.data)
    return lambda y, mask, _: lmmse(y, mask, power, settings.noise)


def _unrolled(low_rank: bool, settings: Settings, progress: Progress) -> Restore:
    run = Run(replace(settings, low_rank=low_rank))
    run.train(progress=progress)
    return of_model(run)


def of_model(model: Model) -> Restore:
    """How a model restores a series."""
    return lambda y, mask, _: model.restore(y, mask)


METHODS: dict[str, Callable[[Settings, Progress], Restore]] = {
    "zero filling": _zero_filling,
    "iterative SVT": _iterative,
    "best linear": _linear,
    "unrolled, no SVT": functools.partial(_unrolled, False),
    "unrolled SVT": functools.partial(_unrolled, True),
}
"""How to get, from settings and a progress callback, what restores."""


def try_method(name: str, settings: Settings, progress: Progress = None) -> list[Result]:
    """Train what has to be trained, and restore the held-out series at all accelerations."""
    began = time.process_time()
    restore = METHODS[name](settings, progress)
    return restore_all(name, restore, settings, time.process_time() - began)


def restore_all(
    name: str, restore: Restore, settings: Settings, training: float = 0.0
) -> list[Result]:
    """Restore the held-out series at all accelerations, by a method that took so long to train."""
    results = []
    for acceleration in settings.accelerations:
        for number, (series, x) in enumerate(settings.data.held_out().items()):
            generator = torch.Generator().manual_seed(_MASK_SEED + number)
            mask = line_masks(1, *x.shape[:2], acceleration, generator)
            y = measure_noisy(x[None], mask, settings.noise, generator)
            began = time.process_time()
            with torch.no_grad():
                restored = restore(y, mask, x[None])[0].abs().numpy()
            seconds = time.process_time() - began
            psnr, ssim = scores(x.abs().numpy(), restored)
            row = Row(acceleration, name, series, psnr, ssim, seconds, training)
            results.append(Result(row, restored))
    return results


def scores(reference: Magnitude, restored: Magnitude) -> tuple[float, float]:
    """PSNR of a series (T, H, W) and mean SSIM of its frames; the largest value is the range.

    Examples
    --------
    >>> x = np.ones((2, 8, 8))
    >>> round(scores(x, x - 0.1)[0], 3)
    20.0
    """
    largest = float(reference.max())
    error = float(np.square(restored - reference).mean()) / largest**2
    psnr = -10 * math.log10(error) if error else math.inf
    pairs = zip(reference, restored, strict=True)
    ssim = mean(float(structural_similarity(*pair, data_range=largest)) for pair in pairs)
    return psnr, ssim


def run_table(jobs: Sequence[tuple[str, Settings]], processes: int) -> Iterator[list[Result]]:
    """The results of each job, a method and its settings, as they are done; a thread to a process.

    One process is this one, with all its threads.
    """
    if processes == 1:
        yield from (try_method(*job) for job in jobs)
        return
    # spawn: a forked child may hang in the thread pools that torch has started
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(try_method, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """All rows under their names; the file is replaced whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def markdown(rows: Sequence[Row]) -> str:
    """Means over the series of a kind: a line for each method, a column for kind and acceleration.

    The kind is the first word of a series' name.
    """
    columns = list(dict.fromkeys((r.series.split()[0], r.acceleration) for r in rows))
    columns.sort(key=lambda column: column[0] != "phantom")  # stable: accelerations stay in order
    heads = [f"{kind}, {acceleration:g}×" for kind, acceleration in columns]
    lines = [
        _line(["PSNR in dB / SSIM", *heads, "s to train", "s to restore"]),
        _line(["---", *("--:" for _ in heads), "--:", "--:"]),
    ]
    for method in dict.fromkeys(r.method for r in rows):
        of_method = [r for r in rows if r.method == method]
        cells = [
            _scores([r for r in of_method if (r.series.split()[0], r.acceleration) == column])
            for column in columns
        ]
        training = mean(r.training for r in of_method)
        times = [f"{training:.0f}" if training and method.startswith("unrolled") else ""]
        times.append(f"{mean(r.seconds for r in of_method):.2f}")
        lines.append(_line([method, *cells, *times]))
    return "\n".join(lines) + "\n"


def _scores(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    return f"{mean(r.psnr for r in rows):.2f} / {mean(r.ssim for r in rows):.3f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
