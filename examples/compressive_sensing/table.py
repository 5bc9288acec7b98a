"""Every variant with every seed, each tested at all ratios, in parallel processes.

With the same seed all variants start from the same weights and see the same patches and masks:
what differs between them is the derivative of the thresholding alone.

Each run keeps its checkpoint, so that a table that was interrupted, or is to have more epochs, goes
on where it was.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev

import torch

from .baselines import with_covariance
from .linear import covariance
from .pictures import SHRINK, load_pictures
from .records import Row, baseline_row, rows_of
from .scores import held_out, mean_scores
from .stock import Stock
from .training import Run, Settings, Step

REFERENCE = "unconv"
"""The variant that the others are compared with."""

Job = Callable[[], list[Row]]

_pictures = functools.cache(load_pictures)  # once in every process


@functools.lru_cache(1)
def load_stock(
    folder: Path | None,
    shrink: int,
    ratios: tuple[float, ...],
    count: int,
    side: int,
    black: float,
) -> Stock:
    """The stock of patches of a folder, or of the installed pictures."""
    pictures = _pictures(folder, shrink)
    return Stock.of(pictures.train, pictures.typical, ratios, count=count, side=side, black=black)


def stock_for(settings: Settings, folder: Path | None, shrink: int) -> Stock:
    """The stock that a run draws from; runs that differ in variant or seed share it."""
    s = settings
    return load_stock(folder, shrink, s.ratios, s.stock, s.patch, s.black)


def run_table(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, list[Row]]]:
    """Number and rows of each job, as they are done; one thread to a process.

    One process is this one, with all its threads.
    """
    if processes == 1:
        yield from ((number, job()) for number, job in enumerate(jobs))
        return
    # spawn: a forked child may hang in the thread pools that torch has started
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def trained(
    settings: Settings, checkpoint: Path, folder: Path | None, shrink: int = SHRINK
) -> list[Row]:
    """Train, or go on from the checkpoint if there is one, save after every epoch, and test."""
    run = Run.load(checkpoint) if checkpoint.exists() else Run(settings)
    if run.settings != settings:
        raise ValueError(
            f"{checkpoint.name!r} is from a run with other options, {run.settings}; give an empty "
            "--output, or the options it had."
        )
    run.train(
        stock_for(settings, folder, shrink),
        progress=lambda news: None if isinstance(news, Step) else run.save(checkpoint),
    )
    test = _pictures(folder, shrink).test
    return rows_of(
        run,
        {ratio: mean_scores(held_out(run.restore, test, ratio)) for ratio in settings.ratios},
    )


def baseline(
    name: str, ratio: float, side: int, folder: Path | None, shrink: int = SHRINK
) -> list[Row]:
    """Test what is no network; the best linear map works in tiles of `side` pixels."""
    pictures = _pictures(folder, shrink)
    restore = with_covariance(covariance(pictures.typical, side))[name]
    return [baseline_row(name, ratio, mean_scores(held_out(restore, pictures.test, ratio)))]


def markdown(rows: Sequence[Row]) -> str:
    """The final rows as two tables: the scores, and the cost and failures of each variant."""
    final = [row for row in rows if row.epoch == "final"]
    names = list(dict.fromkeys(row.variant for row in final))
    ratios = sorted({row.ratio for row in final if row.ratio is not None})
    lines = [
        _line(["PSNR in dB / SSIM", *(f"ratio {ratio:g}" for ratio in ratios)]),
        _line(["---", *("--:" for _ in ratios)]),
    ]
    for name in names:
        of_name = [[r for r in final if (r.variant, r.ratio) == (name, ratio)] for ratio in ratios]
        lines.append(_line([name, *map(_scores, of_name)]))
    lines += ["", _line([*_COST]), _line(["---", *("--:" for _ in _COST[1:])])]
    for name in names:
        tested = [r for r in final if r.variant == name and r.seed is not None]
        runs = [r for r in tested if r.ratio == ratios[0]]
        if runs:
            lines.append(_line([name, *_cost(runs), _difference(tested, final)]))
    return "\n".join(lines) + "\n"


_COST = (
    "variant",
    "ms per step",
    "steps not finite",
    "of those with a black patch",
    "of the others",
    "PSNR less that of unconv, same seed",
)


def _scores(rows: Sequence[Row]) -> str:
    """Mean over seeds, and their standard deviation if there are several."""
    if not rows:
        return ""
    psnr, ssim = [r.psnr or 0.0 for r in rows], [r.ssim or 0.0 for r in rows]
    if len(rows) == 1:
        return f"{psnr[0]:.2f} / {ssim[0]:.3f}"
    return f"{mean(psnr):.2f} ± {stdev(psnr):.2f} / {mean(ssim):.3f} ± {stdev(ssim):.3f}"


def _cost(runs: Sequence[Row]) -> list[str]:
    steps, black, bad, bad_black = (
        sum(getattr(r, name) for r in runs)
        for name in ("steps", "black_steps", "non_finite", "non_finite_black")
    )
    milliseconds = 1000 * mean(r.seconds_per_step or 0.0 for r in runs)
    return [
        f"{milliseconds:.0f}",
        f"{bad} of {steps}",
        f"{bad_black} of {black}",
        f"{bad - bad_black} of {steps - black}",
    ]


def _difference(runs: Sequence[Row], final: Sequence[Row]) -> str:
    """Mean and range over all runs that have a twin."""
    twins = {(r.ratio, r.seed): r.psnr or 0.0 for r in final if r.variant == REFERENCE}
    pairs = [((r.ratio, r.seed), r.psnr or 0.0) for r in runs if r.variant != REFERENCE]
    less = [psnr - twins[key] for key, psnr in pairs if key in twins]
    return f"{mean(less):+.2f} ({min(less):+.2f} to {max(less):+.2f})" if less else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
