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

    ‖S^-½ δx‖² ≤ ⟨r, v r⟩ = ε²,        ‖δ P(z + q∗u)‖ ≤ ε/s,      s² = min N,

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
    left : (N, c_out, *coarse) r, zero where something was seen
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
        p = self.precision
        found = self._settle(p.times_q(y), y, _norm(y) / p.std, tol, maxiter)
        complete = self.put_(y.clone(memory_format=torch.contiguous_format), found.u)
        return p.estimated(p.torus.transform(complete)), found

    def adjoint(self, x: Tensor, tol: float, maxiter: int) -> Completed:
        """`w` is the adjoint of `estimate` for x on the fine grid; ε is held against s·‖w‖."""
        return self._settle(self.precision.estimated_adjoint(x), None, _norm(x), tol, maxiter)

    def _settle(
        self, z: Tensor, y: Tensor | None, largest: Tensor, tol: float, maxiter: int
    ) -> Completed:
        """Rounds of conjugate gradients until ε is proven for every image, or nothing gains.

        A round solves for what is left, in single precision as long as that gains, and takes it
        down by some digits; then what is left is computed anew in double precision.  A round knows
        the error as its preconditioner sees it; only `_judged` tells the truth.  Every image goes
        on or stops by itself, so that none depends on the others.

        largest : (N,) what the answer may at most be for such data, to its order
        """
        found = self._judged(z, y, None, largest)
        going = ~found.meets(tol)
        single = torch.ones_like(going)
        while bool(going.any()):
            low = bool((going & single).any())
            now = going & single if low else going
            last, found = found, self._round(z, y, found, now, largest, tol, maxiter, low=low)
            poor = now & ~(found.error <= _LEAST_GAIN * last.error)
            found = found.but_for(now & ~(found.error < last.error), last)
            going &= ~found.meets(tol) & (found.steps < maxiter) & (single | ~poor)
            single &= ~poor
        return found

    def _round(
        self,
        z: Tensor,
        y: Tensor | None,
        found: Completed,
        now: Tensor,
        largest: Tensor,
        tol: float,
        maxiter: int,
        *,
        low: bool,
    ) -> Completed:
        """Solve for what is left of the images that are `now`, (N,) bool."""
        r = -self.on_missing(found.left)
        unit = nonzero(_norm(r))[:, None]
        r = r / unit
        if low:
            r = r.to(torch.complex64 if r.is_complex() else torch.float32)
        apply = partial(self._restricted, r.new_zeros(len(r), *self.precision.shape))
        run = ConjugateGradients(apply, self.preconditioner, r)
        aim = ratio(_AIM * tol * found.size, found.error).clamp(_OF_A_ROUND, _AT_MOST)
        least = run.error() * aim
        while True:
            on = now & (run.error() > least) & (found.steps + run.steps < maxiter)
            if not bool(on.any()):
                break
            run.step(on)
        u = found.u + run.u * unit
        judged = self._judged(z, y, u, largest)
        return judged._replace(steps=found.steps + run.steps)

    def _judged(self, z: Tensor, y: Tensor | None, u: Tensor | None, largest: Tensor) -> Completed:
        """w, what is left, and ε, from q itself and not from a recurrence; u = 0 if None."""
        p, w = self.precision, z
        if u is None:
            u = z.new_zeros(len(z), len(self.where))
        else:
            w = w + p.times_q(self.put_(z.new_zeros(z.shape), u))
        left = self.put_(z.new_zeros(z.shape), self.on_missing(w))
        w = w - left
        error = torch.hypot(p.energy(left).sqrt(), self._round_off(z, y, u, w))
        if y is None:
            size = p.std * _norm(w)
        else:  # ‖S^-½x‖² = ⟨w, y⟩ − ‖N^½w‖²
            size = (inner(w, y) - inner(w, p.of_noise(w))).clamp(min=0).sqrt()
        steps = torch.zeros_like(error, dtype=torch.long)
        vanishes = (error <= _VANISHES * largest) & (size <= _NEXT_TO_NOTHING * largest)
        return Completed(u, w, left, error, size, vanishes, steps)

    def _round_off(self, z: Tensor, y: Tensor | None, u: Tensor, w: Tensor) -> Tensor:
        """What ε may be of the rounding of r, which is white: of transforms there and back."""
        p = self.precision
        given = _norm(z) / p.rms_q if y is None else _norm(y)  # z = q∗y
        complete = torch.hypot(_norm(u), given)
        return _EPS * p.rms_of_v * (p.rms_q * complete + _norm(w))

    def _restricted(self, grid: Tensor, u: Tensor) -> Tensor:
        """G q Gᴴ u; the grid is zero where something was seen, and used again."""
        return self.on_missing(self.precision.times_q(self.put_(grid, u)))

    def put_(self, grid: Tensor, u: Tensor) -> Tensor:
        """Write u into the missing outputs of a contiguous grid."""
        grid.view(len(u), -1).scatter_(1, self.where.expand(len(u), -1), u)
        return grid

    def on_missing(self, grid: Tensor) -> Tensor:
        """G grid, (N, K)."""
        return grid.reshape(len(grid), -1).index_select(1, self.where)


def _norm(t: Tensor) -> Tensor:
    """‖t‖ image by image, (N,): plain, for the data come in units of order one."""
    return torch.linalg.vector_norm(t.flatten(1), dim=1)
