"""The arrays of one batch in the folder of work: Zarr, a shard a tile, each shard with checksums.

A name is a path below the folder, but for names that are *bound*: ``"data"`` is the input, and the
levels of the output lie in the array that all batches share.  What is written goes to a shard of
its own, and its checksum is handed back for the journal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import DamagedError, StoppedError, need
from ..sources.source import Batch, whole_region
from ..tiling.stages import Array, Constant, check_region
from ..tiling.tiles import Region, Tile

CHUNK = 64
"""About how many samples an axis a chunk has, the least that is read; shards have some of them."""


@dataclass(frozen=True)
class Level:
    """Where in an array of all batches the arrays of one batch lie.

    Attributes
    ----------
    path : of the Zarr array
    axes : of it, a letter each
    """

    path: Path
    axes: str


@dataclass(eq=False)
class Arrays:
    """Arrays by name, for one batch.  It can be pickled; open arrays stay behind.

    Attributes
    ----------
    folder : of the arrays of this batch
    data : the input, read as ``"data"``
    levels : names that are parts of arrays of the output
    """

    folder: Path
    data: Constant
    levels: Mapping[str, Level] = field(default_factory=dict)
    _opened: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    @property
    def batch(self) -> Batch:
        """The input."""
        found: Batch = self.data.value
        return found

    def read(self, name: str, region: Region) -> Array:
        """A region of an array, as a new one."""
        if name == "data":
            check_region(name, region, self.batch.shape)
            return self.batch.read(region)
        array = self._array(name)
        found = np.asarray(array[self._whole(name, region)])
        shape = tuple(r.stop - r.start for r in region)
        return found.reshape(shape)

    def create(
        self, name: str, shape: Sequence[int], core: Sequence[int], dtype: DTypeLike
    ) -> None:
        """Make an array whose shards are the cores of tiles; where it exists, leave it."""
        if name not in self.levels and not (self._path(name) / "zarr.json").exists():
            create_array(self._path(name), shape, core, dtype)

    def write(self, name: str, tile: Tile, part: Array) -> int:
        """Write the shard of a tile's core, and return its checksum."""
        array = self._array(name)
        whole = self._whole(name, tile.core)
        array[whole] = part.reshape([r.stop - r.start for r in whole])
        return _checksum(self._shard(name, tile))

    def settle(self, name: str, tile: Tile) -> None:
        """Have the shard of a tile's core on the disk, where it survives a loss of power."""
        with self._shard(name, tile).open("rb") as file:
            os.fsync(file.fileno())

    def checksum(self, name: str, tile: Tile) -> int | None:
        """The checksum of a tile's shard as it is stored now, or None where there is none."""
        try:
            return _checksum(self._shard(name, tile))
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Delete an array."""
        self._opened.pop(name, None)
        shutil.rmtree(self._path(name), ignore_errors=True)

    def _array(self, name: str) -> Any:
        if name not in self._opened:
            path = self._path(name)
            if not (path / "zarr.json").exists():
                raise DamagedError(f"{path} is gone")
            zarr = need("zarr")
            # of each array that is opened: a shard of zeros alone would not be stored
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._opened[name] = zarr.open_array(path, mode="r+")
        return self._opened[name]

    def _path(self, name: str) -> Path:
        # no folder of an array holds another's: "x" and "x/1" are two
        inside = name.replace("/", ".")
        return self.levels[name].path if name in self.levels else self.folder / inside

    def _whole(self, name: str, region: Region) -> Region:
        """The region in the array that is stored, which may hold other batches too."""
        if name not in self.levels:
            return region
        return whole_region(self.levels[name].axes, self.batch.at, region)

    def _shard(self, name: str, tile: Tile) -> Path:
        array = self._array(name)
        pairs = zip(self._whole(name, tile.core), array.shards, strict=True)
        return self._path(name).joinpath("c", *(str(r.start // n) for r, n in pairs))


def create_array(
    path: Path,
    shape: Sequence[int],
    shard: Sequence[int],
    dtype: DTypeLike,
    names: Sequence[str] | None = None,
) -> None:
    """Make a Zarr array with a shard a tile, in chunks with checksums.

    shard : as `sharded` returns it
    names : of the axes of an array of the output, which is compressed
    """
    zarr = need("zarr")
    codecs = need("zarr.codecs")
    # what is read again in the next pass is hardly smaller compressed, and slower
    compressors = [codecs.ZstdCodec(level=1)] if names else []
    try:
        zarr.create_array(
            store=str(path), shape=tuple(shape), dtype=np.dtype(dtype), fill_value=0,
            shards=tuple(shard), chunks=tuple(n // _parts(n) for n in shard),
            compressors=[*compressors, codecs.Crc32cCodec()], dimension_names=names,
            overwrite=True,
            config={"write_empty_chunks": True},  # what is not stored was never written
        )  # fmt: skip
    except OSError as exc:
        raise StoppedError(  # which says nothing of the input
            f"{path} could not be made ({exc.strerror or exc}); make room for it and repeat the "
            "command, which goes on from where it was."
        ) from exc


def sharded(n: int) -> int:
    """The least size of a shard, ≥ n, that is dealt to chunks of equal size.

    Examples
    --------
    >>> [sharded(n) for n in (7, 96, 130, 200)]
    [7, 96, 130, 201]
    """
    parts = max(1, n // CHUNK)
    return -(-n // parts) * parts


def _parts(n: int) -> int:
    """Into how many chunks of one size an axis of a shard is dealt."""
    parts = (p for p in range(1, 2 * n // CHUNK + 2) if n % p == 0)
    return min(parts, key=lambda p: abs(n // p - CHUNK))


def _checksum(path: Path) -> int:
    crc = need("google_crc32c")
    found: int = crc.value(path.read_bytes())
    return found
