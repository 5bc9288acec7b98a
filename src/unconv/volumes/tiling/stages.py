"""What mathematics and engine agree on: a run is a sequence of stages over tiles.

A stage does one `Work` on every tile of a `Tiling`: it reads regions of finished arrays and writes
new ones on the cores.  An array is never written by two stages, nor read by the stage that writes
it.  So a stage is a pure function of finished arrays: its tiles can be done in any order, on any
machine, and done again, with the same bits.

`MemoryRunner` keeps the arrays in memory, for volumes that fit and for tests.  The runner for
larger ones is `StoreRunner` in `runner.py`; both return the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .tiles import Region, Tile, Tiling, shape_of

Array = NDArray[Any]
Read = Callable[[str, Region], Array]
"""A region of a named array, within its bounds, as a new array; ``"data"`` is the input."""
Numbers = dict[str, float]


class Work(Protocol):
    """What is done on one tile: an object that can be pickled and that a call does not change.

    What is large and the same in many stages, the factors of tiles for example, is held in a
    `Constant`.
    """

    def __call__(self, tile: Tile, read: Read) -> tuple[dict[str, Array], Numbers]:
        """The arrays on `tile.core` by name, and numbers for the driver."""
        ...

    def bytes_for(self, tile: Tile) -> int:
        """What a call takes in memory at its peak, all that it reads and writes included."""
        ...


class Standing(NamedTuple):
    """Where a driver is, for those who wait for it; nothing depends on it.

    Attributes
    ----------
    turns : passes, or steps, that are done
    words : what `value` is, such as "error within"
    value : what the turns bring down
    goal : they end where `value` is no more than this
    most : turns that there are at most
    """

    turns: int
    words: str
    value: float
    goal: float
    most: int


class Runner(Protocol):
    """What carries out stages.  A driver, which is mathematics, talks to nothing else."""

    def run(
        self, name: str, work: Work, tiling: Tiling, writes: Mapping[str, DTypeLike]
    ) -> list[Numbers]:
        """Do a stage, and return its numbers in the order of tiles when all is done.

        Parameters
        ----------
        name : of the stage; asked for again, the same work is answered from what it has found
        work : what is done on every tile
        tiling : of the scene; its shape is that of the arrays that are written
        writes : the names of these arrays, none of which exists yet, and their dtypes
        """
        ...

    def drop(self, *names: str) -> None:
        """Forget arrays that nothing will read any more."""
        ...

    def tell(self, standing: Standing) -> None:
        """Say how far the driver is."""
        ...


class Answer(NamedTuple):
    """What a driver has found.

    Attributes
    ----------
    name : of the array on the scene that is the restoration
    report : what is to be told and stored with it: numbers, texts, and lists of them
    """

    name: str
    report: dict[str, Any]


class Method(Protocol):
    """Mathematics as the engine sees it, for volumes of one shape."""

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """For each axis, how many samples the scene has before and after the data."""
        ...

    @property
    def halo(self) -> tuple[int, ...]:
        """For each axis, how many samples a tile looks at on either side of its core."""
        ...

    def arrays_for(self, core: Sequence[int]) -> float:
        """How many float32 arrays of the scene's size there are at most at one time."""
        ...

    def bytes_for(self, tile: Tile) -> int:
        """What the largest work takes on a tile in memory, all that it reads and writes included.

        Asked for many tilings before any work, so it is arithmetic with shapes.
        """
        ...

    def __call__(self, runner: Runner, tiling: Tiling) -> Answer:
        """The driver: stages, one after the other, until the answer is good."""
        ...


@dataclass(frozen=True)
class Derived:
    """What a method needs that is made of another one: as much as that.

    Attributes
    ----------
    method : the other one
    """

    method: Method

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """For each axis, how many samples the scene has before and after the data."""
        return self.method.margins

    @property
    def halo(self) -> tuple[int, ...]:
        """For each axis, how many samples a tile looks at on either side of its core."""
        return self.method.halo

    def arrays_for(self, core: Sequence[int]) -> float:
        """How many float32 arrays of the scene's size there are at most at one time."""
        return self.method.arrays_for(core)

    def bytes_for(self, tile: Tile) -> int:
        """What the largest work takes on a tile in memory, what it reads and writes included."""
        return self.method.bytes_for(tile)


@dataclass(frozen=True)
class Constant:
    """A large value that works hold: it travels to each worker once, whatever holds it."""

    value: Any


class MemoryRunner:
    """Carry out stages on arrays in memory, one tile after the other.

    Parameters
    ----------
    data : the input, or what gives its regions when it is indexed

    Examples
    --------
    >>> class Double:
    ...     def __call__(self, tile, read):
    ...         part = 2 * read("data", tile.core)
    ...         return {"x/0": part}, {"sum": float(part.sum())}
    ...     def bytes_for(self, tile):
    ...         return 0
    >>> runner = MemoryRunner(np.arange(6.0))
    >>> runner.run("double", Double(), Tiling((6,), (4,), (0,)), {"x/0": np.float64})
    [{'sum': 12.0}, {'sum': 18.0}]
    >>> runner.arrays["x/0"]
    array([ 0.,  2.,  4.,  6.,  8., 10.])
    """

    def __init__(self, data: Any) -> None:
        self.arrays: dict[str, Any] = {"data": data}

    def run(
        self, name: str, work: Work, tiling: Tiling, writes: Mapping[str, DTypeLike]
    ) -> list[Numbers]:
        """Do a stage; see `Runner`."""
        new = {key: np.empty(tiling.scene, dtype) for key, dtype in writes.items()}
        numbers = []
        for tile in tiling.tiles:
            parts, found = do_work(work, tile, self._read, writes)
            for key, part in parts.items():
                new[key][tile.core] = part
            numbers.append(found)
        assert not new.keys() & self.arrays.keys(), f"{name} writes what there is already"
        self.arrays |= new
        return numbers

    def drop(self, *names: str) -> None:
        """Forget arrays; see `Runner`."""
        for name in names:
            del self.arrays[name]

    def tell(self, standing: Standing) -> None:
        """Nobody waits for it."""

    def _read(self, name: str, region: Region) -> Array:
        check_region(name, region, self.arrays[name].shape)
        found: Array = self.arrays[name][region].copy()
        return found


def do_work(
    work: Work, tile: Tile, read: Read, writes: Mapping[str, DTypeLike]
) -> tuple[dict[str, Array], Numbers]:
    """One tile of a stage, with what comes back held to what was announced."""
    parts, numbers = work(tile, read)
    shape = shape_of(tile.core)
    assert parts.keys() == writes.keys(), f"{[*parts]} written, {[*writes]} announced"
    for key, part in parts.items():
        assert part.shape == shape, f"{key} has {part.shape} on a core of {shape}"
        assert part.dtype == np.dtype(writes[key]), f"{key} is {part.dtype}, not {writes[key]}"
    return parts, {key: float(value) for key, value in numbers.items()}


def check_region(name: str, region: Region, shape: Sequence[int]) -> None:
    """Hold a reader to the bounds of an array, which slices would silently be clipped to."""
    inside = len(region) == len(shape) and all(
        0 <= r.start <= r.stop <= n and r.step in (None, 1)
        for r, n in zip(region, shape, strict=True)
    )
    assert inside, f"{region} of {name}, which has {tuple(shape)}"
