"""The bar of a volume: stage after stage of each time point and channel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ...volumes.engine.runner import Progress as Done


class VolumeBar:
    """One line: a stage, how much of it is done, and what is left of it.

    Parameters
    ----------
    bar : that is shown
    size : bytes of one volume, which each stage goes through
    """

    def __init__(self, bar: Progress, size: int) -> None:
        self.bar, self.size = bar, size
        self.task = bar.add_task("starting", total=None, count="", pace="")
        self.stage: tuple[str, str] | None = None

    def __call__(self, done: Done) -> None:
        """Show that a tile is done."""
        stage = done.batch, done.stage
        if stage != self.stage:
            self.stage = stage
            self.bar.reset(self.task, total=done.total)
        seen = decimal(round(self.size * done.done / done.total))
        name = done.stage if done.batch == "all" else f"{done.batch}: {done.stage}"
        self.bar.update(
            self.task,
            completed=done.done,
            description=name,
            count=f"{done.done}/{done.total} tiles, {seen} of {decimal(self.size)}",
        )


@contextmanager
def volume_bar(size: int) -> Iterator[VolumeBar]:
    """A bar on a terminal, gone afterwards."""
    with Progress(
        BarColumn(24),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        yield VolumeBar(bar, size)
