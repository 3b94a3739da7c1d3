"""Looking again and again at every queue: for ``top`` and ``stats --watch``. One bounded read a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from .. import Queue
from ..errors import RedisUnavailable, ServerUnfit
from ..glance import Glance, Overlook
from .connect import opened, server_url
from .options import chosen
from .trouble import in_words

LONGEST = 10.0
"""Most seconds between two tries to reach a server that is away."""


class Away(NamedTuple):
    """The server does not answer: why, and in how many seconds it is tried again."""

    reason: str
    again: float


class Watch:
    """Looks, and keeps the pace: every ``interval`` seconds, and slower each time while the server is away."""

    def __init__(self, overlook: Overlook, only: Sequence[str], interval: float) -> None:
        self._overlook = overlook
        self._only = only
        self._interval = interval
        self._pause = min(interval, 1.0)
        self._next = time.monotonic()

    async def look(self) -> Glance | Away:
        """Wait until it is time for a look and return what was seen, or why nothing was."""
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        started = time.monotonic()
        try:
            found = await self._overlook.look(self._only)
        except RedisUnavailable as problem:
            return self._away(in_words(problem.reason))
        except ServerUnfit as problem:
            return self._away(problem.problem)
        self._pause = min(self._interval, 1.0)
        self._next = started + self._interval
        return found

    def _away(self, reason: str) -> Away:
        again = self._pause
        self._next = time.monotonic() + again
        self._pause = min(self._pause * 2, LONGEST)
        return Away(reason, again)


@asynccontextmanager
async def watching(options: dict[str, Any], only: Sequence[str], interval: float) -> AsyncGenerator[Watch]:
    """Open a watch on the server and the prefix of the options; raises when nothing answers there to begin with."""
    async with opened("streamq", options) as queue:  # any name: looking brings no queue about
        prefix = queue.prefix
    overlook = Overlook(server_url(options), prefix)
    try:
        yield Watch(overlook, only, interval)
    finally:
        await overlook.aclose()


class Queues:
    """Queues by name, each opened when it is first needed."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._url = server_url(options)
        self._prefix = chosen(options, "prefix")
        self._open: dict[str, Queue] = {}

    def named(self, name: str) -> Queue:
        """Return a queue."""
        if name not in self._open:
            self._open[name] = Queue(name, url=self._url, prefix=self._prefix, enqueue_timeout=5.0, events="declared")
        return self._open[name]

    async def aclose(self) -> None:
        """Close them all."""
        for queue in self._open.values():
            await queue.aclose()
