"""When to ask for due jobs: one worker of a queue, the holder of the turn, is the first to do so. No I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from .._store.clock import ServerClock
from .._store.replies import Promoted
from .._store.verbs import Item

EARLY = 0.0005
"""Seconds before a due time when we begin to ask: event loops wake up to a millisecond late. The server decides, in its
own time; what was too early is asked again at once, a time or two."""


class Due:
    """``at``: when the next delayed job is due for us (monotonic), inf for none that we know of."""

    def __init__(self, clock: ServerClock, consumer: bytes) -> None:
        self.at: float = float("inf")
        self._clock = clock
        self._consumer = consumer
        self._holds_turn = False

    @property
    def wake_at(self) -> float:
        """When to wake for it: a little before."""
        return self.at - EARLY

    def turn(self, holder: bytes) -> None:
        """Hear who holds the turn."""
        self._holds_turn = holder == self._consumer

    def heard(self, due_ms: int) -> None:
        """Hear of a delayed job, in ms of the server's clock; there may be earlier ones."""
        self.at = min(self.at, self._ours(due_ms))

    def settled(self, items: Sequence[Item]) -> None:
        """Hear which retries were made of what was settled."""
        for item in items:
            if item.verb == b"r":
                when = str(item.args[0])
                self.heard(int(when[1:]) + (self._clock.now_ms() if when[0] == "+" else 0))

    def next(self, due_ms: int) -> None:
        """Hear which is the next one, -1: nothing is delayed."""
        self.at = self._ours(due_ms) if due_ms >= 0 else float("inf")

    def promoted(self, reply: Promoted) -> None:
        """Hear what became of our asking."""
        self._clock.heard(reply.now_ms)
        self.turn(reply.turn)
        self.next(reply.next_due_ms)
        wait = reply.next_due_ms - reply.now_ms - 2  # its own word, should our idea of its clock be ahead
        if wait > 0:
            self.at = max(self.at, time.monotonic() + wait / 1000)

    def _ours(self, due_ms: int) -> float:
        """Return when we wake for it: the holder of the turn at once, the others later, lest all come at once."""
        due = self._clock.monotonic(due_ms)
        return due if self._holds_turn else due + random.uniform(0.02, 0.05)  # noqa: S311 - jitter
