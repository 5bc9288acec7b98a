"""Richardson–Lucy on tiles: step by step the iteration of a volume in memory, a stage a step.

    s = step(p),    step(p) = p/(Aᵀ1) · Aᵀ(y/(A p + b)), or with total variation as in tv_step.py,
    p ← s + α(s − s₋),    α = ⟨g, g₋⟩/⟨g₋, g₋⟩ in [0, 1],   g = s − p

A step is local: on a core it needs p within k samples and the data that these blur into.  So each
tile computes it exactly, from arrays that the stage before has finished, and no seam is possible.
α, the likelihood and the rule that ends the iteration are sums over tiles.  The point p ahead is
never stored: whoever needs it reads s and s₋ and puts them together.  Where the objective at p
turns out higher than before, the stage is done again from s itself.

Nothing is solved on a tile by itself, on purpose: Richardson–Lucy is stopped early, and steps that
a tile takes ahead of others, with an α of its own, would smooth it less than its neighbours.

Cost: two pairs of FFTs of a tile with a halo of k an axis, three arrays read and one written.
Proven is what is proven of the iteration: no step raises the objective.  How far the next step
would go, ‖s − p‖/‖s‖, is told as the fixed-point residual; it is no bound of an error.

Sources as in `unconv.richardson_lucy`, whose steps these are.  Without background and total
variation that function rescales p to the mass of the data, which would be a stage more; here it is
done once, at the end, as every step from p restores the mass by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...restoration.count_data import LEAST_REACH, CountData
from ...restoration.extrapolation import LEAST_KEPT
from ...restoration.tv_step import TotalVariation
from ..tiling.scene import around, margins_of, rows_within, scene_shape
from ..tiling.stages import Answer, Array, Constant, Numbers, Read, Runner, Standing
from ..tiling.tiles import Region, Tile, Tiling, shape_of, within
from .box_blur import blur_of

# float32 arrays of a box that a step holds at its peak, spectra of three shapes included
_ARRAYS_OF_BOX = 20
_ARRAYS_OF_TV = 10  # further ones


@dataclass(frozen=True)
class Counts:
    """What counts are restored to: x ≥ 0 of a scene that is larger than the data by k − 1 an axis.

    Attributes
    ----------
    psf : (*k) float64 on the CPU, held for all stages; no negative taps
    data_shape : n along each axis; what is not finite was not seen
    background : mean count without light, b ≥ 0
    tv : strength λ of total variation, 0 for none
    spacing : of voxels along each axis, as differences are divided by it
    """

    psf: Constant
    data_shape: tuple[int, ...]
    background: float = 0.0
    tv: float = 0.0
    spacing: tuple[float, ...] | None = None

    @property
    def k(self) -> tuple[int, ...]:
        """The shape of the psf."""
        return tuple(self.psf.value.shape)

    def box(self, core: Region) -> Region:
        """The part of the scene that a step on a core looks at."""
        return around(core, self.k, scene_shape(self.data_shape, self.k))

    def data(self, box: Region, read: Read, level: float) -> CountData:
        """The problem on a box; all that is said within a sample of its core is as in the whole."""
        y = torch.from_numpy(read("data", rows_within(box, self.k)).astype(np.float32))[None, None]
        explained = y.isfinite()
        A = blur_of(self.psf.value, shape_of(box))
        holes = not bool(explained.all())
        weights = A.H(explained.to(y.dtype)) if holes else self._light(box)
        reach = weights > LEAST_REACH * float(self.psf.value.sum())
        return CountData.of_box(
            A,
            y.where(explained, 0),
            torch.tensor(self.background),
            weights=weights.where(reach, 0),
            reach=reach,
            explained=explained,
            level=torch.full((1, *[1] * (y.ndim - 1)), level),
        )

    def _light(self, box: Region) -> Tensor:
        """Aᵀ1 on a box where all data were seen: sums of taps, an axis after the other."""
        light: Tensor = self.psf.value.double()
        for axis, (b, k, n) in enumerate(zip(box, self.k, self.data_shape, strict=True)):
            # sample j is read by the rows j − t, with the tap k − 1 − t of the psf
            row = torch.arange(b.start, b.stop)[:, None] - (k - 1 - torch.arange(k))
            light = torch.tensordot(((row >= 0) & (row < n)).double(), light.movedim(axis, 0), 1)
            light = light.movedim(0, axis)
        return light.float()[None, None]


class Point(NamedTuple):
    """p = s + α(s − s₋), but nowhere below a tenth of s, by the names of s and s₋."""

    step: str
    before: str
    alpha: float

    def read(self, read: Read, region: Region) -> Array:
        """p on a region."""
        step = read(self.step, region)
        if not self.alpha:
            return step
        ahead = step + np.float32(self.alpha) * (step - read(self.before, region))
        found: Array = np.maximum(ahead, np.float32(LEAST_KEPT) * step)
        return found


@dataclass(frozen=True)
class Light:
    """How much light there is, for the constant from which the iteration starts."""

    counts: Counts

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """Sums over the core of the data and of Aᵀ1."""
        counts, box = self.counts, self.counts.box(tile.core)
        data = counts.data(box, read, 1.0)
        own = data.outputs(_owned(tile, box, counts.data_shape))
        weights = data.weights[(..., *within(tile.core, box))]
        light = float(own.y.sum(dtype=torch.float64))
        return {}, {"light": light, "weights": float(weights.sum(dtype=torch.float64))}

    def bytes_for(self, tile: Tile) -> int:
        """Less than a step takes."""
        return box_bytes(self.counts, tile)


@dataclass(frozen=True)
class Start:
    """The constant that has the light of the data, zero where nothing is in reach."""

    counts: Counts
    level: float
    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """x on the core."""
        box = self.counts.box(tile.core)
        reach = self.counts.data(box, read, self.level).reach[0, 0][within(tile.core, box)]
        return {self.write: self.level * reach.float().numpy()}, {}

    def bytes_for(self, tile: Tile) -> int:
        """Less than a step takes."""
        return box_bytes(self.counts, tile)


@dataclass(frozen=True)
class Step:
    """One step from a point, and what there is to know of the point.

    Attributes
    ----------
    counts : the problem
    level : the constant that has the light of the data
    at, before : the point, and the one before it
    write : the name of what comes out
    """

    counts: Counts
    level: float
    at: Point
    before: Point | None
    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """s on the core, with sums over the core and over the data that belong to it."""
        counts, box = self.counts, self.counts.box(tile.core)
        inner = within(tile.core, box)
        data = counts.data(box, read, self.level)
        tv = TotalVariation(data, counts.tv, counts.spacing)
        p = torch.from_numpy(self.at.read(read, box))[None, None]
        mean = data.mean(p)
        owned = _owned(tile, box, counts.data_shape)
        own, own_mean = data.outputs(owned), mean[0, 0][owned]
        divergence = float(own.divergence(own_mean))
        numbers = {
            "divergence": divergence,
            "objective": divergence + float(tv.value(p, inner)),
            "expected": float(own.expected_divergence(own_mean)),
            "light": float(own.y.sum(dtype=torch.float64)),
            "mean": float(own_mean.where(own.explained[0, 0], 0).sum(dtype=torch.float64)),
        }
        step = tv.step(p, p * data.back(mean))[0, 0][inner].numpy()
        change = (step - p[0, 0][inner].numpy()).astype(np.float64)
        numbers |= {"size": float((step.astype(np.float64) ** 2).sum()), "change": _dot(change)}
        if self.before is not None:
            earlier = read(self.at.step, tile.core) - self.before.read(read, tile.core)
            numbers["turn"] = _dot(change, earlier)
        return {self.write: step.copy()}, numbers

    def bytes_for(self, tile: Tile) -> int:
        """What a step takes on a tile at its peak."""
        return box_bytes(self.counts, tile)


@dataclass(frozen=True)
class Write:
    """A point as an array, times a factor."""

    at: Point
    factor: float
    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """p on the core."""
        return {self.write: np.float32(self.factor) * self.at.read(read, tile.core)}, {}

    def bytes_for(self, tile: Tile) -> int:
        """Four arrays of the core."""
        return 16 * math.prod(shape_of(tile.core))


def box_bytes(counts: Counts, tile: Tile) -> int:
    """What a step on a tile takes at its peak."""
    arrays = _ARRAYS_OF_BOX + (_ARRAYS_OF_TV if counts.tv else 0)
    return 4 * arrays * math.prod(shape_of(counts.box(tile.core)))


@dataclass(frozen=True)
class RichardsonLucy:
    """The driver: a `Method` of the engine.

    Attributes
    ----------
    counts : the problem
    maxiter : steps at most
    stop : 'discrepancy' ends where the fit is as close as that of the true picture on average;
        None where the fixed-point residual is small or after maxiter steps
    tol : that residual, for stop=None
    """

    counts: Counts
    maxiter: int = 500
    stop: str | None = "discrepancy"
    tol: float = 0.0

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """What the scene has around the data."""
        return margins_of(self.counts.k)

    @property
    def halo(self) -> tuple[int, ...]:
        """What a step looks at around a core."""
        return self.counts.k

    def arrays_for(self, core: Sequence[int]) -> float:
        """Three steps and the one that is written, or the answer beside them."""
        return 4.0

    def bytes_for(self, tile: Tile) -> int:
        """What a step takes on a tile."""
        return box_bytes(self.counts, tile)

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """Step until the rule ends the iteration."""
        return _Steps(self, runner, tiling).run()


class _Steps:
    """The state of a driver: the names of arrays, and sums."""

    def __init__(self, method: RichardsonLucy, runner: Runner, tiling: Tiling) -> None:
        self.method, self.counts = method, method.counts
        self.runner, self.tiling = runner, tiling
        self.stages = 0
        self.history: list[dict[str, float]] = []

    def run(self) -> Answer:
        sums = self._sums(self.runner.run("light", Light(self.counts), self.tiling, {}))
        level = sums["light"] / sums["weights"] if sums["weights"] else 0.0
        start = Start(self.counts, level, "x/0")
        self.runner.run("start", start, self.tiling, {"x/0": np.float32})
        at, before, kept = Point("x/0", "x/0", 0.0), None, ["x/0"]
        last, ended = math.inf, False
        for steps in range(self.method.maxiter + 1):
            name, sums = self._stage(at, before, level)
            if sums["objective"] > last and at.alpha:
                self.runner.drop(name)
                at, before = at._replace(alpha=0.0), None
                name, sums = self._stage(at, before, level)
            last = sums["objective"]
            self.history.append(self._told(sums))
            self.runner.tell(self._standing(steps))
            ended = self._ended(sums)
            if ended or steps == self.method.maxiter:
                break
            kept.append(name)
            at, before = Point(name, at.step, self._alpha(sums, before)), at
            if len(kept) > 3:
                self.runner.drop(kept.pop(0))
        self.runner.drop(name)
        return self._answer(at, kept, sums, ended)

    def _stage(self, at: Point, before: Point | None, level: float) -> tuple[str, Numbers]:
        self.stages += 1
        name = f"x/{self.stages}"
        work = Step(self.counts, level, at, before, name)
        done = self.runner.run(f"step {self.stages}", work, self.tiling, {name: np.float32})
        return name, self._sums(done)

    @staticmethod
    def _sums(numbers: list[Numbers]) -> Numbers:
        return {key: math.fsum(n[key] for n in numbers) for key in numbers[0]}

    def _alpha(self, sums: Numbers, before: Point | None) -> float:
        """How far the next point lies ahead: none after the first step, nor after a fall back."""
        if before is None:
            return 0.0
        earlier = self.history[-2]["change"]
        return min(max(sums["turn"] / earlier, 0.0), 1.0) if earlier else 0.0

    def _told(self, sums: Numbers) -> dict[str, float]:
        residual = math.sqrt(sums["change"] / sums["size"]) if sums["size"] else 0.0
        return {**sums, "residual": residual}

    def _standing(self, steps: int) -> Standing:
        """What the rule that ends the iteration looks at."""
        method, sums = self.method, self.history[-1]
        if method.stop != "discrepancy":
            return Standing(steps, "residual", sums["residual"], method.tol, method.maxiter)
        misfit = sums["divergence"] / sums["expected"] if sums["expected"] else 0.0
        return Standing(steps, "misfit", misfit, 1.0, method.maxiter)

    def _ended(self, sums: Numbers) -> bool:
        if self.method.stop == "discrepancy":
            return sums["divergence"] <= sums["expected"]
        return self.history[-1]["residual"] <= self.method.tol

    def _answer(self, at: Point, kept: list[str], sums: Numbers, ended: bool) -> Answer:
        """The last point, scaled to the light of the data where it would have it at the minimum."""
        keeps_mass = not self.counts.tv and not self.counts.background and sums["mean"]
        factor = sums["light"] / sums["mean"] if keeps_mass else 1.0
        work = Write(at, factor, "x")
        self.runner.run("answer", work, self.tiling, {"x": np.float32})
        self.runner.drop(*kept)
        shown = ("divergence", "objective", "expected", "residual")
        report: dict[str, Any] = {key: [h[key] for h in self.history] for key in shown}
        report["iterations"] = len(self.history) - 1
        report["stages"] = self.stages
        report["stopped_by"] = (self.method.stop or "residual") if ended else "maxiter"
        return Answer("x", report)


def _owned(tile: Tile, box: Region, data_shape: tuple[int, ...]) -> Region:
    """The data that belong to a tile, each datum to one, among those of its box."""
    return tuple(
        slice(min(c.start, n) - b.start, min(c.stop, n) - b.start)
        for c, b, n in zip(tile.core, box, data_shape, strict=True)
    )


def _dot(a: Array, b: Array | None = None) -> float:
    return float(np.vdot(a, a if b is None else b))
