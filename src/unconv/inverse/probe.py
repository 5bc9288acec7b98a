"""Whether a factor is the pseudo-inverse that it claims to be, by the Penrose conditions.

A factorisation decides a rank from what it can see, and may be wrong: a null vector that it took
for one with a small singular value σ̃ answers by eps/σ̃, under an error bound that knows nothing of
it.  For random vectors a and y and X the computed inverse, with r = y − A X y,

    full column rank   X A a = a,   Aᴴ r = 0 if A is tall
    full row rank      A X y = y,   Aᴴ Xᴴ x = x for x = X y
    any smaller rank   Aᴴ Xᴴ x = x for x = X y,   A X u = u for u = Xᴴ x,   ‖Aᴴ r‖ ≤ cut-off·‖r‖

must hold to what the facts of the factorisation promise, eps·σ_max/σ_r for what X returns and eps
for what A does.  A missed null vector makes X A a = a fail by its part in a; where it was
amplified, x has a part in null(A) and is no Aᴴ of anything, or u has one in null(Aᴴ) and is no A of
anything.  A rank that is too small leaves more than the cut-off in Aᴴ r.

Cost: one to three solves and as many products.

Source: Penrose, "A generalized inverse for matrices", Proc. Camb. Phil. Soc. 51 (1955), eq. 1–4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics.lanczos import random_start
from ..numerics.norms import in_unit, norms, ratio
from ..numerics.precision import double_dtype
from ..operators.linear_operator import LinearOperator
from .facts import CannotServeError, SpectrumSummary

_SLACK = 1000.0  # of eps·σ_max/σ_r, and of eps: what healthy factors stay under by a factor of ten
# No promise is weaker: a factor that need not hold one digit proves nothing.  What is kept in
# float32 was computed in float64: its rank is sound, and only its digits are few.
_LEAST_DIGIT = {torch.float64: 0.1, torch.float32: 1.0}

Solve = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Probe:
    """What the probe measured, each as a part of what was promised, (B,): over 1 is broken."""

    conditions: dict[str, Tensor]

    def worst_of(self, kernels: Tensor) -> tuple[str, float]:
        """The condition that is furthest from its promise; NaN counts as infinite.

        kernels : (B,) bool, those that are asked
        """
        parts = {
            name: float(part[kernels].nan_to_num(nan=math.inf).amax())
            for name, part in self.conditions.items()
        }
        name = max(parts, key=lambda k: parts[k])
        return name, parts[name]


def probe(
    A: LinearOperator,
    solve: Solve,
    solve_adjoint: Solve,
    facts: SpectrumSummary,
    cutoff: Tensor,
    like: Tensor,
) -> Probe:
    """The Penrose conditions for random vectors, beside what `facts` promise.

    Parameters
    ----------
    A : one kernel, or B of them with one image each, in double precision
    solve, solve_adjoint : X y and Xᴴ b, in the precision whose eps the factor keeps
    facts : norm, floor and dropped of the factorisation, in the unit of A
    cutoff : (B,) singular values up to it were to be dropped
    like : a tensor of the dtype and device in which `solve` works
    """
    m, n = A.shape
    B = len(facts.norm)
    eps = torch.finfo(like.dtype).eps
    loss = (_SLACK * eps * facts.norm / facts.floor).clamp(max=_LEAST_DIGIT[like.dtype.to_real()])
    y = random_start((B, *A.range_shape), like)
    full = not bool(facts.dropped.any())
    found: dict[str, Tensor] = {}
    if full and n <= m:
        a = random_start((B, *A.domain_shape), like)
        found["X A a = a"] = _parts(solve(_product(A._matvec, a)) - a, a, loss)
        if n == m:
            return Probe(found)
    x = solve(y)
    r = y - _product(A._matvec, x)
    size = facts.norm * norms(x) + norms(y)
    if full and m < n:
        found["A X y = y"] = ratio(norms(r), _SLACK * eps * size)
    else:
        allowed = cutoff * norms(r) + _SLACK * eps * facts.norm * size
        found["Aᴴ(y − A X y) = 0"] = ratio(norms(_product(A._rmatvec, r)), allowed)
    if not full or m < n:
        x, _ = in_unit(x)
        u = solve_adjoint(x)
        found["Aᴴ Xᴴ x = x"] = _parts(_product(A._rmatvec, u) - x, x, loss)
    if not full:
        u, _ = in_unit(u)
        found["A X u = u"] = _parts(_product(A._matvec, solve(u)) - u, u, loss)
    return Probe(found)


def refuse_unproven(
    A: LinearOperator,
    solve: Solve,
    solve_adjoint: Solve,
    facts: SpectrumSummary,
    cutoff: Tensor,
    like: Tensor,
) -> None:
    """Raise `CannotServeError` where a factor breaks what it promises; parameters as in `probe`."""
    factored = facts.norm.isfinite() & (facts.norm > 0)  # the others are zero, or not finite
    if not bool(factored.any()):
        return
    name, part = probe(A, solve, solve_adjoint, facts, cutoff, like).worst_of(factored)
    if not part <= 1:
        raise CannotServeError(f"its factor fails {name} by {part:.1e} times what it promises")


def _product(apply: Solve, v: Tensor) -> Tensor:
    """A or Aᴴ in double precision, rounded to that of v."""
    return apply(v.to(double_dtype(v.dtype))).to(v.dtype)


def _parts(difference: Tensor, whole: Tensor, allowed: Tensor) -> Tensor:
    return ratio(norms(difference), allowed * norms(whole))
