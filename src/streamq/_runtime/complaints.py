"""Says what the server refuses, and what to do; not ten times a second."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("streamq.worker")

EVERY = 5.0
"""Seconds between two complaints of one kind."""


class Complaints:
    """What one queue's worker complains of."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def say(self, event: str, code: str, problem: object) -> None:
        """Log ``problem`` as ``event``, unless that was said a moment ago."""
        now = time.monotonic()
        if now >= self._next.get(event, 0.0):
            self._next[event] = now + EVERY
            log.error("redis refused a call: %s", problem, extra={"event": event, "code": code})
