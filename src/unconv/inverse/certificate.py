"""Evidence for a solution, recomputed from A itself and never taken from the solver.

With g = Aᴴ(y − Ax) − λx, λ = damp², and σ_r the smallest singular value that counts:

    residual    = ‖Ax − y‖ / ‖y‖
    optimality  = ‖g‖ / (‖A‖ (‖A‖‖x‖ + ‖y‖))              backward error of the normal equations
    error_bound = e / (‖x‖ − e) ≥ ‖x − x*‖ / ‖x*‖,  e ≥ ‖x − x*‖ by evidence.py;
                  inf where e ≥ ‖x‖: nothing of x is proven then
    tolerance   = the error_bound up to which x counts as converged: the tol that was asked for, or
                  what the dtype and the condition allow; on top of either comes the rounding of
                  low-precision data and results, which no solver can undo; 0.1 at most, unless
                  a larger tol was asked for

A small optimality alone proves little: 400 LSMR steps reach 1e-6 with x 2.5 % wrong.  Low-precision
solutions are judged in float64.

Source: Björck, "Numerical Methods for Least Squares Problems", SIAM 1996, §1.4 and §2.9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..numerics.norms import norms, ratio
from ..numerics.precision import doubled
from ..operators.convolution import Convolution
from .autograd import look
from .evidence import Evidence, gather
from .facts import Effort, Plan
from .operator import InverseOperator


@dataclass(frozen=True, repr=False)
class Certificate:
    """What was solved and how well, one entry per image of the batch.

    It judges the equations and not the picture: with a wrong psf, or noise under too little damp, x
    solves them to round-off and is no good.

    `certificate[i]` is the certificate of image i with plain numbers; `len` is the batch size.

    Attributes
    ----------
    method : the rung that answered, the one of several ways to invert A
    rank : (N,) number of singular values that count, or None where damp > 0 made it moot
    rank_how : how the rank is known
    gap : (N,) lower bound of σ_r/σ_{r+1}; under 10 the cut-off, not the data, decides x
    damp : the damping that was used
    residual : (N,) ‖Ax − y‖/‖y‖
    optimality : (N,) ‖g‖/(‖A‖(‖A‖‖x‖ + ‖y‖)) with g = Aᴴ(y − Ax) − damp²x
    error_bound : (N,) at least ‖x − x*‖/‖x*‖, the null space, the rounding of low-precision data
        and that of the bound itself included; see evidence.py
    tolerance : (N,) the error_bound up to which an image counts as converged
    tolerance_how : where it comes from: the tol that was asked for, that of an iteration, or the
        dtype and the condition
    iterations, refinements : (N,) numbers of iterations and of refinement steps
    dropped : (N,) number of singular values that were cut
    converged : (N,) whether error_bound ≤ tolerance
    advice : one sentence
    plan : what made the factor, rungs that gave up included; None for what no ladder made
    """

    method: str
    rank: Any
    rank_how: str
    gap: Any
    damp: float
    residual: Any
    optimality: Any
    error_bound: Any
    tolerance: Any
    tolerance_how: str
    iterations: Any
    refinements: Any
    dropped: Any
    converged: Any
    advice: str
    plan: Plan | None = None

    def __len__(self) -> int:
        """Number of images."""
        return 1 if not isinstance(self.residual, Tensor) else len(self.residual)

    def __getitem__(self, i: int) -> Certificate:
        """The certificate of image i, with plain numbers."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain: dict[str, Any] = {
            k: v[i].item() if isinstance(v, Tensor) else v for k, v in values.items()
        }
        return Certificate(**plain)

    def __repr__(self) -> str:
        """What it says, in ten lines at most, however many images there are."""
        n = len(self)
        rows = {
            "method": self.method,
            "converged": f"{_count(self.converged)} of {n}",
            "error_bound": f"{_span(self.error_bound)}, up to {_span(self.tolerance)} is accepted "
            f"({self.tolerance_how})",
            "residual": _span(self.residual),
            "optimality": _span(self.optimality),
            "rank": f"{'moot' if self.rank is None else _span(self.rank)} ({self.rank_how}), gap "
            f"{_span(self.gap)}, dropped {_span(self.dropped)}",
            "damp": f"{self.damp:g}",
            "effort": f"iterations {_span(self.iterations)}, refinements {_span(self.refinements)}",
            "advice": self.advice,
        }
        lines = [f"  {name:12}{value}" for name, value in rows.items()]
        return "\n".join([f"Certificate of {n} {'image' if n == 1 else 'images'}", *lines])

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, without the plan."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "plan"}
        return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in values.items()}


def _span(values: Any) -> str:
    """One number, or the smallest and the largest of many."""
    several = values.tolist() if isinstance(values, Tensor) else [values]
    if not several:
        return "none"
    ends = f"{min(several):.3g}", f"{max(several):.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _count(values: Any) -> int:
    return int(values.sum()) if isinstance(values, Tensor) else int(values)


_LEAST_PROVEN = 0.1
"""An error above it leaves not even the first digit, whoever is to blame: nothing has converged."""


def certify(
    op: Convolution,
    inverse: InverseOperator,
    x: Tensor,
    y: Tensor,
    effort: Effort | None = None,
    tol: float | None = None,
    result: torch.dtype | None = None,
) -> Certificate:
    """Judge x as the solution of min ‖Ax − y‖² + damp²‖x‖².

    Parameters
    ----------
    x : (N, *domain_shape), as computed, before it is rounded to the dtype of the result
    effort : what the solve took
    tol : error_bound above which the answer does not count as converged; None for what the dtype
        and the condition allow.  The rounding of low-precision data, which no solver can undo, is
        granted on top.
    result : dtype to which x will be rounded; by default that of the operator and the data
    """
    effort = Effort() if effort is None else effort
    facts, N = inverse.summary, len(x)
    result = torch.promote_types(op.dtype, y.dtype) if result is None else result
    with torch.no_grad():
        x, y = x.detach(), y.detach()
        found = gather(op, inverse, x, y, effort.residual, math.inf if tol is None else tol)
        # All in units of ‖x‖: a relative e of it is e/(1 − e) of ‖x*‖.
        rounding = _rounding(inverse, found, x, y, result)
        error_bound = _relative(ratio(found.error, found.size) + rounding)
        tolerance = _tolerance(inverse, ratio(found.allowed, found.size), rounding, tol)
        converged = error_bound <= tolerance
    coarsest = max((y.dtype, x.dtype, result), key=lambda dtype: torch.finfo(dtype).eps)
    worst = _worst(error_bound, tolerance)
    view = _View(
        float(error_bound[worst]) if N else 0.0,
        float(tolerance[worst]) if N else 0.0,
        float(found.condition[worst]) if N else 1.0,
        str(coarsest.to_real()).removeprefix("torch."),
        tol,
        inverse.iterates,
        bool(found.vanishes[worst]) if N else False,
    )
    return Certificate(
        method=inverse.method,
        rank=None if facts.rank is None else facts.rank.expand(N),
        rank_how=facts.rank_how,
        gap=facts.gap.expand(N),
        damp=inverse.damp,
        residual=found.residual,
        optimality=found.optimality,
        error_bound=error_bound,
        tolerance=tolerance,
        tolerance_how=view.how,
        iterations=_each(effort.iterations, error_bound),
        refinements=_each(effort.refinements, error_bound),
        dropped=facts.dropped.expand(N),
        converged=converged,
        advice=inverse.advice(effort) or _advice(view, bool(converged.all()), facts.gap),
        plan=inverse.plan,
    )


def certified(
    inverse: InverseOperator,
    x: Tensor,
    y: Tensor,
    effort: Effort,
    tol: float | None = None,
    heed: Callable[[Certificate, InverseOperator, Effort], None] | None = None,
) -> Certificate:
    """Judge x, effort = inverse.solution(y), also where torch.func transforms the caller.

    heed : told of each certificate as it is made, with what it judges as plain values
    """
    found: list[Certificate] = []

    def judge(inverse: InverseOperator, x: Tensor, y: Tensor, effort: Effort) -> None:
        found.append(certify(inverse.source[0], inverse, x, y, effort, tol))
        if heed is not None:
            heed(found[-1], inverse, effort)

    look(inverse, x, y, effort, judge)
    return _joined(found)


def _joined(found: Sequence[Certificate]) -> Certificate:
    """One of several batches; what is said of one image is said of the one known least."""
    if len(found) == 1:
        return found[0]
    worst = max(found, key=lambda c: float(c.error_bound.nan_to_num(nan=math.inf).max()))
    rows = {f.name: [getattr(c, f.name) for c in found] for f in fields(Certificate)}
    each: dict[str, Any] = {
        k: torch.cat(row) for k, row in rows.items() if isinstance(row[0], Tensor)
    }
    return replace(worst, **each)


def _rounding(
    inverse: InverseOperator, found: Evidence, x: Tensor, y: Tensor, result: torch.dtype
) -> Tensor:
    """What rounding alone may have cost, of ‖x‖: of x to its dtype, of y before it came."""
    size = norms(doubled(x))
    of_x = ratio(norms(doubled(x.to(result)) - doubled(x)), size)
    of_x = torch.where(of_x.isfinite(), of_x, torch.inf)  # x overflows its dtype
    if y.dtype.to_real() == torch.float64:
        return of_x
    info = torch.finfo(y.dtype)
    of_y = norms(doubled(y)) * (info.eps / 2)
    of_y = of_y + (of_y > 0) * info.smallest_normal * info.eps / 2 * math.sqrt(y[:1].numel())
    of_y = ratio(_amplified(inverse, of_y), size)
    # x = 0 without any error: what is relative to it would not tell more
    return of_x + torch.where((size == 0) & (found.error == 0), 0.0, of_y)


def _amplified(inverse: InverseOperator, size: Tensor) -> Tensor:
    """At most what A⁺ or (AᴴA + damp²)⁻¹Aᴴ makes of a vector: σ/(σ² + damp²) times its size."""
    facts, damp = inverse.summary, torch.full_like(inverse.summary.floor, inverse.damp)
    found = torch.minimum(ratio(size, facts.floor), ratio(0.5 * size, damp))
    strong = ratio(ratio(2 * facts.norm * size, damp), damp)  # at least ‖A‖/damp²
    return torch.minimum(found, strong) if inverse.damp else found


def _tolerance(
    inverse: InverseOperator, allowed: Tensor, rounding: Tensor, tol: float | None
) -> Tensor:
    """What was asked for, by default what the dtype and the condition allow, and the rounding."""
    if tol is not None:
        with_rounding = _relative(tol / (1 + tol) + rounding).clamp(max=max(tol, _LEAST_PROVEN))
        return torch.where(rounding == 0, tol, with_rounding)
    if inverse.iterates:
        allowed = allowed + inverse.tol
    return _relative(allowed + rounding).clamp(max=_LEAST_PROVEN)


def _relative(error: Tensor) -> Tensor:
    """An error in units of ‖x‖ as a part of ‖x*‖ ≥ ‖x‖ − error; inf where nothing is proven."""
    bound = torch.where(error == 0, 0.0, error / (1 - error).clamp(min=0))
    return torch.where(bound.isnan(), torch.inf, bound)


def _each(count: Tensor | None, like: Tensor) -> Tensor:
    """One integer per image, (N,) as `like`; 0 where nothing was counted."""
    return torch.zeros_like(like, dtype=torch.long) if count is None else count


def _worst(error_bound: Tensor, tolerance: Tensor) -> int:
    """The image that misses its tolerance by the largest factor, or else is known least."""
    if not len(error_bound):
        return 0
    missed = ratio(error_bound, tolerance)
    return int((missed if bool((missed > 1).any()) else error_bound).argmax())


class _View(NamedTuple):
    """What is to be said of the worst image."""

    error_bound: float
    tolerance: float
    condition: float
    dtype: str
    tol: float | None
    iterates: bool
    vanishes: bool

    @property
    def how(self) -> str:
        """Where the tolerance comes from."""
        if self.tol is not None:
            asked = f"tol={self.tol:g}, which was asked for"
            if self.tolerance == self.tol:
                return asked
            return f"{asked}, with the rounding of {self.dtype} {self.tolerance:.1e}"
        of_dtype = f"{self.dtype} and cond {self.condition:.1e}"
        return f"an iteration's tol, with {of_dtype}" if self.iterates else of_dtype


def _advice(view: _View, converged: bool, gap: Tensor) -> str:
    bound = f"error_bound {view.error_bound:.1e}"
    if not converged:
        if view.iterates and view.condition == math.inf:
            return (
                "no bound of the error is known, for an iteration without damping never learns the "
                "smallest singular value; use damp > 0, or raise memory_limit for a direct method"
            )
        if view.vanishes:
            return (
                "x is zero to round-off, which is all that is known of it, for y is next to "
                "orthogonal to the range of A"
            )
        data = "" if view.dtype == "float64" else "float64 data or "
        if view.tol is not None:
            why = f"{bound} is above {view.how}"
        elif view.error_bound < 1 and view.tolerance >= _LEAST_PROVEN:
            why = f"{bound} leaves no digit sure, as the problem is ill-conditioned for {view.how}"
        elif view.error_bound < 1:
            why = f"{bound} is above round-off, which is {view.tolerance:.1e} for {view.how}"
        else:
            why = f"{bound}: x may be far off, as the problem is ill-conditioned for {view.how}"
        return f"{why}; use {data}more damp"
    if bool((gap < 10).any()):
        return (
            f"x is decided by the cut-off (σ_r/σ_r+1 = {float(gap.min()):.2g}): "
            "choose rtol or damp yourself"
        )
    exact = view.error_bound <= 1e-8
    to = f"round-off: {bound}" if exact else f"{view.error_bound:.1e}"
    known = f"the equations are solved to {to}"
    if view.tol is not None:
        return f"{known}, within {view.how}"
    return f"{known}, where {view.how} allow {view.tolerance:.1e}"
