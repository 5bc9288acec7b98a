"""Where tiles are computed: in this process, or by workers of dask.distributed.

Tasks are futures of a few tiles each, a few more in flight than there are threads; there is no
graph.  A task costs its scheduler 5 ms of a processor, whatever it does, so tiles that take less
than `TASK` go together, the fewer the nearer a stage is to its end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import multiprocessing
import resource
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...numerics.memory import return_freed_memory
from ..errors import StoppedError, VolumeError, need
from .jobs import Job, Outcome, do_tiles, failed, put_job, take_outcomes

CONNECT = 10
"""Seconds in which a scheduler has to answer."""
FIRST_TILE = 4 * 2**20
"""Bytes that reading and writing load when they are first used; measured, 2 MiB."""
AHEAD = 2
"""Tasks in flight for each thread: the next one is there when one is done."""
TASK = 0.25
"""Seconds of work in a task, if a tile takes less."""
KILLED = Outcome(
    failure="its workers died, one after the other, perhaps for want of memory", kind="killed"
)
_UNGUARDED = (
    "a script that asks for workers is run by each of them too: put what it does under "
    '`if __name__ == "__main__":`, or use workers=1.'
)
_WORKERS = {
    # the MALLOC_TRIM_THRESHOLD_ of dask gives every freed block back at once, to be cleared and
    # mapped again: tiles took twice the time
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
    "distributed.worker.profile.enabled": False,  # a tenth of the time of tiles, for a page
}


class Pool(Protocol):
    """What does jobs on tiles.

    Attributes
    ----------
    threads : of all workers
    dashboard : the address of a page that shows them at work, where there is one
    """

    threads: int
    dashboard: str | None

    def each(self, folder: Path, job: Job, tiles: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        """Do a job on tiles, and yield each with its outcome, in any order.

        folder : where jobs are put for workers
        """
        ...

    def resident(self) -> int:
        """Bytes that a worker has in memory before it works."""
        ...

    def require_shared(self, path: Path) -> None:
        """Refuse workers that do not see a file."""
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...


class InlinePool:
    """This process, one tile after the other."""

    threads = 1
    dashboard: str | None = None

    def each(self, folder: Path, job: Job, tiles: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        """Do a job on tiles; see `Pool`."""
        return_freed_memory(math.inf)  # blocks of the sizes of the stage before
        for index in tiles:
            yield index, job(index)

    def resident(self) -> int:
        """Bytes that this process has in memory."""
        return resident_bytes()

    def require_shared(self, path: Path) -> None:
        """Nothing to ask: this process made it."""

    def close(self) -> None:
        """Nothing to let go."""


class DaskPool:
    """Workers of dask.distributed: of a scheduler that runs already, or processes of this machine.

    Parameters
    ----------
    workers : how many processes to start, of one thread each
    scheduler : the address of a scheduler, ``tcp://host:8786``, in their place

    Raises
    ------
    VolumeError : no scheduler answers, it has no workers, or none can be started
    """

    def __init__(self, workers: int = 1, scheduler: str | None = None) -> None:
        distributed = need("distributed")
        if scheduler is None and getattr(multiprocessing.current_process(), "_inheriting", False):
            raise VolumeError(_UNGUARDED)  # a worker that has begun to run the user's script
        self._distributed = distributed
        # what it logs of workers that come and go is said in sentences here
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._cluster = None
        self.address = scheduler or "this machine"
        try:
            if scheduler is None:
                with need("dask").config.set(_WORKERS):
                    self._cluster = distributed.LocalCluster(
                        n_workers=workers, threads_per_worker=1, processes=True,
                        host="127.0.0.1", dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                        memory_limit=0,  # predicted by `budget.py`; a pause would never end
                    )  # fmt: skip
            self._client = distributed.Client(
                self._cluster or scheduler, timeout=CONNECT, set_as_default=False
            )
            self._client.wait_for_workers(1, timeout=60)
        except RuntimeError as exc:  # of a worker's keeper, which tells no more
            self.close()
            raise VolumeError(f"no worker could be started here; {_UNGUARDED}") from exc
        except (OSError, TimeoutError, ValueError) as exc:
            self.close()
            raise VolumeError(
                f"no workers at {self.address} ({type(exc).__name__}); start a scheduler and "
                "workers with `dask scheduler` and `dask worker`, or leave the address away."
            ) from exc
        self.threads = sum(self._client.nthreads().values())
        self.dashboard = self._page()

    def each(self, folder: Path, job: Job, tiles: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        """Do a job on tiles; see `Pool`."""
        tasks = _Tasks(tiles, self.threads)
        digest = put_job(folder, job)
        suspects: list[int] = []
        try:
            for group, future in self._done(folder, digest, tasks):
                if self._is_killed(future):
                    suspects += group
                    continue
                found = self._outcomes(folder, group, future)
                tasks.took(found)
                yield from zip(group, found, strict=True)
            for index in suspects:  # each alone, to see which of them it was
                for group, future in self._done(folder, digest, _Tasks([index], 1)):
                    killed = self._is_killed(future)
                    yield index, KILLED if killed else self._outcomes(folder, group, future)[0]
        except self._lost() as exc:
            raise self._gone() from exc

    def _done(
        self, folder: Path, digest: str, tasks: _Tasks
    ) -> Iterator[tuple[Sequence[int], Any]]:
        """Tasks that are done, whatever became of them: their tiles and futures."""
        running: dict[str, tuple[int, ...]] = {}

        def submit(group: tuple[int, ...]) -> Any:
            key = f"tile-{digest[:8]}-{group[0]}-{secrets.token_hex(4)}"
            running[key] = group
            return self._client.submit(
                do_tiles, str(folder), digest, key, group, key=key, pure=False, retries=0
            )

        flight = self._distributed.as_completed(loop=self._client.loop)
        flight.update([submit(group) for group in tasks.first()])
        for future in flight:
            yield running.pop(future.key), future
            future.release()  # or it would be done again when its worker dies
            for more in tasks.next():
                flight.add(submit(more))

    def _page(self) -> str | None:
        """The address of the scheduler's page; of one that was started here, if bokeh draws it."""
        if self._cluster is not None and importlib.util.find_spec("bokeh") is None:
            return None
        if "dashboard" not in self._client.scheduler_info()["services"]:
            return None
        return str(self._client.dashboard_link)

    def _is_killed(self, future: Any) -> bool:
        """Whether no worker survived a task, or another one that it was given at the same time."""
        return future.status == "error" and isinstance(
            future.exception(timeout=60), self._distributed.KilledWorker
        )

    def _outcomes(self, folder: Path, group: Sequence[int], future: Any) -> list[Outcome]:
        """What became of the tiles of a task."""
        if future.status == "error":
            return [failed(future.exception(timeout=60))] * len(group)
        if future.status == "cancelled":  # as all futures are when the scheduler is lost
            raise self._gone()
        return take_outcomes(folder, future.key)  # its worker may have died since

    def _lost(self) -> tuple[type[BaseException], ...]:
        comm = self._distributed.comm.CommClosedError
        return (comm, OSError, TimeoutError)

    def _gone(self) -> StoppedError:
        return StoppedError(
            f"the scheduler at {self.address} is gone; start it again and repeat the command, "
            "which goes on from where it was."
        )

    def resident(self) -> int:
        """The most bytes that a worker has in memory."""
        return int(max(self._client.run(resident_bytes).values()))

    def require_shared(self, path: Path) -> None:
        """Refuse workers that do not see a file of the folder of work."""
        try:
            seen = self._client.run(_is_file, str(path))
        except ModuleNotFoundError as exc:
            raise VolumeError(
                f"the workers at {self.address} lack the package {exc.name}; install there what is "
                "installed here."
            ) from exc
        for worker, there in seen.items():
            if not there:
                raise VolumeError(
                    f"the worker {worker} does not see {path.parent}; the output must be on a file "
                    "system that all workers share, by the same path."
                )

    def close(self) -> None:
        """Let the workers go, and end those that were started here."""
        for owner in (getattr(self, "_client", None), self._cluster):
            if owner is not None:
                with contextlib.suppress(Exception):  # of what is gone already
                    owner.close(timeout=10)


class _Tasks:
    """Tiles dealt to tasks, by the time that those before them have taken."""

    def __init__(self, tiles: Sequence[int], threads: int) -> None:
        self._left, self._threads = list(tiles), threads
        self._done, self._seconds = 0, 0.0

    def first(self) -> Iterator[tuple[int, ...]]:
        """Single tiles, as many as may be in flight."""
        count = AHEAD * self._threads
        yield from ((index,) for index in self._left[:count])
        del self._left[:count]

    def took(self, found: Sequence[Outcome]) -> None:
        """Learn how long tiles take."""
        self._done += len(found)
        self._seconds += sum(outcome.seconds for outcome in found)

    def next(self) -> Iterator[tuple[int, ...]]:
        """A task, if any tile is left."""
        share = len(self._left) // (AHEAD * self._threads)  # so that all end at about one time
        fitting = int(TASK * self._done / max(self._seconds, 1e-9))
        size = max(1, min(share, fitting))
        if self._left:
            yield tuple(self._left[:size])
        del self._left[:size]


def make_pool(workers: int, scheduler: str | None) -> Pool:
    """This process for one worker, else workers of dask.distributed."""
    return InlinePool() if workers == 1 and scheduler is None else DaskPool(workers, scheduler)


def resident_bytes() -> int:
    """The memory of this process with what reading and writing need loaded."""
    for module in ("zarr", "google_crc32c", "tifffile"):
        need(module)
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() + FIRST_TILE
    unit = 1 if sys.platform == "darwin" else 1024  # elsewhere, the most that it has had
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _is_file(path: str) -> bool:
    return Path(path).is_file()
