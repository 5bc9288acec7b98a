"""min f(Av) + (ε/2)‖v‖² + strength·φ(Dv), with bounds, by splitting: only FFTs and places.

On the grid of grid_problem.py three things are split off from the image v, each with a scaled
multiplier, and every one of them is known place by place:

    z = C v      f where something was seen, nothing elsewhere
    g = D v      strength·φ
    w = v        bounds, and what padding invents; where one of both is asked for

v itself is known per frequency:

    (r₁ CᴴC + r₂ DᴴD + r₃ + ε) v = r₁ Cᴴ(z − d) + r₂ Dᴴ(g − b) + r₃ (w − e)

Where padding copies samples ε is charged with w, once a sample of the domain and not for copies.

With over-relaxation an iteration takes two pairs of FFTs.

r₂ shrinks differences of a fifth of the standard deviation of the data a step; r₁ is a twenty-fifth
of the curvature of f (a tenth for counts).  With more of it a Gaussian psf or low noise takes
longer, where A sees the surroundings little; with less everything else does.  r₃ is the geometric
mean of the other two, or twice that: with noise of 0.1 to 8 % the best was within a factor of two
of it, and what suits the one takes three times as long for the other.  All scale with the unit of
the picture.

Source: Almeida & Figueiredo 2013 as in grid_problem.py; over-relaxation, Eckstein & Bertsekas, "On
the Douglas–Rachford splitting method", Mathematical Programming 55 (1992).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..grid.torus import multiply
from .data_terms import DataTerm
from .grid_problem import GridProblem
from .penalties import Penalty

_RELAXATION = 1.8
_BETWEEN_WEIGHTS, _MOST_WEIGHTS = 10, 15  # iterations; how often before they are held
_OF_MEAN = {False: 1.0, True: 2.0}  # r₃, by whether padding copies samples
_SHRUNK = 0.2  # differences of that share of the standard deviation of the data


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
    ) -> None:
        self.problem, self.term, self.penalty = problem, term, penalty
        self.bounds, self.iterations, self.epsilon = bounds, 0, epsilon
        self.r1 = term.pull
        self.splits_image = bounds.bind or problem.copies
        self._on_domain = epsilon if problem.copies else 0.0
        # A strength is shrunk by the same amount whatever it is: r₂ is what grows with it.
        self._threshold = (_SHRUNK * amplitude) ** (2 - penalty.p) / penalty.p
        self._power = penalty.differences.power
        self._weigh(strength)
        self.v = start
        self._z = self._seen_prox(problem.blurred(problem.torus.transform(start)))
        self._d = torch.zeros_like(self._z)
        self._g = penalty.differences(start)
        self._b = torch.zeros_like(self._g)
        self.reweigh()
        self._w = problem.nearest(start, *bounds) if self.splits_image else None
        self._e = torch.zeros_like(start) if self.splits_image else None

    def carry_on(self, strength: float) -> None:
        """Go on for another strength, from where this one has got to, multipliers included.

        Those of differences grow with the strength, as unit vectors along edges; those of bounds
        stay.  With both, few iterations are left to do.
        """
        before = self.r3
        self._weigh(strength)
        if self._e is not None:
            self._e *= before / self.r3

    def _weigh(self, strength: float) -> None:
        self.r2 = strength / self._threshold
        mean = self.problem.gain * math.sqrt(self.r1 * self.r2)
        self.r3 = mean * _OF_MEAN[self.problem.copies] if self.splits_image else 0.0
        rest = self.r3 + self.epsilon - self._on_domain
        self._normal = NormalEquations(self.problem, self.r1, self.r2 * self._power, rest)

    def reweigh(self) -> None:
        """Take the tangent of a penalty that is not convex at the present image."""
        self._radius: float | Tensor = self._threshold
        if not self.penalty.is_convex:
            self._radius = self._threshold * self.penalty.slope(self._g)

    def step(self) -> None:
        """One iteration."""
        turn, rest = divmod(self.iterations, _BETWEEN_WEIGHTS)
        if rest == 0 and turn < _MOST_WEIGHTS:
            self.reweigh()
        p, D = self.problem, self.penalty.differences
        V = p.adjoint_spectrum(self._z - self._d).mul_(self.r1)
        pulled = D.adjoint(self._g - self._b).mul_(self.r2)
        if self._w is not None and self._e is not None:
            pulled += self.r3 * (self._w - self._e)
        V = self._normal.solve(V.add_(p.torus.transform(pulled)))
        self.v = p.torus.inverse_transform(V)
        c = relaxed(p.blurred(V), self._z).add_(self._d)
        self._z = self._seen_prox(c)
        self._d = c.sub_(self._z)
        c = relaxed(D(self.v), self._g).add_(self._b)
        self._b = self.penalty.outside(c.clone(), self._radius)
        self._g = c.sub_(self._b)
        if self._w is not None and self._e is not None:
            c = relaxed(self.v.clone(), self._w).add_(self._e)
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
        data = (self.r1 * self._d).where(self.problem.seen, 0)
        image = None
        if self._w is not None and self._e is not None:
            image = self.r3 * self._e
            self.problem.domain(image).sub_(self.problem.domain(self._w), alpha=self._on_domain)
        return Multipliers(data, self.r2 * self._b, image)

    def _state(self) -> list[Tensor]:
        state = [self._z + self._d, self._g + self._b]
        if self._w is not None and self._e is not None:
            state.append(self._w + self._e)
        return state

    def _weights(self) -> list[float]:
        return [self.r1, self.r2, self.r3][: 2 + (self._w is not None)]

    def _seen_prox(self, c: Tensor) -> Tensor:
        return torch.where(self.problem.seen, self.term.prox(c, self.r1), c)


def relaxed(found: Tensor, last: Tensor) -> Tensor:
    """1.8 found − 0.8 last, in the memory of the first."""
    return found.mul_(_RELAXATION).add_(last, alpha=1 - _RELAXATION)


class NormalEquations:
    """(r CᴴC + diagonal)⁻¹ per frequency."""

    def __init__(self, problem: GridProblem, r: float, power: Tensor, rest: float) -> None:
        blocks, spectrum = problem.blocks, problem.torus.spectrum_shape
        real = problem.dtype.to_real()
        self.is_diagonal = blocks.shape[-1] == 1
        if self.is_diagonal:
            gram = blocks[..., 0].abs().square().sum(-1).movedim(0, -1).flatten(0, 1)
            whole = r * gram.double().unflatten(-1, spectrum) + (power + rest)
            self.inverse = (1 / whole).to(real)[None]  # (1, c_in, *spectrum)
            return
        double = blocks.to(torch.complex128)
        whole = r * (double.mH @ double)
        whole.diagonal(dim1=-2, dim2=-1).add_((power.flatten() + rest)[:, None, None, None])
        self.inverse = torch.linalg.inv(whole).to(blocks.dtype)

    def solve(self, V: Tensor) -> Tensor:
        """In the memory of V where channels do not mix."""
        if self.is_diagonal:
            return V.mul_(self.inverse)
        return multiply(self.inverse, V)
