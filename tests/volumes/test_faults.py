"""kill -9, at random moments, of the process or of a worker: the same command goes on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("zarr")
pytest.importorskip("distributed")

from .runs import drawn, files_of, run

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]
DATA = drawn((40, 42, 36))
HERE = Path(__file__).parents[2]  # where the package of the tests is found


def start(given, out, workers=1):
    command = [sys.executable, "-m", "tests.volumes.runs", str(given), str(out), str(workers)]
    return subprocess.Popen(command, cwd=HERE, start_new_session=True, stderr=subprocess.PIPE)


def kill(process):
    """The process and what it has started."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    np.save(folder / "in.npy", DATA)
    run(folder / "in.npy", folder / "out.zarr")
    return folder / "in.npy", files_of(folder / "out.zarr")


def finished(work):
    """How many records the journal has."""
    try:
        return (work / "journal").read_bytes().count(b"\n")
    except OSError:
        return 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_is_killed(tmp_path, given, seed):
    path, whole = given
    out, work = tmp_path / "out.zarr", tmp_path / "out.zarr.work"
    draw = random.Random(seed)
    for _ in range(1 if seed == 0 else 2):
        process = start(path, out)
        more = finished(work) + draw.randrange(70)
        while process.poll() is None and finished(work) <= more and not out.exists():
            time.sleep(0.001)
        time.sleep(draw.random() * 0.02)
        kill(process)
        if out.exists():
            break
    if work.exists() or not out.exists():
        run(path, out)
    assert files_of(out) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_a_worker_is_killed(tmp_path, given, workers, seed):
    path, whole = given
    draw = random.Random(seed)
    moments = {draw.randrange(5, 60)}
    told = []
    pool = workers.pool
    resident = pool.resident

    def progress(step):
        told.append(step)
        if len(told) in moments:
            alive = [w.pid for w in workers.cluster.workers.values() if w.pid]
            os.kill(draw.choice(alive), signal.SIGKILL)

    try:
        run(path, tmp_path / "out.zarr", pool=pool, progress=progress)
    finally:
        pool.resident = resident
    assert len(told) > max(moments)
    assert files_of(tmp_path / "out.zarr") == whole
