"""The application that runs in a world: an ordinary queue, its handlers, its schedule. Nothing here is simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from streamq import (
    Alert,
    BatchContext,
    CircuitBreaker,
    Context,
    Discard,
    Event,
    Fatal,
    Fixed,
    Keep,
    Queue,
    RateLimited,
    Scheduler,
    Snooze,
)
from streamq.errors import ConfigError
from streamq.handler import BoundHandler
from tests.simulation.book import Book, Run
from tests.simulation.scenarios import Plan, key_of

NAME: Final = "sim"
PREFIX: Final = "s"
WORK: Final = "work"
PERIOD: Final = 2.0
"""Seconds between two ticks of the schedule."""


class Scene(Protocol):
    """What handlers know of their world."""

    book: Book

    @property
    def mended(self) -> bool:
        """Whether what failed at first is in order now."""
        ...

    def die(self) -> None:
        """End the process that calls this, now."""
        ...

    def begun(self, run: Run) -> None:
        """Hear that a handler begins."""
        ...


class Piece(msgspec.Struct):
    """An item of the batch handler: the arguments of the plain one."""

    n: int
    key: str
    how: str


class App:
    """Queue, handlers and scheduler as one process has them. ``who``: its name in the book."""

    def __init__(self, url: str, plan: Plan, scene: Scene, who: str) -> None:
        self.plan = plan
        self.scene = scene
        self.who = who
        options: dict[str, Any] = {
            "max_attempts": 3, "backoff": Fixed(0.4), "timeout": 12.0, "keep_completed": Keep(count=10_000),
            "url": url, "prefix": PREFIX,
        }  # fmt: skip
        for feature in plan.features:
            options |= feature.queue
        self.queue = Queue(NAME, **options)
        if plan.has("breaker"):
            self.queue.use(CircuitBreaker("provider", failures=2, open_for=1.0, handlers=(WORK,)))
        given: dict[str, Any] = {}
        for feature in plan.features:
            given |= feature.handler
        self.work: BoundHandler[..., Any] = self._together(given) if plan.has("batches") else self._alone(given)
        if plan.has("strangers") and who.startswith("worker") and int(who.partition("-")[2]) % 3 == 2:
            self.queue = Queue(NAME, **options)  # of another version: it does not know the handler yet

            @self.queue.handler("other")
            async def other() -> None: ...

        self._listen()
        self.scheduler: Scheduler | None = None
        if plan.has("schedules"):
            self.scheduler = Scheduler(self.queue)

    def _listen(self) -> None:
        book = self.scene.book
        if self.plan.has("events"):

            @self.queue.on("completed", "retrying", "dead", "cancelled", "expired")
            async def heard(event: Event) -> None:
                book.heard[event.kind, event.job_id] += 1

        if self.plan.has("alerts"):
            self.queue.alerting.look_every = 0.7

            @self.queue.on_alert
            async def alerted(alert: Alert) -> None:
                book.note(self.who, f"hears {alert.state}", "", alert.rule)

    def spec(self, n: int) -> Any:
        """Return job ``n``, not enqueued yet."""
        options: dict[str, Any] = {}
        for feature in self.plan.features:
            options |= feature.job(n)
        return self.work.with_options(**options).job(*self.arguments(n))

    def options(self, n: int) -> dict[str, Any]:
        """Return the options of job ``n``."""
        found: dict[str, Any] = {}
        for feature in self.plan.features:
            found |= feature.job(n)
        return found

    def arguments(self, n: int) -> tuple[Any, ...]:
        """Return the arguments of job ``n``."""
        piece = Piece(n, key_of(n), self.plan.hows[n])
        return (piece,) if self.plan.has("batches") else (piece.n, piece.key, piece.how)

    def _alone(self, options: dict[str, Any]) -> BoundHandler[..., Any]:
        @self.queue.handler(WORK, **options)
        async def work(ctx: Context, n: int, key: str, how: str) -> int | None:
            with self._run([ctx]) as [run]:
                await self._behave(ctx, how, run)
                return n if how == "ok" and n % 5 == 0 else None

        return work

    def _together(self, options: dict[str, Any]) -> BoundHandler[..., Any]:
        @self.queue.batch_handler(WORK, size=3, wait=0.4, key="key", **options)
        async def work(ctx: BatchContext, pieces: list[Piece]) -> None:
            with self._run(ctx.items):
                for one, piece in zip(ctx.items, pieces, strict=True):
                    try:
                        self._raise(one, piece.how)
                    except Exception as problem:  # noqa: BLE001 - of this item alone
                        one.fail(problem)
                hangs = any(ctx.fence >> 20 == 0 for ctx in ctx.items)
                await asyncio.sleep(max(self._seconds(piece.how) for piece in pieces) if hangs else 0.05)

        return work

    @contextmanager
    def _run(self, contexts: Sequence[Context]) -> Generator[list[Run]]:
        book = self.scene.book
        mine = [Run(ctx.job_id, self.who, ctx.fence, ctx.attempt, book.now) for ctx in contexts]
        for run in mine:
            book.runs[run.job].append(run)
            fence = f"{run.fence >> 20}.{run.fence & 0xFFFFF}"
            book.note(self.who, "starts", run.job, f"attempt {run.attempt}, fence {fence}")
            self.scene.begun(run)
        how = "ends"
        try:
            yield mine
        except asyncio.CancelledError:
            how = "is cancelled"
            raise
        except Exception as problem:
            how = f"raises {type(problem).__name__}"
            raise
        finally:
            for run in mine:
                run.until = book.now
                run.cancelled = run.cancelled or how == "is cancelled"
                book.note(self.who, how, run.job)

    async def _behave(self, ctx: Context, how: str, run: Run) -> None:
        self._raise(ctx, how)
        try:
            await asyncio.sleep(self._seconds(how) if how != "hang" or ctx.fence >> 20 == 0 else 0.05)
        except asyncio.CancelledError:
            if how != "deaf":
                raise
            run.cancelled = True
            await asyncio.sleep(1.0)  # as a function in a thread does: only the fence stops what it says then
        if how == "poison":
            self.scene.die()
            await asyncio.Event().wait()

    def _seconds(self, how: str) -> float:
        if how == "hang":
            return 60.0
        return self.plan.lease * 1.6 if how in {"long", "deaf"} else 0.02 + (len(self.scene.book.events) % 7) * 0.05

    def _raise(self, ctx: Context, how: str) -> None:
        first_life = ctx.fence >> 20 == 0
        match how:
            case "flaky" if ctx.attempt == 1:
                raise ValueError("as every first time")
            case "fails":
                raise ValueError("as always")
            case "unmended" if not self.scene.mended:
                raise Fatal("not mended")
            case "down" if not self.scene.mended:
                raise ConnectionError("the provider is down")
            case "fatal":
                raise Fatal("for good")
            case "discard":
                raise Discard("not wanted")
            case "snooze" if first_life:
                raise Snooze(after=0.7)
            case "limited" if first_life:
                raise RateLimited(after=0.8)
            case _:
                return


def playable(plan: Plan) -> bool:
    """Whether its features can be had together."""

    class Nobody:
        book = Book()

        @property
        def mended(self) -> bool:
            return False

        def die(self) -> None: ...

        def begun(self, run: Run) -> None: ...

    try:
        app = App("memory://nowhere", plan, Nobody(), "nobody")
        for n in range(min(4, len(plan.hows))):
            app.spec(n)
    except ConfigError:
        return False
    return True
