"""Queue: declare handlers, enqueue jobs, look them up, control them. The one object producers and workers share."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from . import _embedded
from ._core import backoff as _backoff
from ._core import envelope as _wire
from ._core import names, units
from ._core import options as _options
from ._core.backoff import Backoff, Exponential
from ._core.envelope import Envelope, Record
from ._core.handler import HandlerSpec, Middleware, Registry
from ._core.ids import new_id
from ._core.lifecycle import JobState, Policy
from ._core.options import Checked, HandlerOptions, JobOptions, Priority
from ._core.retention import Keep
from ._core.signature import Signature, encode_value
from ._core.units import Seconds
from ._store import desk, inspector
from ._store.link import redacted
from ._store.producer import Entry, Receipt
from ._store.session import Store
from .dlq import DeadLetters
from .errors import ConfigError, EnqueueManyError, EnqueueUnknown, InvalidPayload, PayloadTooLarge, StreamqError
from .handler import Decorate, Handler, is_dependency, kind_of
from .job import Job, JobInfo, JobSpec, describe, from_envelope, state_of

log: logging.Logger = logging.getLogger("streamq")

R = TypeVar("R")
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class QueueOptions(TypedDict, total=False):
    """Options of a queue.

    url: server; else STREAMQ_URL, REDIS_URL, REDIS_HOST (with REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB,
    REDIS_TLS), else the embedded development server. prefix: of all keys, one per environment (STREAMQ_PREFIX, else
    "streamq"). max_attempts (5), backoff (Exponential(1)), timeout (30 s; None: no bound): defaults of handlers.
    max_pending: unsettled jobs over which enqueue raises QueueFull (None: no bound). max_payload: bytes of encoded
    arguments and of a result (262,144). keep_completed: window of completed jobs (Keep(count=1000)). keep_dead: of dead
    letters (Keep(age=30 days)). result_ttl: seconds a result or the record of an end is kept (3600). enqueue_timeout:
    seconds an enqueue may take before it raises (10).
    """

    url: str | None
    prefix: str | None
    max_attempts: int
    backoff: Backoff
    timeout: Seconds | None
    max_pending: int | None
    max_payload: int
    keep_completed: Keep
    keep_dead: Keep
    result_ttl: Seconds
    enqueue_timeout: Seconds


class Counts(msgspec.Struct, frozen=True):
    """Jobs by state in one moment, and totals since the queue began. ``oldest`` age of the oldest waiting job, seconds.

    completed, failed (attempts), retried, snoozed, limited, cancelled, expired, stalled, released and replayed are totals.
    """

    waiting: int
    active: int
    delayed: int
    parked: int
    dead: int
    completed: int = 0
    failed: int = 0
    retried: int = 0
    snoozed: int = 0
    limited: int = 0
    cancelled: int = 0
    expired: int = 0
    stalled: int = 0
    replayed: int = 0
    paused: bool = False
    pause_reason: str = ""
    oldest: float | None = None


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker as its heartbeat shows it. ``running``: up to 100 of its jobs (id, handler, seconds so far)."""

    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    concurrency: int
    active: int
    running: Sequence[tuple[str, str, float]]
    handlers: Sequence[str]
    alive: bool


class JobPage(msgspec.Struct, frozen=True):
    """Some jobs of a state. ``looked_at`` jobs were examined; ``cursor`` goes on from there ('' at the end)."""

    jobs: Sequence[JobInfo]
    cursor: str
    looked_at: int


class Wiring(msgspec.Struct, frozen=True):
    """What a `Worker` needs of a queue. Not for applications."""

    registry: Registry
    max_payload: int
    result_ms: int
    keep_completed: Keep
    keep_dead: Keep
    lifespans: Sequence[Lifespan]


class Queue:
    """A named queue: declares handlers, enqueues jobs, looks them up and controls them. See `QueueOptions`.

    Connects on first use. ``async with queue`` flushes and closes what this event loop has open; without it that happens
    with the loop.
    """

    def __init__(self, name: str, **options: Unpack[QueueOptions]) -> None:
        self.name: str = names.checked("queue", name)
        for option in options:
            if option not in QueueOptions.__annotations__:
                raise ConfigError(option, options[option], f"is no queue option; there are {', '.join(QueueOptions.__annotations__)}")  # type: ignore[literal-required]
        self._url = options.get("url")
        self.prefix: str = names.checked_prefix(options.get("prefix") or os.environ.get("STREAMQ_PREFIX") or "streamq")
        timeout = options.get("timeout", 30.0)
        self._defaults = Policy(
            max_attempts=_options.check_attempts(options.get("max_attempts", 5)) or 5,
            backoff=_backoff.checked("backoff", options.get("backoff", Exponential(1.0))),
            timeout_ms=None if timeout is None else units.millis("timeout", timeout, least=0.001),
        )
        self._max_pending = _bound("max_pending", options.get("max_pending"), least=1) or 0
        self.max_payload: int = _bound("max_payload", options.get("max_payload", 262_144), least=64, most=64 * 1024 * 1024) or 0
        self._keep_completed = options.get("keep_completed", Keep(count=1000))
        self._keep_dead = options.get("keep_dead", Keep(age=30 * 86_400.0))
        self.result_ttl: float = units.seconds("result_ttl", options.get("result_ttl", 3600.0), least=1)
        self._enqueue_timeout = units.seconds("enqueue_timeout", options.get("enqueue_timeout", 10.0), least=0.001)
        self._registry = Registry(self.name)
        self._lifespans: list[Lifespan] = []
        self._store: Store | None = None
        self._server: Any = None
        self.dlq: DeadLetters = DeadLetters(self)

    def __repr__(self) -> str:
        """Name and prefix; no url, it may hold a password."""
        return f"<Queue {self.prefix}:{self.name}>"

    # -- declare --------------------------------------------------------------------------------------------------------

    def handler(self, name: str, **options: Unpack[HandlerOptions]) -> Decorate:
        """Register the decorated function under ``name``. See `HandlerOptions`.

        async def runs on the event loop, def in a thread, def with ``pool="process"`` in a child process. A leading
        parameter annotated `Context` gets the context and is no argument; defaults made by `Depends` are injected.
        Raises `ConfigError` for what could not work: two handlers of one name, ``*args``, positional-only parameters.
        """
        policy = _options.check_handler(options, self._defaults)

        def register(fn: Callable[..., Any]) -> Handler[..., Any]:
            signature = Signature(name, fn, is_dependency)
            spec = HandlerSpec(
                name, fn, signature, policy, kind=kind_of(name, fn, options),
                lane=int(options.get("priority", Priority.NORMAL)), keep_result=options.get("keep_result", False),
            )  # fmt: skip
            if spec.kind == "process" and (signature.dependencies or signature.wants_context):
                raise ConfigError("pool", "process", f"{name!r} cannot have Context or Depends in another process")
            self._registry.add(spec)
            return Handler(self, spec)

        return Decorate(register)

    def middleware(self, fn: Middleware) -> Middleware:
        """Wrap ``fn(ctx, call_next)`` around every attempt; the first declared is the outermost."""
        self._registry.middleware.append(fn)
        return fn

    def use(self, middleware: Middleware) -> None:
        """Add a middleware object."""
        self.middleware(middleware)

    def lifespan(self, fn: Callable[[], AsyncIterator[Any]]) -> Callable[[], AsyncIterator[Any]]:
        """Run an async generator function around every worker's life; what it yields is ``ctx.state``."""
        self._lifespans.append(asynccontextmanager(fn))
        return fn

    @property
    def handlers(self) -> Mapping[str, HandlerSpec]:
        """Declared handlers by name."""
        return self._registry.handlers

    @property
    def wiring(self) -> Wiring:
        """What a `Worker` needs. Not for applications."""
        return Wiring(
            self._registry, self.max_payload, int(self.result_ttl * 1000), self._keep_completed, self._keep_dead,
            tuple(self._lifespans),
        )  # fmt: skip

    # -- enqueue --------------------------------------------------------------------------------------------------------

    async def enqueue(self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Unpack[JobOptions]) -> Job[Any]:
        """Enqueue by name. Checked against the handler if it is declared here, else by the worker.

        With handlers declared on this queue an unknown name raises `UnknownHandler`; a queue without any is a pure
        producer and takes every name.
        """
        return await self.send_spec(self.spec(name, payload, **options), self._returns(name))

    def spec(self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Unpack[JobOptions]) -> JobSpec[Any]:
        """Build a job by name without enqueueing it."""
        checked = _options.check_job(options)
        given: Mapping[str, Any] = {} if payload is None else payload
        if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in given):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidPayload(name, f"give a mapping of argument names to values, not {type(payload).__name__}")
        known = self._registry.get(name)
        if known is None:
            names.checked("handler", name)
            if self._registry.handlers:
                raise self._registry.unknown(name)
            try:
                args = encode_value(given)
            except (TypeError, ValueError, NotImplementedError, RecursionError) as problem:
                raise InvalidPayload(name, str(problem)) from None
        else:
            args = known.signature.encode(known.signature.bind((), dict(given)))
        return JobSpec(self, name, args, checked)

    async def enqueue_many(
        self, jobs: Iterable[JobSpec[R]], /, *, chunk: int | None = None, every: Seconds | None = None
    ) -> list[Job[R]]:
        """Enqueue built jobs in batches; returns their handles in order.

        ``chunk`` and ``every``: so many jobs become due every so many seconds (due times are fixed up front, so a crash
        in the middle leaves whole chunks). Raises `EnqueueManyError(done, unknown, refused)` if any was not enqueued.
        """
        specs = _staggered(list(jobs), chunk, every)
        store = await self._open()
        bulk = _Bulk(len(specs))
        entries: list[Entry] = []
        producer = store.session().producer
        for at, spec in enumerate(specs):
            entry = await self._entry(store, spec)
            entry.answer = bulk.slot(at)
            entries.append(entry)
            if not producer.has_room:
                await producer.room()
            producer.put(entry)
        receipts = await bulk.wait()
        _raise_if_any(entries, receipts)
        return [
            Job(self, entry.job_id, returns=self._returns(spec.name), created=receipt is None, acknowledged=True)
            for entry, spec, receipt in zip(entries, specs, receipts, strict=True)
        ]

    async def send_spec(self, spec: JobSpec[Any], returns: Any, /) -> Job[Any]:
        """Enqueue one built job."""
        store = await self._open() if self._store is None else self._store
        entry = await self._entry(store, spec)
        receipt = await store.session().producer.one(entry)
        if isinstance(receipt, StreamqError):
            raise receipt
        return Job(self, entry.job_id, returns=returns, created=receipt is None, acknowledged=True)

    async def _entry(self, store: Store, spec: JobSpec[Any]) -> Entry:
        options = spec.options
        if spec.owner is not self:
            raise ConfigError("job", spec.name, f"was built for queue {spec.owner.name!r}, not {self.name!r}")
        if len(spec.args) > self.max_payload:
            raise PayloadTooLarge(spec.name, len(spec.args), self.max_payload)
        known = self._registry.handlers.get(spec.name)
        lane = options.lane if options.lane is not None else known.lane if known is not None else 2
        if options is _options.DEFAULT:
            body = _wire.encode(Envelope(name=spec.name, args=msgspec.Raw(spec.args), lane=lane))
            return Entry(new_id(), lane, "0", body, custom=False, timeout=self._enqueue_timeout)
        envelope = _envelope(spec, lane)
        if options.expires_in_ms is not None:
            now = await store.session().server_ms()
            envelope = _wire.replaced(envelope, expires_ms=now + options.expires_in_ms)
        job_id = options.job_id or new_id()
        body = _wire.encode(envelope)
        return Entry(job_id, lane, options.when, body, custom=options.job_id is not None, timeout=self._enqueue_timeout)

    def _returns(self, name: str) -> Any:
        known = self._registry.get(name)
        return Any if known is None else known.signature.returns

    # -- look up --------------------------------------------------------------------------------------------------------

    async def job(self, job_id: str) -> Job[Any] | None:
        """Return the handle of a job, None when it has left no trace."""
        names.checked_text("job_id", job_id)
        found = await desk.look(await self._open(), job_id)
        if found.place == "absent":
            return None
        info = describe(self.name, job_id, state_of(found), found)
        return Job(self, job_id, returns=self._returns(info.name))

    async def jobs(
        self, state: JobState | str, *, name: str | None = None, tenant: str | None = None, limit: int = 50, cursor: str = ""
    ) -> JobPage:
        """Return a page of jobs in a state. With filters at most 5,000 are looked at; the cursor goes on from there."""
        wanted = JobState(state)
        reader = _READERS.get(wanted)
        if reader is None:
            known = ", ".join(str(one) for one in _READERS)
            raise ConfigError("state", str(state), f"cannot be listed; listed are {known}")
        store = await self._open()
        found: list[JobInfo] = []
        looked = 0
        while looked < 5000 and len(found) < limit:
            page = await reader(store, cursor, limit - len(found) if not (name or tenant) else 500)
            looked += len(page.jobs)
            for seen in page.jobs:
                info = _info(self.name, wanted, seen)
                if (name is None or info.name == name) and (tenant is None or info.tenant == tenant):
                    found.append(info)
            cursor = page.cursor
            if not cursor:
                break
        return JobPage(found, cursor, looked)

    async def counts(self) -> Counts:
        """Return how many jobs are where, exactly, in one moment. O(1): never a scan."""
        counted = await desk.counts(await self._open())
        meta = counted.meta
        released = min(int(meta.get("released", 0)), counted.pending)
        paused = meta.get("paused")
        totals = {name: int(meta.get(name, 0)) for name in _TOTALS}
        return Counts(
            counted.entries - counted.pending + released, counted.pending - released, counted.delayed, counted.parked,
            counted.dead, **totals, paused=paused is not None, pause_reason=(paused or "").partition(" ")[2],
            oldest=max(0, counted.now_ms - counted.oldest_ms) / 1000 if counted.oldest_ms else None,
        )  # fmt: skip

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of this queue; ``alive`` is false after 30 s without a sign of life."""
        store = await self._open()
        now = await store.session().server_ms()
        found: list[WorkerInfo] = []
        for consumer, seen_ms, blob in await inspector.workers(store):
            try:
                beat = msgspec.msgpack.decode(blob, type=Heartbeat)
            except _wire.MALFORMED:
                continue
            running = [(job, handler, seconds) for job, handler, seconds in beat.running]
            found.append(
                WorkerInfo(
                    consumer, beat.host, beat.pid, beat.version, units.from_ms(beat.started_ms), units.from_ms(seen_ms),
                    beat.concurrency, beat.active, running, beat.handlers, now - seen_ms < 30_000,
                )  # fmt: skip
            )
        return found

    # -- control --------------------------------------------------------------------------------------------------------

    async def pause(self, *, reason: str = "") -> bool:
        """Hand out no more jobs of this queue, anywhere, from the moment this returns; True if that is news.

        Exact: jobs are handed out by one script that looks at the flag. Attempts fetched before go on, among them the few
        a saturated worker holds ready (at most a tenth of its concurrency).
        """
        return await desk.pause(await self._open(), reason)

    async def resume(self) -> bool:
        """Hand out jobs again; True if the queue was paused."""
        return await desk.resume(await self._open())

    async def drain(self, *, include_delayed: bool = False) -> int:
        """Remove what waits and has not started (BullMQ's meaning); returns how many. Running jobs go on."""
        store = await self._open()
        total = 0
        readers = [inspector.waiting, inspector.parked] + ([inspector.delayed] if include_delayed else [])
        record = _wire.encode(Record(state=str(JobState.CANCELLED), reason="drained", finished_ms=time.time_ns() // 1_000_000))
        for reader in readers:
            cursor = ""
            while True:
                page = await reader(store, cursor, 200)
                ids = [seen.id for seen in page.jobs]
                removed = 0
                if ids:
                    answers = await desk.cancel(store, ids, record, result_ms=int(self.result_ttl * 1000), ask=False)
                    removed = answers.count("c")
                total += removed
                # What was removed is gone from the front; only rank cursors must not move past what slid down.
                cursor = page.cursor if reader is inspector.waiting or not removed else ""
                if not page.jobs or (not page.cursor and (reader is inspector.waiting or not removed)):
                    break
        return total

    async def clean(self, state: JobState | str, *, older_than: Seconds | None = None) -> int:
        """Forget finished jobs: "dead" (dead letters) or "completed" (the window); returns how many."""
        wanted = JobState(state)
        if wanted is JobState.DEAD:
            return await self.dlq.purge(older_than=older_than)
        if wanted is JobState.COMPLETED:
            age = 0 if older_than is None else units.millis("older_than", older_than)
            return await desk.clean_window(await self._open(), age)
        raise ConfigError("state", str(state), 'clean takes "completed" or "dead"; cancelled and expired leave by result_ttl')

    async def ping(self) -> float:
        """Return the seconds a round trip to the server takes; raises what stands in its way."""
        store = await self._open()
        started = time.perf_counter()
        await store.call((b"PING",), wait=2.0)
        return time.perf_counter() - started

    async def aclose(self) -> None:
        """Flush pending enqueues and close the connections of this event loop."""
        if self._store is not None:
            await self._store.session().aclose()

    async def __aenter__(self) -> Self:
        """Connect, so that a wrong url shows at start."""
        await self.ping()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Flush and close."""
        await self.aclose()

    # -- for handles and dead letters -----------------------------------------------------------------------------------

    async def stores(self) -> Sequence[Store]:
        """Return the partitions. Not for applications."""
        return [await self._open()]

    async def store_of(self, job_id: str) -> Store:
        """Return the partition a job lives in. Not for applications."""
        del job_id
        return self._store or await self._open()

    async def replay_dead(self, job_id: str, *, delay: Seconds | None, priority: Priority | None) -> None:
        """Put a dead letter back. Use ``dlq.replay``."""
        await self.dlq.replay(job_id, delay=delay, priority=priority)

    async def _open(self) -> Store:
        if self._store is None:
            url = self._url or url_from_environment(os.environ)
            if url is None:
                url = await asyncio.to_thread(self._embedded)
            self._store = Store(url, self.prefix, self.name, max_pending=self._max_pending)
        return self._store

    def _embedded(self) -> str:
        may, why = _embedded.allowed(os.environ, isatty=sys.stdin is not None and sys.stdin.isatty())
        if not may:
            raise ConfigError("url", None, why)
        server = _embedded.attach()
        self._server = server
        log.info("queue %s uses the embedded server %s (%s)", self.name, server.version, server.url)
        return server.url

    @property
    def where(self) -> str:
        """Url in use, without credentials; '' before the first connection."""
        return redacted(self._store.url) if self._store else ""


class Heartbeat(msgspec.Struct, array_like=True):
    """What a worker says of itself every two seconds."""

    host: str
    pid: int
    version: str
    started_ms: int
    concurrency: int
    active: int
    running: list[tuple[str, str, float]]
    handlers: list[str]


_TOTALS = (
    "completed", "failed", "retried", "snoozed", "limited", "cancelled", "expired", "stalled", "replayed",
)  # fmt: skip

_READERS: dict[JobState, Callable[[Store, str, int], Any]] = {
    JobState.WAITING: inspector.waiting,
    JobState.ACTIVE: inspector.active,
    JobState.DELAYED: inspector.delayed,
    JobState.PARKED: inspector.parked,
    JobState.COMPLETED: inspector.completed,
    JobState.DEAD: inspector.dead,
}


class _Bulk:
    """Counts the answers of a bulk call: one future for all of its jobs."""

    def __init__(self, count: int) -> None:
        self._receipts: list[Receipt] = [None] * count
        self._left = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self._done.set_result(None)

    def slot(self, at: int) -> Callable[[Receipt], None]:
        def answer(receipt: Receipt) -> None:
            self._receipts[at] = receipt
            self._left -= 1
            if not self._left and not self._done.done():
                self._done.set_result(None)

        return answer

    async def wait(self) -> list[Receipt]:
        await self._done
        return self._receipts


def _raise_if_any(entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
    refused = {e.job_id: r for e, r in zip(entries, receipts, strict=True) if isinstance(r, StreamqError)}
    if not refused:
        return
    unknown = [job for job, error in refused.items() if isinstance(error, EnqueueUnknown)]
    done = [e.job_id for e in entries if e.job_id not in refused]
    raise EnqueueManyError(done, unknown, {job: error for job, error in refused.items() if job not in unknown})


def _staggered(specs: list[JobSpec[R]], chunk: int | None, every: Seconds | None) -> list[JobSpec[R]]:
    if chunk is None and every is None:
        return specs
    if chunk is None or every is None:
        raise ConfigError("chunk", chunk, "give chunk= and every= together: so many jobs every so many seconds")
    _bound("chunk", chunk, least=1)
    step = units.millis("every", every)
    return [_later(spec, (at // chunk) * step) for at, spec in enumerate(specs)]


def _later(spec: JobSpec[R], ms: int) -> JobSpec[R]:
    if not ms:
        return spec
    when = spec.options.when
    moved = f"+{ms}" if when == "0" else f"{when[0]}{int(when[1:]) + ms}"
    return JobSpec(spec.owner, spec.name, spec.args, msgspec.structs.replace(spec.options, when=moved))


def _envelope(spec: JobSpec[Any], lane: int) -> Envelope:
    options: Checked = spec.options
    return Envelope(
        name=spec.name,
        args=msgspec.Raw(spec.args),
        max_attempts=options.max_attempts,
        backoff=options.backoff,
        timeout_ms=options.timeout_ms,
        headers=options.headers,
        tenant=options.tenant,
        deadline_ms=options.deadline_ms,
        keep_result=options.keep_result,
        created_ms=time.time_ns() // 1_000_000 if options.job_id is not None else None,
        lane=lane,
    )


def _info(queue: str, state: JobState, seen: inspector.Seen) -> JobInfo:
    if state is JobState.COMPLETED:
        look = desk.Look("window", body=seen.reason.encode())
        return describe(queue, seen.id, state, look)
    try:
        envelope = _wire.decode(seen.body)
    except _wire.MALFORMED:
        envelope = Envelope(name="?")
    info = from_envelope(queue, seen.id, state, envelope)
    changes: dict[str, Any] = {"reason": seen.reason}
    if seen.due_ms:
        changes["due_at"] = units.from_ms(seen.due_ms)
    if state is JobState.DEAD:
        changes["finished_at"] = units.from_ms(seen.since_ms)
    if state is JobState.ACTIVE:
        changes.update(worker=seen.consumer, idle=seen.since_ms / 1000)
    return msgspec.structs.replace(info, **changes)


def _bound(option: str, value: int | None, *, least: int, most: int = 10**12) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(option, value, f"give a whole number from {least:,} to {most:,}")
    return value


def url_from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the server the environment names: STREAMQ_URL, REDIS_URL, or REDIS_HOST and its companions; else None."""
    for variable in ("STREAMQ_URL", "REDIS_URL"):
        if environ.get(variable):
            return environ[variable]
    host = environ.get("REDIS_HOST")
    if not host:
        return None
    scheme = "rediss" if environ.get("REDIS_TLS", "").lower() in {"1", "true", "yes", "on"} else "redis"
    user, password = environ.get("REDIS_USERNAME", ""), environ.get("REDIS_PASSWORD", "")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"{scheme}://{login}{host}:{environ.get('REDIS_PORT') or '6379'}/{environ.get('REDIS_DB') or '0'}"
