"""Worker: joins the loops. A lease goes to the executor, its outcome to the settling rules, the settlement to the exchange."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

import msgspec
from uncalled_for import SharedContext

from ._core import envelope as _wire
from ._core import units
from ._core.lifecycle import JobState
from ._core.units import Seconds
from ._runtime.attempt import Attempt
from ._runtime.bell import Bell
from ._runtime.control import Control
from ._runtime.exchange import Exchange, Limits
from ._runtime.executor import Executor
from ._runtime.keeper import Keeper
from ._runtime.settling import Settling
from ._runtime.slots import Slots
from ._runtime.wheel import Wheel
from ._store.clock import ServerClock
from ._store.link import LinkDown, ReplyError, redacted
from ._store.producer import server_error
from ._store.verbs import Item, Settings, WorkerVerbs
from .errors import ConfigError, RedisUnavailable, StreamqError
from .queue import Queue
from .reading import Heartbeat

log: logging.Logger = logging.getLogger("streamq.worker")

FLUSH = 3.0
"""Seconds the last settlements get at stop, after the grace period."""


class Worker:
    """Runs the jobs of one or several queues.

    concurrency: jobs at a time, over all queues (100). lease: seconds after which a vanished worker's jobs are run by
    others (15: with a sweep every 2 s they are back within 18 s). grace: seconds running jobs get at stop (25: below
    Kubernetes' 30, which ends in SIGKILL). max_stalls: how often workers may vanish with a job before it is buried (2).
    log_payload: whether log records may hold arguments and error texts (False: they may be personal data).
    wait_for_redis: seconds to wait for a server at start (0: raise at once).
    """

    def __init__(
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
    ) -> None:
        self.queues: tuple[Queue, ...] = (queues,) if isinstance(queues, Queue) else tuple(queues)
        if not self.queues:
            raise ConfigError("queues", (), "give at least one Queue")
        if len({(queue.prefix, queue.name) for queue in self.queues}) != len(self.queues):
            raise ConfigError("queues", [queue.name for queue in self.queues], "names a queue twice")
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
        self._host = host
        self._started_ms = 0
        self._joints: list[_Joint] = []
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
            await self._start()
            try:
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
                await self._start()
                ready.set_result(None)
                try:
                    await self._until_stopped(burst=False)
                finally:
                    await self._finish()
        except BaseException as problem:
            if ready.done():
                raise
            ready.set_exception(problem)

    # -- start ----------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._started_ms = time.time_ns() // 1_000_000
        await self._stack.enter_async_context(SharedContext())
        for queue in self.queues:
            self._joints.append(await self._join(queue))
        self._keeper = Keeper([joint.exchange for joint in self._joints], self.lease)
        for joint in self._joints:
            joint.exchange.on_tick = self._ticked
            joint.exchange.on_restored = self._keeper.kick
            self._spawn(joint.exchange.run())
            self._spawn(joint.bell.run())
        channels: dict[str, dict[bytes, Any]] = {}
        for joint in self._joints:
            channels.setdefault(joint.exchange.url, {})[joint.control_channel] = joint.exchange.hear
        for url, heard in channels.items():
            self._spawn(Control(url, heard).run())
        log.info(
            "worker started",
            extra={
                "event": "worker.started",
                "worker": self.name,
                "queue": ",".join(queue.name for queue in self.queues),
                "concurrency": self.concurrency,
            },
        )

    async def _join(self, queue: Queue) -> _Joint:
        joint = _Joint(self, queue, (await queue.stores())[0], self._slots)
        deadline = time.monotonic() + self._wait_for_redis
        while True:
            try:
                await joint.exchange.connect()
                break
            except LinkDown as problem:
                if time.monotonic() >= deadline:
                    raise RedisUnavailable(redacted(joint.exchange.url), problem.reason) from None
                await asyncio.sleep(0.2)
        states = [await self._stack.enter_async_context(lifespan()) for lifespan in joint.wiring.lifespans]
        joint.executor.state = states[0] if len(states) == 1 else states or None
        return joint

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _ticked(self) -> None:
        if self._keeper is not None:
            self._keeper.loop_ticked = time.monotonic()

    def keep(self) -> None:
        """Start the keeper thread with the first job."""
        if self._keeper is not None:
            self._keeper.start()

    # -- run ------------------------------------------------------------------------------------------------------------

    async def _until_stopped(self, *, burst: bool) -> None:
        """Wait for the word to stop. The death of any loop ends the worker loudly: one that looks alive and does nothing
        is the worst of all failures.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        emptied = asyncio.create_task(self._until_idle()) if burst else None
        watched: list[asyncio.Task[Any]] = [stopping, *self._tasks, *([emptied] if emptied else [])]
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task is not stopping and task is not emptied:
                    task.result()
                    raise StreamqError("a loop of the worker ended by itself; this is a defect, please report it")
                task.result()
        finally:
            for task in (stopping, emptied):
                if task is not None:
                    task.cancel()

    async def _until_idle(self) -> None:
        pause = 0.02
        while True:
            idle = all(joint.exchange.is_empty and not joint.exchange.hungry for joint in self._joints)
            if idle:
                counts = [await queue.counts() for queue in self.queues]
                if not any(one.active or (one.waiting and not one.paused) for one in counts):
                    return
                for joint in self._joints:
                    joint.exchange.ring()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    # -- stop -----------------------------------------------------------------------------------------------------------

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
                if exchange.is_empty:
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


class _Joint:
    """One queue's loops, joined: what the exchange calls, and whom that concerns."""

    def __init__(self, worker: Worker, queue: Queue, store: Any, slots: Slots) -> None:
        wiring = queue.wiring
        clock = ServerClock()
        consumer = worker.name.encode()
        settings = Settings(
            wiring.result_ms,
            1000 if wiring.keep_completed.count is None else wiring.keep_completed.count,
            wiring.keep_completed.age_ms,
        )
        keep_dead = wiring.keep_dead
        limits = Limits(
            worker.lease, worker.max_stalls, -1 if keep_dead.count is None else keep_dead.count, keep_dead.age_ms
        )
        self.worker = worker
        self.queue = queue
        self.wiring = wiring
        self.control_channel: bytes = store.keys.control
        self.exchange = Exchange(store.url, WorkerVerbs(store.keys, settings, consumer), slots, limits, clock)
        self.settling = Settling(
            queue.name, worker.name, clock.now_ms, max_result=wiring.max_payload, log_payload=worker.log_payload
        )
        self.executor = Executor(
            wiring.registry, Wheel(), worker=worker.name, threads=worker.concurrency, clock=clock.now_ms
        )
        self.bell = Bell(store.url, store.keys.bell, resting=lambda: self.exchange.is_resting, woken=self.exchange.ring)
        self.executor.ended = self._ended
        self.exchange.host = self
        self.exchange.table.joined = self
        self.exchange.on_rest = self.bell.look

    # What the exchange asks (`Joined`).

    def accept(self, attempt: Attempt) -> Item | None:
        envelope = attempt.envelope
        if envelope.version > _wire.WIRE_VERSION:
            return self.settling.parked(attempt, version_name(envelope.version))
        stalls = attempt.count - 1
        if stalls > self.worker.max_stalls:
            return self.settling.buried(
                attempt, "stalled", f"workers vanished {stalls} times while they ran it", trace="", kind="Stalled"
            )
        if envelope.expires_ms is not None and self.exchange.clock.now_ms() >= envelope.expires_ms:
            return self.settling.ended(attempt, JobState.EXPIRED, "expires_in passed before it could start")
        spec = self.wiring.registry.handlers.get(envelope.name)
        if spec is None:
            return self.settling.parked(attempt, envelope.name)
        if envelope.deadline_ms is not None and self.exchange.clock.now_ms() >= envelope.deadline_ms:
            return self.settling.buried(
                attempt, "deadline passed", "its deadline passed before this attempt", trace="", kind="Deadline"
            )
        attempt.spec = spec
        return None

    def start(self, attempt: Attempt) -> None:
        self.worker.keep()
        self.settling.started(attempt)
        self.executor.start(attempt)

    def undecodable(self, attempt: Attempt, reason: str) -> Item:
        return self.settling.raw(attempt, reason)

    def cancelled(self, attempt: Attempt) -> Item:
        return self.settling.ended(attempt, JobState.CANCELLED, "cancelled before it started")

    def reclaimed(self, attempt: Attempt) -> None:
        self.settling.reclaimed(attempt)

    def names(self) -> Sequence[str]:
        versions = [version_name(version) for version in range(2, _wire.WIRE_VERSION + 1)]
        return [*self.wiring.registry.handlers, *versions]

    def error_text(self, reply: ReplyError) -> StreamqError:
        return server_error(self.exchange.url, self.queue.name, reply)

    def heartbeat(self) -> bytes:
        now = time.monotonic()
        running = self.exchange.table.running
        return msgspec.msgpack.encode(
            Heartbeat(
                self.worker._host,
                os.getpid(),
                VERSION,
                self.worker._started_ms,
                self.worker.concurrency,
                len(running),  # noqa: SLF001 - one pair of classes
                [(one.job_id, one.envelope.name, round(now - one.started, 3)) for one in running[:100]],
                sorted(self.wiring.registry.handlers)[:200],
            )  # fmt: skip
        )

    def _ended(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> None:
        self.exchange.table.ended(attempt, self.settling.outcome(attempt, value, error, trace))


def version_name(version: int) -> str:
    """Return the name under which jobs of a newer envelope are parked, until a worker that reads it comes."""
    return f"~v{version}"


async def _empty(exchanges: Sequence[Exchange]) -> None:
    while not all(exchange.is_empty for exchange in exchanges):
        await asyncio.sleep(0.01)


def _version() -> str:
    try:
        return importlib.metadata.version("streamq")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


VERSION = _version()
