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

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...inverse.completion.missing import MissingOutputs
from ...inverse.completion.rounds import Completed, Data, Rounds, norm
from ...numerics.progress import Watch
from .grid_stack import GridStack
from .line_spectra import LineSpectra
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
    among_others: Tensor

    def __init__(self, stack: GridStack, domain: tuple[int, ...], proven: float) -> None:
        projection = Projection(stack.torus, stack.blocks)
        missing = MissingOutputs(~stack.seen, stack.groups, stack.frame)
        super().__init__(projection, missing, _reach_of(missing))
        self.proven = proven
        self.domain: tuple[Any, ...] = (..., *(slice(n) for n in domain))
        self.register_buffer("inside", stack.inside)
        others = MissingOutputs(~stack.inside, stack.groups, stack.frame)
        self.missing, self.others = (LineSpectra(stack.torus, m) for m in (missing, others))
        self.register_buffer("among_others", ~stack.seen.flatten()[others.where])
        self.largest = projection.factor.largest

    def estimate(
        self, y: Tensor, tol: float, maxiter: int, watch: Watch | None
    ) -> tuple[Tensor, Completed]:
        """x on the domain for rows y, zero where none is; ε is held against its size."""
        p, given = self.precision, norm(y)
        Y = p.torus.transform(y)
        found = self._settle(Data(None, Y, given, given / p.least**0.5), tol, maxiter, watch)
        return p.estimated(self._completed(Y, found.u))[self.domain], found

    def adjoint(self, x: Tensor, tol: float, maxiter: int, watch: Watch | None) -> Completed:
        """`w` is the adjoint of `estimate` for x on the grid; ε is held against ‖w‖."""
        z = self.precision.estimated_adjoint(x).contiguous()
        data = Data(z, None, norm(z), norm(x) / self.precision.least**0.5)
        return self._settle(data, tol, maxiter, watch)

    def _judged(self, data: Data, u: Tensor | None) -> Completed:
        """w, what is left, and the bound; for the adjoint, of which it is none, an estimate."""
        judge = self._judged_adjoint if data.y is None else self._judged_solution
        w, left, error, size = judge(data, u)
        u = torch.zeros_like(left) if u is None else u
        steps = torch.zeros_like(error, dtype=torch.long)
        return Completed(u, w, left, error, size, size <= 16 * _EPS * data.largest, steps)

    def _judged_solution(self, data: Data, u: Tensor | None) -> tuple[Tensor, ...]:
        """From spectra of y; the gradient is that of all other rows, for Bᴴq = 0."""
        p = self.precision
        assert data.y is not None
        Y = data.y.clone() if u is None else self._completed(data.y, u)
        size = norm(p.estimated(Y)[self.domain])
        others = self.others.image(p.factor.project_off_(Y))
        others_only = self.others.spectrum(others, Y)
        error = norm(p.gradient(others_only)[self.domain])
        most = self.largest * (self.largest * size + data.given)
        left, none = others[:, self.among_others], others[:, :0]
        if not self.proven:
            return none, left, error, most
        return none, left, (error + _EPS * most) / self.proven, size

    def _judged_adjoint(self, data: Data, u: Tensor | None) -> tuple[Tensor, ...]:
        assert data.z is not None
        p, w = self.precision, data.z.clone()
        if u is not None:
            w = p.times_q(self.put_(torch.zeros_like(w), u)).add_(w).contiguous()
        left = self.on_missing(w)
        self.put_(w, torch.zeros_like(left))
        gradient = norm(p.gradient(p.torus.transform(self.put_(torch.zeros_like(w), left))))
        error = torch.hypot(norm(left), gradient / (self.proven**0.5 or self.largest))
        return w, left, error, norm(w)

    def _completed(self, Y: Tensor, u: Tensor) -> Tensor:
        """The spectrum of rows and of those that were missing."""
        return self.missing.spectrum(u, self.missing.room(u)).add_(Y)

    def _operator(self, u: Tensor) -> Callable[[Tensor], Tensor]:
        """G q Gᴴ for vectors like u, with memory of its own."""
        return partial(self._between, self.missing.room(u))

    def _between(self, room: Tensor, u: Tensor) -> Tensor:
        """G q Gᴴ u."""
        Y = self.missing.spectrum(u, room)
        return self.missing.image(self.precision.factor.project_off_(Y))


def _reach_of(missing: MissingOutputs) -> int | None:
    """The reach of the corners, by what their dense block costs."""
    for reach in _REACHES:
        if missing.most_at(missing.crossing(reach)) <= _LARGEST_CORNER:
            return reach
    return None
