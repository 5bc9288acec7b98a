"""What is asked of a volume, and the method that gives it: estimates first, then one of few.

quadratic              conjugate gradients over tiles, linear, its error proven (quadratic/); with
                       no sample below zero where asked for, proven too
richardson-lucy        of counts, positive, step by step that of the whole volume
                       (nonlinear/counts.py); with total variation if a strength is told
tv, sparse, hessian    tiles restored by themselves, what is around them held (nonlinear/priors.py)

Counts of a camera whose gain is not 1 are made counts first (nonlinear/camera.py).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from ..numerics.checks import check_choice, check_flag, check_number
from ..numerics.threads import one_thread
from .evidence import LEAST_SHOT, NOISE_MODELS, Estimates, estimate
from .nonlinear.camera import Camera, CameraMethod
from .nonlinear.counts import Counts, RichardsonLucy
from .nonlinear.priors import TiledRestoration, TileProblem
from .quadratic.bound import Bound, lower_bound
from .quadratic.passes import Quadratic
from .quadratic.problem import Problem
from .sources.source import Batch
from .tiling.stages import Answer, Constant, Derived, Method, Runner
from .tiling.tiles import Tiling

PENALTIES = ("tv", "sparse", "hessian")
_MOVED = 1e-2  # of the standard deviation of x, which tiles solved by themselves do not fall below
_FEW_TILES = 8  # tiles; a gain comes out at 0.2 to 0.9 of it from one, at 0.7 to 1 from four
_NEAR_COUNTS = 1.5  # what an estimated gain may be away from 1, as a factor, and is taken for 1


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
    gain: float | None = None

    def checked(self) -> Wanted:
        """What is wanted with its prior by name, if all is in range and a method does it."""
        check_choice("noise_model", self.noise_model, NOISE_MODELS)
        check_flag("nonnegative", self.nonnegative)
        priors = [prior for prior, noise in _METHODS if noise == self.noise_model]
        check_choice(
            "prior", self.prior, ["auto", *priors], f" with noise_model={self.noise_model!r}"
        )
        if self.gain is not None and self.noise_model != "poisson":
            raise ValueError(
                f"gain={self.gain} is the unit of a photon; use it with noise_model='poisson'."
            )
        check_number("tol", self.tol, positive=True, below=1)
        for name in ("strength", "noise_std", "gain"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), positive=True)
        if self.background is not None:
            check_number("background", self.background, least=-math.inf)
        if self.prior != "auto":
            return self
        positive = self.nonnegative and self.noise_model == "gaussian"
        return replace(self, prior="tv" if positive else priors[0])

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on what `auto` has chosen."""
        if self.prior == "auto" and self.checked().prior == "tv":
            return (
                "the prior is tv, no bound of whose error is proven; 'quadratic' has one, takes "
                "longer, and is better for scenes without edges",
            )
        return ()


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
        """What a volume says of itself, the same on any machine."""
        wanted = self.wanted
        with one_thread():
            return estimate(
                batch.read,
                batch.shape,
                self.psf,
                spacing=self.spacing,
                noise_model=wanted.noise_model,
                noise_std=wanted.noise_std,
                background=wanted.background,
                strength=wanted.strength,
                gain=wanted.gain,
                seed=wanted.seed,
            )

    def method(self, batch: Batch) -> Estimated:
        """The method for one volume, with what was estimated for it."""
        if batch.label not in self._made:
            found = self.estimates(batch)
            make = _METHODS[self.wanted.prior, self.wanted.noise_model]
            camera, remarks = self.camera(found)
            if camera is None:
                method = make(self, batch.shape, found)
            else:
                counts = replace(found, background=camera.dark)
                method = CameraMethod(make(self, batch.shape, counts), camera)
            self._made[batch.label] = Estimated(method, found, remarks)
        return self._made[batch.label]

    def camera(self, found: Estimates) -> tuple[Camera | None, tuple[str, ...]]:
        """What made values of counts, None where they are taken for counts; and sentences on it."""
        wanted, gain = self.wanted, found.gain
        if wanted.noise_model != "poisson" or gain == 1:
            return None, ()
        source = "gain"
        if wanted.gain is None:
            source = "the variance of the noise"
            if found.shot_share < LEAST_SHOT or 1 / _NEAR_COUNTS < gain < _NEAR_COUNTS:
                return None, ()
            if found.tiles < _FEW_TILES:
                return None, (
                    f"a photon may be {gain:.3g} units, but too little was seen to divide by that; "
                    "give gain if the values are no counts",
                )
        return Camera(gain, found.background, found.read_std), (
            f"by {source} a photon is {gain:.3g} units: the values less {found.background:.4g} "
            "were divided by that and are restored as counts; the answer is in the unit of the "
            "values",
        )

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
class Estimated(Derived):
    """A method that tells what it was chosen by.

    Attributes
    ----------
    method : that does the work
    estimates : which it follows, and tells
    remarks : sentences on what was taken for granted
    """

    estimates: Estimates
    remarks: tuple[str, ...] = ()

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """The answer, with the estimates in what it tells."""
        answer = self.method(runner, tiling)
        told = {"estimates": asdict(self.estimates), "taken for granted": [*self.remarks]}
        return answer._replace(report={**answer.report, **told})


def _quadratic(asked: Asked, shape: tuple[int, ...], found: Estimates) -> Method:
    """The linear answer, or the one that has nothing below zero; its error is proven."""
    problem = Problem(asked.psf, shape, found.strength, found.weights, found.ridge)
    wanted = asked.wanted
    bound = asked.bound(problem)
    return Quadratic(problem, bound, wanted.tol, nonnegative=wanted.nonnegative)


def _richardson_lucy(asked: Asked, shape: tuple[int, ...], found: Estimates) -> Method:
    """Steps until the fit is as close as that of the true scene."""
    return RichardsonLucy(
        Counts(
            Constant(asked.psf),
            shape,
            background=max(found.background, 0.0),
            tv=asked.wanted.strength or 0.0,
            spacing=asked.spacing,
        )
    )


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
