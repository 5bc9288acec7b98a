"""Carry out stages on stored arrays, with what is finished in a journal.

A stage that the journal has is answered from it, after a look at the checksums of what it wrote; of
one that was cut short the missing tiles alone are done.  A tile that fails is tried three times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from numpy.typing import DTypeLike

from ..errors import DamagedError, StoppedError, TilesError
from ..tiling.stages import Numbers, Standing, Work
from ..tiling.tiles import Tiling, place_of
from .jobs import ChecksumJob, Outcome, TileJob, dtype_names, numbers_of
from .journal import Journal
from .pools import Pool
from .store import Arrays

TRIES = 3
SHOWN = 5  # places in a sentence
SYNCS = 8
"""Files that the system is asked at one time to put on the disk: it does so in one go."""


class Progress(NamedTuple):
    """How far a run is.

    Attributes
    ----------
    batch : the time point and channel, such as ``t0-c2``
    stage : its name
    done, total : tiles of the stage
    seconds : that the latest tile took
    standing : of the driver after its latest pass; None before the first one
    """

    batch: str
    stage: str
    done: int
    total: int
    seconds: float = 0.0
    standing: Standing | None = None


class StoreRunner:
    """Carry out the stages of one batch; see `stages.Runner`.

    Parameters
    ----------
    arrays : of the batch
    journal : of the run
    pool : what does the tiles
    work : the folder of work, for jobs and for what is told of failures
    progress : called after every tile
    """

    def __init__(
        self,
        arrays: Arrays,
        journal: Journal,
        pool: Pool,
        work: Path,
        progress: Callable[[Progress], object] = lambda _: None,
    ) -> None:
        self._arrays = arrays
        self._journal = journal
        self._pool = pool
        self._work = work
        self._progress = progress
        self._label = arrays.batch.label
        self._standing: Standing | None = None
        self._unsettled: dict[str, Tiling] = {}

    def run(
        self, name: str, work: Work, tiling: Tiling, writes: Mapping[str, DTypeLike]
    ) -> list[Numbers]:
        """Do a stage, or what is missing of it.

        Raises
        ------
        TilesError : some tiles could not be done
        DamagedError : a stored array is damaged and what it was made from is gone
        StoppedError : the disk is full, or the workers are gone
        """
        kept = {n: d for n, d in writes.items() if not self._journal.is_dropped(self._label, n)}
        whole = self._whole(name, tiling, kept)
        missing = [tile.index for tile in tiling.tiles if tile.index not in whole]
        if missing and len(kept) < len(writes):
            raise DamagedError(f"some of what {name} has written is gone")
        for array, dtype in kept.items():
            self._arrays.create(array, tiling.scene, tiling.core, dtype)
        if missing:
            job = TileJob(work, tiling, dtype_names(writes), self._arrays)
            self._do(name, job, missing)
        self._unsettled |= dict.fromkeys(kept, tiling)
        records = self._journal.tiles(self._label, name)
        return [numbers_of(records[tile.index]) for tile in tiling.tiles]

    def drop(self, *names: str) -> None:
        """Forget arrays; see `stages.Runner`."""
        new = tuple(n for n in names if not self._journal.is_dropped(self._label, n))
        for name in names:
            self._unsettled.pop(name, None)
        if new:
            self.settle()  # what was made of them is to survive a loss of power without them
            self._journal.add_drop(self._label, new)
        for name in names:
            self._arrays.remove(name)

    def tell(self, standing: Standing) -> None:
        """Hand it on with the next tile that is done."""
        self._standing = standing

    def settle(self) -> None:
        """Have all that was written on the disk."""
        shards = [(name, tile) for name, tiling in self._unsettled.items() for tile in tiling.tiles]
        with ThreadPoolExecutor(SYNCS) as threads:
            list(threads.map(lambda shard: self._arrays.settle(*shard), shards))
        self._unsettled.clear()

    def _whole(self, stage: str, tiling: Tiling, writes: Mapping[str, DTypeLike]) -> set[int]:
        """The finished tiles whose shards are those that were written."""
        done = self._journal.tiles(self._label, stage)
        if not writes or not done:
            return {*done}
        sums = {i: {n: record["sums"][n] for n in writes} for i, record in done.items()}
        job = ChecksumJob(tiling, self._arrays, sums)
        each = self._pool.each(self._work / "jobs", job, sorted(done))
        return {index for index, outcome in each if outcome.failure is None}

    def _do(self, stage: str, job: TileJob, missing: list[int]) -> None:
        failed: dict[int, Outcome] = {}
        for _ in range(TRIES):
            for index, outcome in self._pool.each(self._work / "jobs", job, missing):
                if outcome.failure is None:
                    failed.pop(index, None)
                    self._finished(stage, job.tiling, index, outcome)
                else:
                    self._require_going_on(outcome)
                    failed[index] = outcome
            missing = [index for index, outcome in failed.items() if outcome.kind == "other"]
            if not missing:
                break
        if failed:
            raise self._error(stage, job.tiling, failed)

    def _finished(self, stage: str, tiling: Tiling, index: int, outcome: Outcome) -> None:
        record = {"numbers": outcome.numbers, "sums": outcome.sums}
        self._journal.add_tile(self._label, stage, index, record)
        done = len(self._journal.tiles(self._label, stage))
        told = done, len(tiling.tiles), outcome.seconds, self._standing
        self._progress(Progress(self._label, stage, *told))

    def _require_going_on(self, outcome: Outcome) -> None:
        """Stop a run of which no tile can succeed."""
        if outcome.kind == "full":
            raise StoppedError(
                f"there is no space left for {self._work}; make room and repeat the command, which "
                "goes on from where it was."
            )
        if outcome.kind == "lost":
            raise DamagedError(str(outcome.failure))

    def _error(self, stage: str, tiling: Tiling, failed: Mapping[int, Outcome]) -> TilesError:
        """What is said of tiles that failed; where they were raised goes to a file."""
        axes = self._arrays.batch.source.frame.space
        places = [place_of(tiling.tiles[i].core, axes) for i in sorted(failed)]
        first = failed[min(failed)]
        bad_input = all(outcome.kind == "input" for outcome in failed.values())
        shown = "; ".join(places[:SHOWN]) + ("; …" if len(places) > SHOWN else "")
        with (self._work / "failures.log").open("a", encoding="utf-8") as log:
            for place, index in zip(places, sorted(failed), strict=True):
                log.write(f"{self._label}, {stage}, {place}: {failed[index].failure}\n")
                log.write(failed[index].trace)
        if bad_input:
            return TilesError(f"{stage}, {shown}: {first.failure}", True)
        return TilesError(
            f"{stage} failed on {len(failed)} of {len(tiling.tiles)} tiles, at {shown} "
            f"({first.failure}); the rest is finished, and the same command tries these again; "
            f"{self._work / 'failures.log'} says more.",
            False,
        )
