"""Timeouts of running attempts: one coarse wheel instead of a timer per job."""

from __future__ import annotations

import asyncio
import math
import time

from .attempt import Attempt

GRAIN = 0.05
"""Seconds of a bucket: a timeout fires at most this much late, and a job that is done in time costs two dict writes."""


class Wheel:
    """Cancels attempts whose ``limit`` has passed. Ticks only while somebody is on it."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, Attempt]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attempt: Attempt) -> None:
        """Watch ``attempt.limit``."""
        bucket = math.ceil(attempt.limit / GRAIN)
        attempt.bucket = bucket
        self._buckets.setdefault(bucket, {})[id(attempt)] = attempt
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GRAIN, self._turn)

    def drop(self, attempt: Attempt) -> None:
        """Watch it no more."""
        if attempt.bucket >= 0:
            self._buckets.get(attempt.bucket, {}).pop(id(attempt), None)
            attempt.bucket = -1

    def _turn(self) -> None:
        now = math.floor(time.monotonic() / GRAIN)
        for bucket in [one for one in self._buckets if one <= now]:
            for attempt in self._buckets.pop(bucket).values():
                attempt.bucket = -1
                attempt.cancel("timeout")
        self._timer = asyncio.get_running_loop().call_later(GRAIN, self._turn) if self._buckets else None
