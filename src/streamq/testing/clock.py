"""Time that is moved by hand: the time of queues in memory, for their broker, their producers and their workers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from .._core import units
from .._core.units import Seconds
from .._store.clock import ServerClock
from ..errors import ConfigError


class Timed(Protocol):
    """What lives by a clock: the queues in memory of one test."""

    def has_worker(self) -> bool:
        """Whether somebody is there who would run what falls due."""
        ...

    async def settled(self) -> None:
        """Return when nothing runs and nothing is due."""
        ...

    async def next_due(self) -> float:
        """Return when something is due next, ms since the epoch, or inf."""
        ...

    async def moved(self) -> None:
        """Tell workers that time was moved."""
        ...


class Clock:
    """The time of queues in memory. It begins at ``at`` (aware; None: now) and runs; one made by `freeze` stands still.

    Moved by `advance` and `advance_to`, never back. It is the time of delays, retries, schedules, limits and of
    ``ctx.now()``. Timeouts of handlers and their own sleeping stay real, as does the time in generated job ids.
    """

    def __init__(self, at: datetime | None = None) -> None:
        self._at_us = _us(at)
        self._runs_since: int | None = time.monotonic_ns()
        self._timed: list[Timed] = []

    def __repr__(self) -> str:
        """Its time, and whether it stands still."""
        return f"<Clock {self.now().isoformat()}{', frozen' if self.is_frozen else ''}>"

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still until it is moved."""
        return self._runs_since is None

    def now(self) -> datetime:
        """Return its time: aware, UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.now_us())

    async def advance(
        self,
        by: Seconds | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Move time forward, ``by`` seconds or a timedelta, or by the sum of the others.

        While a worker runs beside, it stops at each instant at which something falls due, until that is done: delayed
        and retried jobs, ticks of schedules, limits. Raises `TimeoutError` when jobs go on for ten real seconds.
        """
        more = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if by is not None:
            more += timedelta(seconds=units.seconds("by", by))
        await self.advance_to(self.now() + more)

    async def advance_to(self, instant: datetime) -> None:
        """Move time forward to an aware instant, as `advance` does. Raises `ConfigError` for one that is past."""
        target = _us(instant)
        if target < self.now_us():
            raise ConfigError("instant", instant.isoformat(), f"is past: it is {self.now().isoformat()}")
        while True:
            watching = [one for one in self._timed if one.has_worker()]
            due = float("inf")
            for one in watching:
                await one.settled()
                due = min(due, await one.next_due())
            if due * 1000 > target:
                break
            await self._step(int(due * 1000))
        await self._step(target)
        for one in watching:
            await one.settled()

    async def _step(self, us: int) -> None:
        self.leap(us - self.now_us())
        for one in self._timed:
            await one.moved()

    # -- for the kit --------------------------------------------------------------------------------

    def now_us(self) -> int:
        """Return its time in microseconds since the epoch. Not for applications."""
        if self._runs_since is None:
            return self._at_us
        return self._at_us + (time.monotonic_ns() - self._runs_since) // 1000

    def leap(self, us: int) -> None:
        """Move forward without a stop and without telling anybody. Not for applications."""
        self._at_us += max(0, us)

    def add(self, timed: Timed) -> None:
        """Take in what lives by this clock. Not for applications."""
        self._timed.append(timed)

    def remove(self, timed: Timed) -> None:
        """Let it go. Not for applications."""
        self._timed.remove(timed)

    def stop(self, at_us: int) -> None:
        """Stand still at a time, cut to whole milliseconds, as instants of jobs are. Not for applications."""
        self._at_us, self._runs_since = at_us // 1000 * 1000, None


def freeze(at: datetime | None = None) -> Clock:
    """Return a `Clock` that stands still at ``at`` (aware; None: now, to the millisecond) until it is moved."""
    clock = Clock(at)
    clock.stop(_us(at))
    return clock


class HandClock(ServerClock):
    """The server's clock of whoever lives by a `Clock`: always right."""

    __slots__ = ("_hand",)

    def __init__(self, hand: Clock) -> None:
        super().__init__()
        self._hand = hand

    def heard(self, now_ms: int) -> float:
        """Hear what is known already; it never jumps."""
        del now_ms
        return 0.0

    def now_ms(self) -> int:
        """Return the time now."""
        return self._hand.now_us() // 1000

    def monotonic(self, ms: int) -> float:
        """Return the monotonic second at which it would be ``ms``, if time went on from now."""
        return time.monotonic() + (ms - self._hand.now_us() / 1000) / 1000


def _us(at: datetime | None) -> int:
    if at is None:
        return time.time_ns() // 1000
    if at.tzinfo is None:
        raise ConfigError("at", at.isoformat(), "has no time zone; write datetime(..., tzinfo=UTC)")
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


_clocks: dict[str, Clock] = {}


def clock_of(url: str) -> Clock | None:
    """Return the clock by which the queues of a url live, None for a server's own time. Not for applications."""
    return _clocks.get(url)


def keep(url: str, clock: Clock | None) -> None:
    """Note by which clock the queues of a url live; None: they are gone. Not for applications."""
    _clocks.pop(url, None)
    if clock is not None:
        _clocks[url] = clock
