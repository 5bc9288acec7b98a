"""Memory and disk are what was predicted, on volumes eight times larger than the budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unconv.volumes.engine.budget import disk_needed, fit_tiles, tile_memory
from unconv.volumes.errors import VolumeError
from unconv.volumes.sources import open_source

from .runs import drawn, run
from .toy import Toy

pytest.importorskip("zarr")

from .memory import make

HERE = Path(__file__).parents[2]  # where the package of the tests is found


def measured(folder, side, room, passes):
    make(folder, side)
    command = [sys.executable, "-m", "tests.volumes.memory", str(folder), str(room)]
    done = subprocess.run(
        [*command, str(passes)], cwd=HERE, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_what_is_beside_the_library_is_an_eighth_of_the_volume(tmp_path):
    room, side = 20_000_000, 343
    assert 4 * side**3 >= 8 * room
    found = measured(tmp_path, side, room, passes=0)
    assert found["peak"] <= found["resident"] + room


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_all_of_a_worker_is_an_eighth_of_the_volume(tmp_path):
    room, side = 60_000_000, 880
    found = measured(tmp_path, side, room, passes=1)
    budget = found["resident"] + room
    assert 4 * side**3 >= 8 * budget
    assert found["peak"] <= budget


@pytest.mark.parametrize("shape", [(40, 300, 300), (1000, 1000, 1000), (3000, 2000)])
def test_the_largest_tiles_that_fit_are_chosen(shape):
    source = open_source(drawn((4,) * len(shape)))
    toy = Toy(len(shape))
    before = (0,)
    for memory in (4e7, 1e8, 1e9, 1e12):
        need = fit_tiles(toy, shape, source, memory, 1000, 1)
        assert need.memory <= memory
        scene = [n + 2 for n in shape]
        assert need.memory == 1000 + tile_memory(toy, scene, need.core, source)
        assert need.core >= before
        before = need.core
    many = fit_tiles(toy, shape, source, 1e12, 0, 8)
    tiles = 1
    for n, c in zip(shape, many.core, strict=True):
        tiles *= -(-n // c)
    assert tiles >= 32


def test_the_disk_that_was_predicted_is_enough(tmp_path):
    """Arrays of work are not compressed; the output of noise is hardly."""
    data = drawn((70, 61, 50))
    most = [0]

    def progress(told):
        files = [p for p in tmp_path.rglob("*") if p.is_file() and "/c/" in str(p)]
        most[0] = max(most[0], sum(p.stat().st_size for p in files))

    done = run(data, tmp_path / "out.zarr", room=5e6, progress=progress)
    source = open_source(data)
    assert done.need.disk == disk_needed(Toy(), [n + 2 for n in data.shape], done.need.core, source)
    assert 0.5 * done.need.disk < most[0] <= done.need.disk


def test_tile_too_large_for_any_budget():
    source = open_source(drawn((4, 4, 4)))
    with pytest.raises(VolumeError, match=r"the smallest tiles take .* bytes, 500 of them for the"):
        fit_tiles(Toy(), (100, 100, 100), source, 1e5, 500, 1)
