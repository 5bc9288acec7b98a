"""One case being asked, and the classes of what may go wrong.

A failure is (class, what, how much):

    false       an answer is further from the truth than its own bound or bracket says
    tight       the same where error and bound are both round-off, up to 100·eps
    silent      it is wrong beyond what rounding explains, and no AccuracyWarning was given
    rank        the number of values above the cut-off is wrong beyond what rounding leaves open
    crash       an exception that is no refusal in a sentence
    stray       a warning that is not an AccuracyWarning
    plan        another rung answered than `plan()` had named
    slow        more seconds of one core than such a small problem can need

A refusal (ValueError, NotImplementedError, MemoryLimitError) is counted apart: it is honest.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unconv.inverse import AccuracyWarning
from unconv.inverse.request import default_rtol
from unconv.numerics.precision import real_working_dtype

from ..helpers import data
from .case import Case
from .oracle import Clock, Oracle, matrices

SLOW = 30.0
"""Seconds of CPU time for one check: the ghosts of small volumes outnumber their samples."""


@dataclass
class Failure:
    """One wrong answer."""

    kind: str
    what: str
    detail: str
    rung: str = ""


@dataclass
class Report:
    """All that came of one case."""

    failures: list[Failure] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    warned: int = 0
    rungs: list[str] = field(default_factory=list)
    vain: list[str] = field(default_factory=list)  # doubts where nothing is doubtful
    open: int = 0  # questions that the oracle could not decide

    def fail(self, kind: str, what: str, detail: str, rung: str = "") -> None:
        self.failures.append(Failure(kind, what, detail, rung))


class Question:
    """A case with its operator, its oracles and what has been asked of it."""

    def __init__(self, case: Case) -> None:
        self.case, self.report = case, Report()
        self.op = case.operator()
        self.y = case.right_hand_side(self.op)
        self.rtol = default_rtol(self.op) if case.rtol is None else case.rtol
        self.matrices = matrices(case)
        self._oracles: dict[tuple[float, float], list[Oracle]] = {}
        self.eps = torch.finfo(real_working_dtype(self.op.dtype)).eps

    def oracles(self, damp: float = 0.0, rtol: float | None = None) -> list[Oracle]:
        """One a kernel."""
        key = damp, self.rtol if rtol is None else rtol
        if key not in self._oracles:
            self._oracles[key] = [Oracle(*parts, *key) for parts in self.matrices]
        return self._oracles[key]

    def is_round_off(self) -> bool:
        """Taps that meet on one sample cancel: what is left of A has no digits."""
        taps = self.op.in_double().weight.abs()
        whole = taps.flatten(2 if self.op.batch_size else 1).sum(-1).amax(-1).reshape(-1).tolist()
        left = [float(np.abs(high).max(initial=0.0)) for high, _, _ in self.matrices]
        return any(entry < 1e-10 * total for entry, total in zip(left, whole, strict=True))

    def case_vector(self) -> Tensor:
        """A random batch in the domain."""
        return data(self.op.domain_shape, self.op, len(self.y), seed=self.case.seed + 2)

    def each(self, oracles: list[Oracle], N: int) -> list[Oracle]:
        """One an image."""
        return oracles if self.op.batch_size else oracles * N

    @contextmanager
    def asking(self, what: str) -> Iterator[list[warnings.WarningMessage]]:
        """Turns what is raised, warned or waited for into failures and refusals."""
        started, r = time.process_time() - Clock.seconds, self.report
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                yield heard
            except (ValueError, NotImplementedError, MemoryError) as why:
                r.refusals.append(f"{what}: {type(why).__name__}: {why}")
            except ArithmeticError:
                r.open += 1
            except TimeoutError:
                raise  # of the whole draw
            except Exception as error:
                r.fail("crash", what, f"{type(error).__name__}: {str(error)[:200]}")
        seconds = time.process_time() - Clock.seconds - started
        if seconds > SLOW:
            r.fail("slow", what, f"{seconds:.1f} s", r.rungs[-1] if r.rungs else "")
        for w in heard:
            if not issubclass(w.category, AccuracyWarning):
                r.fail("stray", what, f"{w.category.__name__}: {str(w.message)[:200]}")
        r.warned += warned(heard)


def warned(heard: list[warnings.WarningMessage]) -> bool:
    return any(issubclass(w.category, AccuracyWarning) for w in heard)
