"""How far a restoration has come, for who watches it.

The duality gap falls by a constant factor in about as many iterations, whence its logarithm, from
the first look to what is asked for, is the part of the way that is done; where no gap is known, or
it stays, that of the residual.  A denoiser has its schedule.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ..numerics.checks import check_function
from ..numerics.progress import Progress
from .certificate import Step
from .question import Question

_OF_GAP = 0.1  # the residual that counts as the end, in units of the gap


class Way:
    """How much of the way to the end a look has come, from 0 to 1; it never goes back.

    steps : of a schedule; None where the gap decides
    """

    def __init__(self, gap_tol: float, steps: int | None) -> None:
        self.ends = gap_tol, _OF_GAP * gap_tol
        self.steps = steps
        self.first: dict[float, float] = {}
        self.most = 0.0

    def done(self, step: Step) -> float:
        """After this look."""
        if self.steps is not None:
            return step.iteration / self.steps
        for value, end in zip((step.gap, step.residual), self.ends, strict=True):
            if not math.isfinite(value):
                continue
            first = self.first.setdefault(end, value)
            if value <= end:
                self.most = 1.0
            elif first > end:
                self.most = max(self.most, math.log(first / value) / math.log(first / end))
        return self.most


def watched(question: Question, progress: Progress | None, prior: str, runs: int) -> Question:
    """The question, whose looks are told to `progress` too.

    prior : its name
    runs : how many there are, one an image and strength
    """
    if progress is None:
        return question
    say, tell = check_function("progress", progress), question.tell
    steps = question.schedule.steps if question.denoise else None
    ways: dict[tuple[float, int], Way] = {}

    def look(strength: float, image: int, step: Step, x: Tensor) -> None:
        tell(strength, image, step, x)
        way = ways.setdefault((strength, image), Way(question.problem.gap_tol, steps))
        number = len(ways)
        of = f" {number} of {runs}" if runs > 1 else ""
        gap = f", gap {step.gap:.1e}" if math.isfinite(step.gap) else ""
        done = (number - 1 + way.done(step)) / max(runs, number)
        say(f"{prior}{of}: step {step.iteration}{gap}", done)

    return replace(question, tell=look)
