"""Memory and disk, from shapes alone, before any work: how large tiles may be, what a run takes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoppedError, TooLargeError
from ..sources.source import Source
from ..tiling.stages import Method
from ..tiling.survey import SIDE, Extent
from ..tiling.tiles import Tile
from .output import Reduce
from .store import sharded

LARGEST = 512
"""Samples an axis of a core at most: a tile is what is lost when a worker dies."""
SMALLEST = 16
_SIDE_STEP = 8
_READERS = 2  # a chunk as stored and decoded
# What the heap keeps of freed blocks: measured with tiles of 50³ to 72³, whose work takes 1.07 of
# what is predicted without this, a worker held 1.46 to 1.55 times that, and so did one process.
_HEAP = 1.6


@dataclass(frozen=True)
class Need:
    """What a run takes.

    Attributes
    ----------
    core : the shape of the tiles' cores
    memory : bytes of a worker at its peak, what the library itself takes included
    disk : bytes at most, the output included
    """

    core: tuple[int, ...]
    memory: int
    disk: int


def fit_tiles(
    method: Method, shape: Sequence[int], source: Source, memory: float, resident: int, workers: int
) -> Need:
    """The largest tiles whose work fits the memory of a worker, if there are enough of them.

    Parameters
    ----------
    method : says what its work takes
    shape : of a volume, without the margins of its scene
    source : of the data
    memory : bytes that a worker may take
    resident : bytes that it has before it works
    workers : each of which should have some tiles

    Raises
    ------
    TooLargeError : not even the smallest tiles fit
    """
    scene = tuple(n + a + b for n, (a, b) in zip(shape, method.margins, strict=True))
    cores = [
        tuple(_core(n, side) for n in scene) for side in range(LARGEST, SMALLEST - 1, -_SIDE_STEP)
    ]
    fitting = [
        (core, taken)
        for core in dict.fromkeys(cores)
        if (taken := resident + tile_memory(method, scene, core, source)) <= memory
    ]
    if not fitting:
        least = resident + tile_memory(method, scene, cores[-1], source)
        raise TooLargeError(
            f"memory={memory:,.0f} bytes for a worker are too few: the smallest tiles take "
            f"{least:,} bytes, {resident:,} of them for the library itself; allow that much, or "
            "use fewer workers."
        )
    # one worker has no need of many tiles; several would wait for the last one
    enough = 1 if workers == 1 else 4 * workers
    core, taken = next((f for f in fitting if _count(scene, f[0]) >= enough), fitting[0])
    return Need(core, taken, disk_needed(method, scene, core, source))


def tile_memory(method: Method, scene: Sequence[int], core: Sequence[int], source: Source) -> int:
    """What a worker takes for a tile at its peak, beside the library: work, reading, writing."""
    largest = _inner_tile(scene, core, method.halo)
    written = 4 * math.prod(core)  # encoded, and read again for its checksum
    read = _READERS * source.chunk_bytes
    look = Tile(0, tuple(slice(0, min(n, SIDE)) for n in scene), largest.outer, largest.true_sides)
    work = max(method.bytes_for(largest), _pyramid(core).bytes_for(largest))
    return int(_HEAP * (max(work + 2 * written, Extent().bytes_for(look)) + read))


def _pyramid(core: Sequence[int]) -> Reduce:
    return Reduce("", "", tuple(2 * c for c in core), (2,) * len(core))


def disk_needed(method: Method, scene: Sequence[int], core: Sequence[int], source: Source) -> int:
    """What a run takes on the disk at most: the arrays of one batch, and the output of all."""
    stored = math.prod(-(-n // c) * c for n, c in zip(scene, core, strict=True))
    output = 4 * math.prod(source.shape)
    pyramid = output // 7  # each level halves three axes
    return int(4 * method.arrays_for(core) * stored) + output + pyramid


def require_disk(folder: Path, needed: int) -> None:
    """Refuse a run that would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoppedError(
            f"{folder} has {free:,} bytes free and the run needs up to {needed:,}; make room, or "
            "put the output on another disk."
        )


def _inner_tile(scene: Sequence[int], core: Sequence[int], halo: Sequence[int]) -> Tile:
    """The largest tile, with as few true sides as there can be."""
    axes = [
        (slice(0, c), slice(0, n), (True, True))
        if 2 * c >= n
        else (slice(c, 2 * c), slice(max(c - h, 0), min(2 * c + h, n)), (c <= h, 2 * c + h >= n))
        for n, c, h in zip(scene, core, halo, strict=True)
    ]
    cores, outers, sides = zip(*axes, strict=True)
    return Tile(0, cores, outers, sides)


def _core(n: int, side: int) -> int:
    """Choose a core of at most `side` samples, or a few more, that deals an axis evenly."""
    even = -(-n // -(-n // side))
    return sharded(even)


def _count(scene: Sequence[int], core: Sequence[int]) -> int:
    return math.prod(-(-n // c) for n, c in zip(scene, core, strict=True))
