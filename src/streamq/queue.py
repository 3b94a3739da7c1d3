"""Queue: declare handlers, enqueue jobs, look them up, control them. The one object producers and workers share."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar, Unpack, cast

from . import reading, search, sending
from . import settings as _settings
from ._core import flow_options, names
from ._core import options as _options
from ._core.batches import BatchOptions, ItemKey, refuse_context
from ._core.handler import Attachable, HandlerSpec, Middleware, Registry
from ._core.lifecycle import JobState
from ._core.options import HandlerOptions, JobOptions, Priority
from ._core.signature import REFUSED, Signature, encode_value
from ._core.units import Seconds
from ._store import desk
from ._store.backlog import Supply
from ._store.link import redacted
from ._store.session import Store
from .batch import BatchHandler, DecorateBatch, spec_of
from .dlq import DeadLetters
from .errors import ConfigError, InvalidPayload, StreamqError
from .handler import Decorate, Handler, is_dependency, kind_of
from .info import describe, state_of
from .job import Job, JobSpec
from .reading import Counts, JobPage, WorkerInfo
from .search import JobFilter
from .settings import Lifespan, QueueOptions, Wiring
from .tracing import Sends, inherited, inherited_all
from .watching import Watched

R = TypeVar("R")
Opens = TypeVar("Opens", bound=Callable[[], AsyncIterator[Any]])


class Queue(Watched):
    """A named queue: declares handlers, enqueues jobs, looks them up and controls them. See `QueueOptions`.

    Connects on first use. ``async with queue`` flushes and closes what this event loop has open; without it that
    happens with the loop.
    """

    def __init__(self, name: str, **options: Unpack[QueueOptions]) -> None:
        super().__init__()
        self.name: str = names.checked("queue", name)
        self._settings = _settings.check(options, os.environ)
        self.prefix: str = self._settings.prefix
        self.result_ttl: float = self._settings.result_ttl
        self._registry = Registry(self.name, self._settings.flow)
        self._lifespans: list[Lifespan] = []
        self._store: Store | None = None
        self._server: Any = None
        self._tracing = Sends(self.name, self._settings.tracing)
        self.dlq: DeadLetters = DeadLetters(self)
        self.watch(self._settings.watching)

    def __repr__(self) -> str:
        """Name and prefix; no url, it may hold a password."""
        return f"<Queue {self.prefix}:{self.name}>"

    # -- declare ------------------------------------------------------------------------------------

    def handler(self, name: str, **options: Unpack[HandlerOptions]) -> Decorate:
        """Register the decorated function under ``name``. See `HandlerOptions`.

        async def runs on the event loop, def in a thread, def with ``pool="process"`` in a child process. A leading
        parameter annotated `Context` gets the context and is no argument; defaults made by `Depends` are injected.
        Raises `ConfigError` for what could not work: two handlers of one name, ``*args``, positional-only parameters.
        """
        policy = _options.check_handler(options, self._settings.defaults)

        def register(fn: Callable[..., Any]) -> Handler[..., Any]:
            signature = Signature(name, fn, is_dependency)
            refuse_context(signature)
            spec = HandlerSpec(
                name, fn, signature, policy, kind=kind_of(name, fn, options),
                lane=int(options.get("priority", Priority.NORMAL)), keep_result=options.get("keep_result", False),
                flow=flow_options.check_handler(options, self._settings.flow, name, signature.names),
            )  # fmt: skip
            if spec.kind == "process" and (signature.dependencies or signature.wants_context):
                raise ConfigError("pool", "process", f"{name!r} cannot have Context or Depends in another process")
            self._registry.add(spec)
            return Handler(self, spec)

        return Decorate(register)

    def batch_handler(
        self,
        name: str,
        *,
        size: int = 100,
        wait: Seconds | None = None,
        quiet: Seconds | None = None,
        max_delay: Seconds | None = None,
        key: ItemKey | None = None,
        **options: Unpack[HandlerOptions],
    ) -> DecorateBatch:
        """Register a function that takes up to ``size`` (1 to 500) items at once. See `HandlerOptions` for the rest.

        ``async def sync(items: list[Contact]) -> None``, or with a leading `BatchContext`; one job is one item, made by
        ``sync.enqueue(contact)``. A batch begins at ``size`` items; or ``wait`` seconds after its oldest one; or, with
        ``quiet`` instead, so long after its latest one, at the latest ``max_delay`` seconds after its oldest. ``key``:
        field of the items, or function of one; a batch never mixes values of it.

        A batch takes one place of the worker, one of each concurrency and one token of each rate. Each item has its own
        attempts and its own end: an error raised fails them all, ``ctx.items[i].fail(error)``, or returning
        ``{i: error}``, this one; a list returned has the result of each, exceptions for what failed. ``timeout`` bounds
        the call, dependencies are made once per call, and middleware sees one `BatchContext`.
        Raises `ConfigError` for what could not work.
        """
        asked = BatchOptions(size, wait, quiet, max_delay, key)
        asked.batch()

        def register(fn: Callable[..., Any]) -> BatchHandler[Any, Any, Any]:
            spec = spec_of(name, fn, asked, options, self._settings.defaults, self._settings.flow)
            self._registry.add(spec)
            return BatchHandler(self, spec)

        return DecorateBatch(register)

    def middleware(self, fn: Middleware) -> Middleware:
        """Wrap ``fn(ctx, call_next)`` around every attempt; the first declared is the outermost."""
        self._registry.middleware.append(fn)
        return fn

    def use(self, middleware: Middleware | Attachable) -> None:
        """Add a middleware object, such as a `CircuitBreaker`."""
        self.middleware(middleware.attach(self) if isinstance(middleware, Attachable) else middleware)

    def lifespan(self, fn: Opens) -> Opens:
        """Run an async generator function around every worker's life; what it yields is ``ctx.state``."""
        self._lifespans.append(asynccontextmanager(cast("Callable[[], AsyncGenerator[Any]]", fn)))
        return fn

    @property
    def handlers(self) -> Mapping[str, HandlerSpec]:
        """Declared handlers by name."""
        return self._registry.handlers

    @property
    def wiring(self) -> Wiring:
        """What a `Worker` needs. Not for applications."""
        settings = self._settings
        return Wiring(
            registry=self._registry,
            max_payload=settings.max_payload,
            result_ms=int(settings.result_ttl * 1000),
            keep_completed=settings.keep_completed,
            keep_dead=settings.keep_dead,
            lifespans=tuple(self._lifespans),
            lanes=settings.lanes,
            tracing=settings.tracing,
        )

    # -- enqueue ------------------------------------------------------------------------------------

    async def enqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Unpack[JobOptions]
    ) -> Job[Any]:
        """Enqueue by name. Checked against the handler if it is declared here, else by the worker.

        With handlers declared on this queue an unknown name raises `UnknownHandler`; a queue without any is a pure
        producer and takes every name.
        """
        return await self.send_spec(self.spec(name, payload, **options), self._returns(name))

    def spec(
        self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Unpack[JobOptions]
    ) -> JobSpec[Any]:
        """Build a job by name without enqueueing it."""
        checked = _options.check_job(options)
        given = sending.arguments(name, payload)
        known = self._registry.get(name)
        if known is None:
            names.checked("handler", name)
            if self._registry.handlers:
                raise self._registry.unknown(name)
            try:
                args = encode_value(given)
            except REFUSED as problem:
                raise InvalidPayload(name, str(problem)) from None
        else:
            args = known.signature.encode(known.signature.bind((), given))
        return JobSpec(self, name, args, checked, self._registry.plan(name, checked, args))

    async def enqueue_many(
        self, jobs: Iterable[JobSpec[R]], /, *, chunk: int | None = None, every: Seconds | None = None
    ) -> list[Job[R]]:
        """Enqueue built jobs in batches; returns their handles in order.

        ``chunk`` and ``every``: so many jobs become due every so many seconds (due times are fixed up front, so a crash
        in the middle leaves whole chunks). Raises `EnqueueManyError(done, unknown, refused)` if any was not enqueued.
        """
        traced = self._tracing.tracer is not None
        specs = inherited_all(sending.staggered(list(jobs), chunk, every), traced=traced)
        return await (self._tracing.many(specs, self._send_many) if traced else self._send_many(specs))

    async def _send_many(self, specs: list[JobSpec[R]]) -> list[Job[R]]:
        store = await self._open()
        bulk = sending.Bulk(len(specs))
        encoding = await self._encoding(store, specs)  # a bad one raises before anything is sent
        made = bulk.made(encoding, specs)
        if not encoding.plain:
            made = iter(list(made))  # what can fail does so before anything is sent
        producer = store.session().producer
        try:
            producer.supply(Supply(made, encoding.deadline))
            receipts = await bulk.wait()
        except BaseException:
            producer.withhold(made, bulk.entries)  # what was not sent yet is not enqueued
            raise
        return sending.handles(self, specs, bulk.entries, receipts, self._returns)

    def send_spec(self, spec: JobSpec[Any], returns: Any, /) -> Coroutine[Any, Any, Job[Any]]:
        """Enqueue one built job, with what it inherits from the running code."""
        if self._tracing.tracer is None:
            return self._send(inherited(spec, traced=False), returns)
        return self._tracing.one(inherited(spec, traced=True), functools.partial(self._send, returns=returns))

    async def _send(self, spec: JobSpec[Any], returns: Any) -> Job[Any]:
        store = await self._open() if self._store is None else self._store
        entry = (await self._encoding(store, [spec])).entry(spec)
        receipt = await store.session().producer.one(entry)
        if isinstance(receipt, StreamqError):
            raise receipt
        return sending.handle(self, entry.job_id, returns, receipt, spec.name)

    async def _encoding(self, store: Store, specs: Sequence[JobSpec[Any]]) -> sending.Encoding:
        return await sending.encoding(store, self, self._settings, specs, self._lane)

    def _lane(self, name: str) -> int:
        known = self._registry.handlers.get(name)
        return int(known.lane if known is not None else Priority.NORMAL)

    def _returns(self, name: str) -> Any:
        known = self._registry.get(name)
        return Any if known is None else known.signature.returns

    # -- look up ------------------------------------------------------------------------------------

    async def job(self, job_id: str) -> Job[Any] | None:
        """Return the handle of a job, None when it has left no trace."""
        names.checked_text("job_id", job_id)
        found = await desk.look(await self._open(), job_id)
        if found.place == "absent":
            return None
        info = describe(self.name, job_id, state_of(found), found)
        return Job(self, job_id, returns=self._returns(info.name))

    async def jobs(
        self, state: JobState | str, *, limit: int = 50, cursor: str = "", **wanted: Unpack[JobFilter]
    ) -> JobPage:
        """Return a page of jobs in a state, of those that fit; see `JobFilter`.

        With filters at most 5,000 are looked at; the cursor goes on from there.
        """
        found = search.check(wanted)
        return await reading.page(await self._open(), JobState(state), found, limit, cursor)

    async def counts(self) -> Counts:
        """Return how many jobs are where, exactly, in one moment. O(1): never a scan."""
        return await reading.counts(await self._open())

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of this queue; ``alive`` is false after 30 s without a sign of life."""
        return await reading.workers(await self._open())

    # -- connections --------------------------------------------------------------------------------

    async def ping(self) -> float:
        """Return the seconds a round trip to the server takes; raises what stands in its way."""
        store = await self._open()
        started = time.perf_counter()
        await store.call((b"PING",), wait=2.0)
        return time.perf_counter() - started

    async def aclose(self) -> None:
        """Flush pending enqueues and close the connections of this event loop."""
        await self.notices.flush()
        if self._store is not None:
            await self._store.session().aclose()

    async def __aenter__(self) -> Self:
        """Connect, so that a wrong url shows at start."""
        await self.ping()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Flush and close."""
        await self.aclose()

    # -- for handles and dead letters ---------------------------------------------------------------

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
            url, self._server = await _settings.find_server(self.name, self._settings.url)
            if self._store is None:
                self._tracing.url = url
                self._store = Store(url, self.prefix, self.name, max_pending=self._settings.max_pending)
                if self._server is not None:
                    self._store.reviver = self._server.revive
        return self._store

    @contextmanager
    def elsewhere(self, url: str) -> Generator[None]:
        """Lead to another server within the block, for tests. Not for applications."""
        before, self._store = self._store, Store(url, self.prefix, self.name, max_pending=self._settings.max_pending)
        try:
            yield
        finally:
            self._store = before

    @property
    def where(self) -> str:
        """Url in use, without credentials; '' before the first connection."""
        return redacted(self._store.url) if self._store else ""
