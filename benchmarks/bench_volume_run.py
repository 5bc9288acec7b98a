"""Runs of a volume on the disk: how time grows with it, two workers, and a pass beside its FFTs.

Random fields with the spectrum of a scene, blurred by a Gaussian of 9×7×7 samples, noise 1 %, to a
proven error of 1e-3.  Wanted:

    1, 2, 4, 8 units of volume   time grows as the volume: no unit takes more than the first
    two workers of one thread    1.8 times as fast as one: time on the clock, median of two runs,
                                 with `--all` of five and with tiles of 96 as well
    a pass on tiles of 64        1.5 times the bare FFTs of its tiles, for 16³ tiles and more: by
                                 counting those inside and at the border of the scene

μ is found before; processor time of one thread where it is not the clock's.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from unconv.volumes.engine.pools import DaskPool, InlinePool, Pool
from unconv.volumes.engine.process import Processed, process
from unconv.volumes.quadratic.bound import Bound, lower_bound
from unconv.volumes.quadratic.passes import Quadratic
from unconv.volumes.quadratic.problem import Problem
from unconv.volumes.quadratic.residual import TileNormal
from unconv.volumes.sources import open_source
from unconv.volumes.tiling.stages import Array, MemoryRunner, Numbers, Read, Work
from unconv.volumes.tiling.tiles import Tile, Tiling, shape_of

from .bench_volume_passes import GRADIENT, bare, scene
from .common import against, seconds_of, table

GROWTH, FFT_LIMIT, FASTER = 1.1, 1.5, 1.8
NOISE, TOL = 0.01, 1e-3
UNIT = (48, 48, 96)  # of the scene, which tiles of 48 divide
SIDE = 48
ROOM = 1e9  # bytes for a worker beside the library


class OnTiles(Quadratic):
    """The method on tiles of `side` samples, whatever would fit."""

    side = SIDE

    def bytes_for(self, tile: Tile) -> int:
        """More than there is for larger tiles."""
        return super().bytes_for(tile) if max(shape_of(tile.core)) <= self.side else 2**60


class OnLargeTiles(OnTiles):
    """On tiles as runs with some memory take them, eight times as large."""

    side = 2 * SIDE


def main() -> bool:
    """Print the tables; whether all figures are reached."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        parts = [growth(Path(folder)), workers(Path(folder)), passes()]
    torch.set_num_threads(threads)
    return all(parts)


def growth(folder: Path) -> bool:
    """Processor time of 1, 2, 4 and 8 units, in this process."""
    rows, first = [], 0.0
    for times in ((1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2)):
        stack, method = volume(times)
        begun = time.process_time()
        done = restored(stack, method, InlinePool(), folder / f"{times}.zarr")
        taken = time.process_time() - begun
        units = int(np.prod(times))
        first = first or taken
        told = done.reports["all"]
        rows.append([
            str(units), "×".join(map(str, done.need.core)), str(told["passes"]),
            f"{told['proven error']:.1e}", seconds_of(taken),
            against(taken / units / first, GROWTH),
        ])  # fmt: skip
    header = ["units", "tiles", "passes", "proven", "s", "of a unit/first"]
    print(table("volumes: growth", header, rows), flush=True)
    return not any("!" in cell for row in rows for cell in row)


def workers(folder: Path) -> bool:
    """Time on the clock of one worker and of two, in turns.

    Starting them does not count, nor what they import: a small volume is restored first.
    """
    rows, small = [], volume((1, 1, 1))
    everything = "--all" in sys.argv
    chosen = [(OnTiles, (2, 3, 3)), (OnLargeTiles, (4, 4, 3))]
    for kind, times in chosen if everything else chosen[:1]:
        stack, method = volume(times, kind)
        taken: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(5 if everything else 2):
            for count, found in taken.items():
                pool = DaskPool(count)
                restored(*small, pool, folder / f"small {kind.side} {count} {turn}.zarr")
                begun = time.perf_counter()
                out = folder / f"{kind.side} {count} {turn}.zarr"
                restored(stack, method, pool, out)
                found.append(time.perf_counter() - begun)
                pool.close()
                shutil.rmtree(out)
        one, two = (statistics.median(found) for found in taken.values())
        row = [*(f"{min(t):.1f}–{max(t):.1f}" for t in taken.values())]
        rows.append([f"{kind.side}³", *row, against(two / one, 1 / FASTER)])
    header = ["tiles", "one worker, s", "two, s", "two/one"]
    print(table("volumes: two workers", header, rows), flush=True)
    return not any("!" in row[-1] for row in rows)


class TimedWork:
    """A work that keeps the least processor time of each tile."""

    def __init__(self, work: Work, seconds: dict[int, float]) -> None:
        self.work, self.seconds = work, seconds

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """What the work does."""
        begun = time.process_time()
        found = self.work(tile, read)
        taken = time.process_time() - begun
        self.seconds[tile.index] = min(taken, self.seconds.get(tile.index, taken))
        return found

    def bytes_for(self, tile: Tile) -> int:
        """Those of the work."""
        return self.work.bytes_for(tile)


class TimedRunner(MemoryRunner):
    """A runner that keeps the processor time of each tile in the stages of passes."""

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data)
        self.seconds: dict[str, dict[int, float]] = {}

    def run(self, name: str, work: Work, tiling: Tiling, writes: Mapping[str, DTypeLike]) -> Any:
        """Do a stage; see `MemoryRunner`."""
        kind = self.seconds.setdefault(name.split()[0], {})
        return super().run(name, TimedWork(work, kind), tiling, writes)


def passes() -> bool:
    """A pass on 3×3×3 tiles of 64 beside the bare FFTs of their grids, by the place of a tile."""
    stack, method = volume((4, 4, 2))
    problem = method.problem
    tiling = Tiling(problem.scene, (64, 64, 64), method.halo)
    runner = TimedRunner(stack)
    report = method(runner, tiling).report
    one = bare(problem, tiling)
    ratios = []
    for sides, name in enumerate(("inside", "side", "edge", "corner")):
        tiles = [t.index for t in tiling.tiles if sum(map(any, t.true_sides)) == sides]
        taken = [sum(runner.seconds[s][i] for s in ("solve", "direction")) for i in tiles]
        ratios.append(statistics.fmean(taken) / one)
        print(f"{name}: {len(tiles)} tiles, {ratios[-1]:.2f}")
    row = [seconds_of(one), f"{np.mean(report['local inverses of a tile'][1:]):.1f}"]
    row += [f"{ratio:.2f}" for ratio in ratios]
    for n in (3, 8, 16, 32):
        counts = [math.comb(3, sides) * 2**sides * (n - 2) ** (3 - sides) for sides in range(4)]
        whole = sum(c * r for c, r in zip(counts, ratios, strict=True)) / n**3
        row.append(against(whole, FFT_LIMIT if n > 8 else math.inf))
    header = ["FFTs of a tile, s", "applied", "inside", "side", "edge", "corner"]
    header += ["3³ tiles", "8³", "16³", "32³"]
    print(table("volumes: a pass beside its FFTs", header, [row]), flush=True)
    return not any("!" in cell for cell in row)


def volume(
    times: tuple[int, int, int], kind: type[OnTiles] = OnTiles
) -> tuple[np.ndarray, Quadratic]:
    """Data of some units along each axis, and the method for them; μ is that of any size."""
    psf = _psf()
    units = zip(UNIT, times, psf.shape, strict=True)
    shape = tuple(n * t - k + 1 for n, t, k in units)
    problem = Problem(psf, shape, (NOISE / GRADIENT) ** 2, (1.0,) * 3)
    x = scene(problem.scene)
    y = TileNormal(problem, problem.scene, torch.float64).blur(x)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (y + NOISE * noise).float().numpy(), kind(problem, _bound(problem), TOL)


_found: list[Bound] = []


def _bound(problem: Problem) -> Bound:
    if not _found:
        _found.append(lower_bound(problem))
    return _found[0]


def _psf() -> Tensor:
    z, y = (
        torch.exp(-0.5 * (torch.arange(-n, n + 1, dtype=torch.float64) / sigma) ** 2)
        for n, sigma in ((4, 1.6), (3, 1.2))
    )
    found = z[:, None, None] * y[:, None] * y
    return found / found.sum()


def restored(stack: np.ndarray, method: Quadratic, pool: Pool, out: Path) -> Processed:
    """A run on tiles of SIDE samples."""
    memory = pool.resident() + ROOM
    return process(open_source(stack), out, lambda *_: method, pool, parameters={}, memory=memory)
