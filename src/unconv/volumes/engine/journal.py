"""What is finished, written down as it happens, so that a run which was killed goes on.

A line a record, each with its own checksum: a line that was torn when the power went is left out,
and all behind it.  The first line says what is computed: another input or other parameters do not
go on with it.  A process at work holds a lock on the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import VolumeError

Record = dict[str, Any]


class Journal:
    """The journal of a folder of work, opened for going on or begun.

    Parameters
    ----------
    path : of the file
    header : what is computed, as JSON can hold it; all of it must be the same to go on

    Raises
    ------
    VolumeError : another process is at work, or the journal is of something else
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._file.close()
            raise VolumeError(
                f"another process is at work in {path.parent}; wait for it, or end it."
            ) from exc
        records = list(self._whole_lines())
        self.resumed = bool(records)
        self.header: Record = json.loads(json.dumps(header))
        self._records: dict[tuple[str, str], dict[int, Record]] = {}
        self._dropped: set[tuple[str, str]] = set()
        self._ends: dict[str, Record] = {}
        if records:
            self._require_same(records[0])
            for record in records[1:]:
                self._take(record)
        else:
            self._append(self.header)

    def close(self) -> None:
        """Let others go on."""
        self._file.close()

    def tiles(self, batch: str, stage: str) -> dict[int, Record]:
        """The records of finished tiles: ``numbers``, and ``sums``, the checksums of arrays."""
        return self._records.get((batch, stage), {})

    def is_dropped(self, batch: str, name: str) -> bool:
        """Whether an array was not needed any more."""
        return (batch, name) in self._dropped

    def end(self, batch: str) -> Record | None:
        """What came of a batch that is finished."""
        return self._ends.get(batch)

    def add_tile(self, batch: str, stage: str, tile: int, record: Record) -> None:
        """A tile is finished, and its shards are on the disk."""
        self._put({"batch": batch, "stage": stage, "tile": tile, **record})

    def add_drop(self, batch: str, names: tuple[str, ...]) -> None:
        """Arrays are not needed any more; on the disk before they are deleted."""
        self._put({"batch": batch, "dropped": list(names)})
        os.fsync(self._file.fileno())

    def add_end(self, batch: str, record: Record) -> None:
        """A batch is finished."""
        self._put({"batch": batch, "end": record})
        os.fsync(self._file.fileno())

    def forget(self, batch: str) -> None:
        """A batch is begun anew."""
        self._put({"batch": batch, "forgotten": True})
        os.fsync(self._file.fileno())

    def _put(self, record: Record) -> None:
        self._append(record)
        self._take(record)

    def _append(self, record: Record) -> None:
        text = json.dumps(record).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()

    def _take(self, record: Record) -> None:
        batch = record["batch"]
        if "tile" in record:
            self._records.setdefault((batch, record["stage"]), {})[record["tile"]] = record
        elif "dropped" in record:
            self._dropped |= {(batch, name) for name in record["dropped"]}
        elif "end" in record:
            self._ends[batch] = record["end"]
        else:
            self._records = {k: v for k, v in self._records.items() if k[0] != batch}
            self._dropped = {k for k in self._dropped if k[0] != batch}
            self._ends.pop(batch, None)

    def _whole_lines(self) -> Iterator[Record]:
        """The records up to the first torn line, behind which the file is cut."""
        self._file.seek(0)
        good = 0
        for line in self._file:
            text = line[9:].rstrip(b"\n")
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(text):
                break
            good += len(line)
            yield json.loads(text)
        self._file.truncate(good)
        self._file.seek(0, os.SEEK_END)

    def _require_same(self, found: Record) -> None:
        if found == self.header:
            return
        self.close()
        different = ", ".join(sorted(_differences(found, self.header)))
        raise VolumeError(
            f"{self.path.parent} holds a run that was not finished and differs in: {different}; "
            "repeat the command as it was to go on with it, or remove this folder to begin anew."
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """The names of what differs, and both values where they are short."""
    for key in {*old, *new}:
        a, b = old.get(key, "not set"), new.get(key, "not set")
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b)
        elif max(len(text) for text in (repr(a), repr(b))) <= 40:
            yield f"{key} ({a} then, {b} now)"
        else:
            yield key
