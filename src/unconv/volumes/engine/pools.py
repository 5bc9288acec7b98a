"""Where tiles are computed: in this process, or by workers of dask.distributed.

Tasks are futures of single tiles, a few more in flight than there are threads; there is no graph.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import math
import resource
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...numerics.memory import return_freed_memory
from ..errors import StoppedError, VolumeError, need
from .jobs import Job, Outcome, do_job, put_job

CONNECT = 10
"""Seconds in which a scheduler has to answer."""
FIRST_TILE = 4 * 2**20
"""Bytes that reading and writing load when they are first used; measured, 2 MiB."""
AHEAD = 2
"""Tasks in flight for each thread: the next one is there when one is done."""


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
    VolumeError : no scheduler answers, or it has no workers
    """

    def __init__(self, workers: int = 1, scheduler: str | None = None) -> None:
        distributed = need("distributed")
        self._distributed = distributed
        # what it logs of workers that come and go is said in sentences here
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._cluster = None
        self.address = scheduler or "this machine"
        try:
            if scheduler is None:
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
        digest = put_job(folder, job)
        order = iter(tiles)
        numbers: dict[str, int] = {}

        def submit(index: int) -> Any:
            key = f"tile-{digest[:8]}-{index}-{secrets.token_hex(4)}"
            numbers[key] = index
            return self._client.submit(
                do_job, str(folder), digest, index, key=key, pure=False, retries=0
            )

        try:
            first = [submit(i) for i in itertools.islice(order, AHEAD * self.threads)]
            flight = self._distributed.as_completed(first, loop=self._client.loop)
            for future in flight:
                yield numbers.pop(future.key), self._outcome(future)
                for index in itertools.islice(order, 1):
                    flight.add(submit(index))
        except self._lost() as exc:
            raise self._gone() from exc

    def _page(self) -> str | None:
        """The address of the scheduler's page; of one that was started here, if bokeh draws it."""
        if self._cluster is not None and importlib.util.find_spec("bokeh") is None:
            return None
        if "dashboard" not in self._client.scheduler_info()["services"]:
            return None
        return str(self._client.dashboard_link)

    def _outcome(self, future: Any) -> Outcome:
        if future.status == "finished":
            found: Outcome = future.result(timeout=60)
            return found
        if future.status == "error":
            exc = future.exception(timeout=60)
            if isinstance(exc, self._distributed.KilledWorker):
                return Outcome(
                    failure="its workers died, one after the other, perhaps for want of memory"
                )
            return Outcome(failure=f"{type(exc).__name__}: {exc}")
        raise self._gone()  # cancelled, as all futures are when the scheduler is lost

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
