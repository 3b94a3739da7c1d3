"""Queues in memory: a broker of their own that runs the real scripts, on a clock that can be moved by hand."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self, Unpack, overload

import msgspec

from .._memory import broker as _brokers
from .._memory.broker import Broker
from ..errors import ConfigError
from ..queue import Queue
from ..reading import Counts
from ..settings import QueueOptions
from . import clock as _clocks
from .clock import Clock, HandClock
from .faults import Faults
from .moments import moments

PATIENCE = 10.0
"""Real seconds that jobs may take before time is moved on."""

LOOK = 0.005
"""Seconds between two looks whether a worker beside is done."""

TURNS = 20
"""Turns of the event loop between them at least, for a machine so busy that the time alone says little."""

CALM = 4
"""Looks without a change after which nothing more is expected; with jobs that wait for a limit, three times as many."""


class MemoryQueues:
    """Makes queues in memory, all on one broker of their own; in a test of pytest it is the fixture ``memory_queue``.

    ``clock``: their time (None: one that runs from now on). Call it with a name and options for a new queue, or with a
    queue of your application, which is then in memory until the end of the block, its handlers as they are. ``faults``:
    a plan for the whole broker; whatever of it never happened is an `AssertionError` at the end of the block.

    Raises `ConfigError` for options of a queue that exists already.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or Clock()
        name = f"test-{os.urandom(6).hex()}"
        self.url: str = f"memory://{name}"
        self._name = name
        self._broker = Broker(self.clock.now_us)
        self._broker.make_clock = lambda: HandClock(self.clock)
        self._queues: list[Queue] = []
        self._stack = ExitStack()
        _brokers.put(name, self._broker)
        _clocks.keep(self.url, self.clock)
        self.clock.add(self)

    def __repr__(self) -> str:
        """Url and the names of its queues."""
        return f"<MemoryQueues {self.url} {[queue.name for queue in self._queues]}>"

    @overload
    def __call__(self, queue: Queue, /, *, faults: Faults | None = None) -> Queue: ...
    @overload
    def __call__(
        self, name: str = "test", /, *, faults: Faults | None = None, **options: Unpack[QueueOptions]
    ) -> Queue: ...
    def __call__(
        self, queue: Queue | str = "test", /, *, faults: Faults | None = None, **options: Unpack[QueueOptions]
    ) -> Queue:
        """Return a new queue of this name, or lead the given one here."""
        if isinstance(queue, str):
            options["url"] = self.url
            queue = Queue(queue, **options)
        elif options:
            raise ConfigError("options", sorted(options), f"belong to a new queue; {queue!r} has its own")
        if queue not in self._queues:
            self._stack.enter_context(queue.elsewhere(self.url))
            self._queues.append(queue)
        if faults is not None:
            self._stack.enter_context(faults.on(queue))
        return queue

    # -- the end ------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lead the queues back to where they belong, and forget all jobs."""
        try:
            self._stack.__exit__(kind, error, trace)
        finally:
            self.clock.remove(self)
            _clocks.keep(self.url, None)
            _brokers.put(self._name, None)

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what this event loop has open besides."""
        for queue in self._queues:
            await queue.aclose()
        self.__exit__(kind, error, trace)

    # -- for the clock ------------------------------------------------------------------------------

    def has_worker(self) -> bool:
        """Whether a worker is connected. Not for applications."""
        return any(one.name == "streamq:worker" for one in self._broker.connections.values())

    async def settled(self) -> None:
        """Return when no job runs and none is due. Not for applications."""
        until, calm, before = time.monotonic() + PATIENCE, 0, list[Counts]()
        while True:
            counts = [msgspec.structs.replace(await queue.counts(), oldest=None) for queue in self._queues]
            calm = calm + 1 if counts == before and not any(one.active or one.due for one in counts) else 0
            if calm >= (3 * CALM if any(one.waiting for one in counts) else CALM):
                return
            if time.monotonic() > until:
                raise TimeoutError(
                    f"time cannot be moved while jobs run; after {PATIENCE:g} s: {await self._running()}"
                )
            before = counts
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await asyncio.sleep(LOOK)

    async def _running(self) -> str:
        pages = [await queue.jobs("active", limit=10) for queue in self._queues]
        return ", ".join(f"{job.name} ({job.id})" for page in pages for job in page.jobs) or "jobs are due"

    async def next_due(self) -> float:
        """Return when something is due next, ms since the epoch, or inf. Not for applications."""
        return min(await moments(self._queues, self.clock.now_us() // 1000))

    async def moved(self) -> None:
        """Tell workers beside to look again. Not for applications."""
        if not self.has_worker():
            return
        said = b"due %d" % (self.clock.now_us() // 1000)
        for queue in self._queues:
            for store in await queue.stores():
                self._broker.publish(store.keys.control, said)
                self._broker.publish(store.keys.control, b"schedules")
                await store.call((b"LPUSH", store.keys.bell, b"1"))
