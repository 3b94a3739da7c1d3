"""How many jobs a worker may hold that have no place yet: as many as will have one in a moment, by what it just saw.

Two questions. While the next call is on its way, will the jobs that were just begun be over? Then as many more may come
with it, and server and worker work at the same time. And when all places are taken, how many end within a moment? As
many may be ready, so that no place waits for a round trip. Whoever is held longer than a moment is kept from a worker
that has room, so both answers fall at once when jobs turn slow. No clock here: times are told, in seconds.
"""

from __future__ import annotations

import math

MOMENT = 0.02
"""Seconds a held job may be expected to wait: a few round trips, and far below what anybody calls late."""

ROUND = 0.001
"""Seconds of a round trip, roughly."""

SPELL = 0.005
"""Seconds' worth of jobs that a queue may take at a time from the others when jobs are over at once."""

MEMORY = 0.1
"""Seconds over which the pace is averaged: some rounds of a busy worker, known soon and forgotten soon."""

NEARLY_ALL = 0.75
"""Share of the jobs just begun that must be expected to end; with less, calls become more and smaller."""


class Pace:
    """How quickly jobs end, all queues of a worker together."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = 0.0

    def ended(self, count: int, now: float) -> None:
        """Note that ``count`` jobs ended since the last time."""
        self._rate = self._fading(now) + count / MEMORY
        self._at = now

    def soon(self, now: float, seconds: float = MOMENT) -> int:
        """Return how many jobs will end in a moment, or within other ``seconds``."""
        return int(self._fading(now) * seconds)

    def ready(self, places: int, queues: int, now: float) -> int:
        """Return how many jobs of one of ``queues`` may come that have none of ``places``, all taken.

        As many as end while they are on their way, a quarter of the places at most, so that these stand empty for no
        round trip. Besides as many as end in a moment, a tenth of the places at most over all queues: they wait here,
        and the server counts them as active.
        """
        on_the_way = min(places // 4, self.soon(now, ROUND))
        return (on_the_way + min(places // 10, self.soon(now))) // max(1, queues)

    def _fading(self, now: float) -> float:
        return self._rate * math.exp((self._at - now) / MEMORY)


class Outlook:
    """What one queue's jobs were like in the last rounds of its conversation with the server."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._share = 0.0

    def round(self, begun: int, ended: int) -> None:
        """Note that of ``begun`` jobs that came with one answer ``ended`` were over when the next one came."""
        share = ended / begun
        # Down at once, up in steps: one round of slow jobs is enough to hold none behind them.
        self._share = share if share < self._share else (self._share + share) / 2

    @property
    def is_over_at_once(self) -> bool:
        """Whether nearly all jobs end before the next answer comes: none of them occupies a place for long."""
        return self._share >= NEARLY_ALL

    def beyond(self, begun: int, now: float) -> int:
        """Return how many of ``begun`` jobs, just begun, will have made room when the next answer comes.

        0 when that is not nearly all of them: then it is better to wait a turn of the event loop and see.
        """
        room = min(int(begun * self._share), self._pace.soon(now))
        return room if room >= begun * NEARLY_ALL else 0
