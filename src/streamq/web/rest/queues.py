"""Operations on queues: counts and statistics, pause and resume, clean and drain, workers, limits, health."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..._core.stats import Stats
from ...breaker import BreakerInfo
from ...errors import ConfigError
from ...health import Health
from ...limits import LimitInfo
from ...queue import Queue
from ...reading import Counts, WorkerInfo
from ..links import in_words, segment
from .table import Call, Table
from .words import Lapse, Needle, Reason, lapse

table: Table = Table("queues")

AT_ONCE = 16
"""Queues that are read at the same time when all are asked for."""


class QueueView(msgspec.Struct, kw_only=True):
    """A queue in a moment. workers: those that show signs of life. url: where more of it is."""

    name: str
    counts: Counts
    workers: int
    url: str


class QueueList(msgspec.Struct, kw_only=True):
    """All queues of the prefix, or those this app was given."""

    queues: list[QueueView]


class Running(msgspec.Struct, kw_only=True):
    """A job in a worker's hands, and for how many seconds."""

    id: str
    name: str
    seconds: float


class WorkerView(msgspec.Struct, kw_only=True):
    """A worker as its heartbeat shows it. running: up to 100 of its jobs. memory: bytes, 0: not known. cpu: cores."""

    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    concurrency: int
    active: int
    running: list[Running]
    handlers: list[str]
    alive: bool
    release: str
    memory: int
    cpu: float


class WorkerList(msgspec.Struct, kw_only=True):
    """The workers of a queue, those that left a sign of life."""

    workers: list[WorkerView]


class LimitList(msgspec.Struct, kw_only=True):
    """Every gate and class that code or a person said something about."""

    limits: list[LimitInfo]


class BreakerList(msgspec.Struct, kw_only=True):
    """The circuit breakers of a queue."""

    breakers: list[BreakerInfo]


class Hold(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to pause or resume: the whole queue, or a group or a handler of it. reason: why, for those who ask later."""

    group: Annotated[str, Meta(max_length=200)] = ""
    handler: Annotated[str, Meta(max_length=200)] = ""
    reason: Reason = ""


class Held(msgspec.Struct, kw_only=True):
    """Whether it is paused now, and whether that is news."""

    queue: str
    paused: bool
    changed: bool


class Clean(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which finished jobs to forget: those that ended longer ago than ``older_than``."""

    state: Literal["completed", "dead"]
    older_than: Lapse


class Cleaned(msgspec.Struct, kw_only=True):
    """How many jobs were forgotten or removed."""

    queue: str
    removed: int


class Drain(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to remove besides what waits."""

    include_delayed: bool = False


class StatsQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """window: a duration up to a day, such as 1h. by: a row for each handler or tenant."""

    window: Needle = "1h"
    by: Literal["name", "tenant"] | None = None


class AllStats(msgspec.Struct, kw_only=True):
    """Statistics of every queue, by its name."""

    queues: dict[str, Stats]


@table.get("/queues")
async def list_queues(call: Call) -> QueueList:
    """Return counts and totals of all queues, exactly, each in one moment."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(queue: Queue) -> QueueView:
        async with turns:
            return await view(call, queue)

    return QueueList(queues=list(await asyncio.gather(*(one(queue) for queue in call.site.queues.values()))))


@table.get("/stats")
async def list_stats(call: Call, query: StatsQuery) -> AllStats:
    """Return what happened in a window, of all queues."""
    names = list(call.site.queues)
    found = await asyncio.gather(*(_stats(call.site.named(name), query) for name in names))
    return AllStats(queues=dict(zip(names, found, strict=True)))


@table.get("/queues/{queue}", errors=(404,))
async def show_queue(call: Call) -> QueueView:
    """Return counts and totals of a queue."""
    return await view(call, call.queue)


async def view(call: Call, queue: Queue) -> QueueView:
    """Return a queue as it is now."""
    counts, workers = await asyncio.gather(queue.counts(), queue.workers())
    url = call.site.url(call.request, f"/api/queues/{segment(queue.name)}")
    return QueueView(name=queue.name, counts=counts, workers=sum(one.alive for one in workers), url=url)


@table.get("/queues/{queue}/stats", errors=(404,))
async def show_stats(call: Call, query: StatsQuery) -> Stats:
    """Return what happened in a window: counters, waits and run times, and every minute."""
    return await _stats(call.queue, query)


@table.get("/queues/{queue}/workers", errors=(404,))
async def list_workers(call: Call) -> WorkerList:
    """Return the workers of a queue."""
    return WorkerList(workers=[_worker(one) for one in await call.queue.workers()])


@table.get("/queues/{queue}/limits", errors=(404,))
async def list_limits(call: Call) -> LimitList:
    """Return the limits in force, what runs under them and what waits for them."""
    return LimitList(limits=await call.queue.limits.list())


@table.get("/queues/{queue}/breakers", errors=(404,))
async def list_breakers(call: Call) -> BreakerList:
    """Return the circuit breakers: closed, open or half open, why, and how many jobs wait for them."""
    return BreakerList(breakers=await call.queue.breakers())


@table.get("/queues/{queue}/health", errors=(404,), also=(503,))
async def show_queue_health(call: Call) -> Health:
    """Tell how a queue is, with reasons; 503 when it is critical."""
    found = await call.queue.health()
    call.status = 200 if found.is_well else 503
    return found


@table.post("/queues/{queue}/pause", errors=(400, 404, 413, 415), body_required=False)
async def pause(call: Call, body: Hold) -> Held:
    """Hand out no more jobs. Jobs that run go on."""
    return await hold(call, call.queue, body)


async def hold(call: Call, queue: Queue, body: Hold) -> Held:
    """Pause a queue or a part of it."""
    told = in_words({"group": body.group, "handler": body.handler, "reason": body.reason})
    async with call.site.acting(call.request, "queue.pause", queue.name, told) as act:
        changed = await queue.pause(group=body.group or None, handler=body.handler or None, reason=body.reason)
        act.count, act.outcome = int(changed), "done" if changed else "it was paused already"
    return Held(queue=queue.name, paused=True, changed=changed)


@table.post("/queues/{queue}/resume", errors=(400, 404, 413, 415), body_required=False)
async def resume(call: Call, body: Hold) -> Held:
    """Hand out jobs again."""
    return await let_go(call, call.queue, body)


async def let_go(call: Call, queue: Queue, body: Hold) -> Held:
    """Resume a queue or a part of it."""
    told = in_words({"group": body.group, "handler": body.handler, "reason": body.reason})
    async with call.site.acting(call.request, "queue.resume", queue.name, told) as act:
        changed = await queue.resume(group=body.group or None, handler=body.handler or None)
        act.count, act.outcome = int(changed), "done" if changed else "it was not paused"
    return Held(queue=queue.name, paused=False, changed=changed)


@table.post("/queues/{queue}/clean", errors=(400, 404, 413, 415))
async def clean(call: Call, body: Clean) -> Cleaned:
    """Forget completed or dead jobs by age."""
    return await forget(call, call.queue, body.state, lapse("older_than", body.older_than))


async def forget(call: Call, queue: Queue, state: Literal["completed", "dead"], age: float | None) -> Cleaned:
    """Forget finished jobs older than ``age`` seconds."""
    if age is None:
        raise ConfigError("older_than", age, "say how long ago they ended, such as 24h")
    told = in_words({"state": state, "older_than": f"{age:g}s"})
    async with call.site.acting(call.request, "queue.clean", queue.name, told) as act:
        act.count = await queue.clean(state, older_than=age)
    return Cleaned(queue=queue.name, removed=act.count)


@table.post("/queues/{queue}/drain", errors=(400, 404, 413, 415), body_required=False)
async def drain(call: Call, body: Drain) -> Cleaned:
    """Remove what waits and has not started. Running jobs go on."""
    queue = call.queue
    told = in_words({"include_delayed": body.include_delayed or None})
    async with call.site.acting(call.request, "queue.drain", queue.name, told) as act:
        act.count = await queue.drain(include_delayed=body.include_delayed)
    return Cleaned(queue=queue.name, removed=act.count)


async def _stats(queue: Queue, query: StatsQuery) -> Stats:
    window = lapse("window", query.window)
    return await queue.stats(window=3600.0 if window is None else window, by=query.by)


def _worker(info: WorkerInfo) -> WorkerView:
    return WorkerView(
        name=info.name, host=info.host, pid=info.pid, version=info.version, started_at=info.started_at,
        seen_at=info.seen_at, concurrency=info.concurrency, active=info.active, handlers=list(info.handlers),
        alive=info.alive, release=info.release, memory=info.memory, cpu=info.cpu,
        running=[Running(id=one, name=name, seconds=took) for one, name, took in info.running],
    )  # fmt: skip
