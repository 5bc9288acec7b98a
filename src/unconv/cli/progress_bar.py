"""A bar on the terminal: what is done, how much, since when and until when; elsewhere nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.progress_bar import ProgressBar
from rich.text import Text

_BAR_WIDTH = 24  # of a bar: a name and a gap fit beside it
_LEAST_PACE = 0.05  # of the work, that has to be done before its pace is one


class Told(Protocol):
    """What work tells its steps to, and how much of one is done where that is known."""

    def __call__(self, step: str, fraction: float | None = None) -> None:
        """May raise to end the work."""


class TimeLeft:
    """Until work of which fractions are told will end, at the pace that it has had.

    clock : seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began: tuple[float, float] | None = None  # when, and with which fraction

    def at(self, fraction: float | None) -> float | None:
        """Seconds that are left, once enough is done to tell; other work begins anew."""
        if fraction is None or (self.began is not None and fraction < self.began[1]):
            self.began = None
        if fraction is None:
            return None
        now = self.clock()
        if self.began is None:
            self.began = now, fraction
        since, first = self.began
        done = fraction - first
        return (now - since) * (1 - fraction) / done if done >= _LEAST_PACE else None


class Steps:
    """One line: a step after the other of one thing."""

    def __init__(self, bar: Progress, name: str = "") -> None:
        self.bar, self.before = bar, f"{name}: " if name else ""
        self.left = TimeLeft()
        start = f"{self.before}starting"
        self.task = bar.add_task(start, total=None, fraction=None, count="", left=None)

    def __call__(self, step: str, fraction: float | None = None) -> None:
        """Show a step, and how much of it is done where that is known."""
        count = "" if fraction is None else f"{100 * fraction:.0f} %"
        shown = f"{self.before}{step}"
        left = self.left.at(fraction)
        self.bar.update(self.task, description=shown, fraction=fraction, count=count, left=left)

    def end(self) -> None:
        """Take the line away."""
        self.bar.remove_task(self.task)


class Pictures:
    """Two lines: how many of some pictures are done, and the steps of the present one."""

    def __init__(self, bar: Progress, total: int) -> None:
        self.bar, self.total, self.ended = bar, total, 0
        self.task = bar.add_task("pictures", total=total, fraction=0.0, count=f"0/{total}")

    @contextmanager
    def one(self, name: str) -> Iterator[Steps]:
        """The line of a picture, counted when it ends."""
        steps = Steps(self.bar, name)
        try:
            yield steps
        finally:
            steps.end()
        self.ended += 1
        count = f"{self.ended}/{self.total}"
        fraction = self.ended / self.total
        self.bar.update(self.task, completed=self.ended, fraction=fraction, count=count)


@contextmanager
def progress() -> Iterator[Steps]:
    """The steps of one thing; gone afterwards."""
    with _bar() as bar:
        yield Steps(bar)


@contextmanager
def progress_of_many(total: int) -> Iterator[Pictures]:
    """A bar for many pictures; what is printed meanwhile stands above it."""
    with _bar() as bar:
        yield Pictures(bar, total)


def _bar() -> Progress:
    return Progress(
        _Bar(),
        TextColumn("{task.fields[count]:>5}"),
        _Time(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


class _Bar(ProgressColumn):
    """Filled as far as is known, and moving where nothing is."""

    def render(self, task: Task) -> ProgressBar:
        fraction = task.fields["fraction"]
        return ProgressBar(
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            width=_BAR_WIDTH,
            animation_time=task.get_time(),
        )


class _Time(ProgressColumn):
    """The time that one thing has taken, and what is left of it; of many pictures what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed, self.left = TimeElapsedColumn(), Remaining()

    def render(self, task: Task) -> Text:
        if task.total is None:
            taken, left = self.elapsed.render(task), task.fields["left"]
            if left is None:
                return taken
            return Text.assemble(taken, f", {timedelta(seconds=round(left))} left")
        return Text.assemble(self.left.render(task), " left")
