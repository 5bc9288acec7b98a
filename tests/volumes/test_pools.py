"""Two worker processes over TCP: the numbers of one, and sentences when they are gone."""

import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("zarr")
pytest.importorskip("distributed")

import zarr

from unconv.volumes.engine import pools
from unconv.volumes.engine.jobs import Outcome
from unconv.volumes.engine.pools import AHEAD, TASK, DaskPool, make_pool
from unconv.volumes.errors import StoppedError, VolumeError

from .runs import drawn, files_of, in_memory, run

DATA = drawn((40, 42, 36))


def test_two_workers_are_one(tmp_path, workers):
    cluster = workers.cluster
    pool = DaskPool(scheduler=cluster.scheduler_address)
    assert cluster.scheduler_address.startswith("tcp://127.0.0.1")
    assert pool.threads == 2
    assert pool.dashboard is None or pool.dashboard.startswith("http://127.0.0.1")
    assert pool.resident() > 5e7
    done = run(DATA, tmp_path / "out.zarr", pool=pool)
    found = zarr.open(tmp_path / "out.zarr", mode="r")["0"][:]
    assert (found == in_memory(DATA, done.need.core)).all()
    pool.close()
    assert len(cluster.scheduler.workers) == 2  # which are not ours


def test_no_scheduler_is_a_sentence(monkeypatch):
    monkeypatch.setattr(pools, "CONNECT", 1)
    with pytest.raises(VolumeError, match=r"no workers at tcp://127\.0\.0\.1:1 "):
        make_pool(2, "tcp://127.0.0.1:1")
    with pytest.raises(VolumeError, match="no workers at nonsense://x "):
        make_pool(2, "nonsense://x")


def test_workers_that_do_not_see_the_output_are_refused(tmp_path, workers):
    with pytest.raises(VolumeError, match=r"the worker tcp://.* does not see .*nowhere"):
        workers.pool.require_shared(tmp_path / "nowhere/journal")


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.3, 7.0])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_tile_is_in_one_task_and_short_ones_go_together(seconds, threads):
    tiles = range(3, 203)
    tasks = pools._Tasks(tiles, threads)
    dealt = [*tasks.first()]
    assert len(dealt) == AHEAD * threads
    for group in dealt:  # and those that come while it goes on
        tasks.took([Outcome(seconds=seconds)] * len(group))
        dealt += tasks.next()
    assert [index for group in dealt for index in group] == [*tiles]
    longest = max(map(len, dealt))
    assert longest == 1 or longest * seconds <= TASK
    if seconds <= 0.01:
        assert len(dealt) <= 20 * threads + 20
    sizes = [len(group) for group in dealt[AHEAD * threads :]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


class Deadly:
    """A job that no worker survives on one tile."""

    def __call__(self, index):
        if index == 7:
            time.sleep(3)  # a nanny does not start again what dies before it has seen it begin
            os._exit(1)
        return Outcome({"index": float(index)})


@pytest.mark.slow
def test_a_tile_that_no_worker_survives_takes_no_other_with_it(tmp_path):
    pool = DaskPool(1)
    try:
        found = dict(pool.each(tmp_path, Deadly(), range(24)))
    finally:
        pool.close()
    assert "its workers died" in found.pop(7).failure
    assert {i: outcome.numbers["index"] for i, outcome in found.items()} == {i: i for i in found}
    assert sorted([*found, 7]) == [*range(24)]


def test_a_lost_scheduler_is_a_sentence_and_the_run_goes_on(tmp_path, workers):
    pool = DaskPool(scheduler=workers.cluster.scheduler_address)
    told = []

    def progress(step):
        told.append(step)
        if len(told) == 20:
            workers.lose()

    with pytest.raises(StoppedError, match=r"the scheduler at tcp://.* is gone; start it again"):
        run(DATA, tmp_path / "out.zarr", pool=pool, progress=progress)
    pool.close()
    workers.close()
    done = run(DATA, tmp_path / "out.zarr")
    assert done.resumed
    (tmp_path / "whole").mkdir()
    run(DATA, tmp_path / "whole/out.zarr")
    assert files_of(tmp_path / "out.zarr") == files_of(tmp_path / "whole/out.zarr")


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from unconv.volumes.engine.pools import DaskPool\nDaskPool(1)\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "unconv.volumes.errors.VolumeError: no worker could be started here; a script that asks"
    )
