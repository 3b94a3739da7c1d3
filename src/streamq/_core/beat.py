"""When a worker ticks: all of its queues at once, so that one with many queues that rest wakes up once for all of them.

Workers tick at different times by their names, so that a fleet does not ask the server in chorus.
"""

from __future__ import annotations

import math
import zlib

EARLY = 0.1
"""Part of a period by which a beat may be early: what ticked just now does not tick again at once."""


def phase(worker: bytes) -> float:
    """Return where in a period a worker ticks, 0 to 1."""
    return zlib.crc32(worker) / 2**32


def next_beat(now: float, period: float, phase: float) -> float:
    """Return the next beat after ``now``, in 0.1 to 1.1 periods (seconds on the monotonic clock)."""
    return (math.floor(now / period - phase + EARLY) + 1 + phase) * period
