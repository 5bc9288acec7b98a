"""The duality gap of a restored image: a proof of how far its objective is from the least.

The problem, in units in which nothing is lost (x of the domain, A in double precision):

    P(x) = f(Ax) + (ε/2)‖x‖² + strength·Σ|Dx|,      l ≤ x ≤ u

For any field p with |p| ≤ strength at every place, and μ, ν ≥ 0, let q = Dᴴp − μ + ν.  Then

    P* ≥ min_x f(Ax) + (ε/2)‖x‖² + ⟨q, x⟩ + ⟨μ, l⟩ − ⟨ν, u⟩.

*Gaussian.*  The minimum is one damped solve, which other packages do not have: with s = −q/ε it is
at x* = s + B(y − As), B = (AᴴA + ε)⁻¹Aᴴ.  The solver proves ‖x̃ − x*‖ ≤ e in the norm of ε, so that
the value at x̃ is at most (ε/2) e² above the minimum; where a factor was solved with directly, the
gradient g at x̃ proves ‖g‖²/2ε.  Both are taken off, and so is the rounding.

*Others.*  The Fenchel value −f*(w) − ‖Aᴴw + q‖²/2ε + ⟨μ, l⟩ − ⟨ν, u⟩ for w the multiplier of
z = Av: no solve, but small only where ε is not.

Source: Rockafellar, "Convex Analysis", Princeton 1970, §31; for total variation Chambolle, "An
algorithm for total variation minimization and applications", J. Math. Imaging Vision 20 (2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..inverse import InverseOperator
from ..varying.inverse import VaryingInverse
from .data_terms import DataTerm
from .grid_problem import GridProblem
from .penalties import Penalty
from .splitting import Bounds, Multipliers
from .varying_grid import Blur

_ROUNDING = 64 * torch.finfo(torch.float64).eps  # of the largest part of a sum


class Linear(NamedTuple):
    """q (1, c_in, *n), and ⟨μ, l⟩ − ⟨ν, u⟩."""

    q: Tensor
    constant: float


@dataclass(frozen=True)
class Objective:
    """P for one image, in double precision.

    Attributes
    ----------
    A : the operator
    problem : its grid, of which the spectra are not used
    term : f for the data (1, c_out, *m)
    seen : (1, c_out, *m) bool
    penalty, strength, bounds, epsilon : of the problem
    """

    A: Blur
    problem: GridProblem
    term: DataTerm
    seen: Tensor
    penalty: Penalty
    strength: float
    bounds: Bounds
    epsilon: float

    def feasible(self, v: Tensor) -> Tensor:
        """The domain of an image of the grid, within the bounds, (1, c_in, *n)."""
        x = self.problem.domain(v).to(self.A.dtype)
        return x.clamp(*self.bounds) if self.bounds.bind else x

    def primal(self, x: Tensor, blurred: Tensor) -> float:
        """P(x), of which A x is at hand."""
        data = self.term.value(blurred).where(self.seen, 0)
        charged = self.strength * self.penalty.value(self.problem.embed(x))
        return float(data.sum()) + self.epsilon / 2 * _squared(x) + charged

    def linear(self, found: Multipliers) -> Linear:
        """What the dual variables add."""
        p = self.penalty.into_ball(found.differences.to(self.A.dtype), self.strength)
        q, constant = self.problem.domain(self.penalty.differences.adjoint(p)), 0.0
        if self.bounds.bind and found.image is not None:
            image = found.image.to(self.A.dtype)
            m = self.problem.gathered(image)
            lower, upper = self.bounds
            mu = (-m).clamp(min=0) if math.isfinite(lower) else torch.zeros_like(m)
            nu = m.clamp(min=0) if math.isfinite(upper) else torch.zeros_like(m)
            q = q - mu + nu
            constant += float(mu.sum()) * lower if math.isfinite(lower) else 0.0
            constant -= float(nu.sum()) * upper if math.isfinite(upper) else 0.0
        return Linear(q, constant)

    def fenchel(self, found: Multipliers) -> float:
        """A lower bound of P* without a solve."""
        q, constant = self.linear(found)
        w = self.problem.outputs(found.data).to(self.A.dtype)
        conjugate = self.term.conjugate(w).where(self.seen, 0)
        force = self.A.H(w) + q
        parts = float(conjugate.sum()), _squared(force) / (2 * self.epsilon), constant
        slack = _ROUNDING * max(map(abs, parts))
        value = -parts[0] - parts[1] + parts[2] - slack
        return value if math.isfinite(value) else -math.inf

    def by_solve(self, added: Linear, inverse: InverseOperator | VaryingInverse) -> float:
        """A lower bound of P* for a Gaussian f.

        inverse : of A, damped by √ε
        """
        (q, constant), y, eps = added, self.term.y, self.epsilon
        start = -q / eps
        change, effort = inverse.solution((y - self.A(start)).where(self.seen, 0))
        x = start + change
        r = (self.A(x) - y).where(self.seen, 0)
        force = self.A.H(r) + eps * x + q
        above = _squared(force) / (2 * eps)
        if effort.evidence is not None:
            error = float(effort.evidence.amax()) * math.sqrt(_squared(change))
            above = min(above, eps / 2 * error**2)
        parts = _squared(r) / 2, eps / 2 * _squared(x), _product(q, x), constant
        slack = _ROUNDING * max(map(abs, parts))
        return sum(parts) - above - slack

    def guess(
        self, x: Tensor, blurred: Tensor, added: Linear, inner: Callable[[Tensor], Tensor]
    ) -> float:
        """What `by_solve` may find at best, from the gradient at x.

        blurred : A x
        inner : nearly (AᴴA + ε)⁻¹
        """
        q, constant = added
        r = (blurred - self.term.y).where(self.seen, 0)
        force = self.A.H(r) + self.epsilon * x + q
        below = _product(force, inner(force)) / 2
        linear = _product(q, x)
        value = _squared(r) / 2 + self.epsilon / 2 * _squared(x) + linear + constant
        return value - below


def _product(s: Tensor, t: Tensor) -> float:
    return float(torch.vdot(s.flatten(), t.flatten()).real)


def _squared(t: Tensor) -> float:
    return _product(t, t)
