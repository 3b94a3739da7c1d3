"""CircuitBreaker: when a provider is down its jobs wait, attempts untouched, until one probe gets through."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from ._core import breaking, gates, names, units
from ._core import rules as _rules
from ._core.breaking import Errors
from ._core.context import Context
from ._core.handler import CallNext
from ._core.rules import Rule
from ._core.steer import Held, Snooze
from ._core.units import Seconds, from_ms
from ._store import breakers as _store
from ._store.breakers import Asked, Seen, What
from ._store.session import Store
from .errors import ConfigError, StreamqError
from .limits import person

log: Final = logging.getLogger("streamq.breaker")

HOLD = 1.0
"""Seconds a failed job is put off. Then it joins the line of the breaker, so that a closing lets it go, too."""

PATIENCE = 2.0
"""Seconds an attempt waits at most for its report to arrive."""

SLACK = 0.02
"""A cancel that comes so little before the deadline of an attempt, by our clocks, is its timeout."""


class Home(Protocol):
    """What a breaker needs of its queue."""

    name: str
    fuses: dict[str, CircuitBreaker]

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...

    async def store_of(self, job_id: str) -> Store:
        """Return the partition a job lives in."""
        ...


class BreakerInfo(msgspec.Struct, frozen=True):
    """A circuit breaker of a queue, for people.

    state: "closed" (jobs run), "open" (they wait), "half_open" (one at a time may try). failures: counted within the
    window; 0 unless closed. next_probe: when it becomes half open; None while closed. changed_at, by, reason: when it
    opened or closed last, who did it and why; None and '' if it never did. failed_probes: since it opened. running:
    jobs beyond its gate that have not ended yet, such as the probe. waiting: jobs in line for it.
    """

    name: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    next_probe: datetime | None
    changed_at: datetime | None
    by: str
    reason: str
    failed_probes: int
    running: int
    waiting: int


class CircuitBreaker:
    """Stops jobs from running into a provider that is down: ``queue.use(CircuitBreaker("twilio", handlers=(...)))``.

    name: of the provider; all workers of a queue count together under it. failures (1 to 1000) within window seconds,
    whatever succeeds between them, open it. Then jobs of its handlers wait in line, attempts and deduplication keys
    untouched; their ``expires_in`` goes on. After open_for seconds one job is let through as a probe: a success closes
    the breaker and all go on, within their other limits; a failure keeps it open for as long again, twice as long each
    time up to max_open_for (default open_for: no longer). A probe whose worker dies is followed by the next.

    on: which errors of a handler count: exception classes, or a function that gets the error and answers. A handler's
    timeout is a `TimeoutError`. Other errors say nothing, neither good nor bad; nor do streamq's own, unless named.
    handlers: names of the handlers that use this provider; None for all of the queue.

    A failure that opens the breaker, or finds it open, uses up no attempt. While it is closed a success costs nothing
    on the server. `state`, `open` and `close` work from any process that has this object, whether or not workers run.

    Raises:
        ConfigError: for a value that cannot be right.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        window: Seconds = 60.0,
        open_for: Seconds = 30.0,
        max_open_for: Seconds | None = None,
        on: Errors = (ConnectionError, TimeoutError),
        handlers: Sequence[str] | None = None,
    ) -> None:
        self.name: str = gates.checked("name", names.checked("name", name))
        count = breaking.checked_failures(failures)
        window_ms = units.millis("window", window, least=0.001)
        open_ms = units.millis("open_for", open_for, least=0.001)
        most_ms = open_ms if max_open_for is None else units.millis("max_open_for", max_open_for)
        if most_ms < open_ms:
            raise ConfigError(
                "max_open_for", max_open_for, f"is less than open_for={open_for!r}; raise it or leave it out"
            )
        self.handlers: frozenset[str] | None = None if handlers is None else breaking.checked_handlers(handlers)
        self.counts: Callable[[Exception], bool] = breaking.checked_errors(self.name, on)
        self._asked = Asked(self.name, count, window_ms, open_ms, most_ms)

    def __repr__(self) -> str:
        """Name and when it opens."""
        return f"<CircuitBreaker {self.name!r}: {self.threshold}>"

    @property
    def threshold(self) -> str:
        """What opens it, in words."""
        return f"{self._asked.failures} failures in {self._asked.window_ms / 1000:g} s"

    def attach(self, queue: Home, /) -> Fuse:
        """Return the middleware for a queue. Called by ``queue.use``."""
        queue.fuses[self.name] = self
        return Fuse(self, queue)

    async def state(self, queue: Home) -> BreakerInfo:
        """Return how it stands in ``queue``."""
        return _info(self.name, await _store.breaker((await queue.stores())[0], "look", self._asked))

    async def open(self, queue: Home, *, for_: Seconds | None = None, reason: str = "", by: str = "") -> bool:
        """Open it by hand: no job of its handlers begins for ``for_`` (default open_for), then one probe may.

        An open one stays so for ``for_`` from now. True if it was closed. by: who does it (default user@host).
        """
        ms = self._asked.open_ms if for_ is None else units.millis("for_", for_, least=0.001)
        asked = self._asked._replace(open_ms=ms, most_ms=ms)
        return await self._by_hand(queue, "open", asked, by or person(), reason or "opened by hand")

    async def close(self, queue: Home, *, reason: str = "", by: str = "") -> bool:
        """Close it by hand and forget its failures: all that waits goes on. True if it was open."""
        return await self._by_hand(queue, "close", self._asked, by or person(), reason or "closed by hand")

    async def _by_hand(self, queue: Home, what: What, asked: Asked, by: str, why: str) -> bool:
        changed, tag = False, secrets.token_hex(8)
        for store in await queue.stores():
            seen = await self.tell(store, queue.name, what, asked, by=by, tag=tag, why=why)
            changed = changed or seen.word in {"opened", "closed"}
        return changed

    async def tell(
        self, store: Store, queue: str, what: What, asked: Asked | None = None, *, by: str, why: str, **more: Any
    ) -> Seen:
        """Tell the server something, and the log what that changed. Not for applications."""
        rule = Rule(tuple(sorted(self.handlers or ())), by=by, reason=why, at_ms=time.time_ns() // 1_000_000)
        asked = (asked or self._asked)._replace(rule=_rules.encode(rule))
        seen = await _store.breaker(store, what, asked, by=by, why=why, **more)
        if seen.word:
            level, event, said = _SAID[seen.word]
            wait = f"; next probe in {max(0, seen.probe_ms - seen.now_ms) / 1000:g} s" if seen.is_open else ""
            log.log(
                level, "circuit breaker %s of %s %s: %s%s", self.name, queue, said, why, wait,
                extra={
                    "event": event, "queue": queue, "breaker": self.name, "by": by, "reason": why,
                    "job_id": more.get("job_id"),
                },
            )  # fmt: skip
        return seen


_SAID: Final = {
    "opened": (logging.WARNING, "breaker_opened", "opened"),
    "shut": (logging.INFO, "breaker_stays_open", "stays open"),
    "closed": (logging.WARNING, "breaker_closed", "closed"),
}


class Fuse:
    """A circuit breaker in one queue: the middleware, and whether this process believes it open.

    That belief costs nothing: it comes with the jobs, as a rule, and with the answers to reports. Only a process that
    believes it open asks the server before an attempt; the server then tells a probe from other jobs, exactly.
    """

    def __init__(self, breaker: CircuitBreaker, home: Home) -> None:
        self._breaker = breaker
        self._home = home
        self._gate = gates.breaker(breaker.name)
        self._is_open = False
        self._calls: set[asyncio.Task[Seen | None]] = set()

    def learn(self, rules: Mapping[bytes, bytes]) -> None:
        """Take note of the rules in force."""
        self._is_open = self._gate.encode() in rules

    async def __call__(self, ctx: Context, call_next: CallNext) -> Any:
        """Run an attempt, unless its provider is down."""
        breaker = self._breaker
        if breaker.handlers is not None and ctx.name not in breaker.handlers:
            return await call_next(ctx)
        if self._is_open:
            await self._may_pass(ctx)
        ends = _end_of(ctx)
        try:
            value = await call_next(ctx)
        except BaseException as problem:
            error = _meant(problem, ends)
            if error is None or not breaker.counts(error):
                raise
            seen = await self._report(
                ctx, "failed", f"{type(error).__name__} of {ctx.name} (limit: {breaker.threshold})"
            )
            if seen is None or not seen.is_open:
                raise
            # Not to its old place: another job shall be the next probe. This one fails for a reason of its own, maybe.
            raise Snooze(HOLD, reason=f"circuit breaker {breaker.name!r} is open") from problem
        if self._is_open:
            await self._report(ctx, "succeeded", f"a probe of {ctx.name} got through")
        return value

    async def _may_pass(self, ctx: Context) -> None:
        with suppress(StreamqError):  # as far as we know it is open still
            seen = await self._tell(ctx, "look", "")
            if seen.is_probe or not seen.is_open:
                return
        raise Held(self._gate)

    async def _report(self, ctx: Context, what: What, why: str) -> Seen | None:
        """Tell the server how an attempt ended; None if that did not get through in time."""
        call = asyncio.get_running_loop().create_task(self._safely(ctx, what, why))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            return None  # the handler has ended already: a timeout or a stop by now does not change how

    async def _safely(self, ctx: Context, what: What, why: str) -> Seen | None:
        try:
            return await self._tell(ctx, what, why)
        except StreamqError as problem:
            extra = {"event": "breaker_report_lost", "breaker": self._breaker.name, "job_id": ctx.job_id}
            log.warning("circuit breaker %s was not told: %s", self._breaker.name, problem, extra=extra)
            return None

    async def _tell(self, ctx: Context, what: What, why: str) -> Seen:
        store = await self._home.store_of(ctx.job_id)
        # A job is handed out once under a fence: so a report that is sent again is known.
        tag = "" if what == "look" else f"{ctx.job_id}:{ctx.fence}"
        seen = await self._breaker.tell(
            store, self._home.name, what, by=ctx.worker, tag=tag, job_id=ctx.job_id, why=why, wait=PATIENCE
        )
        self._is_open = seen.is_open
        return seen


def _meant(problem: BaseException, ends: float) -> Exception | None:
    """Return the error that a handler ended with; its timeout reaches it as a cancel. None if it did not end itself."""
    if isinstance(problem, asyncio.CancelledError):
        return TimeoutError("timed out") if time.monotonic() >= ends - SLACK else None
    return problem if isinstance(problem, Exception) else None


def _end_of(ctx: Context) -> float:
    if ctx.deadline is None:
        return float("inf")
    return time.monotonic() + (ctx.deadline - ctx.now()).total_seconds()


def _info(name: str, seen: Seen) -> BreakerInfo:
    state: Literal["closed", "open", "half_open"] = "closed"
    if seen.is_open:
        state = "open" if seen.now_ms < seen.probe_ms else "half_open"
    changed = from_ms(seen.changed_ms) if seen.changed_ms else None
    return BreakerInfo(
        name, state, seen.failures, from_ms(seen.probe_ms) if seen.is_open else None, changed, seen.by, seen.why,
        seen.failed_probes, seen.used, seen.waiting,
    )  # fmt: skip


async def breakers(queue: Home) -> list[BreakerInfo]:
    """Return how all breakers of a queue stand. Use ``queue.breakers()``."""
    found = dict(queue.fuses)
    for name in await _store.names((await queue.stores())[0]):
        with suppress(ConfigError):  # else a foreign hand wrote it
            found.setdefault(name, CircuitBreaker(name))
    return list(await asyncio.gather(*(found[name].state(queue) for name in sorted(found))))
