"""How long a run will still take, from the pace of its passes and how much each one gains.

What passes bring down, a bound of the error for one, falls by about the same factor in each.  So
the passes that are left are as many as bring it to where they end, at the factor of the latest
ones; what comes behind them, the proof and the output, takes about as long as one.  A guess, told
as one; before two passes nothing is known.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from ...volumes.engine.runner import Progress
from ...volumes.tiling.stages import Standing

_RECENT = 3  # passes whose factor counts


class Outlook:
    """Seconds that are left of all volumes.

    Parameters
    ----------
    labels : of all time points and channels, in order
    clock : seconds from any beginning

    Examples
    --------
    >>> times = iter([0.0, 10.0, 20.0])
    >>> outlook = Outlook(["all"], lambda: next(times))
    >>> told = [Standing(n, "error within", 10.0**-n, 1e-4, 60) for n in range(3)]
    >>> [outlook(Progress("all", "solve", 1, 8, 0.0, standing)) for standing in told]
    [None, 40.0, 30.0]
    """

    def __init__(self, labels: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.labels, self.clock = labels, clock
        self.batch: str | None = None
        self.begun = 0.0
        self.taken: list[float] = []  # by volumes that are done
        self.seen: list[tuple[float, Standing]] = []  # when a pass had ended

    def __call__(self, done: Progress) -> float | None:
        """Seconds that are left, now that a tile is done; None where that is not known."""
        now = self.clock()
        if done.batch != self.batch:
            if self.batch is not None:
                self.taken.append(now - self.begun)
            self.batch, self.begun, self.seen = done.batch, now, []
        if done.standing is not None and (not self.seen or self.seen[-1][1] != done.standing):
            self.seen.append((now, done.standing))
        left = self._of_volume(now)
        others = len(self.labels) - 1 - self.labels.index(done.batch)
        if self.taken:
            each = sum(self.taken) / len(self.taken)
            own = max(each - (now - self.begun), 0.0) if left is None else left
            return own + others * each
        return None if left is None else left + others * (now - self.begun + left)

    def _of_volume(self, now: float) -> float | None:
        """Seconds that are left of the present volume."""
        recent = self.seen[-_RECENT - 1 :]
        if len(recent) < 2:
            return None
        (first, before), (last, latest) = recent[0], recent[-1]
        turns = latest.turns - before.turns
        passes = _passes_left(before, latest) if turns > 0 else None
        if passes is None:
            return None
        return max((passes + 1) * (last - first) / turns - (now - last), 0.0)


def _passes_left(before: Standing, latest: Standing) -> int | None:
    """How many passes at the factor of those between the two; None where nothing is gained."""
    if latest.value <= latest.goal:
        return 0
    if not 0 < latest.value < before.value or latest.goal <= 0:
        return None
    each = math.log(before.value / latest.value) / (latest.turns - before.turns)
    passes = math.ceil(math.log(latest.value / latest.goal) / each - 1e-9)
    return min(passes, latest.most - latest.turns)
