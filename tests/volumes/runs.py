"""Runs of the engine with the toy's method, in this process or in one that is killed."""

import sys
from pathlib import Path

import numpy as np

from unconv.volumes.engine.pools import make_pool
from unconv.volumes.engine.process import process
from unconv.volumes.sources import open_source
from unconv.volumes.tiling.stages import MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

from .toy import Toy

SMALL = 2.4e6
"""Bytes for a worker beside what the library takes: tiles of 16³."""


def toy_of(batch, facts):
    return Toy(len(batch.shape))


def quiet(told):
    pass


def run(
    given, out, *, pool=None, method_of=toy_of, room=SMALL, progress=quiet, axes=None, voxel=None,
    **parameters,
):  # fmt: skip
    """A run whose workers may take `room` beside the library."""
    pool = pool or make_pool(1, None)
    pool.resident = lambda: 0  # what it is differs from call to call
    return process(
        open_source(given, axes, voxel), Path(out), method_of, pool,
        parameters=parameters, memory=room, progress=progress,
    )  # fmt: skip


def in_memory(data, core, method=None):
    """What the toy gives for one volume, by the runner in memory."""
    method = method or Toy(data.ndim)
    runner = MemoryRunner(data)
    answer = method(runner, Tiling([n + 2 for n in data.shape], core, method.halo))
    return runner.arrays[answer.name][(slice(1, -1),) * data.ndim]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


class Halt(BaseException):
    """Raised by `stop_after`: what a kill is to a process, in this one."""


def stop_after(count):
    """A progress that stops the run after some tiles."""
    left = [count]

    def progress(told):
        left[0] -= 1
        if left[0] <= 0:
            raise Halt

    return progress


def files_of(folder):
    """Every file below a folder and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


if __name__ == "__main__":  # python -m tests.volumes.runs IN OUT WORKERS
    given, out, workers = sys.argv[1:]
    pool = make_pool(int(workers), None)
    try:
        run(given, out, pool=pool)
    finally:
        pool.close()
