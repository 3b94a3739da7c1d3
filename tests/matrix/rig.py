"""A queue for the rows of the table: jobs say when they start, wait at doors, and fail as often as they are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from streamq import BatchContext, Context, Job, JobState, Queue, Worker
from streamq.handler import BoundHandler
from tests.worker.helpers import until

PATIENCE = 15.0


class Thing(msgspec.Struct):
    """An item of the rows' batches."""

    n: int
    key: str = ""


class Rig:
    """One queue with handlers of the kind ``work(n, key="", door="")``.

    ``started``, ``ended``: the ``n`` of jobs, in order. ``fails``: how often job ``n`` raises. A job with a door waits
    until that was opened.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.started: list[int] = []
        self.ended: list[int] = []
        self.together: list[list[int]] = []
        self.fails: Counter[int] = Counter()
        self.raises: dict[int, BaseException] = {}
        self._doors: dict[str, asyncio.Event] = {}

    def handler(self, name: str = "work", **options: Any) -> BoundHandler[..., Any]:
        """Declare a handler."""

        @self.queue.handler(name, **options)
        async def work(ctx: Context, n: int, key: str = "", door: str = "") -> int:
            self.started.append(n)
            if n in self.raises:
                raise self.raises.pop(n)
            if self.fails[n]:
                self.fails[n] -= 1
                raise ValueError(f"attempt {ctx.attempt} of {n}")
            if door:
                await self.door(door).wait()
            self.ended.append(n)
            return n

        return work

    def batches(self, name: str = "work", **options: Any) -> BoundHandler[..., Any]:
        """Declare a batch handler of `Thing`."""

        @self.queue.batch_handler(name, **options)
        async def work(ctx: BatchContext, things: list[Thing]) -> None:
            self.together.append([one.n for one in things])
            for one, thing in zip(ctx.items, things, strict=True):
                self.started.append(thing.n)
                if self.fails[thing.n]:
                    self.fails[thing.n] -= 1
                    one.fail(ValueError("not yet"))

        return work

    def door(self, name: str) -> asyncio.Event:
        """A door."""
        return self._doors.setdefault(name, asyncio.Event())

    def open(self, name: str) -> None:
        """Open a door."""
        self.door(name).set()

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncGenerator[Worker]:
        """Run a worker beside the block."""
        given: dict[str, Any] = {"concurrency": 10, "grace": 0, **options}
        async with Worker(self.queue, **given) as worker:
            yield worker

    async def declared(self) -> None:
        """Make the limits known, as any worker does that starts; before that a producer meets none."""
        async with self.working():
            pass

    async def has_started(self, *numbers: int) -> None:
        """Wait until these have started."""
        await until(lambda: set(numbers) <= set(self.started), f"{numbers} started, {self.started}")

    async def is_resting(self) -> None:
        """Wait until workers have looked at everything there is: a plain job that came last has run."""
        await (await self.queue.enqueue("probe")).result(timeout=PATIENCE)

    async def gate(self, name: str) -> Any:
        """One gate as `queue.limits.list` shows it."""
        return next(one for one in await self.queue.limits.list() if one.gate == name)

    async def explain(self, job: Job[Any]) -> str:
        """Why a job waits."""
        return str(await self.queue.explain(job.id))

    async def waits(self, *jobs: Job[Any]) -> None:
        """Assert that workers looked and left these where they are."""
        await self.is_resting()
        assert [await one.state() for one in jobs] == [JobState.WAITING] * len(jobs)


def rig(queue: Queue) -> Rig:
    """A rig, with the handler of its probe."""
    made = Rig(queue)

    @queue.handler("probe")
    async def probe() -> None:
        """Show that workers take jobs."""

    return made


MakeRig = Callable[..., Rig]
