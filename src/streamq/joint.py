"""One queue's loops in a worker, joined: what the exchange and its table ask, and whom that concerns."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ._core import envelope as _wire
from ._core import names
from ._core.handler import Learning
from ._core.lanes import LaneOrder
from ._core.lifecycle import JobState
from ._runtime.attempt import Attempt
from ._runtime.batch import Batch, begun, is_batch
from ._runtime.batching import Batching, Outcome
from ._runtime.bell import Bell
from ._runtime.exchange import Exchange
from ._runtime.executor import Executor
from ._runtime.gating import Gating, is_buried
from ._runtime.host import Limits
from ._runtime.settling import Settling
from ._runtime.slots import Slots
from ._runtime.ticker import Ticker
from ._runtime.timeouts import Timeouts
from ._runtime.vitals import Vitals
from ._store.clock import ServerClock
from ._store.dial import clock_of
from ._store.faults import server_error
from ._store.link import LinkDown, ReplyError, redacted
from ._store.session import Store
from ._store.verbs import Item, Settings, WorkerVerbs
from .declaring import Declaring
from .errors import RedisUnavailable, StreamqError
from .lookout import Lookout
from .queue import Queue
from .reading import Heartbeat
from .tracing import Runs
from .version import VERSION

WINDOW = 100_000
"""Completed jobs shown when `Keep` bounds only their age: a window without any bound would fill the server."""

BURST_LOOK = 0.05
"""Seconds between two looks whether a burst is over; only an idle worker asks the server."""

log: logging.Logger = logging.getLogger("streamq.worker")


class Owner(Protocol):
    """What a joint needs of its worker."""

    name: str
    vitals: Vitals
    started_ms: int
    concurrency: int
    lease: float
    max_stalls: int
    log_payload: bool

    def keep(self) -> None:
        """Start the keeper thread with the first job."""
        ...


class Joint:
    """One queue's loops, joined: what the exchange calls, and whom that concerns."""

    def __init__(self, worker: Owner, queue: Queue, store: Store, slots: Slots) -> None:
        wiring = queue.wiring
        clock = clock_of(store.url)
        self.clock: ServerClock = clock
        consumer = worker.name.encode()
        settings = Settings(
            wiring.result_ms,
            WINDOW if wiring.keep_completed.count is None else wiring.keep_completed.count,
            wiring.keep_completed.age_ms,
        )
        keep_dead = wiring.keep_dead
        limits = Limits(
            worker.lease, worker.max_stalls, -1 if keep_dead.count is None else keep_dead.count, keep_dead.age_ms
        )
        self.worker = worker
        self.queue = queue
        self.wiring = wiring
        self.tickers: list[Ticker] = []
        self.control_channel: bytes = store.keys.control
        verbs = WorkerVerbs(store.keys, settings, consumer, clock.now_ms)
        self.exchange: Exchange = Exchange(store.url, verbs, slots, limits, clock)
        self.settling: Settling = Settling(
            queue.name, worker.name, clock.now_ms, max_result=wiring.max_payload, log_payload=worker.log_payload,
            release=worker.vitals.release,
        )  # fmt: skip
        self.executor: Executor = Executor(
            wiring.registry,
            Timeouts(self.exchange.table.all),
            worker=worker.name,
            threads=worker.concurrency,
            clock=clock.now_ms,
        )
        self.bell: Bell = Bell(store.url, store.keys.bell, resting=self.exchange.rests, woken=self.exchange.ring)
        self.gating: Gating = Gating()
        self.declaring: Declaring = Declaring(store, wiring.registry, clock, f"{worker.name} (streamq {VERSION})")
        self.executor.ended = self._ended
        self.tracing: Runs = Runs(queue.name, wiring.tracing, store.url, worker.name, details=worker.log_payload)
        self.executor.tracing = self.tracing
        self.batching: Batching = Batching(self.executor, self._batch_ended)
        self.lookout: Lookout = Lookout(queue, store, worker.name, self.exchange, self.settling)
        self.exchange.host = self
        self.exchange.asking.lanes = LaneOrder(wiring.lanes)
        self.exchange.table.joined = self
        self.exchange.on_rest = self.bell.look
        self.exchange.on_away = store.away

    async def connect(self, store: Store, wait: float) -> None:
        """Connect for the first time; raises `ServerUnfit`, and after ``wait`` seconds `RedisUnavailable`."""
        deadline = time.monotonic() + wait
        while True:
            try:
                await self.exchange.connect()
                break
            except LinkDown as problem:
                if time.monotonic() >= deadline:
                    raise RedisUnavailable(redacted(self.exchange.url), problem.reason) from None
                await asyncio.sleep(0.2)
        await store.session().announce()
        await self.declaring.declare()

    def forgotten(self) -> None:
        """Hear that the server lost what it knew of limits."""
        self.declaring.forgotten()

    def hear(self, word: bytes, argument: bytes) -> None:
        """Hear the control channel."""
        if word == b"schedules":
            for ticker in self.tickers:
                ticker.wake()
        else:
            self.exchange.hear(word, argument)

    def look_again(self) -> None:
        """Messages may have been missed."""
        self.exchange.look_again()
        self.hear(b"schedules", b"")

    def accept(self, attempt: Attempt) -> Item | None:
        """Return how to settle an attempt that is not to be run, None to run it."""
        item = self._over(attempt)
        if item is not None:
            return item
        attempt.spec = self.wiring.registry.handlers.get(attempt.envelope.name)
        if attempt.spec is None:
            return self._without_handler(attempt)
        if attempt.mark == b"limited":
            return self._limited(attempt)
        return self.gating.missing(attempt) if self.gating.concerns(attempt) else None

    def _over(self, attempt: Attempt) -> Item | None:
        """Return how to settle what nobody may run any more, or nobody of our version."""
        envelope, settling = attempt.envelope, self.settling
        if envelope.version > _wire.WIRE_VERSION:
            return settling.parked(attempt, version_name(envelope.version))
        stalls = attempt.count - 1
        if stalls > self.worker.max_stalls:
            return settling.buried(attempt, "stalled", f"workers vanished {stalls} times while they ran it", "Stalled")
        if envelope.expires_ms is None and envelope.deadline_ms is None:
            return None
        now = self.clock.now_ms()
        if envelope.expires_ms is not None and now >= envelope.expires_ms:
            return settling.ended(attempt, JobState.EXPIRED, "expires_in passed before it could start")
        if envelope.deadline_ms is not None and now >= envelope.deadline_ms and self._has_handler(attempt):
            return settling.buried(attempt, "deadline passed", "its deadline passed before this attempt", "Deadline")
        return None

    def _has_handler(self, attempt: Attempt) -> bool:
        return attempt.envelope.name in self.wiring.registry.handlers

    def _limited(self, attempt: Attempt) -> Item:
        """Return how to settle a job whose handler does not let it wait for a limit."""
        said = "it met a closed rate limit"
        if is_buried(attempt):
            return self.settling.buried(attempt, "rate limited", said, "RateLimited")
        return self.settling.ended(attempt, JobState.CANCELLED, "rate limited")

    def learn(self, rules: Mapping[bytes, bytes]) -> None:
        """Take note of the blocks and limits set live."""
        self.gating.learn(rules)
        concerned: Sequence[object] = self.wiring.registry.middleware
        for one in concerned:
            if isinstance(one, Learning):
                one.learn(rules)

    def _without_handler(self, attempt: Attempt) -> Item:
        name = attempt.envelope.name
        if names.is_name(name):
            return self.settling.parked(attempt, name)
        # It would wait for nobody, and a NUL in it would confuse the parked jobs of other names.
        return self.settling.buried(attempt, "invalid name", "no handler can have the name of this job", "InvalidName")

    def start(self, attempt: Attempt) -> None:
        """Start the attempt's handler."""
        self.worker.keep()
        if is_batch(attempt):
            batch = begun(attempt, self.cancelled)
            for one in batch.attempts:
                self.settling.started(one)
            self.batching.start(batch)
        else:
            self.settling.started(attempt)
            self.executor.start(attempt)

    def undecodable(self, attempt: Attempt, reason: str) -> Item:
        """Bury an entry that is no job of ours."""
        return self.settling.raw(attempt, reason)

    def cancelled(self, attempt: Attempt) -> Item:
        """Settle a job that was cancelled before it started."""
        return self.settling.ended(attempt, JobState.CANCELLED, "cancelled before it started")

    def reclaimed(self, attempt: Attempt) -> None:
        """Log that a stalled job was taken over."""
        self.settling.reclaimed(attempt)

    def names(self) -> Sequence[str]:
        """Return what parked jobs may be called that we can run."""
        versions = [version_name(version) for version in range(2, _wire.WIRE_VERSION + 1)]
        return [*self.wiring.registry.handlers, *versions]

    def error_text(self, reply: ReplyError) -> StreamqError:
        """Return an error reply as an error for people."""
        return server_error(self.exchange.url, self.queue.name, reply)

    def heartbeat(self) -> bytes:
        """Return what people shall see of this worker."""
        now = time.monotonic()
        self.declaring.tick()
        running = self.exchange.table.running
        return msgspec.msgpack.encode(
            Heartbeat(
                self.worker.vitals.host,
                os.getpid(),
                VERSION,
                self.worker.started_ms,
                self.worker.concurrency,
                len(running),
                [(one.job_id, one.envelope.name, round(now - one.started, 3)) for one in running[:100]],
                sorted(self.wiring.registry.handlers)[:200],
                self.worker.vitals.release,
                *self.worker.vitals.look(now),
            )
        )

    def _ended(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> None:
        self.exchange.table.ended(attempt, self._told(attempt, value, error, trace))

    def _batch_ended(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        told = [(one.attempt, self._told(*one)) for one in outcomes]
        self.exchange.table.ended_together(batch.endings(told))

    def _told(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> Item | None:
        try:
            item = self.settling.outcome(attempt, value, error, trace)
            if attempt.span is not None:
                self.tracing.settled(attempt, item, error, trace)
            return item  # noqa: TRY300 - nothing more can raise
        except Exception:
            # A defect, but the place must come back: a job that never ends would be kept leased for ever.
            log.exception("outcome cannot be told", extra={"event": "outcome_failed", "job_id": attempt.job_id})
            return self.settling.raw(attempt, "its outcome could not be told; see the worker's log")


async def all_idle(joints: Sequence[Joint]) -> None:
    """Return when nothing is due, waiting or active in any queue: the end of a burst."""
    for ticker in (ticker for joint in joints for ticker in joint.tickers):
        await ticker.look()  # what is due by now is part of the burst
    pause = 0.02
    while True:
        if all(joint.exchange.is_empty and not joint.exchange.hungry for joint in joints):
            counts = [await joint.queue.counts() for joint in joints]
            if not any(one.active or one.due or (one.waiting and not one.paused) for one in counts):
                return
            for joint in joints:
                joint.exchange.ring()
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, BURST_LOOK)


def version_name(version: int) -> str:
    """Return the name under which jobs of a newer envelope are parked, until a worker that reads it comes."""
    return f"~v{version}"
