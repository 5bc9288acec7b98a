"""A whole run: each time point and channel of an input restored by a method, stored as ome-zarr.

All work happens in a folder beside the output, ``OUT.work``: the journal, the arrays of passes, and
the output until it is complete, when one rename puts it in its place.  The same call goes on with
a folder that it finds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DamagedError, StoppedError, TilesError, VolumeError
from ..sources.source import Batch, Source
from ..tiling.stages import Constant, Method, Work
from ..tiling.survey import Survey, survey
from ..tiling.tiles import Tiling
from .budget import Need, fit_tiles, require_disk
from .journal import Journal, Record
from .output import Crop, Fill, Reduce, level_shapes, make_output, write_metadata
from .pools import Pool
from .runner import Progress, StoreRunner
from .store import Arrays, Level

_TILES, _PUBLISHED = "*tiles*", "*published*"  # beside batches in the journal
ATTEMPTS = 3
"""How often a batch is begun anew whose stored arrays are found damaged."""

MethodOf = Callable[[Batch, Survey], Method]
"""Chooses the method for a batch, the same for the same data; may read some of it."""


class Processed(NamedTuple):
    """What became of a run.

    Attributes
    ----------
    out : the folder of the ome-zarr
    reports : what the driver told of each batch that was restored, by its label
    failed : a sentence for each batch that was not, and is NaN
    remarks : sentences on the input
    need : tiles, memory and disk as they were predicted
    resumed : whether work of an earlier call was gone on with
    """

    out: Path
    reports: dict[str, dict[str, Any]]
    failed: dict[str, str]
    remarks: tuple[str, ...]
    need: Need
    resumed: bool


def process(
    source: Source,
    out: Path,
    method_of: MethodOf,
    pool: Pool,
    *,
    parameters: Mapping[str, Any],
    memory: float,
    progress: Callable[[Progress], object] = lambda _: None,
) -> Processed:
    """Restore every batch of an input and store it as an ome-zarr, which appears when it is whole.

    Parameters
    ----------
    source : the input
    out : where the output is to be, on a file system that all workers share
    method_of : chooses the method for a batch
    pool : what computes the tiles
    parameters : all that the answer depends on beside the input, as JSON can hold it
    memory : bytes that a worker may take
    progress : called after every tile

    Raises
    ------
    VolumeError : there is no way to begin, no batch could be restored, or some tiles failed that
        the same call may do; nothing is at `out` then
    """
    work = out.with_name(out.name + ".work")
    require_place(source, out, work)
    header = {
        "version": version("unconv"),
        "input": {
            "identity": source.identity, "shape": list(source.shape), "dtype": str(source.dtype),
            "axes": source.frame.axes, "voxel": dict(source.frame.voxel),
        },
        "parameters": dict(parameters),
    }  # fmt: skip
    work.mkdir(exist_ok=True)
    with contextlib.closing(Journal(work / "journal", header)) as journal:
        pool.require_shared(journal.path)
        try:
            return _Run(source, out, work, method_of, pool, journal, progress).result(memory)
        except OSError as exc:
            raise StoppedError(
                f"{work} could not be written ({exc.strerror or exc}); make room and repeat the "
                "command, which goes on from where it was."
            ) from exc


def require_place(source: Source, out: Path, work: Path) -> None:
    """Refuse an output that exists, that cannot be made, or that would touch the input."""
    if source.path is not None:
        given, target = source.path.resolve(), out.resolve()
        if target == given or given in target.parents or target in given.parents:
            raise VolumeError(
                f"the output {out} is the input {source.path}, or one is inside the other; put it "
                "beside the input."
            )
    begun = (work / "journal").exists()
    if out.exists() and not begun:
        raise VolumeError(f"{out} exists; remove it, or name another output.")
    if not out.parent.is_dir():
        raise VolumeError(f"there is no folder {out.parent} for the output; make it first.")
    if work.exists() and not begun and (not work.is_dir() or any(work.iterdir())):
        raise VolumeError(f"{work} is in the way and no folder of an earlier run; move it.")
    if not os.access(work if begun else out.parent, os.W_OK):
        raise VolumeError(f"nothing can be written to {out.parent}; put the output elsewhere.")


@dataclass(eq=False)
class _Run:
    """One call of `process`."""

    source: Source
    out: Path
    work: Path
    method_of: MethodOf
    pool: Pool
    journal: Journal
    progress: Callable[[Progress], object]

    def __post_init__(self) -> None:
        frame = self.source.frame
        self.batches = [Batch(self.source, at) for at in frame.batches(self.source.shape)]
        self.levels = level_shapes(self.batches[0].shape)
        self.whole = self.work / "out.zarr"

    def result(self, memory: float) -> Processed:
        """Go on to the end, from wherever the journal says."""
        published = self.journal.end(_PUBLISHED)
        if published is None or self.whole.exists():
            if self.out.exists():
                raise VolumeError(f"{self.out} exists; remove it, or name another output.")
            self.need = self._need(memory)
            make_output(self.whole, self.source, self.need.core)
            ends = self._all_batches()
            published = self._publish(ends)
        shutil.rmtree(self.work, ignore_errors=True)
        ends = published["ends"]
        return Processed(
            self.out,
            {label: end["report"] for label, end in ends.items() if "report" in end},
            {label: end["failed"] for label, end in ends.items() if "failed" in end},
            self.source.remarks,
            Need(tuple(published["need"]["core"]), published["need"]["memory"],
                 published["need"]["disk"]),
            self.journal.resumed,
        )  # fmt: skip

    # --- tiles
    def _need(self, memory: float) -> Need:
        """The tiles of an earlier call, or those that fit the memory."""
        stored = self.journal.end(_TILES)
        if stored is not None:
            need = Need(tuple(stored["core"]), stored["memory"], stored["disk"])
            if need.memory > memory:
                raise VolumeError(
                    f"the run was begun with tiles that take {need.memory:,} bytes, and "
                    f"memory={memory:,.0f} is less; allow as much as then, or remove {self.work} "
                    "to begin anew."
                )
            return need
        try:
            resident = self.pool.resident()
            method = self._any_method()
            shape = self.levels[0]
            need = fit_tiles(method, shape, self.source, memory, resident, self.pool.threads)
            require_disk(self.work, need.disk)
        except VolumeError:
            if not self.journal.resumed:  # there is nothing to go on with
                shutil.rmtree(self.work, ignore_errors=True)
            raise
        self.journal.add_end(_TILES, asdict(need))
        return need

    def _any_method(self) -> Method:
        """The method of the first batch that has one, for tiles are the same for all."""
        first: ValueError | None = None
        for batch in self.batches:
            try:
                return self._method(batch, self._runner(batch))
            except StoppedError:
                raise
            except ValueError as exc:
                first = first or exc
        raise VolumeError(str(first)) from first

    def _method(self, batch: Batch, runner: StoreRunner) -> Method:
        return self.method_of(batch, self._survey(batch, runner))

    def _survey(self, batch: Batch, runner: StoreRunner) -> Survey:
        return survey(runner, self.source.name, self.source.frame.space, batch.shape)

    # --- batches
    def _all_batches(self) -> dict[str, Record]:
        ends, stuck = {}, []
        for batch in self.batches:
            try:
                ends[batch.label] = self._batch(batch)
            except TilesError as exc:
                stuck.append(f"{batch.label}: {exc}")
        if stuck:
            raise StoppedError(" ".join(stuck))
        failed = [end["failed"] for end in ends.values() if "failed" in end]
        if len(failed) == len(ends):
            shutil.rmtree(self.work, ignore_errors=True)  # nothing would be better the next time
            raise VolumeError(failed[0])
        return ends

    def _batch(self, batch: Batch) -> Record:
        """Restore a batch, anew where what was stored of it is damaged."""
        for _ in range(ATTEMPTS):
            try:
                return self._stored(batch)
            except DamagedError:
                self.journal.forget(batch.label)
                shutil.rmtree(self._folder(batch), ignore_errors=True)
        raise StoppedError(
            f"what is written to {self.work} is damaged when it is read again; check the disk."
        )

    def _stored(self, batch: Batch) -> Record:
        runner = self._runner(batch)
        end = self.journal.end(batch.label)
        if end is None:
            end = self._answer(batch, runner)
            self.journal.add_end(batch.label, end)
        end = {**end, "range": self._write_levels(runner, end)}
        runner.settle()
        shutil.rmtree(self._folder(batch), ignore_errors=True)
        return end

    def _answer(self, batch: Batch, runner: StoreRunner) -> Record:
        """What the driver found, or a sentence that says why nothing was."""
        try:
            facts = self._survey(batch, runner)
            method = self.method_of(batch, facts)
            scene = [n + a + b for n, (a, b) in zip(batch.shape, method.margins, strict=True)]
            answer = method(runner, Tiling(scene, self.need.core, method.halo))
        except (StoppedError, DamagedError):
            raise
        except ValueError as exc:
            if isinstance(exc, TilesError) and not exc.bad_input:
                raise
            return {"failed": str(exc)}
        before = [a for a, _ in method.margins]
        report = {**answer.report, "remarks": [*facts.remarks]}
        return {"name": answer.name, "before": before, "report": report}

    def _write_levels(self, runner: StoreRunner, end: Record) -> list[float] | None:
        """Write level 0 and the pyramid; the least and the greatest value."""
        extent = None
        for level, shape in enumerate(self.levels):
            tiling = Tiling(shape, self.need.core, (0,) * len(shape))
            name = f"level/{level}"
            work: Work
            if "failed" in end:
                work = Fill(name)
            elif level == 0:
                work = Crop(end["name"], name, tuple(end["before"]))
            else:
                finer = self.levels[level - 1]
                factors = tuple(1 if a == b else 2 for a, b in zip(finer, shape, strict=True))
                work = Reduce(f"level/{level - 1}", name, finer, factors)
            numbers = runner.run(name, work, tiling, {name: np.float32})
            if isinstance(work, Crop):
                extent = [min(n["min"] for n in numbers), max(n["max"] for n in numbers)]
        return extent

    def _runner(self, batch: Batch) -> StoreRunner:
        axes = self.source.frame.axes
        levels = {f"level/{i}": Level(self.whole / str(i), axes) for i in range(len(self.levels))}
        arrays = Arrays(self._folder(batch), Constant(batch), levels)
        return StoreRunner(arrays, self.journal, self.pool, self.work, self.progress)

    def _folder(self, batch: Batch) -> Path:
        return self.work / "arrays" / batch.label

    # --- the end
    def _publish(self, ends: dict[str, Record]) -> Record:
        """Put the output in its place."""
        ranges: dict[int, tuple[float, float]] = {}
        for batch in self.batches:
            extent = ends[batch.label]["range"]
            if extent is not None:
                c = batch.at.get("c", 0)
                least, most = ranges.get(c, (extent[0], extent[1]))
                ranges[c] = min(least, extent[0]), max(most, extent[1])
        write_metadata(self.whole, self.out.stem, self.source, ranges, self._told(ends))
        published = {"ends": ends, "need": asdict(self.need)}
        self.journal.add_end(_PUBLISHED, published)
        os.rename(self.whole, self.out)
        return published

    def _told(self, ends: Mapping[str, Record]) -> dict[str, Any]:
        header = self.journal.header
        text = json.dumps(header["parameters"], sort_keys=True)
        return {
            **header,
            "parameters_hash": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            "input": {"name": self.source.name, **header["input"]},
            "batches": {
                label: {key: end[key] for key in ("report", "failed") if key in end}
                for label, end in ends.items()
            },
        }
