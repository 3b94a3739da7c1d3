"""Reads what was counted of jobs: since the queue began, and by the minute. Bounded, whatever the queue holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .._core.report import BUCKET_MS, Report, Slots, span, totals
from .._core.stats import By, Stats
from .link import Reply
from .scripts import script
from .session import Store

AT_ONCE = 24
"""Ten-minute keys read in one call: four hours."""


class Ever(NamedTuple):
    """Counters since the queue began, by handler; and of its schedules.

    ``schedules``: how many are not removed; ``overdue_ms``: how late the next tick is, 0 when it is not; ``missed``:
    how often a schedule was found later than its grace.
    """

    handlers: dict[str, Slots]
    schedules: int
    overdue_ms: int
    missed: int


async def ever(store: Store) -> Ever:
    """Return the counters since the queue began."""
    now, counters, schedules, upcoming, missed, _ = await _asked(store, ())
    late = max(0, int(now) - int(float(upcoming))) if upcoming not in {b"", b"inf"} else 0
    return Ever(totals(_pairs(counters)), schedules, late, int(missed))


async def recent(store: Store, window: float, by: By | None) -> Stats:
    """Return the statistics of the last ``window`` seconds."""
    covered = span(window, by, await store.session().server_ms())
    report, numbers = Report(covered, by), covered.buckets
    for first in range(0, len(numbers), AT_ONCE):
        some = numbers[first : first + AT_ONCE]
        reply = await _asked(store, tuple(store.keys.minutes(number * BUCKET_MS) for number in some))
        for number, fields in zip(some, reply[5], strict=True):
            report.add(number, _pairs(fields))
    return report.made()


async def _asked(store: Store, minutes: tuple[bytes, ...]) -> Reply:
    keys = store.keys
    return await store.call(script("stats").call((keys.counters, keys.meta, keys.ticks, *minutes)))


def _pairs(flat: Reply) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
