"""The time that is left of volumes, on a clock that the test turns."""

import pytest

pytest.importorskip("rich")

from unconv.cli.volume.outlook import Outlook
from unconv.volumes.engine.runner import Progress
from unconv.volumes.tiling.stages import Standing


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def passed(outlook, clock, batch, errors, each=10.0, goal=1e-3, most=60):
    """What is said after each pass, of four tiles each."""
    said = []
    for turn, error in enumerate(errors):
        for tile in range(4):
            told = Standing(turn, "error within", error, goal, most)
            found = outlook(Progress(batch, f"solve {turn}", tile + 1, 4, 0.0, told))
            if tile == 0:
                said.append(found)
            clock.now += each / 4
    return said


def test_passes_that_gain_the_same_are_foreseen():
    clock = Clock()
    outlook = Outlook(["all"], clock)
    assert outlook(Progress("all", "survey", 1, 1)) is None
    clock.now += 7
    said = passed(outlook, clock, "all", [1.0, 0.1, 1e-2, 1e-3])
    assert said[0] is None
    assert said[1:] == pytest.approx([30, 20, 10])  # each pass, and the end


def test_nothing_is_said_of_passes_that_gain_nothing():
    clock = Clock()
    assert passed(Outlook(["all"], clock), clock, "all", [1.0, 1.0, 2.0]) == [None] * 3


def test_there_are_no_more_passes_than_there_may_be():
    clock = Clock()
    said = passed(Outlook(["all"], clock), clock, "all", [1.0, 0.99], most=4)
    assert said[1] == pytest.approx(40)


def test_volumes_behind_take_what_those_before_took():
    clock = Clock()
    outlook = Outlook(["c0", "c1", "c2"], clock)
    said = passed(outlook, clock, "c0", [1.0, 0.1])
    assert said[1] == pytest.approx(30 + 2 * (10 + 30))
    clock.now += 20  # 40 seconds in all
    assert outlook(Progress("c1", "survey", 1, 8)) == pytest.approx(40 + 40)
    clock.now += 15
    assert outlook(Progress("c1", "survey", 8, 8)) == pytest.approx(25 + 40)
    assert outlook(Progress("c2", "survey", 1, 8)) == pytest.approx((40 + 15) / 2)


def test_volumes_that_were_done_before_are_not_counted():
    clock = Clock()
    assert passed(Outlook(["c0", "c1"], clock), clock, "c1", [1.0, 0.1])[1] == pytest.approx(30)
