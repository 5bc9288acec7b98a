"""LSMR for operators that are no convolution of their own: stacks and products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inverse.facts import Effort, warn_of_accuracy
from ..numerics.iteration import iterate
from ..numerics.linear_map import LinearMap
from ..numerics.lsmr import Lsmr


def by_lsmr(
    A: LinearMap, y: Tensor, norm: Tensor, damp: float, tol: float, maxiter: int
) -> tuple[Tensor, Effort]:
    """argmin ‖Ax − y‖² + damp²‖x‖² until its error_bound is tol; damp = 0: until round-off.

    y (N, ...) double -> (N, *domain_shape) and what it took; a warning where it falls short.
    """
    full = norm.to(y.device).reshape(1, 1).expand(len(y), 1)
    ended = iterate(Lsmr(A, y, full, torch.full_like(full, damp)), tol, maxiter)
    effort = Effort(iterations=ended.iterations, evidence=ended.evidence, met=ended.met)
    advice = advice_of(effort, damp, tol)
    if advice is not None:
        warn_of_accuracy(advice)
    return ended.x.reshape(len(y), *A.domain_shape), effort


def advice_of(effort: Effort, damp: float, tol: float) -> str | None:
    """What is to be said where images fell short of `tol`, or of round-off without damping."""
    if effort.iterated is None:  # no image
        return None
    iterations, evidence, met = effort.iterated
    if met.all():
        return None
    worst = float(evidence.max())
    what = (
        f"error_bound {worst:.1e}, above tol={tol:g}"
        if damp
        else f"optimality {worst:.1e}, which is above round-off"
    )
    return (
        f"stopped after {int(iterations.max()):,} iterations with {what}: regularise more, "
        "or raise maxiter"
    )
