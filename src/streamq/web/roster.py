"""Which queues a dashboard shows: those it was given, or those that Redis knows, looked up now and then."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import reading
from ..errors import RedisUnavailable, StreamqError
from ..queue import Queue
from .away import Outage

AGAIN = 2.0
"""Seconds for which a list of queue names is believed."""

KNOCK = 0.5
"""Seconds a server that was away gets to answer before the page says that it still is."""


class QueueUnknown(StreamqError):
    """No queue of that name is known to this dashboard."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        near = difflib.get_close_matches(name, known, n=1)
        there = f"there are {', '.join(known[:20])}" if known else "there is none yet"
        super().__init__(f"there is no queue {name!r}; " + (f"did you mean {near[0]!r}?" if near else there))


class Roster:
    """Queues by name. outage: since when Redis is away, as far as this process noticed; None while it is there."""

    def __init__(self, queues: Sequence[Queue], *, url: str | None, prefix: str | None) -> None:
        self._options: dict[str, Any] = {"url": url, "prefix": prefix, "enqueue_timeout": 5.0, "events": "declared"}
        self._given = bool(queues)
        self._queues: dict[str, Queue] = {one.name: one for one in queues}
        # Any name will do: looking brings no queue about.
        self.home: Queue = queues[0] if queues else Queue("streamq", **self._options)
        self.outage: Outage | None = None
        self._looked = -AGAIN

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues by name: in the order given, or sorted."""
        return self._queues

    @property
    def first(self) -> Queue | None:
        """The queue meant where none is named: the first that was given, or the only one there is."""
        if self._given or len(self._queues) == 1:
            return next(iter(self._queues.values()))
        return None

    def named(self, name: str) -> Queue:
        """Return a queue by name; raises `QueueUnknown`."""
        found = self._queues.get(name)
        if found is None:
            raise QueueUnknown(name, list(self._queues))
        return found

    async def refresh(self) -> None:
        """Look which queues there are, if that is due and nobody said. Raises `RedisUnavailable`."""
        if self.outage is not None:
            await self._knock(self.outage)
        if self._given or time.monotonic() - self._looked < AGAIN:
            return
        names = await reading.names((await self.home.stores())[0])
        # From here to the next await nobody else is at it.
        gone = [queue for name, queue in self._queues.items() if name not in names]
        self._queues = {name: self._queues.get(name) or Queue(name, **self._options) for name in names}
        self._looked = time.monotonic()
        for queue in gone:
            await queue.aclose()

    async def _knock(self, outage: Outage) -> None:
        """Ask a server that was away whether it is back, without letting a person wait for the answer."""
        try:
            async with asyncio.timeout(KNOCK):
                await self.home.ping()
        except TimeoutError:
            raise RedisUnavailable(self.home.where, outage.reason) from None
        self.outage = None

    async def aclose(self) -> None:
        """Close the connections of this event loop to queues that were not given."""
        if not self._given:
            for queue in (self.home, *self._queues.values()):
                await queue.aclose()
