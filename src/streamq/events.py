"""What happens in a queue, told while it happens: to hooks of this process, and to a stream for everybody else.

Nothing is told that nobody wants: who registers no hook and keeps no events pays for a look at an empty set.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from ._core import events as _core
from ._core.events import KINDS, Event, EventKind, Fact
from ._store import events as _store
from ._store.events import Row
from ._store.session import Store
from .errors import RedisUnavailable, StreamqError

log: Final = logging.getLogger("streamq.events")

Hook = Callable[[Event], Awaitable[None] | None]
"""What is called with an event: async def, or def, which runs in a thread."""

HOOK_TIMEOUT: Final = 30.0
"""Seconds one call of a hook may take; the next event waits for it."""

MOST: Final = 20_000
"""Events that wait here for hooks, or to be written; the oldest are dropped when there are more."""

PAUSES: Final = (0.05, 0.5)
"""Seconds between two looks for new events: right after some came, and when it has been quiet."""


class Home(Protocol):
    """What is needed of the queue."""

    name: str

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...


class Outbox:
    """Events on their way to one taker, in order. Its task lives while there are some."""

    def __init__(self, take: Callable[[list[Event]], Awaitable[None]]) -> None:
        self._take = take
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None
        self.dropped: int = 0

    def put(self, event: Event) -> None:
        """Send an event on its way."""
        self._waiting.append(event)
        if len(self._waiting) > MOST:
            self._waiting.popleft()
            self.dropped += 1
        if self._task is None or self._task.done():
            # In a context of its own: what is told of a job must not look as if the job did it.
            clean = contextvars.Context()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="streamq-events", context=clean)

    async def _run(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _store.PAGE))]
            await self._take(batch)

    async def empty(self, patience: float) -> None:
        """Wait until all is taken; what is not by then is dropped."""
        if self._task is not None and not self._task.done():
            await asyncio.wait((self._task,), timeout=patience)
            if not self._task.done():
                self.dropped += len(self._waiting)
                self._waiting.clear()
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=1.0)


class _Desk:
    """What one event loop has under way for a queue."""

    def __init__(self, notices: Notices) -> None:
        self.hooks = Outbox(notices.call)
        self.stream = Outbox(self._emit)
        self._notices = notices
        self._writer = f"v{os.urandom(8).hex()}"
        self._seq = 0

    async def _emit(self, batch: list[Event]) -> None:
        notices = self._notices
        self._seq += 1
        while True:
            try:
                store = await notices.store()
                kinds = await notices.kept_kinds(store)
                rows = [
                    Row(event.kind, event.job_id, event.name, _core.encode_data(event.data))
                    for event in batch
                    if event.kind in kinds
                ]
                if rows:
                    await _store.emit(store, self._writer, self._seq, notices.keep, rows)
            except RedisUnavailable:
                await asyncio.sleep(PAUSES[1])  # a batch is written once, however often it is sent
            except StreamqError as problem:
                notices.lost(len(batch), problem)
                return
            else:
                return


class Notices:
    """Who is told what of a queue. Not for applications: `Queue.on` and `Queue.events` are.

    wanted: the kinds that anybody wants. errors: hooks that raised or took too long. keep: how many events the stream
    keeps, about.
    """

    def __init__(self, home: Home) -> None:
        self.wanted: frozenset[str] = frozenset()
        self.keep: int = 10_000
        self.errors: int = 0
        self._home = home
        self._hooks: dict[str, list[Hook]] = {}
        self._kept: frozenset[str] | None = frozenset()
        self._desks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk] = weakref.WeakKeyDictionary()
        self._unwritten = 0

    def write(self, kinds: Collection[EventKind] | Literal["declared"], keep: int) -> None:
        """Write these kinds into the stream; "declared": those that the queue's workers keep."""
        self._kept = None if kinds == "declared" else frozenset(kinds)
        self.keep = keep
        self._weigh()

    def on(self, kinds: Sequence[EventKind], hook: Hook) -> None:
        """Call ``hook`` with events of these kinds; without any with all."""
        for kind in kinds or KINDS:
            self._hooks.setdefault(_core.checked_kind("on", kind), []).append(hook)
        self._weigh()

    def _weigh(self) -> None:
        self.wanted = frozenset({*self._hooks, *(KINDS if self._kept is None else self._kept)})

    @property
    def dropped(self) -> int:
        """Events that reached no hook or no stream: too many at once, or refused by the server."""
        return self._unwritten + sum(desk.hooks.dropped + desk.stream.dropped for desk in self._desks.values())

    def note(self, kind: EventKind, job_id: str = "", name: str = "", /, **data: Fact) -> None:
        """Tell of something, on the running loop; returns at once."""
        if kind not in self.wanted:
            return
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = _Desk(self)
        event = Event("", datetime.now(UTC), kind, job_id, name, data, self._home.name)
        if kind in self._hooks:
            desk.hooks.put(event)
        if self._kept is None or kind in self._kept:
            desk.stream.put(event)

    async def call(self, batch: list[Event]) -> None:
        """Call the hooks of each event, one after the other. What they raise is logged and counted."""
        for event in batch:
            for hook in tuple(self._hooks.get(event.kind, ())):
                try:
                    await called(hook, HOOK_TIMEOUT, event)
                except Exception:
                    self.errors += 1
                    extra = {
                        "event": "hook_failed", "queue": event.queue, "kind": event.kind, "job_id": event.job_id
                    }  # fmt: skip
                    log.exception("hook %s failed", getattr(hook, "__qualname__", hook), extra=extra)

    async def store(self) -> Store:
        """Return where the stream is."""
        return (await self._home.stores())[0]

    async def kept_kinds(self, store: Store) -> frozenset[str]:
        """Return which kinds are kept; of those that workers declared it is asked once."""
        if self._kept is None:
            said, _ = await _store.declared(store)
            self._kept = frozenset(said.split(","))
            self._weigh()
        return self._kept

    def lost(self, count: int, problem: StreamqError) -> None:
        """Take note of events that the server refuses; said once, counted always."""
        (log.debug if self._unwritten else log.warning)(
            "%d events of queue %s were not written: %s", count, self._home.name, problem,
            extra={"event": "events_refused", "queue": self._home.name},
        )  # fmt: skip
        self._unwritten += count

    async def flush(self, patience: float = 5.0) -> None:
        """Wait until everything told on this loop has reached hooks and stream."""
        desk = self._desks.get(asyncio.get_running_loop())
        if desk is not None:
            await asyncio.gather(desk.hooks.empty(patience), desk.stream.empty(patience))


async def called(fn: Callable[..., Any], patience: float, *args: Any) -> Any:
    """Call a function of a user, async or not, with a bound; returns what it returns."""
    async with asyncio.timeout(patience):
        if inspect.iscoroutinefunction(fn):
            return await fn(*args)
        found = await asyncio.to_thread(fn, *args)
        return await found if inspect.isawaitable(found) else found


async def follow(
    home: Home, after: str | None, names: Collection[str] | None, kinds: Collection[EventKind] | None
) -> AsyncGenerator[Event]:
    """Yield the events of a queue, those that come as well, for ever."""
    place = _core.checked_place("after", after)
    wanted = None if kinds is None else {_core.checked_kind("kinds", kind) for kind in kinds}
    store = (await home.stores())[0]
    if place is None:
        place = await _store.last(store)
    pause = PAUSES[0]
    while True:
        try:
            found = await _store.after(store, place)
        except RedisUnavailable as problem:
            log.debug("events of %s: %s", home.name, problem)
            found = []
        for entry, fields in found:
            place = entry
            event = _core.read(home.name, entry, fields)
            if (names is None or event.name in names) and (wanted is None or event.kind in wanted):
                yield event
        if len(found) < _store.PAGE:
            pause = PAUSES[0] if found else min(pause * 1.5, PAUSES[1])
            await asyncio.sleep(pause)
