"""Values of a camera as counts of photons: its gain divided out, its offset and read noise kept.

    y = gain·Poisson(A x) + offset + read noise,    Var y = gain·(E y − b) + r²

with b the level without light and r the standard deviation there.  Then

    n = (y − b)/gain + (r/gain)²    has    E n = Var n = A x + (r/gain)²,

two moments of counts with a background of (r/gain)², and methods for counts restore x from n.
Their answer is multiplied by the gain, so that it is in the unit of the values.  λ of a penalty
that is linear in x stays as it is: likelihood and penalty are divided by the same gain.

Source: Snyder, Hammoud & White, "Image recovery from data acquired with a charge-coupled-device
camera", J. Opt. Soc. Am. A 10 (1993).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from ..tiling.stages import Answer, Array, Derived, Numbers, Read, Runner, Standing, Work
from ..tiling.tiles import Tile, Tiling, shape_of


@dataclass(frozen=True)
class Camera:
    """What makes values of counts.

    Attributes
    ----------
    gain : units of the values for each photon
    background : value without light
    read_std : standard deviation of the noise there
    """

    gain: float
    background: float
    read_std: float

    @property
    def dark(self) -> float:
        """Mean count without light, which has the variance of what is read without."""
        return (self.read_std / self.gain) ** 2

    def counts(self, values: Array) -> Array:
        """Counts for values, none below zero; NaN stays."""
        found = values.astype(np.float32)
        found -= np.float32(self.background)
        found /= np.float32(self.gain)
        found += np.float32(self.dark)
        return np.maximum(found, 0, out=found)


@dataclass(frozen=True)
class OfCounts:
    """A work that is given counts where it reads the data."""

    work: Work
    camera: Camera

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """What the work says of counts."""

        def counted(name: str, region: tuple[slice, ...]) -> Array:
            part = read(name, region)
            return self.camera.counts(part) if name == "data" else part

        return self.work(tile, counted)

    def bytes_for(self, tile: Tile) -> int:
        """The work, and the values beside their counts."""
        return self.work.bytes_for(tile) + _values_bytes(tile)


@dataclass(frozen=True)
class InUnits:
    """An array times the gain."""

    read: str
    gain: float
    write: str

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The core."""
        return {self.write: np.float32(self.gain) * read(self.read, tile.core)}, {}

    def bytes_for(self, tile: Tile) -> int:
        """Two arrays of the core."""
        return 8 * math.prod(shape_of(tile.core))


class _CountsRunner:
    """A runner whose works are given counts."""

    def __init__(self, runner: Runner, camera: Camera) -> None:
        self._runner, self._camera = runner, camera

    def run(
        self, name: str, work: Work, tiling: Tiling, writes: Mapping[str, DTypeLike]
    ) -> list[Numbers]:
        """Do a stage; see `Runner`."""
        return self._runner.run(name, OfCounts(work, self._camera), tiling, writes)

    def drop(self, *names: str) -> None:
        """Forget arrays; see `Runner`."""
        self._runner.drop(*names)

    def tell(self, standing: Standing) -> None:
        """Say how far the driver is."""
        self._runner.tell(standing)


@dataclass(frozen=True)
class CameraMethod(Derived):
    """A method for counts, on values of a camera: a `Method` of the engine.

    Attributes
    ----------
    method : for counts with the background `camera.dark`
    camera : that made the values
    """

    camera: Camera

    def arrays_for(self, core: Sequence[int]) -> float:
        """Those of the method, or its answer in both units."""
        return max(super().arrays_for(core), 2.0)

    def bytes_for(self, tile: Tile) -> int:
        """What the largest work takes on a tile, and the values beside their counts."""
        return super().bytes_for(tile) + _values_bytes(tile)

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """The answer in the unit of the values."""
        answer = self.method(_CountsRunner(runner, self.camera), tiling)
        work = InUnits(answer.name, self.camera.gain, "restored")
        runner.run("units", work, tiling, {"restored": np.float32})
        runner.drop(answer.name)
        return Answer("restored", answer.report)


def _values_bytes(tile: Tile) -> int:
    return 8 * math.prod(shape_of(tile.outer))
