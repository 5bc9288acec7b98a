"""Total variation and its like on tiles: each restored by itself, what it sees of others held.

    min f(Ax) + (ε/2)‖x‖² + strength·Σ φ(|Dx|),  x ≥ 0 where asked for        (restoration/)

A tile is a core with a halo of two psfs.  In the first pass nothing is known around it: it is
restored from the data that it explains alone, as a volume of its own.  In every further pass x
outside of it is held where the pass before left it; what that adds to the data which the tile
touches is taken off them (of counts it is background), and all of these data tell about the tile.
Of each solution the core is kept, and all tiles of a pass read the same finished arrays.

Why not the iterations of the whole volume, as for Richardson–Lucy?  They were measured: a proximal
primal–dual iteration (Condat 2013, Vũ 2013), of which each step is local, is after 600 of its
passes over the data where this is after one (disk and Gaussian, 160², differences of 6e-3 to 9e-3
of the standard deviation); the splitting of `unconv.restore` takes 50 to 170, but inverts over the
whole grid.

What is known of the answer.  How far the last pass moved it, relative to the standard deviation, is
told after each pass.  It is a fixed-point residual and no bound: tiles have natural edges for the
differences at their sides, so that a fixed point is not exactly the minimiser of the whole.
Against that minimiser the first pass was wrong by what the second one moved (1.8e-2 for 1.8e-2,
7.3e-3 for 7.2e-3, 4.1e-3 for 4.1e-3; 3-D 8.3e-3 for 1.1e-2), and the second by less than a solution
of the whole volume to the same `gap_tol` is.  Tiles end at that tolerance, by their own fixed-point
residual: exact solves for a gap would prove nothing of the whole.

Cost: a restoration of each tile with its halo a pass.  Not for denoisers, whose solves are exact.

Sources: as in `unconv.restore`; Fornasier & Schönlieb, "Subspace correction methods for total
variation and ℓ1-minimization", SIAM J. Numer. Anal. 47 (2009), for tiles that hold their
surroundings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...doors import ConvOperator
from ...inverse import AccuracyWarning
from ...restoration.certificate import Restoration
from ...restoration.memory import memory_needed
from ...restoration.question import MAXITER, asked
from ...restoration.solve import restorations
from ..tiling.scene import around, margins_of, rows_within, scene_shape
from ..tiling.stages import Answer, Array, Constant, Numbers, Read, Runner, Standing
from ..tiling.tiles import Region, Tile, Tiling, shape_of, within
from .box_blur import blur_of

HALO = 2
"""Psfs around a core.  With one the first pass is wrong by 1.1 to 2.5 times as much."""
_RANKS = (0.7, 0.8, 0.9)
"""Of tiles in the order of what happens in them: those whose strength is asked for."""
_AS_MEASURED = 2.0
"""Peak of a pass over what the iteration alone takes: 1.1 in the first, 1.8 to 1.9 in others."""


@dataclass(frozen=True)
class TileProblem:
    """What every tile is asked, in the words of `unconv.restore`.

    Attributes
    ----------
    psf : Constant of (*k) float64 on the CPU, held for all stages
    data_shape : n along each axis; what is not finite was not seen
    prior : 'tv', 'sparse' or 'hessian'
    strength : None to estimate it on some tiles, and the noise with it where that is not told
    noise_std : None where it is not told, which 'huber' with a strength needs
    p, spacing, nonnegative, noise_model, background, gap_tol, maxiter : as there
    memory_limit : bytes that the iteration on a tile may take
    """

    psf: Constant
    data_shape: tuple[int, ...]
    prior: str = "tv"
    strength: float | None = None
    noise_std: float | None = None
    p: float = 0.8
    spacing: tuple[float, ...] | None = None
    nonnegative: bool = False
    noise_model: str = "gaussian"
    background: float = 0.0
    gap_tol: float = 1e-3
    maxiter: int = MAXITER
    memory_limit: float = math.inf

    @property
    def k(self) -> tuple[int, ...]:
        """The shape of the psf."""
        return tuple(self.psf.value.shape)

    @property
    def scene(self) -> tuple[int, ...]:
        """The shape of x."""
        return scene_shape(self.data_shape, self.k)

    def box(self, core: Region) -> Region:
        """A core with its halo."""
        return around(core, [HALO * k for k in self.k], self.scene)

    def operator(self, box: Region, *, alone: bool) -> ConvOperator:
        """A from a box to the data that it explains alone, or to all that it touches."""
        padding = [0 if alone else k - 1 for k in self.k]
        weight = self.psf.value.float()[None, None]
        return ConvOperator(weight, shape_of(box), padding=padding, flip=True)

    def restored(
        self, A: ConvOperator, y: Tensor, background: float | Tensor, x0: Tensor | None = None
    ) -> Restoration:
        """The answer of `unconv.restore`, without a proof, for data (1, 1, *m) with NaN."""
        seen = ~y.isnan()
        question = asked(
            y.nan_to_num(0),
            False,
            () if self.strength is None else (self.strength,),
            lambda *_: None,
            prior=self.prior,
            p=self.p,
            coupled=True,
            spacing=1.0 if self.spacing is None else self.spacing,
            nonnegative=self.nonnegative,
            bounds=None,
            noise_model=self.noise_model,
            noise_std=self.noise_std,
            background=background,
            schedule=None,
            gap_tol=self.gap_tol,
            maxiter=self.maxiter,
            memory_limit=self.memory_limit,
        )
        question = replace(question, problem=replace(question.problem, proof=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)  # counted, and told by the driver
            return restorations(
                A if bool(seen.all()) else A.observed(seen[0, 0]), y.nan_to_num(0), x0, question
            )[0]


@dataclass(frozen=True)
class Contents:
    """How much happens in the data of each tile."""

    problem: TileProblem

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The variance of what was seen; -1 where nothing was."""
        y = _data(read, rows_within(self.problem.box(tile.core), self.problem.k))
        y = y[~y.isnan()].double()
        return {}, {"variance": float(y.var(correction=0)) if y.numel() else -1.0}

    def bytes_for(self, tile: Tile) -> int:
        """The data in double precision."""
        return 16 * math.prod(shape_of(self.problem.box(tile.core)))


@dataclass(frozen=True)
class TileEstimates:
    """Strength and noise of some tiles, each restored as a volume of its own."""

    problem: TileProblem
    chosen: tuple[int, ...]

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The strength of least expected error, and the noise that it was estimated with."""
        if tile.index not in self.chosen:
            return {}, {}
        box = self.problem.box(tile.core)
        y = _data(read, rows_within(box, self.problem.k))
        A = self.problem.operator(box, alone=True)
        found = self.problem.restored(A, y, self.problem.background)
        noise = float(found.certificate.noise_std)
        return {}, {"strength": float(found.strength), "noise_std": noise}

    def bytes_for(self, tile: Tile) -> int:
        """What a restoration of the tile takes at its peak."""
        return tile_bytes(self.problem, tile)


@dataclass(frozen=True)
class Pass:
    """One pass.

    Attributes
    ----------
    problem : with its strength
    before : the name of the x that is held around tiles; None in the first pass
    write : the name of what comes out
    """

    problem: TileProblem
    before: str | None
    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """x on the core, and sums over the part of it that lies in the frame of the data."""
        problem, box = self.problem, self.problem.box(tile.core)
        inner = within(tile.core, box)
        background: float | Tensor = problem.background
        if self.before is None:
            y = _data(read, rows_within(box, problem.k))
            held = torch.zeros(1, 1, *shape_of(box))
            told = None
        else:
            y, background, held = self._held(box, read)
            told = held
        found = held[0, 0]
        numbers = {"blind": 1.0, "short": 0.0, "iterations": 0.0}
        if not bool(y.isnan().all()):
            A = problem.operator(box, alone=self.before is None)
            answer = problem.restored(A, y, background, told)
            found, evidence = answer.solution[0, 0], answer.certificate
            numbers = {
                "blind": 0.0,
                "short": float(not evidence.converged),
                "iterations": float(evidence.iterations),
            }
        x = found[inner].float().numpy().copy()
        frame = _frame(tile.core, problem)
        part = x[frame].astype(np.float64)
        change = part - held[0, 0][inner].numpy()[frame]
        numbers |= {"count": part.size, "sum": float(part.sum()), "squares": _squared(part)}
        return {self.write: x}, numbers | {"change": _squared(change)}

    def _held(self, box: Region, read: Read) -> tuple[Tensor, float | Tensor, Tensor]:
        """The data that a box touches less what lies around it, the background, and x on the box.

        Data that there are not, behind the frame of the whole, are NaN.
        """
        assert self.before is not None
        problem = self.problem
        wide = around(box, [k - 1 for k in problem.k], problem.scene)
        x = torch.from_numpy(read(self.before, wide))[None, None]
        held = x[0, 0][within(box, wide)][None, None].clone()
        x[0, 0][within(box, wide)] = 0
        rows = rows_within(wide, problem.k)
        beside = blur_of(problem.psf.value, shape_of(wide))(x)
        first = [b.start - k + 1 for b, k in zip(box, problem.k, strict=True)]
        where = tuple(slice(r.start - f, r.stop - f) for r, f in zip(rows, first, strict=True))
        sizes = [n + k - 1 for n, k in zip(shape_of(box), problem.k, strict=True)]
        y = torch.full((1, 1, *sizes), torch.nan)
        seen = _data(read, rows)[0, 0]
        if problem.noise_model != "poisson":
            y[0, 0][where] = seen - beside[0, 0]
            return y, problem.background, held
        y[0, 0][where] = seen
        background = torch.zeros_like(y)
        background[0, 0][where] = beside[0, 0].clamp(min=0) + problem.background
        return y, background, held

    def bytes_for(self, tile: Tile) -> int:
        """What a restoration of the tile takes at its peak."""
        return tile_bytes(self.problem, tile)


def tile_bytes(problem: TileProblem, tile: Tile) -> int:
    """What a restoration of a tile takes at its peak, what it reads included."""
    A = problem.operator(problem.box(tile.core), alone=False)
    kind = "hessian" if problem.prior == "hessian" else "gradient"
    return int(_AS_MEASURED * memory_needed(A, kind, torch.float32))


@dataclass(frozen=True)
class TiledRestoration:
    """The driver: a `Method` of the engine.

    Attributes
    ----------
    problem : what every tile is asked
    tol : passes end when one moves x by less, rms relative to the standard deviation of x
    passes : at most
    """

    problem: TileProblem
    tol: float = 1e-2
    passes: int = 4

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """What the scene has around the data."""
        return margins_of(self.problem.k)

    @property
    def halo(self) -> tuple[int, ...]:
        """What a pass looks at around a core."""
        return tuple((HALO + 1) * k - 1 for k in self.problem.k)

    def arrays_for(self, core: Sequence[int]) -> float:
        """What a pass reads and what it writes."""
        return 2.0

    def bytes_for(self, tile: Tile) -> int:
        """What a pass takes on a tile."""
        return tile_bytes(self.problem, tile)

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """Passes until one moves little."""
        problem = self._estimated(runner, tiling)
        report: dict[str, Any] = {"residual": []}
        name: str | None = None
        for turn in range(self.passes):
            before, name = name, f"x/{turn}"
            work = Pass(problem, before, name)
            done = runner.run(f"pass {turn}", work, tiling, {name: np.float32})
            if before is not None:
                runner.drop(before)
                report["residual"].append(_residual(done))
                moved = report["residual"][-1]
                runner.tell(Standing(turn + 1, "moved by", moved, self.tol, self.passes))
            for key in ("blind", "short"):
                report[key] = int(sum(numbers[key] for numbers in done))
            report["iterations"] = int(max(numbers["iterations"] for numbers in done))
            report["settled"] = bool(report["residual"]) and report["residual"][-1] <= self.tol
            if report["settled"]:
                break
        assert name is not None
        report |= {"passes": turn + 1, "strength": problem.strength}
        report["noise_std"] = problem.noise_std
        return Answer(name, report)

    def _estimated(self, runner: Runner, tiling: Tiling) -> TileProblem:
        """The problem with one strength for all tiles: the median of some that are not empty."""
        problem = self.problem
        if problem.strength is not None:
            return problem
        done = runner.run("contents", Contents(problem), tiling, {})
        order = sorted(
            (numbers["variance"], i) for i, numbers in enumerate(done) if numbers["variance"] >= 0
        )
        chosen = tuple({order[int(rank * len(order))][1] for rank in _RANKS} if order else ())
        found = runner.run("estimates", TileEstimates(problem, chosen), tiling, {})
        strength = float(np.median([f["strength"] for f in found if f] or [1.0]))
        noise = float(np.median([f["noise_std"] for f in found if f] or [math.nan]))
        told = None if math.isnan(noise) else noise
        return replace(problem, strength=strength, noise_std=problem.noise_std or told)


def _residual(done: list[Numbers]) -> float:
    """√(mean square of the change)/standard deviation of x."""
    change, squares, total, count = (
        math.fsum(numbers[key] for numbers in done) for key in ("change", "squares", "sum", "count")
    )
    spread = squares - total**2 / count
    return math.sqrt(change / spread) if spread > 0 else 0.0


def _frame(core: Region, problem: TileProblem) -> Region:
    """The part of a core over which there are data: beyond it hardly anything tells of x."""
    return tuple(
        slice(max(before - c.start, 0), max(before + n - c.start, 0))
        for (before, _), n, c in zip(margins_of(problem.k), problem.data_shape, core, strict=True)
    )


def _data(read: Read, rows: Region) -> Tensor:
    """Data of a region, NaN where they are not finite."""
    y = torch.from_numpy(read("data", rows).astype(np.float32))[None, None]
    return y.where(y.isfinite(), torch.nan)


def _squared(values: Array) -> float:
    return float(np.vdot(values, values))
