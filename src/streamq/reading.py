"""Reads for people: counts, workers and pages of jobs, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ._core import envelope as _wire
from ._core import units
from ._core.envelope import Envelope
from ._core.lifecycle import JobState
from ._store import desk, inspector
from ._store.session import Store
from .errors import ConfigError
from .info import JobInfo, describe, from_envelope
from .search import Search

LOOKED_AT = 5000
"""Most jobs a filtered page looks at before it says how far it came: a search costs the server no more than this."""

STEP = 500
"""Jobs a filtered page reads at a time."""

ALIVE_MS = 30_000
"""A worker beats every two seconds; after fifteen missed beats it counts as gone."""


class Counts(msgspec.Struct, frozen=True):
    """Jobs by state in one moment, and totals since the queue began.

    oldest: age of the oldest waiting job, seconds. due: delayed jobs whose time has come but that nobody promoted yet.
    paused_at: since when the queue is paused.
    completed, failed (attempts), retried, snoozed, limited, cancelled, expired, stalled and replayed are totals.
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
    due: int = 0
    paused_at: datetime | None = None


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker as its heartbeat shows it. ``running``: up to 100 of its jobs (id, handler, seconds so far).

    release: what ``STREAMQ_RELEASE`` said where it was started. memory: resident bytes of its process, 0 where the
    system does not say. cpu: cores that the process used lately. Of a streamq that does not tell them '' and 0.
    """

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
    release: str = ""
    memory: int = 0
    cpu: float = 0.0


class JobPage(msgspec.Struct, frozen=True):
    """Some jobs of a state. ``looked_at`` jobs were examined; ``cursor`` goes on from there ('' at the end)."""

    jobs: Sequence[JobInfo]
    cursor: str
    looked_at: int


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
    release: str = ""
    memory: int = 0
    cpu: float = 0.0


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


async def counts(store: Store) -> Counts:
    """Return how many jobs are where."""
    return as_counts(await desk.counts(store))


def as_counts(counted: desk.Counted) -> Counts:
    """Return what the script counted, for people."""
    meta = counted.meta
    released = min(int(meta.get("released", 0)), counted.pending)
    paused = meta.get("paused")
    totals = {name: int(meta.get(name, 0)) for name in _TOTALS}
    return Counts(
        waiting=counted.entries - counted.pending + released + counted.in_lines,
        active=counted.pending - released,
        delayed=counted.delayed,
        parked=counted.parked,
        dead=counted.dead,
        paused=paused is not None,
        pause_reason=(paused or "").partition(" ")[2],
        paused_at=_paused_at(paused),
        oldest=max(0, counted.now_ms - counted.oldest_ms) / 1000 if counted.oldest_ms else None,
        due=counted.due,
        **totals,
    )


async def names(store: Store) -> list[str]:
    """Return the names of the queues of the prefix, sorted."""
    return await inspector.queues(store)


def _paused_at(paused: str | None) -> datetime | None:
    ms = (paused or "").partition(" ")[0]
    return units.from_ms(int(ms)) if ms.isascii() and ms.isdigit() else None


async def workers(store: Store) -> list[WorkerInfo]:
    """Return the workers that left a heartbeat."""
    now = await store.session().server_ms()
    return as_workers(await inspector.workers(store), now)


def as_workers(beats: Sequence[tuple[str, int, bytes]], now_ms: int) -> list[WorkerInfo]:
    """Return heartbeats (consumer, last sign of life in ms, what it said) for people; leaves out unreadable ones."""
    found: list[WorkerInfo] = []
    for consumer, seen_ms, blob in beats:
        try:
            beat = msgspec.msgpack.decode(blob, type=Heartbeat)
        except _wire.MALFORMED:
            continue
        found.append(
            WorkerInfo(
                name=consumer,
                host=beat.host,
                pid=beat.pid,
                version=beat.version,
                started_at=units.from_ms(beat.started_ms),
                seen_at=units.from_ms(seen_ms),
                concurrency=beat.concurrency,
                active=beat.active,
                running=beat.running,
                handlers=beat.handlers,
                alive=now_ms - seen_ms < ALIVE_MS,
                release=beat.release,
                memory=beat.memory,
                cpu=beat.cpu,
            )
        )
    return found


async def page(store: Store, state: JobState, wanted: Search, limit: int, cursor: str) -> JobPage:
    """Return a page of jobs in ``state``, looking at `LOOKED_AT` at most."""
    reader = _READERS.get(state)
    if reader is None:
        known = ", ".join(str(one) for one in _READERS)
        raise ConfigError("state", str(state), f"cannot be listed; listed are {known}")
    found: list[JobInfo] = []
    looked = 0
    while looked < LOOKED_AT and len(found) < limit:
        left = limit - len(found)
        some = await reader(store, cursor, left if wanted.is_open else max(left, STEP))
        fits = _fitting(store, state, wanted, some)
        if len(fits) > left:
            # Again, up to the last one there is room for: the cursor has to go on behind that one.
            some = await reader(store, cursor, fits[left - 1][0] + 1)
            fits = _fitting(store, state, wanted, some)
        looked += len(some.jobs)
        found.extend(info for _, info in fits)
        cursor = some.cursor
        if not cursor:
            break
    return JobPage(found, cursor, looked)


def _fitting(store: Store, state: JobState, wanted: Search, some: inspector.Page) -> list[tuple[int, JobInfo]]:
    """Return what is wanted of a page, each with its place in it."""
    infos = [as_info(store.queue, state, seen) for seen in some.jobs]
    return [(at, info) for at, info in enumerate(infos) if wanted.is_open or wanted.passes(info)]


def as_info(queue: str, state: JobState, seen: inspector.Seen) -> JobInfo:
    """Return a job that a page shows, for people."""
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
