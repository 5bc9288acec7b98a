"""Rounds of conjugate gradients for missing outputs, until an error is proven.

With q a circular convolution, G the missing outputs and z given, u on them is sought with

    (G q Gᴴ) u = −G z.

A round solves for what is left, in single precision as long as that gains, and takes it down by
some digits; then what is left is computed anew in double precision, and what a subclass proves of
it.  A step takes one pair of FFTs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ...numerics.memory import keep_freed_memory
from ...numerics.norms import nonzero, ratio
from ...numerics.progress import Watch
from .circulant import Circulant
from .conjugate_gradients import ConjugateGradients
from .missing import MissingOutputs
from .preconditioner import Preconditioner

_AIM = 0.5  # of tol, to which a round goes: it may see less than ε
_OF_A_ROUND = 1e-5  # of the error that a round begins with, or what single precision leaves of it
_AT_MOST = 0.1  # of it: a round that sought less could not be told from one that fails
_LEAST_GAIN = 0.5  # of ε by a round, or it is round-off


_Precision = TypeVar("_Precision", bound=Circulant)


class Completed(NamedTuple):
    """What was found for each image.

    Attributes
    ----------
    u : (N, K) on the missing outputs
    w : (N, c_out, *coarse) P(z + q∗u), zero where nothing was seen
    left : (N, K) r
    error : (N,) ε
    size : (N,) what ε was held against
    vanishes : (N,) bool, whether the answer is next to nothing and ε round-off of the data
    steps : (N,)
    """

    u: Tensor
    w: Tensor
    left: Tensor
    error: Tensor
    size: Tensor
    vanishes: Tensor
    steps: Tensor

    def but_for(self, where: Tensor, other: Completed) -> Completed:
        """This, but for the images `where`, (N,) bool, those of another; the steps remain."""
        if not bool(where.any()):
            return self
        return Completed(
            *(
                b.where(where.reshape(-1, *[1] * (a.ndim - 1)), a)
                for a, b in zip(self, other, strict=True)
            )
        )._replace(steps=self.steps)

    def meets(self, tol: float) -> Tensor:
        """(N,) whether the error is proven to be within tol, or is round-off."""
        return (self.error <= tol * self.size) | self.vanishes


class Data(NamedTuple):
    """What is solved for.

    Attributes
    ----------
    z : (N, c_out, *coarse) contiguous, or None where it is q∗y and made when it is wanted
    y : of which z is q∗y, as a subclass wants it, or None
    given : (N,) ‖y‖, or what of white noise would have z
    largest : (N,) what the answer may at most be for such data, to its order
    """

    z: Tensor | None
    y: Tensor | None
    given: Tensor
    largest: Tensor


class _Run(NamedTuple):
    """Iterations in units (N, 1) of their own, in single precision if `low`."""

    solver: ConjugateGradients
    unit: Tensor
    low: bool


class Rounds(nn.Module, Generic[_Precision]):
    """Solves for the missing outputs of one operator; subclasses prove what is left.

    Images of outputs on the grid are (N, c_out, *coarse).

    preconditioner : that of a like precision, where there is one; else made, with this `reach`
    """

    where: Tensor
    precision: _Precision

    def __init__(
        self,
        precision: _Precision,
        missing: MissingOutputs,
        reach: int | None,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        super().__init__()
        keep_freed_memory()
        self.precision = precision
        if preconditioner is None:
            preconditioner = Preconditioner(precision, missing, reach, torch.float32)
        self.preconditioner = preconditioner
        self.register_buffer("where", missing.where)

    @abstractmethod
    def _judged(self, data: Data, u: Tensor | None) -> Completed:
        """w, what is left, and ε, from q itself and not from a recurrence; u = 0 if None."""

    def _settle(self, data: Data, tol: float, maxiter: int, watch: Watch | None) -> Completed:
        """Rounds of conjugate gradients until ε is proven for every image, or nothing gains.

        A round solves for what is left, in single precision as long as that gains, and takes it
        down by some digits; then what is left is computed anew in double precision.  A round knows
        the error as its preconditioner sees it; only `_judged` tells the truth.  Every image goes
        on or stops by itself, so that none depends on the others.
        """
        found = self._judged(data, None)
        going = ~found.meets(tol)
        single = torch.ones_like(going)
        run = None
        while bool(going.any()):
            low = bool((going & single).any())
            now = going & single if low else going
            run = self._begun(found, None if run is None or run.low != low else run, low=low)
            new = self._round(data, run, found, now, tol, maxiter, watch)
            poor = now & ~(new.error <= _LEAST_GAIN * found.error)
            found = new.but_for(now & ~(new.error < found.error), found)
            del new  # an image of each is all that there should be
            going &= ~found.meets(tol) & (found.steps < maxiter) & (single | ~poor)
            single &= ~poor
        return found

    def _begun(self, found: Completed, last: _Run | None, *, low: bool) -> _Run:
        """Iterations for what is left, which carry on from the last ones in the same precision."""
        r = -found.left
        unit = nonzero(norm(r))[:, None]
        r = r / unit
        if low:
            r = r.to(torch.complex64 if r.is_complex() else torch.float32)
        if last is None:
            solver = ConjugateGradients(self._operator(r), self.preconditioner, r)
        else:
            solver = last.solver
            solver.carry_on(r, (unit / last.unit).to(r.dtype))
        return _Run(solver, unit, low)

    def _round(
        self,
        data: Data,
        run: _Run,
        found: Completed,
        now: Tensor,
        tol: float,
        maxiter: int,
        watch: Watch | None,
    ) -> Completed:
        """Solve for what is left of the images that are `now`, (N,) bool."""
        solver = run.solver
        aim = ratio(_AIM * tol * found.size, found.error).clamp(_OF_A_ROUND, _AT_MOST)
        began = solver.error()
        least = began * aim
        while True:
            on = now & (solver.error() > least) & (found.steps + solver.steps < maxiter)
            if not bool(on.any()):
                break
            solver.step(on)
            if watch is not None:
                error = ratio(found.error * ratio(solver.error(), began), found.size)[on]
                watch.look(int((found.steps + solver.steps).max()), error / tol, float(error.max()))
        judged = self._judged(data, found.u + solver.u * run.unit)
        return judged._replace(steps=found.steps + solver.steps)

    def _operator(self, u: Tensor) -> Callable[[Tensor], Tensor]:
        """G q Gᴴ for vectors like u, with memory of its own."""
        return partial(self._restricted, u.new_zeros(len(u), *self.precision.shape))

    def _restricted(self, grid: Tensor, u: Tensor) -> Tensor:
        """G q Gᴴ u; the grid is zero where something was seen, and used again."""
        return self.on_missing(self.precision.times_q(self.put_(grid, u)))

    def put_(self, grid: Tensor, u: Tensor) -> Tensor:
        """Write u into the missing outputs of a contiguous grid."""
        grid.view(len(u), -1).scatter_(1, self.where.expand(len(u), -1), u)
        return grid

    def on_missing(self, grid: Tensor) -> Tensor:
        """G grid, (N, K)."""
        return grid.reshape(len(grid), -1).gather(1, self.where.expand(len(grid), -1))


def norm(t: Tensor) -> Tensor:
    """‖t‖ image by image, (N,): plain, for the data come in units of order one."""
    return torch.linalg.vector_norm(t.flatten(1), dim=1)
