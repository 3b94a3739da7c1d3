"""Timeouts of running attempts: one timer for all, set to the earliest of them, instead of one per job."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from .attempt import Attempt

GRAIN = 0.05
"""Seconds between two looks at all attempts: a timeout fires at most this much late.

A job that is done in time costs a comparison: its end is not told, the look finds it gone."""


class Timeouts:
    """Cancels attempts whose ``limit`` has passed. ``attempts`` returns those of one queue."""

    def __init__(self, attempts: Callable[[], Sequence[Attempt]]) -> None:
        self._attempts = attempts
        self._earliest = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, limit: float) -> None:
        """Look at ``limit`` (monotonic), or before."""
        if limit < self._earliest:
            self._set(limit, time.monotonic())

    def _set(self, earliest: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._earliest = earliest
        self._timer = asyncio.get_running_loop().call_later(max(0.0, earliest - now), self._look)

    def _look(self) -> None:
        now = time.monotonic()
        earliest = math.inf
        for attempt in self._attempts():
            if attempt.settling or attempt.why or not attempt.started:
                continue
            if attempt.limit <= now:
                attempt.cancel("timeout")
            elif attempt.limit < earliest:
                earliest = attempt.limit
        self._earliest, self._timer = math.inf, None
        if earliest < math.inf:
            self._set(max(earliest, now + GRAIN), now)
