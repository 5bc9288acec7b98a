"""One stage as it goes to workers: the work, its tiles and arrays, in a file of the folder of work.

A task is then some numbers.  The file is named by its digest and read once by each worker; a
`Constant` has a file of its own, so that what many stages share is written once and stays in the
workers' memory.  A worker that was lost and replaced reads the files again.  What became of the
tiles of a task comes back as a file too: what a worker holds is lost when it dies.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import math
import os
import pickle
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...numerics.memory import return_freed_memory
from ...numerics.threads import one_thread
from ..errors import DamagedError, VolumeError, need
from ..tiling.stages import Constant, Numbers, Work, do_work
from ..tiling.tiles import Tiling
from .store import Arrays


@dataclass(frozen=True)
class Outcome:
    """What became of one tile.

    Attributes
    ----------
    numbers : of the work
    sums : the checksums of the shards that were written, by name
    seconds : that it took, reading and writing included
    failure : a sentence, or None
    kind : of failure: "input", which would fail again; "lost", an array is gone that it reads;
        "full", the disk, so that no tile will succeed; "killed", no worker survived it; "other",
        which may go better the next time
    trace : where a failure of another kind was raised
    """

    numbers: Numbers = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str | None = None
    kind: str = "other"
    trace: str = ""


@dataclass(frozen=True)
class TileJob:
    """Do the work of a stage on one tile."""

    work: Work
    tiling: Tiling
    writes: Mapping[str, str]
    arrays: Arrays

    def __call__(self, index: int) -> Outcome:
        """The outcome of a tile, whatever its work raises."""
        return_freed_memory(math.inf)  # of the tile before: small blocks lie between large ones
        tile = self.tiling.tiles[index]
        start = time.perf_counter()
        try:
            with one_thread(), _zarr_in_one_thread():
                parts, numbers = do_work(self.work, tile, self.arrays.read, self.writes)
                sums = {name: self.arrays.write(name, tile, part) for name, part in parts.items()}
        except Exception as exc:  # whatever a tile raises, the others go on
            return failed(exc)
        return Outcome(numbers, sums, time.perf_counter() - start)


def _zarr_in_one_thread() -> AbstractContextManager[Any]:
    """Zarr's threads would each keep a heap of freed blocks: they doubled what a worker holds."""
    found: AbstractContextManager[Any] = need("zarr").config.set(
        {"threading.max_workers": 1, "async.concurrency": 1}
    )
    return found


def failed(exc: BaseException) -> Outcome:
    """What a tile, or all of a task, came to that has raised something."""
    if isinstance(exc, VolumeError):
        return Outcome(failure=str(exc), kind="lost" if isinstance(exc, DamagedError) else "input")
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return Outcome(failure=exc.strerror, kind="full")
    text = f"{type(exc).__name__}: {' '.join(str(exc).split())[:300]}"
    return Outcome(failure=text, trace="".join(traceback.format_exception(exc)))


@dataclass(frozen=True)
class ChecksumJob:
    """Look whether the shards of one tile are those that were written."""

    tiling: Tiling
    arrays: Arrays
    sums: Mapping[int, Mapping[str, int]]

    def __call__(self, index: int) -> Outcome:
        """A failure where they are not."""
        tile = self.tiling.tiles[index]
        start = time.perf_counter()
        found = {name: self.arrays.checksum(name, tile) for name in self.sums[index]}
        failure = None if found == self.sums[index] else "it is not as it was written"
        return Outcome(seconds=time.perf_counter() - start, failure=failure)


Job = Callable[[int], Outcome]


# --- as files
def put_job(folder: Path, job: Job) -> str:
    """Write a job and its constants to a folder, and return the digest that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    _Pickler(content, folder).dump(job)
    return _put(folder, content.getvalue())


@functools.lru_cache(maxsize=2)  # the stage, and a worker that lags behind with the one before
def get_job(folder: Path, digest: str) -> Job:
    """Read a job, whose constants are kept."""
    return_freed_memory(math.inf)  # blocks of the sizes of the stage before
    content = io.BytesIO(_get(folder, digest))
    job: Job = _Unpickler(content, folder).load()
    return job


def do_tiles(folder: str, digest: str, key: str, tiles: Sequence[int]) -> None:
    """Do some tiles of a job that was put into a folder, and put what became of them there too."""
    place = Path(folder)
    job = get_job(place, digest)
    found = [asdict(job(index)) for index in tiles]
    _write(place / key, json.dumps(found).encode())


def take_outcomes(folder: Path, key: str) -> list[Outcome]:
    """What became of the tiles of a task, read once."""
    path = folder / key
    found = [Outcome(**outcome) for outcome in json.loads(path.read_bytes())]
    path.unlink()
    return found


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file, protocol=5)
        self._folder = folder

    def persistent_id(self, value: Any) -> str | None:
        return _put_constant(self._folder, value) if isinstance(value, Constant) else None


def _put_constant(folder: Path, constant: Constant) -> str:
    return _put(folder, pickle.dumps(constant.value, protocol=5))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file)
        self._folder = folder

    def persistent_load(self, digest: Any) -> Constant:
        return _constant(self._folder, digest)


@functools.lru_cache(maxsize=16)
def _constant(folder: Path, digest: str) -> Constant:
    return Constant(pickle.loads(_get(folder, digest)))


def _put(folder: Path, content: bytes) -> str:
    digest = hashlib.blake2b(content, digest_size=20).hexdigest()
    path = folder / digest
    if not path.exists():
        _write(path, content)
    return digest


def _write(path: Path, content: bytes) -> None:
    """A file that is whole or not there, whenever its writer dies."""
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_bytes(content)
    os.replace(beside, path)


def _get(folder: Path, digest: str) -> bytes:
    content = (folder / digest).read_bytes()
    found = hashlib.blake2b(content, digest_size=20).hexdigest()
    if found != digest:  # nothing is unpickled that this run did not write
        raise VolumeError(f"{folder / digest} is damaged; remove it and repeat the command.")
    return content


def numbers_of(record: Mapping[str, Any]) -> Numbers:
    """The numbers of a tile as the journal has them."""
    return {key: float(value) for key, value in record["numbers"].items()}


def dtype_names(writes: Mapping[str, Any]) -> dict[str, str]:
    """Dtypes as text, which travels."""
    return {name: np.dtype(dtype).name for name, dtype in writes.items()}
