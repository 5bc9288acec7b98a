"""Whole runs with the toy's driver: bit for bit those in memory, and gone on with."""

import errno
import shutil
from collections import Counter

import numpy as np
import pytest

from unconv.volumes.engine.store import Arrays
from unconv.volumes.errors import StoppedError, VolumeError

from .runs import Halt, drawn, files_of, in_memory, run, stop_after
from .toy import Step, Toy

zarr = pytest.importorskip("zarr")
SLOW = pytest.mark.slow
DATA = drawn((40, 30, 25))


def level(path, number=0):
    return zarr.open(path, mode="r")[str(number)][:]


# --- what is stored


@pytest.mark.parametrize("shape", [(40, 30, 25), (70, 300), (20, 30, 70)])
@pytest.mark.parametrize("room", [2.4e6, 1e9])
def test_a_volume_is_that_in_memory(tmp_path, shape, room):
    data = drawn(shape)
    told = []
    done = run(data, tmp_path / "out.zarr", room=room, progress=told.append)
    assert (level(tmp_path / "out.zarr") == in_memory(data, done.need.core)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    assert done.failed == {}
    assert [*done.reports] == ["all"]
    assert not done.resumed
    assert told[-1].done == told[-1].total


def test_every_time_and_channel_by_itself_in_whatever_order_they_come(tmp_path):
    data = drawn((3, 24, 2, 18, 20))
    done = run(data, tmp_path / "out.zarr", axes="cztyx", voxel=(0.3, 0.1, 0.2))
    found = level(tmp_path / "out.zarr")
    assert found.shape == (2, 3, 24, 18, 20)
    for t in range(2):
        for c in range(3):
            part = np.ascontiguousarray(data[c, :, t])
            assert (found[t, c] == in_memory(part, done.need.core)).all()
    assert {*done.reports} == {f"t{t}-c{c}" for t in range(2) for c in range(3)}
    scales = zarr.open(tmp_path / "out.zarr").attrs["ome"]["multiscales"][0]
    assert [a["name"] for a in scales["axes"]] == [*"tczyx"]
    first = scales["datasets"][0]["coordinateTransformations"]
    assert first == [{"type": "scale", "scale": [1.0, 1.0, 0.3, 0.1, 0.2]}]


def test_a_pyramid_of_means_and_where_its_samples_are(tmp_path):
    data = drawn((11, 530, 271))
    run(data, tmp_path / "out.zarr", room=1e8, voxel=(2.0, 0.5, 0.25))
    finer = level(tmp_path / "out.zarr")
    scales = zarr.open(tmp_path / "out.zarr").attrs["ome"]["multiscales"][0]["datasets"]
    for number, shape in enumerate([(11, 265, 136), (11, 133, 136)], 1):
        coarse = level(tmp_path / "out.zarr", number)
        assert coarse.shape == shape
        factors = [-(-n // m) for n, m in zip(finer.shape, shape, strict=True)]
        for at in [(0, 0, 0), (10, shape[1] - 1, shape[2] - 1), (5, 70, 100)]:
            box = tuple(slice(i * f, i * f + f) for i, f in zip(at, factors, strict=True))
            assert abs(coarse[at] - finer[box].mean(dtype=np.float64)) < 1e-6
        finer = coarse
    change = scales[2]["coordinateTransformations"]
    assert change[0]["scale"] == [2.0, 2.0, 0.5]
    assert change[1]["translation"] == [0.0, 0.75, 0.125]
    assert len(scales) == 3


def test_a_shard_of_zeros_is_stored_like_any_other(tmp_path):
    data = np.zeros((40, 30, 25), np.float32)
    data[:18] = DATA[:18]
    done = run(data, tmp_path / "out.zarr")
    assert (level(tmp_path / "out.zarr") == in_memory(data, done.need.core)).all()
    assert (level(tmp_path / "out.zarr")[30:] == 0).all()


def test_what_is_told_travels_with_the_output(tmp_path):
    run(DATA, tmp_path / "out.zarr", strength=0.5, prior="toy")
    told = zarr.open(tmp_path / "out.zarr").attrs["unconv"]
    assert told["parameters"] == {"strength": 0.5, "prior": "toy"}
    assert len(told["parameters_hash"]) == 32
    assert told["input"]["shape"] == [40, 30, 25]
    assert len(told["batches"]["all"]["report"]["norms"]) == 3


# --- gone on with


@pytest.mark.parametrize("count", [1, 33, *(pytest.param(n, marks=SLOW) for n in (7, 50))])
def test_a_run_that_stopped_goes_on_and_redoes_nothing(tmp_path, count):
    data = drawn((24, 30, 31))
    whole = []
    run(data, tmp_path / "whole.zarr", progress=whole.append)
    told = []
    stop = stop_after(count)
    with pytest.raises(Halt):
        run(data, tmp_path / "out.zarr", progress=lambda p: (told.append(p), stop(p)))
    assert not (tmp_path / "out.zarr").exists()
    done = run(data, tmp_path / "out.zarr", progress=told.append)
    assert done.resumed
    assert Counter(p[:2] for p in told) == Counter(p[:2] for p in whole)
    same = files_of(tmp_path / "out.zarr")
    expected = files_of(tmp_path / "whole.zarr")
    for metadata in (same, expected):
        metadata["zarr.json"] = metadata["zarr.json"].replace(b'"whole"', b'"out"')
    assert same == expected
    assert not (tmp_path / "out.zarr.work").exists()


def stopped(path, count=40, data=DATA, **options):
    with pytest.raises(Halt):
        run(data, path, progress=stop_after(count), **options)


def test_other_parameters_or_another_input_do_not_go_on(tmp_path):
    out = tmp_path / "out.zarr"
    stopped(out, tol=1e-3)
    with pytest.raises(VolumeError, match=r"differs in: tol \(0.001 then, 0.01 now\); repeat"):
        run(DATA, out, tol=1e-2)
    with pytest.raises(VolumeError, match="differs in: identity"):
        run(DATA + 1, out, tol=1e-3)
    run(DATA, out, tol=1e-3)


def test_tiles_of_a_run_that_was_begun_stay(tmp_path):
    out = tmp_path / "out.zarr"
    stopped(out, 5, room=5e6)
    with pytest.raises(VolumeError, match="was begun with tiles that take"):
        run(DATA, out, room=2.4e6)
    done = run(DATA, out, room=1e9)
    assert (level(out) == in_memory(DATA, done.need.core)).all()


def test_only_one_process_is_at_work(tmp_path):
    def inside(told):
        with pytest.raises(VolumeError, match="another process is at work"):
            run(DATA, tmp_path / "out.zarr")
        raise Halt

    with pytest.raises(Halt):
        run(DATA, tmp_path / "out.zarr", progress=inside)


# --- faults


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "journal"])
def test_what_is_torn_is_found_and_done_again(tmp_path, damage):
    out, work = tmp_path / "out.zarr", tmp_path / "out.zarr.work"
    data = drawn((24, 30, 31))
    stopped(out, 40, data)
    files = [p for p in (work / "arrays").rglob("*") if p.is_file() and p.name != "zarr.json"]
    victim = sorted(files)[len(files) // 2]
    content = bytearray(victim.read_bytes())
    if damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[100] ^= 4
        victim.write_bytes(content)
    elif damage == "gone":
        victim.unlink()
    else:
        journal = work / "journal"
        journal.write_bytes(journal.read_bytes()[:-30])
    done = run(data, out)
    assert (level(out) == in_memory(data, done.need.core)).all()


def test_damage_of_what_cannot_be_done_again_begins_the_batch_anew(tmp_path):
    out, work = tmp_path / "out.zarr", tmp_path / "out.zarr.work"
    data = drawn((24, 30, 31))

    def stop(told):
        if told.stage == "step 2":
            raise Halt

    with pytest.raises(Halt):
        run(data, out, progress=stop)
    assert not (work / "arrays/all/x/0").exists()  # of which x/1, damaged, and x/2 were made
    for path in [p for p in (work / "arrays/all/x/2").rglob("*") if p.name != "zarr.json"]:
        if path.is_file():
            path.write_bytes(path.read_bytes()[:50])
    done = run(data, out)
    assert (level(out) == in_memory(data, done.need.core)).all()


class Failing(Toy):
    """The toy, some of whose tiles fail some times."""

    def __init__(self, times, error=RuntimeError):
        super().__init__(3)
        self.left = Counter({3: times, 5: times})
        self.error = error

    def __call__(self, runner, tiling):
        outer = self

        class Unsure(Step):
            def __call__(self, tile, read):
                outer.left[tile.index] -= 1
                if outer.left[tile.index] >= 0:
                    raise outer.error("out of luck")
                return super().__call__(tile, read)

        class Runner:
            def run(self, name, work, tiling, writes):
                if isinstance(work, Step):
                    work = Unsure(work.read, work.write, work.kernel, work.data_shape)
                return runner.run(name, work, tiling, writes)

            drop = staticmethod(runner.drop)

        return super().__call__(Runner(), tiling)


def test_a_tile_that_fails_twice_is_done(tmp_path):
    method = Failing(2)
    done = run(DATA, tmp_path / "out.zarr", method_of=lambda *_: method)
    assert (level(tmp_path / "out.zarr") == in_memory(DATA, done.need.core)).all()


def test_a_tile_that_fails_is_told_with_its_place_and_the_rest_is_finished(tmp_path):
    method, told = Failing(3), []
    with pytest.raises(StoppedError, match=r"step 0 failed on 2 of .* tiles, at z 0-") as error:
        run(DATA, tmp_path / "out.zarr", method_of=lambda *_: method, progress=told.append)
    assert "RuntimeError: out of luck" in str(error.value)
    assert "Traceback" in (tmp_path / "out.zarr.work/failures.log").read_text()
    assert told[-1].done == told[-1].total - 2
    more = []
    done = run(DATA, tmp_path / "out.zarr", method_of=lambda *_: method, progress=more.append)
    assert [p.stage for p in more[:3]] == ["step 0", "step 0", "step 1"]
    assert (level(tmp_path / "out.zarr") == in_memory(DATA, done.need.core)).all()


def test_a_full_disk_is_a_sentence_and_goes_on_later(tmp_path, monkeypatch):
    write, count = Arrays.write, []

    def full(self, name, tile, part):
        count.append(name)
        if len(count) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, name, tile, part)

    monkeypatch.setattr(Arrays, "write", full)
    with pytest.raises(StoppedError, match=r"no space left for .*; make room and repeat"):
        run(DATA, tmp_path / "out.zarr")
    assert len(count) == 21
    monkeypatch.undo()
    done = run(DATA, tmp_path / "out.zarr")
    assert done.resumed
    assert (level(tmp_path / "out.zarr") == in_memory(DATA, done.need.core)).all()


@pytest.mark.parametrize("count", range(5))  # as many as the toy makes
def test_an_array_that_cannot_be_made_is_no_fault_of_the_input(tmp_path, monkeypatch, count):
    data, make, made = drawn((20, 18, 17)), zarr.create_array, []

    def full(*args, **options):
        made.append(1)
        if len(made) > count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(*args, **options)

    monkeypatch.setattr(zarr, "create_array", full)
    with pytest.raises(
        StoppedError, match=r"could not be made \(No space left .*repeat the"
    ) as told:
        run(data, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    done = run(data, tmp_path / "out.zarr")
    assert done.resumed
    assert (level(tmp_path / "out.zarr") == in_memory(data, done.need.core)).all()


def test_a_bad_channel_is_told_and_the_others_are_restored(tmp_path):
    data = drawn((3, 30, 31, 32))
    data[1] = np.nan
    done = run(data, tmp_path / "out.zarr", axes="czyx")
    assert [*done.failed] == ["c1"]
    assert {*done.reports} == {"c0", "c2"}
    assert "holds only NaN or infinity at z 0-30, y 0-31, x 0-32" in done.failed["c1"]
    found = level(tmp_path / "out.zarr")
    assert np.isnan(found[1]).all()
    assert (found[2] == in_memory(data[2].copy(), done.need.core)).all()
    told = zarr.open(tmp_path / "out.zarr").attrs["unconv"]["batches"]
    assert "NaN" in told["c1"]["failed"]


def test_damaged_chunks_of_a_channel_are_told_with_their_place(tmp_path):
    data = drawn((2, 30, 31, 32))
    zarr.create_array(store=str(tmp_path / "in.zarr"), data=data, chunks=(1, 30, 31, 16))
    path = tmp_path / "in.zarr/c/1/0/0/1"
    path.write_bytes(path.read_bytes()[:100])
    done = run(tmp_path / "in.zarr", tmp_path / "out.zarr", axes="czyx")
    assert "could not be read at c 1-2, z 0-30, y 0-31, x 0-32" in done.failed["c1"]
    assert (level(tmp_path / "out.zarr")[0] == in_memory(data[0].copy(), done.need.core)).all()


def test_samples_that_are_no_numbers_are_told_with_their_place(tmp_path):
    data = drawn((8, 140, 300))
    data[:, 96:, 192:] = np.nan
    data[3, 4, 5] = np.inf
    done = run(data, tmp_path / "out.zarr", room=1e8)
    first, second = done.reports["all"]["remarks"]
    assert first.startswith("38,017 of the 336,000 samples of the array are NaN or infinite")
    assert second == (
        "the array holds nothing else at z 0-8, y 96-140, x 192-288; z 0-8, y 96-140, x 288-300"
    )


def test_nothing_but_nan_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(VolumeError, match="holds only NaN or infinity at z 0-8, y 0-9, x 0-7"):
        run(np.full((8, 9, 7), np.nan), tmp_path / "out.zarr")
    assert not any(tmp_path.iterdir())


def test_values_that_float32_does_not_hold_are_refused(tmp_path):
    data = DATA.astype(np.float64)
    data[3, 4, 5] = -1e39
    with pytest.raises(VolumeError, match=r"values from -1e\+39 to 1, and the output is float32"):
        run(data, tmp_path / "out.zarr")
    assert not any(tmp_path.iterdir())


# --- no way to begin


def test_the_output_is_beside_the_input_and_new(tmp_path):
    given = tmp_path / "in.zarr"
    zarr.save(given, DATA)
    for out in (given, given / "out.zarr", tmp_path):
        with pytest.raises(VolumeError, match=r"is the input|exists"):
            run(given, out)
    (tmp_path / "old.zarr").mkdir()
    with pytest.raises(VolumeError, match="exists; remove it"):
        run(given, tmp_path / "old.zarr")
    with pytest.raises(VolumeError, match=r"no folder .*/none for the output"):
        run(given, tmp_path / "none/out.zarr")
    (tmp_path / "new.zarr.work").mkdir()
    (tmp_path / "new.zarr.work/mine.txt").write_text("mine")
    with pytest.raises(VolumeError, match="is in the way"):
        run(given, tmp_path / "new.zarr")


def test_too_little_memory_or_disk_is_said_first(tmp_path, monkeypatch):
    with pytest.raises(VolumeError, match="for a worker are too few: the smallest tiles take"):
        run(DATA, tmp_path / "out.zarr", room=1e5)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(VolumeError, match="1,000 bytes free and the run needs up to"):
        run(DATA, tmp_path / "out.zarr")
    assert not any(tmp_path.iterdir())


def test_the_latest_moment_to_be_killed(tmp_path, monkeypatch):
    """Between the rename and the end of the folder of work: the next call tidies up."""
    out = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", _not_the_work(shutil.rmtree))
        with pytest.raises(Halt):
            run(DATA, out)
    assert out.exists()
    assert (tmp_path / "out.zarr.work").exists()
    done = run(DATA, out)
    assert done.reports["all"]["norms"]
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    with pytest.raises(VolumeError, match="exists"):
        run(DATA, out)


def _not_the_work(rmtree):
    def remove(path, **options):
        if str(path).endswith(".work"):
            raise Halt
        rmtree(path, **options)

    return remove
