"""The estimate from data of which some were never seen, by completing them.

On a periodic grid complete data have the precision q and the estimate e per frequency
(precision.py).  Of z + q∗u the part on the missing outputs is made to vanish, u living there alone:

    (G q Gᴴ) u = −G z,                       G: the missing outputs, P: those that were seen

    z = q∗y     u is the conditional mean of the missing outputs, e∗[y; u] the estimate of x
    z = eᴴ∗x    P(z + q∗u) is the adjoint of that map

G q Gᴴ is Hermitian positive definite.  Conjugate gradients take one pair of FFTs a step, in single
precision, for half of the price; what is left is computed in double precision and solved for again.
The preconditioner (preconditioner.py) keeps their number from growing with the picture.

Proof.  With r = G(z + q∗u), what is left for any u, and the signal's spectrum S

    ‖S^-½ δx‖² ≤ ⟨r, v r⟩ = ε²,        ‖δ P(z + q∗u)‖ ≤ ε/s,

since q∗δu, with G q δu = r, has the energy ⟨δu, G q δu⟩ = ⟨r, (G q Gᴴ)⁻¹ r⟩ ≤ ⟨r, G v Gᴴ r⟩.  That
costs one pair of FFTs.  A residual proves less: relative to it the error may be larger by
(σ_max/s)².

Source: the conditional mean of a Gaussian process, Rasmussen & Williams, "Gaussian Processes for
Machine Learning", MIT Press 2006, §2.2 and A.2.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...numerics.norms import nonzero, ratio
from .conjugate_gradients import ConjugateGradients, inner
from .missing import Missing
from .precision import Precision
from .preconditioner import Preconditioner

_AIM = 0.5  # of tol, to which a round goes: it may see less than ε
_OF_A_ROUND = 1e-5  # of the error that a round begins with, or what single precision leaves of it
_AT_MOST = 0.1  # of it: a round that sought less could not be told from one that fails
_LEAST_GAIN = 0.5  # of ε by a round, or it is round-off
_EPS = torch.finfo(torch.float64).eps
_VANISHES = 16 * _EPS  # round-off, of the largest answer that data may have
_NEXT_TO_NOTHING = 1e3 * _VANISHES  # of it: an answer that is no larger is that of orthogonal data


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
        return Completed(
            *(
                b.where(where.reshape(-1, *[1] * (a.ndim - 1)), a)
                for a, b in zip(self, other, strict=True)
            )
        )._replace(steps=self.steps)

    def meets(self, tol: float) -> Tensor:
        """(N,) whether the error is proven to be within tol, or is round-off."""
        return (self.error <= tol * self.size) | self.vanishes


class _Data(NamedTuple):
    """What is solved for.

    Attributes
    ----------
    z : (N, c_out, *coarse) contiguous
    y : of which z is q∗y, or None
    given : (N,) ‖y‖, or what of white noise would have z
    largest : (N,) what the answer may at most be for such data, to its order
    """

    z: Tensor
    y: Tensor | None
    given: Tensor
    largest: Tensor


class _Run(NamedTuple):
    """Iterations in units (N, 1) of their own, in single precision if `low`."""

    solver: ConjugateGradients
    unit: Tensor
    low: bool


class Completion(nn.Module):
    """Solves for the missing outputs of one operator.

    Images of outputs on the grid are (N, c_out, *coarse), those of the domain (N, c_in, *fine).
    """

    where: Tensor

    def __init__(self, precision: Precision, missing: Missing, reach: int | None) -> None:
        super().__init__()
        self.precision = precision
        self.preconditioner = Preconditioner(precision, missing, reach, torch.float32)
        self.register_buffer("where", missing.where)

    def estimate(self, y: Tensor, tol: float, maxiter: int) -> tuple[Tensor, Completed]:
        """x on the fine grid for y, zero where nothing was seen; ε is held against ‖S^-½x‖."""
        p, size = self.precision, _norm(y)
        found = self._settle(_Data(p.times_q(y).contiguous(), y, size, size / p.std), tol, maxiter)
        complete = self.put_(y.clone(memory_format=torch.contiguous_format), found.u)
        return p.estimated(p.torus.transform(complete)), found

    def adjoint(self, x: Tensor, tol: float, maxiter: int) -> Completed:
        """`w` is the adjoint of `estimate` for x on the fine grid; ε is held against s·‖w‖."""
        z = self.precision.estimated_adjoint(x).contiguous()
        data = _Data(z, None, _norm(z) / self.precision.rms_q, _norm(x))
        return self._settle(data, tol, maxiter)

    def _settle(self, data: _Data, tol: float, maxiter: int) -> Completed:
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
            last, found = found, self._round(data, run, found, now, tol, maxiter)
            poor = now & ~(found.error <= _LEAST_GAIN * last.error)
            found = found.but_for(now & ~(found.error < last.error), last)
            going &= ~found.meets(tol) & (found.steps < maxiter) & (single | ~poor)
            single &= ~poor
        return found

    def _begun(self, found: Completed, last: _Run | None, *, low: bool) -> _Run:
        """Iterations for what is left, which carry on from the last ones in the same precision."""
        r = -found.left
        unit = nonzero(_norm(r))[:, None]
        r = r / unit
        if low:
            r = r.to(torch.complex64 if r.is_complex() else torch.float32)
        if last is None:
            grid = r.new_zeros(len(r), *self.precision.shape)
            solver = ConjugateGradients(partial(self._restricted, grid), self.preconditioner, r)
        else:
            solver = last.solver
            solver.carry_on(r, (unit / last.unit).to(r.dtype))
        return _Run(solver, unit, low)

    def _round(
        self, data: _Data, run: _Run, found: Completed, now: Tensor, tol: float, maxiter: int
    ) -> Completed:
        """Solve for what is left of the images that are `now`, (N,) bool."""
        solver = run.solver
        aim = ratio(_AIM * tol * found.size, found.error).clamp(_OF_A_ROUND, _AT_MOST)
        least = solver.error() * aim
        while True:
            on = now & (solver.error() > least) & (found.steps + solver.steps < maxiter)
            if not bool(on.any()):
                break
            solver.step(on)
        judged = self._judged(data, found.u + solver.u * run.unit)
        return judged._replace(steps=found.steps + solver.steps)

    def _judged(self, data: _Data, u: Tensor | None) -> Completed:
        """w, what is left, and ε, from q itself and not from a recurrence; u = 0 if None."""
        p, y = self.precision, data.y
        if u is None:
            w = data.z.clone()
            u = data.z.new_zeros(len(w), len(self.where))
        else:
            w = p.times_q(self.put_(torch.zeros_like(data.z), u)).add_(data.z).contiguous()
        left = self.on_missing(w)
        self.put_(w, torch.zeros_like(left))
        error = p.energy(self.put_(torch.zeros_like(w), left)).sqrt()
        error = torch.hypot(error, self._round_off(data, u, w))
        size = self._of_noise(w)
        if y is not None:  # ‖S^-½x‖² = ⟨w, y⟩ − s²‖w‖²
            size = (inner(w, y) - size.square()).clamp(min=0).sqrt()
        steps = torch.zeros_like(error, dtype=torch.long)
        vanishes = error <= _VANISHES * data.largest
        vanishes &= size <= _NEXT_TO_NOTHING * data.largest
        return Completed(u, w, left, error, size, vanishes, steps)

    def _round_off(self, data: _Data, u: Tensor, w: Tensor) -> Tensor:
        """What ε may be of the rounding of r, which is white: of transforms there and back."""
        p = self.precision
        complete = torch.hypot(_norm(u), data.given)
        return _EPS * p.rms_of_v * (p.rms_q * complete + _norm(w))

    def _of_noise(self, w: Tensor) -> Tensor:
        """s·‖w‖."""
        return self.precision.std * _norm(w)

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


def _norm(t: Tensor) -> Tensor:
    """‖t‖ image by image, (N,): plain, for the data come in units of order one."""
    return torch.linalg.vector_norm(t.flatten(1), dim=1)
