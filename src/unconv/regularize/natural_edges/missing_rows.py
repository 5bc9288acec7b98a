"""The penalised solution from rows of which some do not exist, by completing them.

Complete rows z of the stack B on its grid have a solution e∗z per frequency and leave the residual
q∗z (projection.py).  Rows that do not exist are chosen such that nothing is left of them,

    (G q Gᴴ) u = −G q z,                 G: the missing rows,

so that e∗(z + u) solves the least-squares problem of those that do: the iteration of
`unconv.inverse.completion`, with another proof.  For w = q∗(z + u) on the rows of A and damp·L
within the domain, and μ ≤ λ_min(AᴴA + damp²LᴴL),

    ‖x − x*‖ ≤ ‖[A; damp·L]ᴴ w‖/μ,

the gradient over the strong convexity of the problem (tile_bound.py proves a μ).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...inverse.completion.missing import MissingOutputs
from ...inverse.completion.rounds import Completed, Data, Rounds, norm
from .grid_stack import GridStack
from .projection import Projection

_REACHES = (16, 8, 4)  # samples around the corners that are solved for with them
_LARGEST_CORNER = 800  # unknowns: some 30 ms to factor
_EPS = torch.finfo(torch.float64).eps


class PenalizedCompletion(Rounds[Projection]):
    """Solves for the missing rows of one stack.

    Parameters
    ----------
    stack : on its grid
    domain : sizes of the domain, a part of the grid
    proven : μ in the unit of the blocks; where it is 0 the gradient itself, relative to what it may
        be, takes the place of the bound
    """

    inside: Tensor

    def __init__(self, stack: GridStack, domain: tuple[int, ...], proven: float) -> None:
        projection = Projection(stack.torus, stack.blocks)
        missing = MissingOutputs(~stack.seen, stack.groups, stack.frame)
        super().__init__(projection, missing, _reach_of(missing))
        self.proven = proven
        self.domain: tuple[Any, ...] = (..., *(slice(n) for n in domain))
        self.register_buffer("inside", stack.inside)
        self.largest = projection.factor.largest

    def estimate(self, y: Tensor, tol: float, maxiter: int) -> tuple[Tensor, Completed]:
        """x on the domain for rows y, zero where none is; ε is held against its size."""
        p, given = self.precision, norm(y)
        Y = p.torus.transform(y)
        start = norm(p.estimated(Y)[self.domain])
        z = p.residual(Y).contiguous()
        data = Data(z, y, given, given / p.least**0.5, start)
        found = self._settle(data, tol, maxiter)
        return p.estimated(p.torus.transform(self._complete(y, found.u)))[self.domain], found

    def adjoint(self, x: Tensor, tol: float, maxiter: int) -> Completed:
        """`w` is the adjoint of `estimate` for x on the grid; ε is held against ‖w‖."""
        z = self.precision.estimated_adjoint(x).contiguous()
        data = Data(z, None, norm(z), norm(x) / self.precision.least**0.5)
        return self._settle(data, tol, maxiter)

    def _judged(self, data: Data, u: Tensor | None) -> Completed:
        """w, what is left, and the bound; for the adjoint, of which it is none, an estimate."""
        judge = self._judged_adjoint if data.y is None else self._judged_solution
        w, left, error, size = judge(data, u)
        u = torch.zeros_like(left) if u is None else u
        steps = torch.zeros_like(error, dtype=torch.long)
        return Completed(u, w, left, error, size, size <= 16 * _EPS * data.largest, steps)

    def _judged_solution(self, data: Data, u: Tensor | None) -> tuple[Tensor, ...]:
        p, w, size = self.precision, data.z, data.start
        assert data.y is not None
        assert w is not None
        if u is not None or size is None:
            Y = p.torus.transform(data.y if u is None else self._complete(data.y, u))
            size = norm(p.estimated(Y)[self.domain])
            w = p.residual(Y)
        left, w = self.on_missing(w), w * self.inside
        error = norm(p.gradient(w)[self.domain])
        most = self.largest * (self.largest * size + data.given)
        if not self.proven:
            return w, left, error, most
        return w, left, (error + _EPS * most) / self.proven, size

    def _judged_adjoint(self, data: Data, u: Tensor | None) -> tuple[Tensor, ...]:
        assert data.z is not None
        p, w = self.precision, data.z.clone()
        if u is not None:
            w = p.times_q(self.put_(torch.zeros_like(w), u)).add_(w).contiguous()
        left = self.on_missing(w)
        self.put_(w, torch.zeros_like(left))
        gradient = norm(p.gradient(self.put_(torch.zeros_like(w), left)))
        error = torch.hypot(norm(left), gradient / (self.proven**0.5 or self.largest))
        return w, left, error, norm(w)

    def _complete(self, y: Tensor, u: Tensor) -> Tensor:
        return self.put_(y.clone(memory_format=torch.contiguous_format), u)


def _reach_of(missing: MissingOutputs) -> int | None:
    """The reach of the corners, by what their dense block costs."""
    for reach in _REACHES:
        if missing.most_at(missing.crossing(reach)) <= _LARGEST_CORNER:
            return reach
    return None
