"""Every check by its name, and what a case says to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unconv.inverse import Request
from unconv.inverse.boundary.sizes import operations
from unconv.inverse.diagonal import dense

from .case import Case, small_problems_end_at
from .oracle import EPS
from .question import Failure, Question, Report
from .solutions import (
    functional,
    layer,
    lstsq,
    pinv,
    tikhonov,
    tsvd,
)
from .spectra import logabsdet, projectors, spectrum, svd

__all__ = ["CHECKS", "Failure", "Report", "examine"]


def matrix(q: Question) -> None:
    """A itself, and its adjoint."""
    with q.asking("to_dense"):
        D = q.op.in_double().to_dense()
        for i, (high, _, added) in enumerate(q.matrices):
            mine = (D[i] if q.op.batch_size else D).numpy()
            if mine.shape != high.shape:
                q.report.fail("silent", "to_dense", f"shape {mine.shape} for {high.shape}")
            elif np.abs(mine - high).max(initial=0.0) > 64 * EPS * added:
                q.report.fail("silent", "to_dense", "another matrix")


_MOST_FLOPS = 3e10  # of a set-up by ghosts; a few of them are tried, and their SVD takes more


CHECKS: dict[str, Callable[[Question], None]] = {
    f.__name__: f
    for f in (
        matrix, lstsq, pinv, tikhonov, tsvd, functional, layer, spectrum, logabsdet, svd, projectors
    )
}  # fmt: skip


def examine(case: Case) -> Report:
    """Run the checks of a case."""
    with small_problems_end_at(_limit(case)):
        q = Question(case)
        if q.is_round_off():
            q.report.open += 1
            return q.report
        for name in case.checks or CHECKS:
            CHECKS[name](q)
    return q.report


def _limit(case: Case) -> int:
    """Where the ghosts of a small volume outnumber its samples by far it stays with its matrix."""
    setup, _ = operations(case.operator(), Request())
    return case.limit if setup <= _MOST_FLOPS else dense.LIMIT
