"""Runs of the engine with the toy's method, in this process or in one that is killed."""

import sys
from pathlib import Path

import numpy as np

from unconv.volumes.pools import make_pool
from unconv.volumes.process import process
from unconv.volumes.sources import open_source
from unconv.volumes.stages import MemoryRunner
from unconv.volumes.tiles import Tiling

from .toy import Toy


def toy_of(batch, facts):
    return Toy(len(batch.shape))


def run(given, out, *, pool=None, method_of=toy_of, memory=1e12, progress=lambda _: None, **options):
    source = open_source(given, options.pop("axes", None), options.pop("voxel", None))
    pool = pool or make_pool(1, None)
    return process(
        source, Path(out), method_of, pool, parameters=options, memory=memory, progress=progress
    )


def in_memory(data, core, method=None):
    """What the toy gives for one volume, by the runner in memory."""
    method = method or Toy(data.ndim)
    scene = [n + 2 for n in data.shape]
    runner = MemoryRunner(data)
    answer = method(runner, Tiling(scene, core, method.halo))
    return runner.arrays[answer.name][(slice(1, -1),) * data.ndim]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


if __name__ == "__main__":
    given, out, workers = sys.argv[1:]
    pool = make_pool(int(workers), None)
    try:
        run(given, out, pool=pool)
    finally:
        pool.close()
