"""What the tests of running workers share."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from streamq import Job, Queue, Worker
from streamq._store.keys import Keys

MakeQueue = Callable[..., Queue]

PATIENCE = 15.0
"""Seconds a test waits for a fact before it fails; far above what is asserted about time."""


async def until(fact: Callable[[], object], what: str = "the fact", *, seconds: float = PATIENCE) -> None:
    """Wait until ``fact`` (plain or a coroutine function) is true."""
    started = time.monotonic()
    while True:
        found: Any = fact()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.005)


async def ended(job: Job[Any], *, seconds: float = PATIENCE) -> BaseException | None:
    """Wait for a job's end; returns the error its result is, None for a value."""
    try:
        await job.result(timeout=seconds)
    except TimeoutError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever a result can be
        return problem
    return None


def keys_of(queue: Queue) -> Keys:
    """Return the keys of a queue."""
    return Keys(queue.prefix, queue.name)


def inside(thing: Any) -> Any:
    """Return a thing whose inner parts a test looks at or touches."""
    return thing


def hold_ready(worker: Worker) -> None:
    """Make a running worker hold a tenth of its places ready, as one does whose jobs end quickly."""

    def tenth(places: int, queues: int, now: float) -> int:
        del queues, now
        return places // 10

    inside(worker)._slots.pace.ready = tenth
    for joint in inside(worker)._joints:
        joint.exchange.wake()


async def drain(*queues: Queue, **options: Any) -> None:
    """Run a worker until nothing is waiting or active."""
    async with asyncio.timeout(PATIENCE):
        await Worker(queues, **options).run(burst=True)


@asynccontextmanager
async def loose(worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a worker beside the block by ``run()``, for tests that stop it themselves; it is gone afterwards."""
    task = asyncio.create_task(worker.run())
    try:
        await until(lambda: inside(worker)._tasks, "the worker runs")
        yield task
    finally:
        worker.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)


class Gate:
    """Jobs that say they have started and wait to be let through."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self._open = asyncio.Event()

    async def through(self, name: str) -> None:
        """Pass the gate, or be cancelled at it."""
        self.started.append(name)
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        self.ended.append(name)

    def open(self) -> None:
        """Let all through."""
        self._open.set()
