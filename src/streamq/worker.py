"""Worker: joins the loops, starts and stops them.

A lease goes to the executor, its outcome to the settling rules, the settlement to the exchange: `Joint`, one per queue.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from uncalled_for import SharedContext

from ._core import correlation, units
from ._core.units import Seconds
from ._runtime.control import Control
from ._runtime.exchange import Exchange
from ._runtime.keeper import Keeper
from ._runtime.slots import Slots
from ._runtime.vitals import Vitals
from .errors import ConfigError, StreamqError
from .joint import Joint, all_idle
from .queue import Queue

if TYPE_CHECKING:
    from .scheduler import Scheduler  # loads croniter, which only those with a scheduler need

log: logging.Logger = logging.getLogger("streamq.worker")

FLUSH = 3.0  # seconds the last settlements get at stop, after the grace period


class Worker:
    """Runs the jobs of one or several queues.

    concurrency: jobs at a time, over all queues (100). lease: seconds after which a vanished worker's jobs are run by
    others (15: with a sweep every 2 s they are back within 18 s). grace: seconds running jobs get at stop (25: below
    Kubernetes' 30, which ends in SIGKILL). max_stalls: how often workers may vanish with a job before it is buried (2).
    log_payload: whether log records may hold arguments and error texts (False: they may be personal data).
    wait_for_redis: seconds to wait for a server at start (0: raise at once). scheduler: one or several whose ticks this
    worker fires; their queues must be among its own. Its release is what STREAMQ_RELEASE says, shown with its errors.
    """

    def __init__(  # noqa: PLR0913 - the public constructor: what it takes is fixed, and each has a default
        self,
        queues: Queue | Sequence[Queue],
        *,
        concurrency: int = 100,
        lease: Seconds = 15.0,
        grace: Seconds = 25.0,
        max_stalls: int = 2,
        name: str | None = None,
        log_payload: bool = False,
        wait_for_redis: Seconds = 0.0,
        scheduler: Scheduler | Sequence[Scheduler] | None = None,
    ) -> None:
        self.queues: tuple[Queue, ...] = (queues,) if isinstance(queues, Queue) else tuple(queues)
        if not self.queues:
            raise ConfigError("queues", (), "give at least one Queue")
        if len({(queue.prefix, queue.name) for queue in self.queues}) != len(self.queues):
            raise ConfigError("queues", [queue.name for queue in self.queues], "names a queue twice")
        given = scheduler if isinstance(scheduler, Sequence) else [scheduler]
        self.schedulers: tuple[Scheduler, ...] = tuple(one for one in given if one is not None)
        for one in self.schedulers:
            if one.queue not in self.queues:
                raise ConfigError("scheduler", one, f"is of queue {one.queue.name!r}, which this worker does not serve")
        if isinstance(concurrency, bool) or not 1 <= concurrency <= 100_000:
            raise ConfigError("concurrency", concurrency, "give a whole number from 1 to 100,000")
        if not 0 <= max_stalls <= 100:
            raise ConfigError("max_stalls", max_stalls, "give a whole number from 0 to 100")
        self.concurrency = concurrency
        self.lease: float = units.seconds("lease", lease, least=1.5)
        self.grace: float = units.seconds("grace", grace)
        self.max_stalls = max_stalls
        self.log_payload = log_payload
        host = socket.gethostname()
        # New at every start: a reused consumer name would make a dead worker's jobs look like our own lost replies.
        self.name: str = f"{name or host}:{os.getpid()}:{os.urandom(8).hex()}"
        self._wait_for_redis = units.seconds("wait_for_redis", wait_for_redis)
        self.vitals: Vitals = Vitals(host, os.environ)
        self.started_ms: int = 0
        self._joints: list[Joint] = []
        self._slots = Slots(concurrency)
        self._keeper: Keeper | None = None
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self.handed_back: int = 0

    async def run(self, *, burst: bool = False) -> None:
        """Work until `stop`; with ``burst`` until nothing is waiting or active.

        Raises `ServerUnfit`, `RedisUnavailable` (at start only; later it waits and comes back by itself).
        """
        async with AsyncExitStack() as stack:
            self._stack = stack
            try:
                await self._start()
                await self._until_stopped(burst=burst)
            finally:
                await self._finish()

    def stop(self) -> None:
        """Begin to stop: fetch no more, hand back what has not started, let the running finish for ``grace``."""
        if not self._stopping.is_set():
            log.info("worker draining", extra={"event": "worker.draining", "worker": self.name, "active": self.active})
        self._stopping.set()

    def cancel(self) -> None:
        """Stop without grace: cancel what runs and hand it back without charging an attempt."""
        self._stopping.set()
        self._hurry.set()

    @property
    def active(self) -> int:
        """Attempts running now."""
        return self._slots.used

    async def __aenter__(self) -> Self:
        """Run beside the block."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._beside(ready), name="streamq-worker")
        await ready
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop gracefully and wait for it."""
        self.stop()
        if self._runner is not None:
            await self._runner

    async def _beside(self, ready: asyncio.Future[None]) -> None:
        try:
            async with AsyncExitStack() as stack:
                self._stack = stack
                try:
                    await self._start()
                    ready.set_result(None)
                    await self._until_stopped(burst=False)
                finally:
                    await self._finish()
        except BaseException as problem:
            if ready.done():
                raise
            ready.set_exception(problem)

    # -- start --------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self.started_ms = time.time_ns() // 1_000_000
        await self._stack.enter_async_context(SharedContext())
        await self._join()
        self._keeper = Keeper([joint.exchange for joint in self._joints], self.lease)
        await self._plan()
        await self._listen()
        for joint in self._joints:
            joint.exchange.on_tick = self._ticked
            joint.exchange.on_restored = self._keeper.kick
            joint.executor.root = correlation.fresh()
            self._spawn(joint.exchange.run())
            self._spawn(joint.bell.run())
            for ticker in joint.tickers:
                self._spawn(ticker.run())
        log.info(
            "worker started",
            extra={
                "event": "worker.started",
                "worker": self.name,
                "queue": ",".join(queue.name for queue in self.queues),
                "concurrency": self.concurrency,
            },
        )

    async def _plan(self) -> None:
        for scheduler in self.schedulers:
            joint = next(one for one in self._joints if one.queue is scheduler.queue)
            joint.tickers.append(await scheduler.open())

    async def _listen(self) -> None:
        """Subscribe before the first look at the queues, so that nothing falls between; two seconds must do."""
        channels: dict[str, dict[bytes, Any]] = {}
        for joint in self._joints:
            channels.setdefault(joint.exchange.url, {})[joint.control_channel] = joint.hear
        for url, heard in channels.items():
            control = Control(url, heard, self._look_again)
            self._spawn(control.run())
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await control.ready.wait()

    def _look_again(self) -> None:
        for joint in self._joints:
            joint.look_again()

    async def _join(self) -> None:
        stores = [(await queue.stores())[0] for queue in self.queues]
        for queue, store in zip(self.queues, stores, strict=True):
            self._joints.append(Joint(self, queue, store, self._slots))
        # All at once: a worker of a hundred queues is ready as soon as one of a single queue, nearly.
        connecting = [
            joint.connect(store, self._wait_for_redis) for joint, store in zip(self._joints, stores, strict=True)
        ]
        for problem in await asyncio.gather(*connecting, return_exceptions=True):
            if problem is not None:
                raise problem
        for joint in self._joints:
            await self._stack.enter_async_context(joint.lookout)
            states = [await self._stack.enter_async_context(lifespan()) for lifespan in joint.wiring.lifespans]
            joint.executor.state = states[0] if len(states) == 1 else states or None

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _ticked(self) -> None:
        if self._keeper is not None:
            self._keeper.loop_ticked = time.monotonic()

    def keep(self) -> None:
        """Start the keeper thread with the first job."""
        if self._keeper is not None:
            self._keeper.start()

    # -- run ----------------------------------------------------------------------------------------

    async def _until_stopped(self, *, burst: bool) -> None:
        """Wait for the word to stop.

        The death of any loop ends the worker loudly: one that looks alive and does nothing is the worst failure of all.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        emptied = asyncio.create_task(all_idle(self._joints)) if burst else None
        watched: list[asyncio.Task[Any]] = [stopping, *self._tasks, *([emptied] if emptied else [])]
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task is not stopping and task is not emptied:
                    task.result()
                    raise StreamqError("a loop of the worker ended by itself; this is a defect, please report it")
                task.result()
        finally:
            stopping.cancel()
            if emptied is not None:
                emptied.cancel()

    # -- stop ---------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        exchanges = [joint.exchange for joint in self._joints]
        loops = [task for task in self._tasks if not task.done()]
        try:
            for exchange in exchanges:
                exchange.stop()
            if loops and exchanges:
                if self.active and not self._hurry.is_set():
                    await self._grace(exchanges)
                self.handed_back = sum(len(exchange.table.running) for exchange in exchanges)
                for exchange in exchanges:
                    exchange.table.cancel_running()
                await self._flushed(exchanges)
        finally:
            if self._keeper is not None:
                self._keeper.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for exchange in exchanges:
                if exchange.is_empty and self._tasks:
                    await exchange.leave()
                await exchange.close()
        log.info(
            "worker stopped", extra={"event": "worker.stopped", "worker": self.name, "handed_back": self.handed_back}
        )

    async def _grace(self, exchanges: Sequence[Exchange]) -> None:
        hurry = asyncio.create_task(self._hurry.wait())
        empty = asyncio.create_task(_empty(exchanges))
        try:
            await asyncio.wait((hurry, empty), timeout=self.grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            empty.cancel()

    async def _flushed(self, exchanges: Sequence[Exchange]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH):
                await _empty(exchanges)


async def _empty(exchanges: Sequence[Exchange]) -> None:
    # Looked at, not waited for: it becomes true in a dozen places, and only a stopping worker asks.
    while not all(exchange.is_empty for exchange in exchanges):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
