"""Whether one pass of a ghost system is enough, or must be refined.

A pass solves by the factor alone, and A itself tells what it has missed: with x = F v for the
factor F of A⁺, and missed = F (v − A x), the next step of the refinement,

    change = ‖missed‖/‖x‖      what a refinement would change of x
    loss   = ‖missed‖/‖v‖      the same over the data: what x loses where A⁺ keeps little of v

Tried at set-up are white noise and what A or Aᴴ makes of it.  A factor in float64 may stop at a
change of 1e-12, that of a square A⁻¹ at a backward error of 1e-13.  One in float32 may stop at
4·eps·cond, eps that of float32, but at 8 eps (1e-6) where that is less and at 256 eps (3e-5) where
it is more; the rounding of float32 data alone may change the answer by eps·cond/2.  Data at hand
may lose twice the limit, by an estimate from `loss`: up to 2e-12, and 6e-5 in float32.  Data in
float64 are always refined where the factor is in float32, with A in float64, to its last digits.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, §12
(refinement in mixed precision).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics.lanczos import random_start
from ...numerics.norms import nonzero, norms
from ...operators.convolution import Convolution
from ...operators.linear_operator import LinearOperator
from .. import krylov
from ..facts import FactorPrecision
from ..request import Request

_ENOUGH_IN_DOUBLE = 1e-12
_EPS_SINGLE = torch.finfo(torch.float32).eps
_OF_CONDITION, _LEAST_EPS, _MOST_EPS = 4.0, 8.0, 256.0  # of eps·cond, and of eps

_SINGLE_FROM = 1e-3  # damp/σ_max under which a factor in float32 is not tried: hardly one would do

_MORE_FOR_DATA = 2.0  # times that change is what one pass may be wrong by, as estimated for data


class Trial(NamedTuple):
    """What trials of one pass have shown, the worst of them.

    Attributes
    ----------
    change
        Relative, of the answer by a first refinement, or the backward error that it is judged by
        instead; inf where it is NaN
    beside : of the other unknown of an augmented system
    loss : norm of what one pass misses, over that of its data; 0 where it is backward stable
    single : whether the factor is one in float32
    limit : the relative change that refinement need not make
    """

    change: float = math.inf
    beside: float = math.inf
    loss: float = math.inf
    single: bool = False
    limit: float = _ENOUGH_IN_DOUBLE

    @property
    def passed(self) -> bool:
        """Whether one pass is enough as a rule."""
        return self.change <= self.limit

    @property
    def passed_for_both(self) -> bool:
        """Whether it is for both unknowns of an augmented system."""
        return self.passed and self.beside <= self.limit

    def answers(self, v: Tensor) -> bool:
        """Whether one pass may be all for data of this dtype."""
        return self.passed and not (self.single and v.dtype.to_real() == torch.float64)

    def is_enough(self, v: Tensor, found: Tensor) -> bool:
        """Whether it was: v that the inverse nearly annihilates leaves round-off alone."""
        if not self.loss:
            return True
        return bool((self.loss * norms(v) <= _MORE_FOR_DATA * self.limit * norms(found)).all())


def limit_in_single(condition: float) -> float:
    """The relative change of an answer of a factor in float32 that refinement need not make.

    condition : σ_max over the smallest σ that the inverse answers for, damping included
    """
    return _EPS_SINGLE * min(max(_OF_CONDITION * condition, _LEAST_EPS), _MOST_EPS)


def random_pairs(A: LinearOperator, like: Tensor) -> tuple[Tensor, Tensor]:
    """White noise and the image of white noise: data (2, *range) and domain (2, *domain)."""
    a = random_start((1, *A.range_shape), like)
    b = random_start((1, *A.domain_shape), like)
    return torch.cat([a, A._matvec(b)]), torch.cat([b, A._rmatvec(a)])


def corners(v: Tensor) -> Tensor:
    """The first and the last sample of white noise (1, ...), alone: (2, ...).

    They are all ghosts' business, of which a pass in single precision misses several times more.
    """
    found = torch.zeros_like(v).repeat(2, *[1] * (v.ndim - 1)).flatten(2)
    found[0, :, 0], found[1, :, -1] = v.flatten(2)[0, :, 0], v.flatten(2)[0, :, -1]
    return found.reshape(2, *v.shape[1:])


def worst(*sizes: float) -> float:
    """The largest of several; NaN counts as infinite."""
    return max(size if size < math.inf else math.inf for size in sizes)


def part_of(missed: Tensor, whole: Tensor) -> float:
    """The largest ‖missed‖/‖whole‖ of several images."""
    return worst(float((norms(missed) / nonzero(norms(whole))).amax()))


def tries_single(op: Convolution, request: Request) -> bool:
    """Whether a factor in single precision is thought of: for float32, if not hardly damped."""
    if op.dtype.to_real() == torch.float64:
        return False
    return not (request.damp and request.damp < _SINGLE_FROM * krylov.norm_bound(op) < math.inf)


def precision(op: Convolution, request: Request) -> FactorPrecision:
    """The precision in which the factor is kept as a rule, and when."""
    if op.dtype.to_real() == torch.float64:
        return FactorPrecision(torch.float64)
    if not tries_single(op, request):
        why = f"as damp is under {_SINGLE_FROM:.0e} of what σ_max may be"
        return FactorPrecision(torch.float64, why)
    found = FactorPrecision(torch.float32, "if one pass of it is enough, else in double precision")
    return found._replace(dearer_if=_IN_DOUBLE) if request.damp else found


_IN_DOUBLE = "if a factor in double precision is needed"
