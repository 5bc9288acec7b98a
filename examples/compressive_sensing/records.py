"""The metrics as CSV: one row for every epoch, and a final one with the scores for every ratio."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from unconv.pictures.formats.atomic import replacing

from .scores import Scores
from .training import Epoch, Model, Run, Settings


class Row(NamedTuple):
    """A line of the file; None where there is nothing to say.

    Attributes
    ----------
    ratio, variant, seed : which run; the name of a baseline is a variant without a seed, and an
        epoch has no ratio of its own
    epoch : its number, or "final"
    loss : mean of the epoch; of the last one in the final row
    steps, black_steps : how many, and how many with a black patch; all of the run in the final row
    non_finite, non_finite_black : of these, left out for a loss or gradient that is not finite
    seconds_per_step : of CPU, forward and backward pass and update, in the median
    psnr, ssim : means over the held-out pictures
    """

    ratio: float | None
    variant: str
    seed: int | None
    epoch: int | str
    loss: float | None = None
    steps: int | None = None
    black_steps: int | None = None
    non_finite: int | None = None
    non_finite_black: int | None = None
    seconds_per_step: float | None = None
    psnr: float | None = None
    ssim: float | None = None


def rows_of(run: Run, scores: Mapping[float, Scores]) -> list[Row]:
    """The epochs of a run, and its final row for every ratio."""
    epochs = run.epochs
    last = epochs[-1]._replace(
        steps=sum(e.steps for e in epochs),
        black_steps=sum(e.black_steps for e in epochs),
        bad=sum(e.bad for e in epochs),
        bad_black=sum(e.bad_black for e in epochs),
        seconds=median(e.seconds for e in epochs),
    )
    final = _row(run.settings, "final", last)
    return [
        *(_row(run.settings, e.number, e) for e in epochs),
        *(final._replace(ratio=ratio, psnr=s.psnr, ssim=s.ssim) for ratio, s in scores.items()),
    ]


def model_row(model: Model, ratio: float, scores: Scores) -> Row:
    """The final row of what was trained before."""
    settings = model.settings
    return baseline_row(settings.variant, ratio, scores)._replace(seed=settings.seed)


def baseline_row(name: str, ratio: float, scores: Scores) -> Row:
    """The final row of what is not trained."""
    return Row(ratio, name, None, "final", psnr=scores.psnr, ssim=scores.ssim)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """All rows under their names; the file is replaced whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _row(settings: Settings, epoch: int | str, e: Epoch) -> Row:
    return Row(None, settings.variant, settings.seed, epoch, *e[1:])
