"""One image restored with a penalty on differences: the iteration, its looks and its stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from ..inverse import InverseOperator
from ..numerics.norms import unit_of
from ..varying.inverse import VaryingInverse
from .certificate import Step
from .data_terms import DataTerm, Gaussian, Huber, Poisson
from .differences import differences
from .gap import Objective
from .memory import memory_left
from .penalties import Penalty
from .splitting import CONSTANT, FALLING, FALLING_ON, FREE, Bounds, Shares, Splitting
from .varying_grid import Blur, convolution_of, damped_inverse, grid_of

EPSILON = 1e-4
"""Of the square of the largest gain: ε of the stated problem."""

_FIRST_LOOK = 20  # iterations
_LEAST_BETWEEN, _MOST_BETWEEN = 0.1, 0.5  # looks, of the iterations taken
_MOST_BOUNDS = 3
_SURE, _SURER = 0.85, 0.7  # of what a look must show before the first exact solve, and later
_OF_GAP = 0.1  # of gap_tol, that the error of a solve may be, and that a residual must reach
_LEAST_TOL, _LARGEST_TOL = 1e-10, 1e-3  # of a solve
_ROUNDED = 0.03  # of the standard deviation of x: δ of sparse gradients, half a grey level or so
_REACHED = 1e-3  # of the largest sum of taps that see a sample: others are filled with the mean
# Gaps for which the border may stay where it was first put: at low noise, behind a wide psf, it is
# 0.2 to 0.4 dB nearer to the truth there than in the minimiser.
_WITHOUT_BORDER = 1e-3
_SINGLE_SERVES = 1e-5  # gaps down to which single precision reaches


@dataclass(frozen=True)
class Problem:
    """What is minimised for every image, checked.

    Attributes
    ----------
    kind : of the differences
    p : of the penalty
    coupled : whether channels share a norm
    spacing : of samples along each axis
    noise_model : of f
    gap_tol, maxiter, memory_limit : of the iteration
    proof : whether the gap is asked for, by exact solves; a fixed-point residual ends it otherwise
    """

    kind: str
    p: float
    coupled: bool
    spacing: tuple[float, ...]
    noise_model: str
    gap_tol: float
    maxiter: int
    memory_limit: float
    proof: bool = True

    @property
    def difference_unit(self) -> float:
        """What differences are divided by to be those of a smallest spacing of one."""
        order = 1 if self.kind == "gradient" else 2
        return min(self.spacing) ** -order

    @property
    def working(self) -> torch.dtype:
        """Real dtype of the iteration."""
        return torch.float32 if self.gap_tol >= _SINGLE_SERVES else torch.float64


@dataclass(frozen=True)
class Image:
    """One image of data, in a unit of its own.

    Attributes
    ----------
    y : (1, c_out, *m) float64
    noise_std : of white noise; 0 for counts
    delta : of Huber's term
    bounds : of x
    background : (1, c_out, *m), of counts
    """

    y: Tensor
    noise_std: float = 0.0
    delta: float = 0.0
    bounds: Bounds = FREE
    background: Tensor | None = None


@dataclass(frozen=True)
class Found:
    """What became of one image.

    Attributes
    ----------
    x : (1, *domain_shape) float64
    objective, bound, residual : as in the certificate
    iterations, solves : numbers
    history : looks
    """

    x: Tensor
    objective: float
    bound: float
    residual: float
    iterations: int
    solves: int
    history: list[Step]


class Restorer:
    """The problem of one operator on its grid, for any number of images one after the other.

    In units in which the taps are of order one and the smallest spacing is one.

    Parameters
    ----------
    op : one kernel
    problem : what is minimised
    """

    def __init__(self, op: Blur, problem: Problem) -> None:
        same_sizes = convolution_of(op)
        self._left = memory_left(same_sizes, problem.kind, problem.working, problem.memory_limit)
        A = op.in_double()
        self.unit = float(unit_of(A.weight.abs().amax()))
        self.A, seen = A.with_weight(A.weight / self.unit), A.seen
        self.problem = problem
        self.grid = grid_of(self.A, problem.working)
        spacing = [h / min(problem.spacing) for h in problem.spacing]
        D = differences(problem.kind, same_sizes, self.grid.torus, spacing, problem.working)
        self.penalty = Penalty(D, problem.p, problem.coupled)
        everywhere = torch.ones(1, *A.range_shape, dtype=torch.bool, device=A.device)
        self.seen = everywhere if seen is None else everywhere & seen
        self._inverse: InverseOperator | VaryingInverse | None = None

    def start(self, y: Tensor) -> Tensor:
        """The mean of the data that each sample of the domain reaches, in a unit that fits them."""
        y = y.where(self.seen, 0)
        weight = self.A.H(torch.ones_like(y).where(self.seen, 0))
        reached = weight.abs() > _REACHED * float(weight.abs().amax())
        x = torch.where(reached, self.A.H(y) / weight, y[self.seen].mean())
        blurred = self.A(x)
        power = float(blurred.abs().square().sum())
        return (
            x * (float((blurred.conj() * y).real.sum()) / power) if power else torch.zeros_like(x)
        )

    def epsilon(self, term: DataTerm) -> float:
        """ε in the unit of the grid."""
        return EPSILON * self.grid.gain**2 * term.curvature

    def term(self, image: Image) -> DataTerm:
        """f for its data."""
        match self.problem.noise_model:
            case "gaussian":
                return Gaussian(image.y)
            case "huber":
                return Huber(image.y, image.delta)
            case _:
                background = torch.zeros_like(image.y)
                return Poisson(
                    image.y, background if image.background is None else image.background
                )

    def term_on_grid(self, image: Image) -> DataTerm:
        """f for its data on the grid, zero where nothing was seen."""
        term = self.term(image)
        fields = {"y": self._on_grid(image.y)}
        if isinstance(term, Poisson):
            fields["background"] = self._on_grid(term.background)
        return replace(term, **fields)

    def splitting(
        self, image: Image, strength: float, x: Tensor, shares: Shares = CONSTANT
    ) -> Splitting:
        """The iteration that starts at an image x of the domain.

        shares : of its weights; those that change want a strength that stays
        """
        term, amplitude = self.term_on_grid(image), self.amplitude(image) or 1.0
        start = self.grid.extended(x.to(self.grid.dtype))
        return Splitting(
            self.grid,
            term,
            self.penalty_of(amplitude),
            strength,
            image.bounds,
            self.epsilon(self.term(image)),  # that of the problem: a grid has more places than data
            amplitude,
            start,
            shares,
        )

    def penalty_of(self, amplitude: float) -> Penalty:
        """φ for images of this standard deviation."""
        convex = self.penalty.is_convex
        return replace(self.penalty, delta=0.0 if convex else _ROUNDED * amplitude)

    def amplitude(self, image: Image) -> float:
        """The standard deviation that x may have."""
        return float(image.y[self.seen.expand_as(image.y)].std(correction=0)) / self.grid.gain

    def _on_grid(self, y: Tensor) -> Tensor:
        return self.grid.put(y.where(self.seen, 0)).to(self.grid.dtype)

    def minimise(
        self,
        image: Image,
        strengths: Sequence[float],
        x: Tensor,
        tell: Callable[[float, Step, Tensor], None],
    ) -> list[Found]:
        """What becomes of an image for each strength, begun where the one before has ended.

        x : (1, c_in, *n) to start from with the first
        tell : is given the strength, every look and the image
        """
        shares = FALLING if self.problem.gap_tol >= _WITHOUT_BORDER else FALLING_ON
        run, found = self.splitting(image, strengths[0], x, shares), []
        for k, strength in enumerate(strengths):
            if k:
                run.carry_on(strength)
                run.iterations = 0  # a penalty that is not convex takes its weights anew
            found.append(self._minimised(image, strength, run, partial(tell, strength)))
        return found

    def _minimised(
        self, image: Image, strength: float, run: Splitting, tell: Callable[[Step, Tensor], None]
    ) -> Found:
        """Iterate until the gap is proven, the residual small, or maxiter reached."""
        term = self.term(image)
        objective = Objective(
            self.A,
            self.grid,
            term,
            self.seen,
            run.penalty,
            strength,
            image.bounds,
            self.epsilon(term),
        )
        watch = _Watch(self, run, objective)
        while not watch.done:
            run.step()
            if run.iterations >= watch.next_look or run.iterations >= self.problem.maxiter:
                tell(watch.look(), watch.x)
        return watch.found()

    def inverse(self, tol: float) -> InverseOperator | VaryingInverse:
        """(AᴴA + ε)⁻¹Aᴴ, made once, to be solved with to a tolerance."""
        if self._inverse is None:
            damp = math.sqrt(EPSILON) * self.grid.gain
            self._inverse = damped_inverse(self.A, damp, self._left, _MOST_BOUNDS, tol)
        if self._inverse.iterates:
            self._inverse.tol = tol
        return self._inverse


class _Watch:
    """Looks at an iteration, and decides when it is done."""

    def __init__(self, restorer: Restorer, run: Splitting, objective: Objective) -> None:
        self.restorer, self.run, self.objective = restorer, run, objective
        self.tol, self.maxiter = restorer.problem.gap_tol, restorer.problem.maxiter
        solvable = objective.penalty.is_convex and isinstance(objective.term, Gaussian)
        self.exact = restorer.problem.proof and solvable
        self.next_look, self.solves, self.done = min(_FIRST_LOOK, self.maxiter), 0, False
        self.bound, self.residual, self.wanted = -math.inf, math.nan, _SURE * self.tol
        self.history: list[Step] = []
        self.x = objective.feasible(run.v)
        self.primal, self.iterations = math.nan, 0
        self._last: tuple[int, float] | None = None

    def look(self) -> Step:
        """Objective and gap of the present image."""
        self.x = self.objective.feasible(self.run.v)
        blurred = self.objective.A(self.x)
        self.primal = self.objective.primal(self.x, blurred)
        self.iterations = self.run.iterations  # of x; a residual takes one more
        last = self.iterations >= self.maxiter
        gap = self._gap_by_solve(blurred, last) if self.exact else self._gap_without()
        self.done |= last
        self.history.append(Step(self.iterations, self.primal, gap, self.residual))
        return self.history[-1]

    def _gap_by_solve(self, blurred: Tensor, last: bool) -> float:
        added = self.objective.linear(self.run.multipliers)
        guess = self._relative(self.objective.guess(self.x, blurred, added, self._inner))
        if self.solves >= _MOST_BOUNDS or not (guess <= self.wanted or last):
            self.done = self._relative(self.bound) <= self.tol
            self._plan(guess, self.wanted)
            return guess
        size = float(added.q.abs().square().sum().sqrt()) / self.objective.epsilon or 1.0
        energy = _OF_GAP * self.tol * max(self.primal, 1e-300)
        tol = math.sqrt(2 * energy / self.objective.epsilon) / size
        tol = min(max(tol, _LEAST_TOL), _LARGEST_TOL)
        bound = self.objective.by_solve(added, self.restorer.inverse(tol))
        self.bound, self.solves = max(self.bound, bound), self.solves + 1
        gap = self._relative(self.bound)
        self.done = gap <= self.tol
        if not self.done and gap > 0:
            # Where the border moves too, a first guess is too low by more than later ones.
            moves = self.solves == 1 and self.tol < _WITHOUT_BORDER
            self.wanted = _SURER * self.tol * (guess / gap) ** (0.5 if moves else 1.0)
        self._plan(guess, self.wanted)
        return gap

    def _gap_without(self) -> float:
        """By the Fenchel value where the problem is convex, and by the residual."""
        if self.objective.penalty.is_convex:
            self.bound = max(self.bound, self.objective.fenchel(self.run.multipliers))
        self.residual = self.run.fixed_point_residual()
        gap = self._relative(self.bound)
        settled = self.residual <= _OF_GAP * self.tol and self.primal < math.inf
        self.done = gap <= self.tol or settled
        self._plan(self.residual, _OF_GAP * self.tol)
        return gap

    def _plan(self, value: float, target: float) -> None:
        """Look again when a value should have come to a target: halfway of two laws of decline.

        An exponential one, which is too soon later on, and a power of the iterations, too late.
        """
        taken, steps = self.iterations, math.inf
        if self._last is not None and 0 < target < value < self._last[1]:
            before, larger = self._last
            turns = math.log(value / target) / math.log(larger / value)
            power = math.expm1(min(turns * math.log(taken / before), 1.0))
            steps = (turns * (taken - before) + power * taken) / 2
        self._last = taken, value
        steps = min(max(steps, _LEAST_BETWEEN * taken), _MOST_BETWEEN * taken)
        self.next_look = taken + math.ceil(steps)

    @cached_property
    def _inner(self) -> Callable[[Tensor], Tensor]:
        """Nearly (AᴴA + ε)⁻¹, as the grid has it."""
        solver = partial(self.restorer.inverse, _LARGEST_TOL)
        return self.restorer.grid.nearly_inverse(self.objective.epsilon, solver)

    def _relative(self, bound: float) -> float:
        if not self.primal > 0:
            return 0.0
        known = math.isfinite(bound) and math.isfinite(self.primal)
        return max(0.0, self.primal - bound) / self.primal if known else math.inf

    def found(self) -> Found:
        """The image and its evidence."""
        return Found(
            self.x,
            self.primal,
            self.bound,
            self.residual,
            self.iterations,
            self.solves,
            self.history,
        )
