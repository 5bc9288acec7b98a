"""The driver: conjugate gradients over a whole volume, tile by tile, until an error is proven.

Preconditioned by M (schwarz.py), with the update of Polak and Ribière, since tiles are solved to a
tolerance and so M is not quite the same at every pass:

    z = M r,   β = ⟨z, r − r₋⟩/⟨z₋, r₋⟩,   p = z + βp₋,   q = N p,   α = ⟨r, p⟩/⟨p, q⟩,
    x ← x + αp,   r ← r − αq.

A pass has three stages: answers of tiles with their halos; p and q on the cores; x and r on the
cores.  From one stage to the next go arrays and a few sums.  When ‖r‖/μ promises the tolerance, the
gradient is computed anew, in double precision, from the data and x as it is stored; that one is the
proof, and where it falls short the passes begin again from it.  Errors are stated relative to
the standard deviation of x.

Arrays hold x − c in single precision, c the level of the data: what is rounded off a large
background would be multiplied by N and divided by μ, 3e-6 of the contrast becoming 1e-3.  Rounding
x itself at the end is in the proven error without a factor.

With positivity (`nonnegative`) tiles are minimised over what is allowed, in the place of M and of
conjugate directions, and the proof is that of the projected gradient (bounded.py).

With data missing no μ is known but λε, mostly a hundred times too small.  Then passes stop at what
the tolerance would take of whole data, and the error that is proven is stated beside it.

Cost of a pass: a pair of FFTs of a tile with its halo, two of a core with k − 1 samples around it,
and at the border of the scene what local_inverse.py says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import VolumeError
from ..tiling.stages import Answer, Constant, Numbers, Runner, Standing, Work
from ..tiling.survey import survey
from ..tiling.tiles import Tile, Tiling, shape_of
from .bound import Bound
from .bounded import IMAGES, BoundedSolve, outer_sizes
from .grid_factor import grid_factor
from .overlap import Overlap
from .problem import Problem
from .residual import Direction, Finish, Gradient, Join, Step, TileNormal
from .schwarz import Guess, Solve, Solves, grid_sizes, guess_sizes, local_solves, solve_bytes

_INNER = 0.1  # of a tile at the border in a pass; 0.01 saves no pass
_OF_BOUNDED = 0.03  # of what is left to do in a tile with a bound; 0.1 takes a pass more
_OF_GUESS = 1e-2  # 0.001 saves none either, 0.1 costs one at low noise
_LAST_PASS = 60  # passes
_AGAIN = 3  # proofs that fell short
_FLOAT32_EPS = float(np.finfo(np.float32).eps)


class Promise(NamedTuple):
    """Where the passes are: names of arrays, and what they are worth.

    Attributes
    ----------
    x, r : the names of arrays
    error : ‖r‖/μ relative to the standard deviation of x
    """

    x: str
    r: str
    error: float


@dataclass(frozen=True)
class Quadratic:
    """Restore a volume by the quadratic prior of problem.py: a `Method` for any runner.

    Attributes
    ----------
    problem : what is minimised
    bound : μ
    tol : the error, relative to the standard deviation of x, that is to be proven
    psfs : the halo, in extents of the psf
    nonnegative : no sample of x below zero

    Examples
    --------
    >>> from unconv.volumes.quadratic.bound import lower_bound
    >>> from unconv.volumes.tiling.stages import MemoryRunner
    >>> problem = Problem(torch.ones(3, 3, dtype=torch.float64) / 9, (30, 26), 0.01, (1.0, 1.0))
    >>> method = Quadratic(problem, lower_bound(problem))
    >>> runner = MemoryRunner(np.random.default_rng(0).standard_normal((30, 26)).astype("float32"))
    >>> answer = method(runner, Tiling(problem.scene, (16, 16), method.halo))
    >>> runner.arrays[answer.name].shape, answer.report["proven error"] < 1e-3
    ((32, 28), True)
    """

    problem: Problem
    bound: Bound
    tol: float = 1e-3
    psfs: float = 2.0
    nonnegative: bool = False

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Samples of the scene around the data."""
        return self.problem.margins

    @property
    def halo(self) -> tuple[int, ...]:
        """Some extents of the psf; what has none still has differences."""
        return tuple(max(4, math.ceil(self.psfs * k)) for k in self.problem.psf.shape)

    def arrays_for(self, core: Sequence[int]) -> float:
        """Three x (the first, the best, the latest), two p and r, q, and the answers of tiles.

        These overlap, and are up to 8 where cores have at least two halos.
        """
        axes = zip(self.problem.scene, core, self.halo, strict=True)
        return 8 + math.prod(min(n, c + 2 * h) / min(n, c) for n, c, h in axes)

    def bytes_for(self, tile: Tile) -> int:
        """What the largest work takes on a tile, with the factor that it needs."""
        core = shape_of(tile.core)
        sizes = (
            grid_sizes(self.problem, core, self.halo),
            guess_sizes(self.problem, core, self.halo),
        )
        block = TileNormal.grid(self.problem, core)
        solve = max(solve_bytes(self.problem, s) for s in sizes)
        if self.nonnegative:
            outer = outer_sizes(self.problem, core, self.halo)
            solve = max(solve, 4 * IMAGES * math.prod(TileNormal.grid(self.problem, outer)))
        return max(solve, 8 * Gradient.IMAGES * math.prod(block))

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """Pass over a volume until its error is proven, or nothing is gained any more.

        Raises
        ------
        VolumeError : no sample of the data is finite, or the psf does not fit a tile
        """
        assert tiling.scene == self.problem.scene, f"{tiling.scene} for {self.problem.scene}"
        for size, k in zip(
            guess_sizes(self.problem, tiling.core, tiling.halo), self.problem.psf.shape, strict=True
        ):
            if size < k:
                raise VolumeError(
                    f"tiles of {tiling.core} with a halo of {tiling.halo} are smaller than the "
                    f"psf, {tuple(self.problem.psf.shape)}; with a halo of {self.halo} any will do."
                )
        return _Run(self, runner, tiling).answer()


class _Run:
    """One volume: the stages, in order."""

    def __init__(self, method: Quadratic, runner: Runner, tiling: Tiling) -> None:
        self.method, self.problem = method, method.problem
        self.runner, self.tiling = runner, tiling
        self.overlap = Overlap(tiling)
        self.normal = Constant(TileNormal(self.problem, tiling.core, torch.float32))
        self.exact = Constant(TileNormal(self.problem, tiling.core, torch.float64))
        self.level, self.lost = self._level()
        self.least = -self.level if method.nonnegative else -math.inf
        self.mu = method.bound.mu
        self.number = 0
        self.applied: list[float] = []

    def answer(self) -> Answer:
        best = at = self._proven(self._guess(), "r/0")
        history, tries = [at.error], 0
        self._tell(at)
        if at.error > self.method.tol:
            self.solves = self._solves()
        while at.error > self.method.tol and self.number < _LAST_PASS and tries < _AGAIN:
            x = self._passes(at, history)
            found = self._proven(x, f"g/{self.number}")
            tries += found.error > at.error / 2
            history[-1] = found.error
            better = min(best, found, key=lambda promise: promise.error)
            self._drop(*{at.x, best.x} - {better.x, found.x})
            best, at = better, found
            self._tell(at)
        finish = Finish(best.x, self.level, "restored")
        stored = self.runner.run("finish", finish, self.tiling, {"restored": np.float32})
        self._drop(at.r, *{at.x, best.x})
        rounding = math.sqrt(_total(stored, "rounding") / math.prod(self.tiling.scene))
        return Answer("restored", self._report(best, history, rounding))

    def _level(self) -> tuple[float, int]:
        """c, such that A c is the mean of the data, as float32 has it; and samples not finite."""
        shape, gain = self.problem.data_shape, float(self.problem.psf.sum())
        seen = survey(self.runner, "the volume", "zyx"[-len(shape) :], shape)
        return float(np.float32(seen.mean / gain if gain else 0.0)), seen.lost

    def _solves(self) -> Constant:
        """What tiles are solved with in a pass."""
        if not self.method.nonnegative:
            return Constant(local_solves(self.problem, self.overlap))
        sizes = outer_sizes(self.problem, self.tiling.core, self.tiling.halo)
        return Constant(TileNormal(self.problem, sizes, torch.float32))

    def _guess(self) -> str:
        sizes = guess_sizes(self.problem, self.tiling.core, self.tiling.halo)
        solves = Solves(self.overlap, grid_factor(self.problem, sizes, range(len(sizes))))
        normal = TileNormal(self.problem, sizes, torch.float32)
        guess = Guess(Constant(solves), Constant(normal), self.level, "e/0", _OF_GUESS)
        found = self.runner.run("guess", guess, self.overlap.boxes, {"e/0": np.float32})
        self.applied.append(_total(found, "applied") / len(found))
        join = Join(self.overlap, "e/0", "x/0", self.least)
        self.runner.run("join", join, self.tiling, {"x/0": np.float32})
        self.runner.drop("e/0")
        return "x/0"

    def _proven(self, x: str, name: str) -> Promise:
        """The gradient from the data and what is stored: a proof."""
        work = Gradient(self.exact, self.level, x, name, self.least)
        found = self.runner.run(f"prove {name}", work, self.tiling, {name: np.float32})
        return Promise(x, name, self._error(found))

    def _error(self, found: list[Numbers]) -> float:
        size = math.prod(self.tiling.scene)
        mean = _total(found, "sum") / size
        self.spread = math.sqrt(max(0.0, _total(found, "square") / size - mean**2))
        return self._relative(math.sqrt(_total(found, "gg") / size) / self.mu)

    def _relative(self, error: float) -> float:
        """An error in standard deviations of the latest x."""
        rounding = _FLOAT32_EPS * abs(self.level)
        if self.spread > rounding:
            return error / self.spread
        return 0.0 if error <= rounding else math.inf  # of a constant, as it will be stored

    def _passes(self, start: Promise, history: list[float]) -> str:
        """Passes from an x and its gradient, until they promise the tolerance; the best x."""
        at, best = start, Promise("", "", math.inf)
        before = p = ""
        last = 1.0
        while self.number < _LAST_PASS:
            self.number += 1
            i = self.number
            e, q, x, r = f"e/{i}", f"q/{i}", f"x/{i}", f"r/{i}"
            found = self.runner.run(
                f"solve {i}", self._solve(at, before, e), self.overlap.boxes, {e: np.float32}
            )
            self.applied.append(_total(found, "applied") / len(found))
            er = _total(found, "er")
            beta = (er - _total(found, "before")) / last if before and last else 0.0
            last = er
            step = Direction(self.normal, self.overlap, (e, p, at.r), beta, i, bool(self.lost))
            writes = {f"p/{i}": np.float32, q: np.float32}
            alpha = self._along(self.runner.run(f"direction {i}", step, self.tiling, writes))
            self._drop(e, p, before)
            reads = at.x, f"p/{i}", at.r, q
            found = self.runner.run(
                f"step {i}", Step(reads, alpha, i, self.least), self.tiling,
                {x: np.float32, r: np.float32},
            )  # fmt: skip
            latest = Promise(x, r, self._error(found))
            better = min(best, latest, key=lambda promise: promise.error)
            self._drop(q, *{at.x, best.x} - {start.x, better.x})
            before, p = at.r, f"p/{i}"
            if self.method.nonnegative:  # directions that are not conjugate
                self._drop(before, p)
                before = p = ""
            # with a bound each pass gains ten times and more, until rounding ends that
            allowed = best.error if self.method.nonnegative else 1e3 * better.error
            best, at = better, latest
            history.append(at.error)
            self._tell(at)
            if at.error <= self.method.tol or not alpha or at.error > allowed:
                break
        self._drop(before, p, at.r, *{at.x} - {best.x})
        return best.x

    def _solve(self, at: Promise, before: str, name: str) -> Work:
        """What a pass does on tiles first."""
        if not self.method.nonnegative:
            return Solve(self.solves, at.r, before, name, _INNER)
        lost = bool(self.lost)
        return BoundedSolve(
            self.solves, self.overlap, (at.x, at.r), self.least, name, _OF_BOUNDED, lost
        )

    def _along(self, found: list[Numbers]) -> float:
        """α, from what a direction has found."""
        curved = _total(found, "pq")
        alpha = _total(found, "pr") / curved if curved > 0 else 0.0
        if not self.method.nonnegative:
            return alpha
        return 1.0 if alpha >= 0.5 else max(alpha, 0.0)  # bounded.py

    def _tell(self, at: Promise) -> None:
        words = "error about" if self.lost else "error within"  # without all data μ is another
        goal, most = self.method.tol, _LAST_PASS
        self.runner.tell(Standing(self.number, words, at.error, goal, most))

    def _drop(self, *names: str) -> None:
        self.runner.drop(*(name for name in names if name))

    def _report(self, at: Promise, history: list[float], rounding: float) -> dict[str, Any]:
        method, mu, source = self.method, self.mu, self.method.bound.source
        counted = "products with N" if method.nonnegative else "local inverses"
        if self.lost:
            mu = self.problem.smallest
            source = "strength times ridge, since some samples are not observed"
        proven = at.error * (self.mu / mu) + self._relative(rounding)
        return {
            "proven error": proven,
            "asked for": method.tol,
            "met": proven <= method.tol,
            "passes": self.number,
            "errors by pass": history,
            "smallest eigenvalue": mu,
            "from": source,
            "level": self.level,
            "not observed": self.lost,
            f"{counted} of a tile": self.applied,
        }


def _total(found: list[Numbers], key: str) -> float:
    return math.fsum(numbers[key] for numbers in found)
