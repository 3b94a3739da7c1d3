"""One queue's loops in a worker, joined: what the exchange and its table ask, and whom that concerns."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ._core import envelope as _wire
from ._core import names
from ._core.lifecycle import JobState
from ._runtime.attempt import Attempt
from ._runtime.bell import Bell
from ._runtime.exchange import Exchange, Limits
from ._runtime.executor import Executor
from ._runtime.settling import Settling
from ._runtime.slots import Slots
from ._runtime.wheel import Wheel
from ._store.clock import ServerClock
from ._store.faults import server_error
from ._store.link import ReplyError
from ._store.session import Store
from ._store.verbs import Item, Settings, WorkerVerbs
from .errors import StreamqError
from .queue import Queue
from .reading import Heartbeat

WINDOW = 100_000
"""Completed jobs shown when `Keep` bounds only their age: a window without any bound would fill the server."""

log: logging.Logger = logging.getLogger("streamq.worker")


class Owner(Protocol):
    """What a joint needs of its worker."""

    name: str
    host: str
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
        clock = ServerClock()
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
        self.control_channel: bytes = store.keys.control
        self.exchange: Exchange = Exchange(store.url, WorkerVerbs(store.keys, settings, consumer), slots, limits, clock)
        self.settling: Settling = Settling(
            queue.name, worker.name, clock.now_ms, max_result=wiring.max_payload, log_payload=worker.log_payload
        )
        self.executor: Executor = Executor(
            wiring.registry, Wheel(), worker=worker.name, threads=worker.concurrency, clock=clock.now_ms
        )
        self.bell: Bell = Bell(
            store.url, store.keys.bell, resting=lambda: self.exchange.is_resting, woken=self.exchange.ring
        )
        self.executor.ended = self._ended
        self.exchange.host = self
        self.exchange.table.joined = self
        self.exchange.on_rest = self.bell.look
        self.exchange.on_away = store.away

    def accept(self, attempt: Attempt) -> Item | None:
        """Return how to settle an attempt that is not to be run, None to run it."""
        envelope = attempt.envelope
        settling = self.settling
        if envelope.version > _wire.WIRE_VERSION:
            return settling.parked(attempt, version_name(envelope.version))
        stalls = attempt.count - 1
        if stalls > self.worker.max_stalls:
            return settling.buried(attempt, "stalled", f"workers vanished {stalls} times while they ran it", "Stalled")
        now = self.exchange.clock.now_ms()
        if envelope.expires_ms is not None and now >= envelope.expires_ms:
            return settling.ended(attempt, JobState.EXPIRED, "expires_in passed before it could start")
        spec = self.wiring.registry.handlers.get(envelope.name)
        if spec is None:
            return self._without_handler(attempt)
        if envelope.deadline_ms is not None and now >= envelope.deadline_ms:
            return settling.buried(attempt, "deadline passed", "its deadline passed before this attempt", "Deadline")
        attempt.spec = spec
        return None

    def _without_handler(self, attempt: Attempt) -> Item:
        name = attempt.envelope.name
        if names.is_name(name):
            return self.settling.parked(attempt, name)
        # It would wait for nobody, and a NUL in it would confuse the parked jobs of other names.
        return self.settling.buried(attempt, "invalid name", "no handler can have the name of this job", "InvalidName")

    def start(self, attempt: Attempt) -> None:
        """Start the attempt's handler."""
        self.worker.keep()
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
        running = self.exchange.table.running
        return msgspec.msgpack.encode(
            Heartbeat(
                self.worker.host,
                os.getpid(),
                VERSION,
                self.worker.started_ms,
                self.worker.concurrency,
                len(running),
                [(one.job_id, one.envelope.name, round(now - one.started, 3)) for one in running[:100]],
                sorted(self.wiring.registry.handlers)[:200],
            )
        )

    def _ended(self, attempt: Attempt, value: Any, error: BaseException | None, trace: str) -> None:
        try:
            item = self.settling.outcome(attempt, value, error, trace)
        except Exception:
            # A defect, but the place must come back: a job that never ends would be kept leased for ever.
            log.exception("outcome cannot be told", extra={"event": "outcome_failed", "job_id": attempt.job_id})
            item = self.settling.raw(attempt, "its outcome could not be told; see the worker's log")
        self.exchange.table.ended(attempt, item)


def version_name(version: int) -> str:
    """Return the name under which jobs of a newer envelope are parked, until a worker that reads it comes."""
    return f"~v{version}"


def _version() -> str:
    try:
        return importlib.metadata.version("streamq")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


VERSION = _version()
