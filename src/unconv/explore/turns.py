"""Whose turn it is: one computation at a time, in the order of asking; the newest of a kind counts.

Somebody who moves a slider asks faster than pictures are restored.  So whoever asks for a newer
answer of a kind takes the older ones' right to go on, which they notice at their next step.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class SupersededError(Exception):
    """Nobody waits for this answer any more."""


class Turns:
    """The queue of computations.

    Attributes
    ----------
    step, fraction : what is being done, for the eye, '' while nothing is; how much of it, if known
    """

    def __init__(self) -> None:
        self._queue: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._newest: Counter[str] = Counter()
        self._over = False
        self.step = ""
        self.fraction: float | None = None

    def ticket(self, kind: str) -> Ticket:
        """A right to answer, until somebody asks for a newer answer of this kind."""
        with self._changed:
            self._newest[kind] += 1
            return Ticket(self, kind, self._newest[kind])

    def cancel(self, kind: str) -> None:
        """Nobody waits for answers of this kind any more."""
        self.ticket(kind)

    def stop(self, patience: float = 10.0) -> bool:
        """Nobody waits for anything any more; whether what is at work ends in so many seconds."""
        self._over = True
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, patience)

    def counts(self, kind: str, number: int) -> bool:
        """Whether a ticket is still good."""
        return not self._over and self._newest[kind] == number

    @contextmanager
    def turn(self, ticket: Ticket) -> Iterator[None]:
        """Wait until it is this ticket's turn, and have it."""
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket)
        try:
            ticket.check()
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self.step, self.fraction = "", None
                self._changed.notify_all()


class Ticket:
    """The right to answer one question."""

    def __init__(self, turns: Turns, kind: str, number: int) -> None:
        self._turns, self._kind, self._number = turns, kind, number

    def check(self) -> None:
        """Raise SupersededError when the answer is not wanted any more."""
        if not self._turns.counts(self._kind, self._number):
            raise SupersededError

    def say(self, step: str, fraction: float | None = None) -> None:
        """Tell what begins, and how much is done; here a computation ends that nobody waits for."""
        self.check()
        self._turns.step, self._turns.fraction = step, fraction

    def turn(self) -> AbstractContextManager[None]:
        """A turn of the queue; a ticket may have several, one after the other."""
        return self._turns.turn(self)
