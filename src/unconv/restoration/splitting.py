"""min f(Av) + (ε/2)‖v‖² + strength·φ(Dv), with bounds, by splitting: only FFTs and places.

On the grid of grid_problem.py three things are split off from the image v, each with a scaled
multiplier, and every one of them is known place by place:

    z = C v      f where something was seen, nothing elsewhere
    g = D v      strength·φ
    w = v        bounds, and what padding invents; where one of both is asked for

v itself is known per frequency:

    (r₁ CᴴC + r₂ DᴴD + r₃ + ε) v = r₁ Cᴴ(z − d) + r₂ Dᴴ(g − b) + r₃ (w − e)

Where padding copies samples ε is charged with w, once a sample of the domain and not for copies.

With over-relaxation an iteration takes two pairs of FFTs.  It keeps z and b and, as a splitting
after Douglas and Rachford does, the sums c = z + d and a = g + b.

r₂ shrinks differences of a fifth of the standard deviation of the data a step; r₁ is a twenty-fifth
of the curvature of f (a tenth for counts).  For a strength that stays both begin with more and end
with less (`Shares`): what A sees well wants a large r₁, the border that it hardly sees moves by
ε/r₁ of its way a step.
r₃ is the geometric mean of the other two, or twice that: with noise of 0.1 to 8 % the best was
within a factor of two of it, and what suits the one takes three times as long for the other.  All
scale with the unit of the picture.

Source: Almeida & Figueiredo 2013 as in grid_problem.py; over-relaxation, Eckstein & Bertsekas, "On
the Douglas–Rachford splitting method", Mathematical Programming 55 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .data_terms import DataTerm
from .grid_problem import GridProblem
from .penalties import Penalty

RELAXATION = 1.8
"""New images are 1.8 of what was found less 0.8 of the last."""

_BETWEEN_WEIGHTS, _MOST_WEIGHTS = 10, 15  # iterations; how often before they are held
_OF_MEAN = {False: 1.0, True: 2.0}  # r₃, by whether padding copies samples
_SHRUNK = 0.2  # differences of that share of the standard deviation of the data


Shares = Mapping[int, tuple[float, float]]
"""Shares of r₁ and r₂, from an iteration on."""

CONSTANT: Shares = {0: (1.0, 1.0)}
"""For strengths that change."""
FALLING: Shares = {0: (3.0, 1.0), 10: (1.7, 1.0), 20: (1.0, 1.0)}
"""For one strength: what A sees well is found in half of the time."""
FALLING_ON: Shares = {
    0: (3.0, 1.5),
    10: (1.7, 1.4),
    20: (1.0, 1.3),
    30: (0.5, 1.2),
    40: (0.3, 1.1),
    80: (0.3, 0.85),
    160: (0.3, 0.5),
    320: (1.0, 1.0),
}
"""For small gaps, to which the border that A hardly sees belongs too."""


class Bounds(NamedTuple):
    """lower ≤ x ≤ upper, infinite where there is none."""

    lower: float = -math.inf
    upper: float = math.inf

    @property
    def bind(self) -> bool:
        """Whether there is any."""
        return math.isfinite(self.lower) or math.isfinite(self.upper)


FREE = Bounds()
"""No bounds."""


class Multipliers(NamedTuple):
    """Dual variables of the splitting.

    Attributes
    ----------
    data : (1, R, *grid) of z = Cv, zero where nothing was seen
    differences : (J, c_in, *grid) of g = Dv
    image : (1, c_in, *grid) of w = v, or None
    """

    data: Tensor
    differences: Tensor
    image: Tensor | None


class Splitting:
    """The iteration for one image.

    Parameters
    ----------
    problem : on its grid
    term : f, of data on the grid
    penalty : φ
    strength : > 0
    bounds : of x
    epsilon : ε
    amplitude : the standard deviation that x may have
    start : (1, c_in, *grid)
    shares : of r₁ and r₂
    """

    def __init__(
        self,
        problem: GridProblem,
        term: DataTerm,
        penalty: Penalty,
        strength: float,
        bounds: Bounds,
        epsilon: float,
        amplitude: float,
        start: Tensor,
        shares: Shares,
    ) -> None:
        self.problem, self.term, self.penalty = problem, term, penalty
        self.bounds, self.iterations, self.epsilon = bounds, 0, epsilon
        self.splits_image = bounds.bind or problem.copies
        self._on_domain = epsilon if problem.copies else 0.0
        # A strength is shrunk by the same amount whatever it is: r₂ is what grows with it.
        self._threshold = (_SHRUNK * amplitude) ** (2 - penalty.p) / penalty.p
        self._normal = problem.normal(penalty.differences.power)
        self._changes, self._shares = shares, shares[0]
        self._strength = strength
        self._weigh()
        self.v = start
        self._seen = problem.seen.to(problem.dtype)
        self._z = self._seen_prox(problem.blurred(problem.torus.transform(start)))
        self._c = self._z.clone()
        self._a = penalty.differences(start)
        self._b = torch.zeros_like(self._a)
        self._moved, self._pulled = torch.empty_like(self._a), torch.empty_like(start)
        self._slope: float | Tensor = 1.0
        self.reweigh()
        self._w = problem.nearest(start, *bounds) if self.splits_image else None
        self._e = torch.zeros_like(start) if self.splits_image else None

    def carry_on(self, strength: float) -> None:
        """Go on for another strength, from where this one has got to, multipliers included.

        Those of differences grow with the strength, as unit vectors along edges; those of data and
        bounds stay.  With all of them, few iterations are left to do.
        """
        self._balance(self._changes[0], strength)

    def _weigh(self) -> None:
        share1, share2 = self._shares
        self.r1 = share1 * self.term.pull
        self.r2 = share2 * self._strength / self._threshold
        self._radius = self._threshold / share2
        mean = self.problem.gain * math.sqrt(self.r1 * self.r2)
        self.r3 = mean * _OF_MEAN[self.problem.copies] if self.splits_image else 0.0
        self._normal.weigh(self.r1, self.r2, self.r3 + self.epsilon - self._on_domain)

    def _balance(self, shares: tuple[float, float], strength: float) -> None:
        """Other weights; what is split off and multipliers stay, but those that grow."""
        r1, share2, r3 = self.r1, self._shares[1], self.r3
        self._shares, self._strength = shares, strength
        self._weigh()
        self._c.sub_(self._z).mul_(r1 / self.r1).add_(self._z)
        self._a.sub_(self._b).add_(self._b.mul_(share2 / shares[1]))
        if self._e is not None:
            self._e.mul_(r3 / self.r3)

    def reweigh(self) -> None:
        """Take the tangent of a penalty that is not convex at the present image."""
        if not self.penalty.is_convex:
            self._slope = self.penalty.slope(self._a - self._b)

    def step(self) -> None:
        """One iteration."""
        turn, rest = divmod(self.iterations, _BETWEEN_WEIGHTS)
        if rest == 0 and turn < _MOST_WEIGHTS:
            self.reweigh()
        if self.iterations and self.iterations in self._changes:
            self._balance(self._changes[self.iterations], self._strength)
        p, D = self.problem, self.penalty.differences
        V = p.adjoint_spectrum(torch.add(self._c, self._z, alpha=-2))
        torch.add(self._a, self._b, alpha=-2, out=self._moved)
        pulled = D.add_adjoint_(self._pulled.zero_(), self._moved, self.r2)
        if self._w is not None and self._e is not None:
            pulled.add_(self._w, alpha=self.r3).sub_(self._e, alpha=self.r3)
        V = self._normal.solve(p.torus.transform(pulled).sub_(V, alpha=self.r1))
        self.v = p.torus.inverse_transform(V)
        self._c.add_(p.blurred(V).sub_(self._z), alpha=RELAXATION)
        self._z = self._seen_prox(self._c)
        self._a.lerp_(D.add_(self._b, self.v), RELAXATION)
        self.penalty.outside(self._a, self._slope * self._radius, self._b)
        if self._w is not None and self._e is not None:
            c = self._e.add_(self.v - self._w, alpha=RELAXATION).add_(self._w)
            self._w = p.nearest(c, *self.bounds, self._on_domain / self.r3)
            self._e = c.sub_(self._w)
        self.iterations += 1

    def fixed_point_residual(self) -> float:
        """How far one more step moves what the next depends on, relative to its size."""
        before = self._state()
        self.step()
        pairs = list(zip(self._weights(), before, self._state(), strict=True))
        moved = sum(r * float((b - a).abs().square().sum()) for r, a, b in pairs)
        size = sum(r * float(b.abs().square().sum()) for r, _, b in pairs)
        return math.sqrt(moved / size) if size else 0.0

    @property
    def multipliers(self) -> Multipliers:
        """Dual variables, unscaled."""
        data = (self._c - self._z).mul_(self._seen).mul_(self.r1)
        image = None
        if self._w is not None and self._e is not None:
            image = self.r3 * self._e
            self.problem.domain(image).sub_(self.problem.domain(self._w), alpha=self._on_domain)
        return Multipliers(data, self.r2 * self._b, image)

    def _state(self) -> list[Tensor]:
        state = [self._c.clone(), self._a.clone()]
        if self._w is not None and self._e is not None:
            state.append(self._w + self._e)
        return state

    def _weights(self) -> list[float]:
        return [self.r1, self.r2, self.r3][: 2 + (self._w is not None)]

    def _seen_prox(self, c: Tensor) -> Tensor:
        """The prox where something was seen; `where` is ten times slower."""
        return torch.lerp(c, self.term.prox(c, self.r1), self._seen)
