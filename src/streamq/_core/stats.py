"""Statistics of a queue as values: counters and histograms of a window, by handler or by tenant. No I/O.

They are kept by the minute for 25 hours (`queue.stats`), and in all since the queue began (metrics).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

from ..errors import ConfigError
from .tally import BOUNDS_US, BUCKETS
from .units import Seconds, parse_duration, seconds

DAY: Final = 86_400.0
"""Longest window in seconds. An hour more is kept, so that a report of yesterday may come late."""

By = Literal["name", "tenant"]

BOUNDS_MS: Final[tuple[float, ...]] = tuple(bound / 1000 for bound in BOUNDS_US)
"""Upper bounds of the buckets of every histogram in milliseconds; the last bucket has none."""


class Histogram(msgspec.Struct, frozen=True):
    """How long something took, in milliseconds.

    count and sum_ms: of all values. p50, p95, p99: so long at most took that part of them, read from the buckets (None:
    there are no values). buckets: values at most 1 ms, 2 ms, 5 ms, 10 ms and so on to 5,000 s, and those above; a value
    is in one bucket only.
    """

    count: int = 0
    sum_ms: float = 0.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    buckets: tuple[int, ...] = (0,) * BUCKETS

    @property
    def mean_ms(self) -> float | None:
        """Mean in milliseconds, None without values."""
        return self.sum_ms / self.count if self.count else None

    @property
    def bounded(self) -> tuple[tuple[float, int], ...]:
        """Each bucket as (upper bound in milliseconds, values); the bound of the last is inf."""
        return tuple(zip((*BOUNDS_MS, float("inf")), self.buckets, strict=True))


class StatRow(msgspec.Struct, frozen=True):
    """What happened to the jobs of one handler or tenant; ``key`` is its name, "" for all together.

    arrived: jobs enqueued. completed, dead, cancelled, expired: jobs that ended so. failed: attempts. retried, snoozed,
    limited: attempts that led to another one. stalled: taken over from a worker that vanished. deduplicated: not added,
    there is such a job. dropped: not added, a limit was closed. wait: from being ready to the start of an attempt. run:
    from start to end of an attempt; outcomes: the same for completed, failed, postponed and cancelled ones.
    """

    key: str = ""
    arrived: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    expired: int = 0
    stalled: int = 0
    snoozed: int = 0
    limited: int = 0
    deduplicated: int = 0
    dropped: int = 0
    wait: Histogram = Histogram()
    run: Histogram = Histogram()
    outcomes: Mapping[str, Histogram] = {}


class Minute(msgspec.Struct, frozen=True):
    """One minute of a queue: when it began, and what happened in it."""

    at: datetime
    arrived: int = 0
    completed: int = 0
    failed: int = 0
    dead: int = 0


class Stats(msgspec.Struct, frozen=True):
    """Statistics of a window.

    window: seconds asked for. since, until: what is covered, whole steps; the last one goes on. step: grain in seconds,
    60, by tenant 600. total: everything together. rows: by handler or tenant, the busiest first, at most 100 and the
    rest as "other"; the one row of ``total`` when not asked by anything. series: every minute, oldest first.
    """

    window: float
    since: datetime
    until: datetime
    step: int
    total: StatRow
    rows: tuple[StatRow, ...]
    series: tuple[Minute, ...]


def checked_window(window: str | Seconds) -> float:
    """Return a window in seconds, one minute to a day; raises `ConfigError`."""
    remedy = 'give "90m", "1h", "24h", seconds or a timedelta; one minute to a day'
    if isinstance(window, str):
        try:
            length = parse_duration(window)
        except ValueError:
            raise ConfigError("window", window, remedy) from None
    else:
        length = seconds("window", window)
    if not 60.0 <= length <= DAY:
        raise ConfigError("window", window, remedy)
    return length


def checked_by(by: str | None) -> By | None:
    """Return what to report by; raises `ConfigError`."""
    match by:
        case None | "name" | "tenant":
            return by
        case _:
            pass
    raise ConfigError("by", by, 'give "name" (of the handler), "tenant", or None')
