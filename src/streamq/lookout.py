"""What a worker does for a queue besides its jobs: tells what becomes of them, judges alerts, says what is watched."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from ._core import health as _health
from ._runtime.exchange import Exchange
from ._runtime.noting import Noting
from ._runtime.settling import Settling
from ._store import events as _store
from ._store.session import Store
from .errors import StreamqError
from .queue import Queue

log: Final = logging.getLogger("streamq.worker")


class Lookout:
    """One queue's lookout in a worker; entered when it starts, left when its last settlement was answered."""

    def __init__(self, queue: Queue, store: Store, worker: str, exchange: Exchange, settling: Settling) -> None:
        self._queue = queue
        self._store = store
        self._alerting: asyncio.Task[None] | None = None
        if queue.notices.wanted:
            noting = Noting(queue.notices.note, queue.notices.wanted, worker, exchange.table.of)
            exchange.on_settled = noting.settled
            settling.on_started = noting.started
            settling.on_reclaimed = noting.reclaimed

    async def __aenter__(self) -> Self:
        """Say what is watched; judge alerts from now on, if there are rules."""
        await self._declare()
        if self._queue.alerting.rules:
            self._alerting = asyncio.create_task(self._queue.alerting.run(), name="streamq-alerts")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the turn up, and tell what is still to be told."""
        if self._alerting is not None:
            self._alerting.cancel()
            await asyncio.gather(self._alerting, return_exceptions=True)
        await self._queue.notices.flush()

    async def _declare(self) -> None:
        """Write down what the code says, for processes without it; what it does not say stays as others said it."""
        said: dict[str, str] = {}
        watched = self._queue.watched
        if watched.events is not None and watched.events != "declared":
            said[_store.EVENTS_FIELD] = ",".join(sorted(watched.events))
        if watched.health is not None:
            said[_store.HEALTH_FIELD] = _health.encode(watched.health)
        try:
            await _store.declare(self._store, said)
        except StreamqError as problem:  # memory is full, say; a worker is what frees it
            log.warning("what is watched was not declared: %s", problem, extra={"event": "watching_undeclared"})
