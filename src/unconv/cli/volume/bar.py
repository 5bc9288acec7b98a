"""The bar of a volume: stages of each volume, and what their passes have reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn

from ...volumes.engine.runner import Progress as Done
from ...volumes.tiling.stages import Standing
from .outlook import Outlook


class VolumeBar:
    """One line: how much of a stage is done, what the passes have reached, what is left of all.

    Parameters
    ----------
    bar : that is shown
    size : bytes of one volume, which each stage goes through
    outlook : on the time that is left
    """

    def __init__(self, bar: Progress, size: int, outlook: Outlook) -> None:
        self.bar, self.size, self.outlook = bar, size, outlook
        self.task = bar.add_task("starting", total=None, count="", reached="", left="")
        self.stage: tuple[str, str] | None = None

    def __call__(self, done: Done) -> None:
        """Show that a tile is done."""
        stage = done.batch, done.stage
        if stage != self.stage:
            self.stage = stage
            self.bar.reset(self.task, total=done.total)
        seen = decimal(round(self.size * done.done / done.total))
        left = self.outlook(done)
        self.bar.update(
            self.task,
            completed=done.done,
            description=done.stage if done.batch == "all" else f"{done.batch}: {done.stage}",
            count=f"{done.done}/{done.total} tiles, {seen} of {decimal(self.size)}",
            reached="" if done.standing is None else reached(done.standing),
            left="" if left is None else f"about {timedelta(seconds=round(left))} left",
        )


def reached(standing: Standing) -> str:
    """What passes have reached, in words.

    Examples
    --------
    >>> reached(Standing(3, "error within", 4.17e-3, 1e-3, 60))
    '3 passes: error within 0.0042, wanted 0.001'
    """
    passes = "1 pass" if standing.turns == 1 else f"{standing.turns} passes"
    return f"{passes}: {standing.words} {standing.value:.2g}, wanted {standing.goal:.2g}"


@contextmanager
def volume_bar(size: int, labels: Sequence[str]) -> Iterator[VolumeBar]:
    """A bar on a terminal, gone afterwards; `labels` are those of all volumes in order."""
    with Progress(
        BarColumn(16),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[reached]}", markup=False),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        yield VolumeBar(bar, size, Outlook(labels))
