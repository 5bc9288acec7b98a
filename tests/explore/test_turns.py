"""One at a time, in order, and the newest of a kind counts."""

from __future__ import annotations

import threading
import time

import pytest

from unconv.explore.turns import SupersededError, Turns


def test_the_newest_of_a_kind_counts():
    turns = Turns()
    old, other, new = turns.ticket("preview"), turns.ticket("save"), turns.ticket("preview")
    with pytest.raises(SupersededError), old.turn():
        raise AssertionError
    with other.turn():
        other.say("saving", 0.5)
        assert (turns.step, turns.fraction) == ("saving", 0.5)
    assert (turns.step, turns.fraction) == ("", None)
    with new.turn():
        turns.cancel("preview")
        with pytest.raises(SupersededError):
            new.say("too late")


def test_turns_come_in_the_order_of_asking():
    turns, order = Turns(), []
    first = turns.ticket("0")

    def wait(name: str) -> None:
        with turns.ticket(name).turn():
            order.append(name)

    with first.turn():
        threads = []
        for name in "abc":
            threads.append(threading.Thread(target=wait, args=(name,), daemon=True))
            threads[-1].start()
            time.sleep(0.05)
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == ["a", "b", "c"]


def test_in_the_end_nobody_waits():
    turns = Turns()
    ticket = turns.ticket("preview")
    with ticket.turn():
        assert not turns.stop(patience=0)
        with pytest.raises(SupersededError):
            ticket.say("more")
    assert turns.stop()
    with pytest.raises(SupersededError), turns.ticket("preview").turn():
        raise AssertionError
