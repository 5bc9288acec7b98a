"""LSMR for operators that are no convolution of their own: stacks and products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.facts import Effort, warn_of_accuracy
from ..numerics.iteration import Operator, iterate
from ..numerics.lsmr import Lsmr


def by_lsmr(
    A: Operator, y: Tensor, norm: Tensor, damp: float, tol: float, maxiter: int
) -> tuple[Tensor, Effort]:
    """argmin ‖Ax − y‖² + damp²‖x‖² until its error_bound is tol; damp = 0: until round-off.

    y (N, ...) double -> (N, *domain_shape) and what it took; a warning where it falls short.
    """
    full = norm.to(y.device).reshape(1, 1).expand(len(y), 1)
    ended = iterate(Lsmr(A, y, full, torch.full_like(full, damp)), tol, maxiter)
    x = ended.x.reshape(len(y), *A.domain_shape)
    if ended.met.all():
        return x, Effort(iterations=ended.iterations)
    worst = float(ended.evidence.max())
    what = (
        f"error_bound {worst:.1e}, above tol={tol:g}"
        if damp
        else f"optimality {worst:.1e}, which is above round-off"
    )
    advice = (
        f"stopped after {int(ended.iterations.max()):,} iterations with {what}: regularise more, "
        "or raise maxiter"
    )
    warn_of_accuracy(advice)
    return x, Effort(iterations=ended.iterations, advice=advice)
