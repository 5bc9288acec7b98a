"""Volumes tile by tile: passes to a proven error of 1e-3.

`--all` has tiles of all sizes and halos, otherwise the largest tiles with halos of two psfs.
Blurred and noisy pictures (camera, in two dimensions) and random fields with the spectrum of a
scene (in three), strength (noise/0.06)², natural edges on all sides.  With halos of two psfs must
hold

    noise 1 %      4 passes to an error proven to be 1e-3 of the standard deviation of the answer
    noise 0.3 %    12

What a pass costs beside the bare FFTs of its tiles is measured by `volume_run`.

The true error is that against the minimiser of the whole scene, solved for as one tile in double
precision.  Tiles of pictures are so small that Python takes most of their time.  One thread,
processor time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unconv.psf import disk, gaussian, motion
from unconv.volumes.quadratic.bound import lower_bound
from unconv.volumes.quadratic.grid_factor import grid_factor
from unconv.volumes.quadratic.local_inverse import LocalInverse
from unconv.volumes.quadratic.passes import Quadratic
from unconv.volumes.quadratic.problem import Problem
from unconv.volumes.quadratic.residual import TileNormal
from unconv.volumes.quadratic.schwarz import grid_sizes
from unconv.volumes.tiling.stages import MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

from .common import against, least_processor_times, seconds_of, table

TOL = 1e-3
NOISES = {0.01: 4, 0.003: 12}  # passes
GRADIENT = 0.06  # of pictures between neighbours, about


class Case(NamedTuple):
    """A psf, the data that it made, and tiles to try."""

    name: str
    psf: Tensor
    scene: tuple[int, ...]
    tiles: list[tuple[int, float]]  # (core, halo in psfs)


class CountedRunner(MemoryRunner):
    """A runner that adds up the processor time of stages by the first word of their names."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.seconds: dict[str, float] = {}

    def run(self, name: str, *args: Any) -> Any:
        """Do a stage; see `MemoryRunner`."""
        begin = time.process_time()
        found = super().run(name, *args)
        kind = name.split()[0]
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.process_time() - begin
        return found


def cases() -> Iterator[Case]:
    """Two dimensions with pictures, three with fields."""
    plane = [(64, 1.0), (64, 2.0), (128, 2.0)]
    yield Case("disk 6", disk(6.0).double(), (410, 390), plane)
    yield Case("motion 13", motion(13, 30).double(), (410, 390), plane)
    yield Case("Gaussian 2", gaussian(2.0).double(), (410, 390), plane)
    volume = [(48, 1.0), (48, 2.0), (64, 2.0)]
    yield Case("ball 4", _ball(4), (120, 100, 90), volume)
    z, y = _line(2.5, 6), _line(1.3, 4)
    yield Case("Gaussian 2.5, 1.3, 1.3", z[:, None, None] * y[:, None] * y, (120, 100, 90), volume)


def _line(sigma: float, reach: int) -> Tensor:
    found = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    return found / found.sum()


def _ball(radius: int) -> Tensor:
    x = torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2
    found = (x[:, None, None] + x[:, None] + x <= radius**2).double()
    return found / found.sum()


def scene(shape: tuple[int, ...]) -> Tensor:
    """A picture, or a random field whose amplitudes fall with the frequency to the power of 1.8."""
    if len(shape) == 2:
        import skimage.data

        return torch.from_numpy(skimage.data.camera()[: shape[0], : shape[1]] / 255)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    axes = [torch.fft.fftfreq(n).double() ** 2 for n in shape[:-1]]
    axes.append(torch.fft.rfftfreq(shape[-1]).double() ** 2)
    radius = (axes[0][:, None, None] + axes[1][:, None] + axes[2]).sqrt() + 0.01
    x = torch.fft.irfftn(torch.fft.rfftn(noise) / radius**1.8, s=shape)
    return (x - x.min()) / (x.max() - x.min())


def minimiser(problem: Problem, y: Tensor) -> Tensor:
    """x* of the whole scene, as one tile in double precision, refined."""
    axes = tuple(range(y.ndim))
    solve = LocalInverse(grid_factor(problem, problem.scene, axes, torch.float64), axes)
    normal = TileNormal(problem, problem.scene, torch.float64)
    level = float(y.mean() / problem.psf.sum())
    b = normal.blur.H(y - level * float(problem.psf.sum()))
    x = torch.zeros(problem.scene, dtype=torch.float64)
    for _ in range(2):
        x += solve(b - normal(x, None), [0] * y.ndim, tol=1e-6)
    return x + level


def bare(problem: Problem, tiling: Tiling) -> float:
    """Seconds of the FFTs of a tile in a pass: one pair of its grid and two of its block's."""
    images = [
        torch.randn(sizes)
        for sizes in (
            grid_sizes(problem, tiling.core, tiling.halo),
            TileNormal.grid(problem, tiling.core),
        )
    ]
    times = least_processor_times(
        {
            str(i): lambda x=x: torch.fft.irfftn(torch.fft.rfftn(x), s=x.shape)
            for i, x in enumerate(images)
        },
        rounds=7,
        seconds=1.0,
    )
    return times["0"] + 2 * times["1"]


def row(method: Quadratic, core: int, exact: Tensor, y: Tensor) -> list[str]:
    """One line of the table, but for what was asked."""
    problem = method.problem
    tiling = Tiling(problem.scene, [min(core, n) for n in problem.scene], method.halo)
    runner = CountedRunner(y.float().numpy())
    answer = method(runner, tiling)
    report = answer.report
    wrong = torch.from_numpy(runner.arrays[answer.name]).double() - exact
    applied = report["local inverses of a tile"]
    samples = math.prod(grid_sizes(problem, tiling.core, tiling.halo)) / math.prod(tiling.core)
    return [
        f"{report['smallest eigenvalue']:.1e}",
        str(report["passes"]),
        f"{report['proven error']:.1e}",
        f"{float(wrong.square().mean().sqrt() / exact.std()):.1e}",
        f"{applied[0]:.1f}",
        f"{np.mean(applied[1:]):.1f}",
        f"{samples:.1f}",
        seconds_of(sum(runner.seconds.values())),
    ]


def problem_of(case: Case, noise: float) -> Problem:
    """The psf with the prior for a noise."""
    data = tuple(n - k + 1 for n, k in zip(case.scene, case.psf.shape, strict=True))
    return Problem(case.psf, data, (noise / GRADIENT) ** 2, (1.0,) * len(data))


def main() -> bool:
    """Print the table; whether all figures are reached."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for case in cases():
        x = scene(case.scene)
        for noise in NOISES:
            problem = problem_of(case, noise)
            clean = TileNormal(problem, problem.scene, torch.float64).blur(x)
            generator = torch.Generator().manual_seed(1)
            y = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
            exact = minimiser(problem, y)
            bound = lower_bound(problem)
            for core, halo in case.tiles if "--all" in sys.argv else case.tiles[-1:]:
                found = row(Quadratic(problem, bound, TOL, halo), core, exact, y)
                found[1] = against(int(found[1]), NOISES[noise] if halo == 2 else math.inf, "d")
                rows.append([case.name, f"{noise:.1%}", str(core), f"{halo:g}", *found])
                print(*rows[-1], flush=True)
    torch.set_num_threads(threads)
    header = ["psf", "noise", "tile", "halo", "μ", "passes", "proven", "true", "applied, guess"]
    header += ["applied, pass", "samples", "s"]
    print(table("volumes: passes to a proven 1e-3", header, rows))
    return not any("!" in cell for line in rows for cell in line)
