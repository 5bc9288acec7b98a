"""The most memory that a run takes in a process of its own.

python -m tests.volumes.memory FOLDER ROOM PASSES: restores what `make` has made elsewhere, with
ROOM bytes beside the library; prints JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import zarr

from unconv.volumes.engine.pools import InlinePool, resident_bytes
from unconv.volumes.engine.process import process
from unconv.volumes.sources import open_source

from .toy import Toy


def peak():
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return 1024 * int(status.split()[0])


def make(folder, side):
    array = zarr.create_array(
        store=str(folder / "in.zarr"),
        shape=(side,) * 3,
        chunks=(64,) * 3,
        dtype="f4",
        compressors=None,
    )
    row = np.random.default_rng(0).random((64, side, side), dtype=np.float32)
    for start in range(0, side, 64):
        array[start : start + 64] = row[: min(64, side - start)]


def main(folder, room, passes):
    source = open_source(folder / "in.zarr")
    resident = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    done = process(
        source, folder / "out.zarr", lambda *_: Toy(passes=passes), InlinePool(),
        parameters={}, memory=resident + room,
    )  # fmt: skip
    told = {"resident": resident, "peak": peak(), "core": done.need.core, "need": done.need.memory}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
