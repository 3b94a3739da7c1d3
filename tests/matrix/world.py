"""A queue with two features and the handler of their plays: built alike in the test's process and in the workers'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from streamq import BatchContext, CircuitBreaker, Context, Fatal, Fixed, Keep, Queue, RateLimited, Worker
from streamq._runtime.settler import Settler
from streamq._runtime.table import Table
from streamq._store.clock import ServerClock
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from streamq.handler import BoundHandler
from tests.ledger import Line
from tests.matrix.features import BY_NAME, LIFE_BEFORE_REPLAY, Feature, merged

WORK, PING = "work", "ping"
BATCH_SIZE = 4


class Note(Protocol):
    """Appends a line to a ledger."""

    def __call__(self, what: str, job: str = "", **more: object) -> None:
        """Append it."""
        ...


class Piece(msgspec.Struct):
    """An item of the batch handler: the arguments of the plain one."""

    n: int
    key: str


class World:
    """One queue. ``scene``: its name in the ledger. ``seconds``: how long a job takes."""

    def __init__(
        self, url: str, prefix: str, names: Sequence[str], note: Note, folder: Path, *, seconds: float = 0.01
    ) -> None:
        self.prefix = prefix
        self.names = frozenset(names)
        self.features: tuple[Feature, ...] = tuple(BY_NAME[name] for name in names)
        self.seconds = seconds
        self.mended = folder / f"{prefix}.mended"
        self.provider = folder / f"{prefix}.up"
        self.note = note
        options = merged(*(one.queue for one in self.features))
        options |= {"url": url, "prefix": prefix, "keep_completed": Keep(count=100_000), "backoff": Fixed(0.02)}
        options["max_attempts"] = 30
        self.queue = Queue("m", **options)
        self.breaker = CircuitBreaker("provider", failures=2, open_for=0.1, handlers=(WORK,))
        if "breaker" in self.names:
            self.queue.use(self.breaker)
        self.outside = Queue("m", url=url, prefix=prefix)
        """A producer that knows of none of it."""
        self._calls = 0
        self.handler: BoundHandler[..., Any] = self._handler(merged(*(one.handler for one in self.features)))

        @self.queue.handler(PING)
        async def ping() -> None:
            """Show that workers take jobs."""

    def _handler(self, options: dict[str, Any]) -> BoundHandler[..., Any]:
        if "batch" not in self.names:

            @self.queue.handler(WORK, **options)
            async def work(ctx: Context, n: int, key: str) -> None:
                with self._noted([ctx], [Piece(n, key)]):
                    self._call_provider()
                    self._may_fail(ctx, n)
                    await self._takes(ctx, n)

            return work

        @self.queue.batch_handler(WORK, size=BATCH_SIZE, wait=0.05, key="key", **options)
        async def together(ctx: BatchContext, pieces: list[Piece]) -> None:
            with self._noted(ctx.items, pieces):
                self._call_provider()
                for one, piece in zip(ctx.items, pieces, strict=True):
                    try:
                        self._may_fail(one, piece.n)
                    except Exception as problem:  # noqa: BLE001 - of this item alone
                        one.fail(problem)
                await asyncio.gather(*(self._takes(one, piece.n) for one, piece in zip(ctx.items, pieces, strict=True)))

        return together

    @contextmanager
    def _noted(self, contexts: Sequence[Context], pieces: Sequence[Piece]) -> Any:
        self._calls += 1
        call = self._calls
        for ctx, piece in zip(contexts, pieces, strict=True):
            self.note(
                "start", ctx.job_id, scene=self.prefix, n=piece.n, key=piece.key, attempt=ctx.attempt,
                stalls=ctx.stalls, fence=ctx.fence, call=call, taken=taken(ctx),
            )  # fmt: skip
        try:
            yield
        finally:
            for ctx in contexts:
                self.note("end", ctx.job_id, scene=self.prefix, call=call)

    def _call_provider(self) -> None:
        if "breaker" in self.names and not self.provider.exists():
            raise ConnectionError("the provider is down")

    def _may_fail(self, ctx: Context, n: int) -> None:
        if "rate-limited" in self.names and n % 4 == 0 and ctx.fence >> 20 == 0:
            raise RateLimited(after=0.05)
        if "retry" in self.names and n % 2 == 0 and ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        if "replay" in self.names and n % 4 == 2 and not self.mended.exists():
            raise Fatal(LIFE_BEFORE_REPLAY)

    async def _takes(self, ctx: Context, n: int) -> None:
        if "cancel-running" in self.names and n % 4 == 1:
            self.note("waits", ctx.job_id, scene=self.prefix)
            # The one who cancels it is told by the line above. In a batch the call goes on, for the others.
            await asyncio.sleep(0.5 if "batch" in self.names else 20)
        await asyncio.sleep(self.seconds)

    async def aclose(self) -> None:
        """Close both queues."""
        await self.queue.aclose()
        await self.outside.aclose()

    def worker(self, **options: Any) -> Worker:
        """One of its workers."""
        given: dict[str, Any] = {"concurrency": 10, "lease": 3.0, "grace": 2.0, **options}
        return Worker(self.queue, **given)


TAKEN: dict[tuple[str, str, int], int] = {}
"""The server's time of each take (ms): by worker, job and number of the take, as the script that handed it out said."""


def taken(ctx: Context) -> int | None:
    """The server's time at which this attempt was taken; None for a job of a vanished worker, handed over by a tick."""
    return TAKEN.get((ctx.worker, ctx.job_id, ctx.fence & 0xFFFFF))


def watch(note: Callable[[str, list[tuple[Item, str]]], None], patch: pytest.MonkeyPatch | None = None) -> None:
    """Let workers of this process tell when jobs were taken, and how the server answered their settlements."""
    heard, take_all, answered = ServerClock.heard, Table.take_all, Settler.answered
    latest: dict[int, int] = {}

    def noting_heard(self: ServerClock, now_ms: int) -> float:
        latest[id(self)] = now_ms
        return heard(self, now_ms)

    def noting_take_all(self: Table, jobs: Sequence[Taken], touched: float) -> None:
        joint: Any = self.joined
        for one in jobs:
            takes = int(one.token.partition(b"|")[0].rpartition(b":")[2])
            # The reply that brought them told the time just before.
            TAKEN[joint.worker.name, one.id.decode("utf-8", "replace"), takes] = latest[id(joint.clock)]
        take_all(self, jobs, touched)

    def noting_answered(self: Settler, reply: bytes) -> list[Item]:
        items = answered(self, reply)
        settler: Any = self
        base: str = settler._verbs.keys.base.decode()
        note(base.split(":", 1)[0], list(zip(items, reply.decode(), strict=True)))
        return items

    if patch is None:
        patch = pytest.MonkeyPatch()  # for good: this process is a worker of the tests
    patch.setattr(ServerClock, "heard", noting_heard)
    patch.setattr(Table, "take_all", noting_take_all)
    patch.setattr(Settler, "answered", noting_answered)


class Book:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def note(self, what: str, job: str = "", **more: object) -> None:
        """Append a line."""
        self.lines.append(Line(asyncio.get_running_loop().time(), 0, what, job, dict(more)))
