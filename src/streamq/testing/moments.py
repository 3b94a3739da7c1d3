"""By which clock a queue lives, and when something is due next in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .._store.session import Store
from ..queue import Queue
from . import clock as _clocks
from .clock import Clock

_ALARMS = 10
"""Where the alarms of limits and lines stand in ``Keys.flow``."""


class Moments(NamedTuple):
    """The next instants after now, ms since the epoch or inf: of delayed jobs and limits, and of schedules."""

    jobs: float
    ticks: float


async def clock_of(queue: Queue) -> Clock | None:
    """Return the clock of a queue in memory, None for one on a server."""
    return _clocks.clock_of((await queue.stores())[0].url)


async def moments(queues: Iterable[Queue], now_ms: int) -> Moments:
    """Return when something is due next after ``now_ms`` in any of the queues."""
    jobs = ticks = math.inf
    for queue in queues:
        for store in await queue.stores():
            keys = store.keys
            jobs = min(jobs, await _first(store, keys.delayed, now_ms), await _first(store, keys.flow[_ALARMS], now_ms))
            jobs = min(jobs, await _opens(store, now_ms))
            ticks = min(ticks, await _first(store, keys.ticks, now_ms))
    return Moments(jobs, ticks)


async def _opens(store: Store, now_ms: int) -> float:
    """Return when a worker was told to ask again: that of the whole queue's limit is written nowhere else."""
    told = await store.call((b"HGET", store.keys.meta, b"alarm"))
    at = int(told.rpartition(b" ")[2]) if told else 0
    return at if at > now_ms else math.inf


async def _first(store: Store, key: bytes, now_ms: int) -> float:
    after = b"(%d" % now_ms
    found = await store.call((b"ZRANGE", key, after, b"+inf", b"BYSCORE", b"LIMIT", 0, 1, b"WITHSCORES"))
    return float(found[1]) if found else math.inf
