"""A journal that was cut at any byte holds what was whole before."""

import json
import random

import pytest

from unconv.volumes.engine.journal import Journal
from unconv.volumes.errors import VolumeError

HEADER = {"version": "1", "parameters": {"tol": 0.1, "text": "a" * 50}, "input": {"identity": "x"}}


def written(path):
    journal = Journal(path, HEADER)
    for tile in range(4):
        journal.add_tile("all", "a", tile, {"numbers": {"n": 0.1 * tile}, "sums": {"x": tile}})
    journal.add_drop("all", ("x",))
    journal.add_end("all", {"name": "x"})
    journal.close()
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path):
    written(tmp_path / "journal")
    journal = Journal(tmp_path / "journal", HEADER)
    assert journal.resumed
    assert [r["numbers"]["n"] for r in journal.tiles("all", "a").values()] == [0, 0.1, 0.2, 0.1 * 3]
    assert journal.is_dropped("all", "x")
    assert not journal.is_dropped("c1", "x")
    assert journal.end("all") == {"name": "x"}
    journal.forget("all")
    journal.close()
    journal = Journal(tmp_path / "journal", HEADER)
    assert journal.tiles("all", "a") == {}
    assert journal.end("all") is None
    journal.close()


def test_cut_anywhere(tmp_path):
    path = tmp_path / "journal"
    whole = written(path)
    lines = whole.splitlines(keepends=True)
    draw = random.Random(3)
    for _ in range(60):
        cut = draw.randrange(len(whole))
        path.write_bytes(whole[:cut])
        journal = Journal(path, HEADER)
        kept = sum(1 for i in range(len(lines)) if cut >= sum(map(len, lines[: i + 1])))
        assert journal.resumed == (kept > 0)
        assert len(journal.tiles("all", "a")) == min(max(kept - 1, 0), 4)
        journal.add_tile("all", "b", 0, {"numbers": {}, "sums": {}})
        journal.close()
        journal = Journal(path, HEADER)
        assert [*journal.tiles("all", "b")] == [0]
        journal.close()


def test_a_flipped_bit_ends_it_there(tmp_path):
    path = tmp_path / "journal"
    whole = bytearray(written(path))
    second = whole.index(b"\n", whole.index(b"\n") + 1)
    whole[second + 30] ^= 1
    path.write_bytes(whole)
    journal = Journal(path, HEADER)
    assert len(journal.tiles("all", "a")) == 1
    journal.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "2"}, r"differs in: version \(1 then, 2 now\);"),
        ({"parameters": {"tol": 0.2, "text": "a" * 50}}, r"differs in: tol \(0.1 then, 0.2 now\);"),
        ({"parameters": {"tol": 0.1, "text": "b" * 50}}, "differs in: text;"),
        (
            {"parameters": {"tol": 0.1, "text": "a" * 50, "gain": None}},
            r"differs in: gain \(not set then, None now\);",
        ),
        ({"input": {"identity": "y"}}, r"differs in: identity \(x then, y now\);"),
    ],
)
def test_something_else_does_not_go_on(tmp_path, change, told):
    content = written(tmp_path / "journal")
    with pytest.raises(VolumeError, match=told):
        Journal(tmp_path / "journal", HEADER | change)
    assert (tmp_path / "journal").read_bytes() == content
    assert json.loads(content.splitlines()[0][9:]) == HEADER
