"""What is asked of a factor before it is handed out, and what is said when it is in doubt.

An undamped factor that breaks the Penrose conditions is refused (probe.py).  One that holds them,
or a damped one, may still be so ill-conditioned that not a digit of an answer is certain.  Where
the rung (the way in which A was inverted) is backward stable its condition says so; elsewhere a
random right-hand side shows it, judged as `lstsq` judges every answer (certificate.py).
"""

from __future__ import annotations

from functools import partial

import torch

from ..numerics.lanczos import random_start
from .certificate import Certificate, certify
from .facts import Effort, warn_of_accuracy
from .operator import InverseOperator
from .probe import refuse_unproven
from .request import Request

AMBIGUOUS_GAP = 10
"""σ_r/σ_r+1 under which the cut-off, not the data, decides x."""
_BENIGN = 1e-2  # eps·cond, or eps·cond² of what is not proven stable, up to which none is in doubt


def refuse_broken(inverse: InverseOperator, request: Request) -> None:
    """Raise `CannotServeError` where an undamped factor is not the A⁺ that it says it is."""
    op = inverse.source[0]
    refuse_unproven(
        op.in_double(),
        partial(inverse.evaluate, adjoint=False),
        partial(inverse.evaluate, adjoint=True),
        inverse.summary,
        request.cutoff(op, inverse.summary.norm),
        _like(inverse),
    )


def warn_of_ambiguous_rank(inverse: InverseOperator) -> None:
    """Warn where the cut-off falls among singular values that are close to each other."""
    gap, rank = inverse.summary.gap, inverse.summary.rank
    if rank is not None and bool((gap < AMBIGUOUS_GAP).any()):
        warn_of_accuracy(
            f"the rank is ambiguous: σ_r/σ_r+1 = {float(gap.min()):.3g} at the cut-off, which "
            f"decides x (rank {rank.tolist()}); choose rtol inside a wider gap, or damp."
        )


def warn_of_doubt(inverse: InverseOperator) -> None:
    """Warn where `lstsq` would not call the answer for a random right-hand side converged."""
    facts, eps = inverse.summary, torch.finfo(_like(inverse).dtype).eps
    cond = facts.norm / facts.floor
    loss = eps * (cond if inverse.backward_stable else cond.square())
    if not bool((loss > _BENIGN).any()):
        return  # NaN and zero operators too
    bound = float(loss.nan_to_num().max())
    if not inverse.backward_stable:
        found = _judged(inverse)
        if bool(found.converged.all()):
            return
        bound = float(found.error_bound.max())
    remedy = "use more damp" if inverse.damp else "raise rtol, or use damp > 0"
    warn_of_accuracy(
        f"answers of this inverse are in doubt: error_bound {bound:.1e} for a random "
        f"right-hand side, cond {float(cond.nan_to_num().max()):.1e}; {remedy}."
    )


def _judged(inverse: InverseOperator) -> Certificate:
    """The certificate of the answer for a random right-hand side."""
    y = random_start((len(inverse.summary.norm), *inverse.domain_shape), _like(inverse))
    with torch.no_grad():
        x, effort = inverse.solution(y)
        return certify(inverse.source[0], inverse, x, y, effort)


def warn_if_short(found: Certificate, inverse: InverseOperator, effort: Effort) -> None:
    """Warn of answers that miss their tolerance; an iteration has warned of its own advice.

    Of data that are not finite nothing is asked.
    """
    short = ~found.converged & found.residual.isfinite()
    if bool(short.any()) and inverse.advice(effort) is None:
        warn_of_accuracy(found.advice)


def _like(inverse: InverseOperator) -> torch.Tensor:
    """An empty tensor of the dtype and device in which the factor works."""
    dtype = inverse.value_dtype(inverse.source[0].dtype.to_real())
    return torch.empty(0, dtype=dtype, device=inverse.device)
