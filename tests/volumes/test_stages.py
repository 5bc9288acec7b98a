"""The contract, by a driver on arrays in memory."""

import numpy as np
import pytest

from unconv.volumes.tiling.stages import MemoryRunner
from unconv.volumes.tiling.tiles import Tiling

from .runs import drawn
from .toy import Toy, valid


def by_hand(data, kernel, passes):
    x = np.pad(data, 1, mode="edge")
    for _ in range(passes):
        g = valid(np.pad(data - valid(x, kernel), 2), np.flip(kernel))
        x = x + np.float32(0.5) * g
    return x


@pytest.mark.parametrize(
    ("shape", "core"), [((9, 11), (4, 5)), ((5, 8, 7), (7, 3, 4)), ((20,), (6,))]
)
def test_tiles_give_what_the_whole_gives(shape, core):
    toy = Toy(len(shape))
    data = drawn(shape)
    runner = MemoryRunner(data)
    answer = toy(runner, Tiling([n + 2 for n in shape], core, toy.halo))
    expected = by_hand(data, toy.kernel.value, 3)
    assert np.abs(runner.arrays[answer.name] - expected).max() < 1e-6
    assert answer.report["norms"][2] < answer.report["norms"][0]
    assert runner.arrays.keys() == {"data", "x/3"}


def test_what_is_read_is_nobody_elses():
    class Spoil:
        def __call__(self, tile, read):
            part = read("data", tile.core)
            part[:] = 0
            return {"y": part}, {}

        def bytes_for(self, tile):
            return 0

    data = drawn((6,))
    kept = data.copy()
    MemoryRunner(data).run("spoil", Spoil(), Tiling((6,), (4,), (0,)), {"y": np.float32})
    assert (data == kept).all()


@pytest.mark.parametrize(
    ("region", "writes"),
    [((slice(0, 7),), "y"), ((slice(-1, 3),), "y"), ((slice(0, 6),), "z"), ((slice(0, 5),), "y")],
)
def test_a_work_that_breaks_the_contract_is_stopped(region, writes):
    class Wrong:
        def __call__(self, tile, read):
            return {"y": read("data", region)}, {}

        def bytes_for(self, tile):
            return 0

    with pytest.raises(AssertionError):
        MemoryRunner(drawn((6,))).run(
            "wrong", Wrong(), Tiling((6,), (6,), (0,)), {writes: np.float32}
        )
