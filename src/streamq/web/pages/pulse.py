"""What all pages show of all queues, looked up once for everybody who looks at the same time."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ..._core.health import Reason
from ...errors import RedisUnavailable, StreamqError
from ...queue import Queue
from ...reading import Counts
from ..site import Site
from ..views.overview import QueueFacts

FRESH = 1.5
"""Seconds for which a look is believed: the live feed asks each two."""

JUDGED = 5.0
"""The same for verdicts."""

QUEUES = 50
"""Queues looked at in one go; the others are on further pages."""

AT_ONCE = 8
"""Queues asked at a time: each has connections of its own."""

WINDOW = 3600


class Seen(NamedTuple):
    """The last numbers of all queues together, for the page when Redis is away."""

    at: datetime
    waiting: int
    active: int
    dead: int


class Pulse:
    """Looks at the queues of a site. ``seen``: the last look that came to something."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._found: list[QueueFacts] = []
        self._at = 0.0
        self._page = 0
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._judged: dict[str, tuple[float, Sequence[Reason]]] = {}
        self.seen: Seen | None = None

    async def look(self, page: int = 0) -> list[QueueFacts]:
        """Return the facts of the queues, or of the ``page``-th fifty of them; raises `RedisUnavailable`."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if page == self._page and time.monotonic() - self._at < FRESH:
                return self._found
            queues = list(self._site.queues.values())[page * QUEUES : (page + 1) * QUEUES]
            found: list[QueueFacts] = []
            for at in range(0, len(queues), AT_ONCE):
                found += await asyncio.gather(*(self._one(queue) for queue in queues[at : at + AT_ONCE]))
            self._found = found
            self._at, self._page = time.monotonic(), page
            known = [one.counts for one in self._found if one.counts is not None]
            self.seen = _seen(known)
            return self._found

    def forget(self) -> None:
        """Look again next time: something was changed."""
        self._at = 0.0
        self._judged.clear()

    async def _one(self, queue: Queue) -> QueueFacts:
        try:
            counts, workers, stats, reasons = await asyncio.gather(
                queue.counts(), queue.workers(), queue.stats(WINDOW), self._reasons(queue)
            )
        except RedisUnavailable:
            raise
        except StreamqError as problem:
            return QueueFacts(queue.name, None, (), (), (), None, str(problem))
        p95 = stats.total.wait.p95
        return QueueFacts(
            queue.name, counts, workers, stats.series, reasons, None if p95 is None else p95 / 1000
        )  # fmt: skip

    async def _reasons(self, queue: Queue) -> Sequence[Reason]:
        """Return what is not well; believed a little longer, since it runs the checks of whoever owns the queue."""
        known = self._judged.get(queue.name)
        if known is None or time.monotonic() - known[0] > JUDGED:
            known = self._judged[queue.name] = (time.monotonic(), (await queue.health()).reasons)
        return known[1]


def _seen(counts: Sequence[Counts]) -> Seen:
    return Seen(
        datetime.now(UTC),
        sum(one.waiting + one.due for one in counts),
        sum(one.active for one in counts),
        sum(one.dead for one in counts),
    )
