"""Fires due ticks of a queue's schedules, then sleeps until the next. There is no leader: the server decides each tick.

Of many tickers, the one whose turn it is wakes at the very tick; the others look a moment later, in case it is gone,
and hardly more often than every two seconds. So fifty idle workers do not all ask at 02:00:00.000. When it dies, ticks
are late by three seconds at most, until another has fired one, or has taken the turn because it was idle for six.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from math import inf

from .._core.envelope import MALFORMED
from .._core.schedule import Definition, decode, due, tick_id
from .._core.units import from_ms, seconds
from .._store import lines, schedules
from .._store.dial import clock_of
from .._store.schedules import Fired, Page, Row, Tick
from .._store.session import Store
from ..errors import StreamqError

PAGE = 25
"""Schedules looked at in one call. To work out a tick takes up to a millisecond, and the handlers' loop has to wait."""

LOOK = 2.5
"""Longest sleep of the ticker whose turn it is, in seconds: what a lost message or a clock that was set may cost."""

REST = 2.0
"""Shortest time between two looks of any other, unless it is told of a change."""

LEAVE_MS = 250
"""How late a tick must be before any other fires it."""

PATIENCE = (0.5, 5.0)
"""First and longest pause in seconds after the server could not be asked, or refused."""

COUNTED = frozenset({"fired", "exists", "met", "limited", "conflict", "order"})
"""Answers after which a tick counts as fired: its job is there, or was refused for good by what it carries."""

log = logging.getLogger("streamq.scheduler")


class Ticker:
    """Fires what is due in one queue. ``forgotten`` is awaited when the server has lost schedules it once had."""

    def __init__(self, store: Store, queue: str, forgotten: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._queue = queue
        self._forgotten = forgotten
        self._name = os.urandom(6).hex()
        self._clock = clock_of(store.url)
        self._woken = asyncio.Event()
        self._known = 0
        self._is_holder = True
        self._left = False
        self._unreadable: set[tuple[str, str]] = set()
        self.on_fired: Callable[[str, str], None] | None = None

    def wake(self) -> None:
        """Look again soon: a schedule was changed, or a message to say so may have been missed."""
        self._woken.set()

    async def run(self) -> None:
        """Fire for ever; end by cancellation. What the server refuses is logged and tried again."""
        pause = 0.0
        while True:
            self._woken.clear()
            try:
                upcoming = await self.look()
            except StreamqError as problem:
                pause = min(max(pause * 2, PATIENCE[0]), PATIENCE[1])
                extra = {"event": "scheduler.waiting", "queue": self._queue}
                (log.debug if pause > PATIENCE[0] else log.warning)("no tick can be fired: %s", problem, extra=extra)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                continue
            if pause:
                log.warning("ticks are fired again", extra={"event": "scheduler.restored", "queue": self._queue})
            pause = 0.0
            await self._sleep(upcoming)

    async def look(self) -> float:
        """Fire all that is due now; returns the next tick in ms, or inf."""
        upcoming, first = inf, 0
        self._left = False
        while True:
            page = await schedules.due(self._store, first, PAGE, self._name)
            self._clock.heard(page.now_ms)
            self._is_holder = page.holder == self._name
            if page.known < self._known:
                # Not a removal, which leaves a trace: the server lost what it had, and would never fire again.
                log.warning("schedules were lost", extra={"event": "schedules.lost", "queue": self._queue})
                self._known = 0
                await self._forgotten()
                continue
            self._known = page.known
            nexts = await self._fire_page(page)
            upcoming = min([upcoming, page.next_ms, *(one for one in nexts if one is not None)])
            if len(page.rows) < PAGE:
                return upcoming
            first += nexts.count(None)

    async def _fire_page(self, page: Page) -> list[float | None]:
        """Return where each schedule that was tried went: its next tick in ms, inf if unknown, None if it is still due.

        They come in the order of their ticks, so those that are left to the one whose turn it is are at the end.
        """
        late = page.now_ms if self._is_holder else page.now_ms - LEAVE_MS
        self._left = self._left or any(row.tick_ms > late for row in page.rows)
        tasks = [asyncio.ensure_future(self._fire(row, page.now_ms)) for row in page.rows if row.tick_ms <= late]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _fire(self, row: Row, now_ms: int) -> float | None:
        definition = self._readable(row)
        if definition is None:
            return None
        now, last = from_ms(now_ms), from_ms(row.last_ms) if row.last_ms else None
        ticks, after = due(definition.plan, last, from_ms(row.since_ms), now, row.total)
        next_ms = _ms(after)
        missed = self._note_missed(row, definition, ticks, now)
        if not ticks:
            answer = await schedules.fire(
                self._store, row, Tick(None, next_ms, "", definition.job.lane, b"", missed=missed), self._name
            )
            return next_ms if answer == "moved" else inf
        for tick, following in zip(ticks, [*map(_ms, ticks[1:]), next_ms], strict=True):
            job_id = tick_id(row.id, tick)
            fired = self._tick_of(definition, int(_ms(tick)), following, job_id)._replace(missed=missed)
            answer = await schedules.fire(self._store, row, fired, self._name)
            self._note(answer, row, job_id)
            if answer == "fired" and self.on_fired is not None:
                self.on_fired(job_id, definition.job.name)
            if answer not in COUNTED:
                return None if answer in {"early", "full"} else inf
            self._is_holder = True
            row = row._replace(last_ms=int(_ms(tick)), total=row.total + 1)
        return next_ms

    def _tick_of(self, definition: Definition, tick_ms: int, following: float, job_id: str) -> Tick:
        now_ms, lane, flow = self._clock.now_ms(), definition.job.lane, definition.flow
        record, dedup = b"", b""
        if flow is not None:
            record = lines.record(flow, lane, definition.expires_ms(now_ms) or 0)
            dedup = lines.dedup(flow.dedup)
        return Tick(tick_ms, following, job_id, lane, definition.body(now_ms), record, dedup)

    def _readable(self, row: Row) -> Definition | None:
        try:
            return decode(row.spec)
        except MALFORMED as problem:
            # Of a newer streamq, or of a time zone unknown here: others will fire it.
            if (row.id, row.version) not in self._unreadable:
                self._unreadable.add((row.id, row.version))
                extra = {"event": "schedule.unreadable", "queue": self._queue, "schedule": row.id}
                log.error("schedule %s cannot be read here: %s", row.id, problem, extra=extra)  # noqa: TRY400 - says all
            return None

    def _note(self, answer: Fired, row: Row, job_id: str) -> None:
        extra = {"event": f"schedule.{answer}", "queue": self._queue, "schedule": row.id, "job_id": job_id}
        if answer == "full":
            log.warning("tick refused, the queue is full: %s", job_id, extra={**extra, "event": "schedule.refused"})
        elif answer == "exists":
            log.warning("tick counted, but there is a job of that id: %s", job_id, extra=extra)
        elif answer in COUNTED and answer != "fired":
            log.info("tick counted, its job was not added (%s): %s", answer, job_id, extra=extra)
        else:
            log.debug("%s: %s", answer, job_id, extra=extra)

    def _note_missed(self, row: Row, definition: Definition, ticks: list[datetime], now: datetime) -> bool:
        """Return whether ticks were missed, and say so: the one it waited for is late beyond its grace."""
        plan = definition.plan
        if not 0 < row.tick_ms < inf or now - from_ms(int(row.tick_ms)) <= timedelta(
            seconds=seconds("grace", plan.grace)
        ):
            return False
        log.warning(
            "schedule %s missed its tick of %s; %s: %d fired now", row.id, from_ms(int(row.tick_ms)), plan.misfire,
            len(ticks), extra={"event": "schedule.missed", "queue": self._queue, "schedule": row.id},
        )  # fmt: skip
        return True

    async def _sleep(self, upcoming: float) -> None:
        """Sleep until ``upcoming`` (ms by the server), or until there is another reason to look."""
        until_tick = max(0.001, (upcoming - self._clock.now_ms()) / 1000)
        if self._is_holder:
            wait = min(until_tick, LOOK)
        else:
            wait = 0.0 if self._left else min(max(until_tick, REST), 2 * REST)
            wait += random.uniform(0.3, 0.6)  # noqa: S311 - jitter; beyond LEAVE_MS, or it would be for nothing
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._woken.wait()
            if not self._is_holder:
                await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - not all of them at once


def _ms(instant: datetime | None) -> float:
    return inf if instant is None else round(instant.timestamp() * 1000)
