"""What is asked of a volume, and the method that gives it: estimates first, then one of few.

quadratic          conjugate gradients over tiles, linear, its error proven (passes.py)
richardson-lucy    of counts, positive, step by step that of the whole volume (counts.py)
tv                 the same with total variation
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..numerics.checks import check_choice, check_flag, check_number
from .evidence import NOISE_MODELS, Estimates, estimate
from .nonlinear.counts import Counts, RichardsonLucy
from .nonlinear.priors import TiledRestoration, TileProblem
from .quadratic.bound import Bound, lower_bound
from .quadratic.passes import Quadratic
from .quadratic.problem import Problem
from .sources.source import Batch
from .tiling.stages import Answer, Constant, Method, Runner
from .tiling.tiles import Tile, Tiling

PENALTIES = ("tv", "sparse", "hessian")
_MOVED = 1e-2  # of the standard deviation of x, which tiles solved by themselves do not fall below
_NEAR_VOXELS = 1.5  # what a gain may be away from that of counts, as a factor


@dataclass(frozen=True)
class Wanted:
    """What a user wants to have, as `deconvolve` takes it."""

    prior: str = "auto"
    strength: float | None = None
    nonnegative: bool = False
    noise_model: str = "gaussian"
    noise_std: float | None = None
    background: float | None = None
    tol: float = 1e-3
    seed: int = 0

    def checked(self) -> Wanted:
        """What is wanted with its prior by name, if all is in range and a method does it."""
        check_choice("noise_model", self.noise_model, NOISE_MODELS)
        check_flag("nonnegative", self.nonnegative)
        priors = [prior for prior, noise in _METHODS if noise == self.noise_model]
        check_choice(
            "prior", self.prior, ["auto", *priors], f" with noise_model={self.noise_model!r}"
        )
        if self.nonnegative and self.prior in ("auto", "quadratic"):
            raise ValueError(
                "nonnegative is for the priors tv, sparse and hessian, and counts have it anyway; "
                "give one of these, or leave it out."
            )
        check_number("tol", self.tol, positive=True, below=1)
        for name in ("strength", "noise_std"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), positive=True)
        if self.background is not None:
            check_number("background", self.background, least=-math.inf)
        return replace(self, prior=priors[0]) if self.prior == "auto" else self


@dataclass(frozen=True)
class Asked:
    """Everything that the answer depends on beside the data.

    Attributes
    ----------
    wanted : checked
    psf : float64, sum 1, on the grid of the volume
    spacing : of its samples along each axis
    volumes : how many there are
    unproven : leave out what costs much and only proofs need
    """

    wanted: Wanted
    psf: Tensor
    spacing: tuple[float, ...]
    volumes: int = 1
    unproven: bool = False
    _made: dict[str, Estimated] = field(default_factory=dict, compare=False, repr=False)
    _bounds: dict[float, Bound] = field(default_factory=dict, compare=False, repr=False)

    def parameters(self) -> dict[str, Any]:
        """As JSON can hold it; the psf by its shape and a digest."""
        content = self.psf.contiguous().numpy().tobytes()
        psf = {
            "shape": list(self.psf.shape),
            "digest": hashlib.blake2b(content, digest_size=16).hexdigest(),
        }
        return asdict(self.wanted) | {"psf": psf, "spacing": list(self.spacing)}

    def estimates(self, batch: Batch) -> Estimates:
        """What a volume says of itself; in one thread, so that it is the same on any machine."""
        wanted, threads = self.wanted, torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return estimate(
                batch.read,
                batch.shape,
                self.psf,
                spacing=self.spacing,
                noise_model=wanted.noise_model,
                noise_std=wanted.noise_std,
                background=wanted.background,
                strength=wanted.strength,
                seed=wanted.seed,
            )
        finally:
            torch.set_num_threads(threads)

    def method(self, batch: Batch) -> Estimated:
        """The method for one volume, with what was estimated for it."""
        if batch.label not in self._made:
            found = self.estimates(batch)
            make = _METHODS[self.wanted.prior, self.wanted.noise_model]
            self._made[batch.label] = Estimated(make(self, batch.shape, found), found)
        return self._made[batch.label]

    def sketch(self, batch: Batch) -> Estimated:
        """A method for its shapes alone: nothing is proven with it, which takes longest."""
        return replace(self, unproven=True, _made={}).method(batch)

    def bound(self, problem: Problem) -> Bound:
        """μ ≤ λ_min(N), which takes a minute for a large psf.

        Many volumes share those of powers of two: N grows with λ, so that μ for less λ holds too.
        """
        if self.unproven:
            return Bound(problem.smallest, "nothing is run")
        strength = problem.strength
        if self.volumes > 1:
            strength = 2.0 ** math.floor(math.log2(strength))
        if strength not in self._bounds:
            self._bounds[strength] = lower_bound(replace(problem, strength=strength))
        return self._bounds[strength]


@dataclass(frozen=True)
class Estimated:
    """A method that tells what it was chosen by.

    Attributes
    ----------
    method : that does the work
    estimates : which it follows, and tells
    """

    method: Method
    estimates: Estimates

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """What the scene has around the data."""
        return self.method.margins

    @property
    def halo(self) -> tuple[int, ...]:
        """Samples around a core on either side of each axis."""
        return self.method.halo

    def arrays_for(self, core: Sequence[int]) -> float:
        """How many float32 arrays of the size of the scene there are at most at one time."""
        return self.method.arrays_for(core)

    def bytes_for(self, tile: Tile) -> int:
        """What the largest work takes on a tile."""
        return self.method.bytes_for(tile)

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """The answer, with the estimates in what it tells."""
        answer = self.method(runner, tiling)
        return answer._replace(report={**answer.report, "estimates": asdict(self.estimates)})


def _quadratic(asked: Asked, shape: tuple[int, ...], found: Estimates) -> Method:
    """The linear answer, whose error is proven."""
    problem = Problem(asked.psf, shape, found.strength, found.weights, found.ridge)
    return Quadratic(problem, asked.bound(problem), asked.wanted.tol)


def _richardson_lucy(asked: Asked, shape: tuple[int, ...], found: Estimates) -> Method:
    """Steps until the fit is as close as that of the true scene."""
    background = max(found.background, 0.0)
    return RichardsonLucy(Counts(Constant(asked.psf), shape, background, spacing=asked.spacing))


def _penalised(asked: Asked, shape: tuple[int, ...], found: Estimates) -> Method:
    """A restoration of each tile, with what is around it held."""
    wanted = asked.wanted
    counts = wanted.noise_model == "poisson"
    return TiledRestoration(
        TileProblem(
            Constant(asked.psf),
            shape,
            prior=wanted.prior,
            strength=wanted.strength,
            noise_std=None if counts else found.noise_std,
            spacing=asked.spacing,
            nonnegative=wanted.nonnegative or counts,
            noise_model=wanted.noise_model,
            background=max(found.background, 0.0) if counts else 0.0,
        ),
        tol=max(wanted.tol, _MOVED),
    )


# the first for a model of the noise is the usual one
_METHODS: Mapping[tuple[str, str], Callable[[Asked, tuple[int, ...], Estimates], Method]] = {
    ("quadratic", "gaussian"): _quadratic,
    ("richardson-lucy", "poisson"): _richardson_lucy,
    **dict.fromkeys(itertools.product(PENALTIES, NOISE_MODELS), _penalised),
}


def doubts_of(asked: Asked, found: Estimates) -> list[str]:
    """What is doubtful about a volume, in sentences."""
    doubts = list(found.doubts)
    if asked.wanted.noise_model == "poisson" and not 1 / _NEAR_VOXELS < found.gain < _NEAR_VOXELS:
        doubts.append(
            f"the variance of the noise grows by {found.gain:.3g} for each unit of light, and that "
            "of counts by 1: divide the values by it first, with the camera's offset taken off"
        )
    return doubts
