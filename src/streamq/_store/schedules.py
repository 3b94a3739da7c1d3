"""Verbs of schedules: declare, pause, remove, list, and fire one tick. Raw: definitions are bytes here."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal, NamedTuple

from .._core.tally import minute_of
from .link import Reply
from .scripts import PROTOCOL, lines_script, script
from .session import Store

PAGE = 500
"""Schedules listed in one call, when all are wanted."""

What = Literal["declare", "restore", "upsert", "pause", "resume", "remove"]
Put = Literal["new", "changed", "same", "removed", "unknown"]
Fired = Literal["fired", "moved", "exists", "already", "stale", "early", "full", "met", "limited", "conflict", "order"]


class Row(NamedTuple):
    """A schedule as it is kept.

    ``status``: on, paused or removed; ``total``: ticks fired; ``tick_ms``: when it is next looked at, or inf.
    """

    id: str
    spec: bytes
    status: str
    version: str
    last_ms: int
    total: int
    since_ms: int
    tick_ms: float


class Page(NamedTuple):
    """Schedules in one moment.

    ``next_ms``: the first tick after ``now_ms``, or inf; ``known``: schedules there ever were, removed ones included;
    ``listable``: those that are not removed; ``holder``: the scheduler whose turn it is, '' for nobody's.
    """

    now_ms: int
    next_ms: float
    known: int
    listable: int
    holder: str
    rows: list[Row]


class Tick(NamedTuple):
    """One tick to fire, None to fire none, and where the schedule goes after it (inf: nowhere).

    ``record`` and ``dedup``: as lines.py makes them, b"" for a job without. ``missed``: the schedule was found late.
    """

    tick_ms: int | None
    next_ms: float
    job_id: str
    lane: int
    body: bytes
    record: bytes = b""
    dedup: bytes = b""
    missed: bool = False


async def put(store: Store, what: What, schedule_id: str, version: str = "", spec: bytes = b"") -> tuple[Put, bool]:
    """Do ``what`` to a schedule; also whether a lost call before may have done it, and not this one."""
    keys = store.keys
    head = (keys.meta, keys.specs, keys.states, keys.ticks)
    command = script("schedule").call(head, PROTOCOL, keys.control, what, schedule_id, version, spec)
    reply, again = await store.call_noting(command)
    return reply.decode(), again


async def due(store: Store, first: int, most: int, scheduler: str) -> Page:
    """Return schedules whose tick has come, from rank ``first`` on, earliest first, for one that fires them."""
    return await _listed(store, "due", first, most, scheduler)


async def every(store: Store) -> tuple[list[Row], int]:
    """Return all schedules that are not removed, and the server's time in ms."""
    rows: dict[str, Row] = {}
    first, left = 0, 3
    while True:
        page = await _listed(store, "all", first, PAGE)
        rows.update((row.id, row) for row in page.rows)
        first += PAGE
        if len(page.rows) == PAGE:
            continue
        first, left = 0, left - 1
        # What fires between two pages changes its rank, and may push another over the edge: then once more.
        if len(rows) >= page.listable or not left:
            return [*rows.values()], page.now_ms


async def some(store: Store, ids: Sequence[str]) -> Page:
    """Return the schedules of these ids, removed ones included; those never known are left out."""
    return await _listed(store, "ids", 0, 1, "", *ids)


async def fire(store: Store, row: Row, tick: Tick, scheduler: str) -> Fired:
    """Fire a tick of the schedule as it was in ``row``; the server refuses what does not fit it any more."""
    keys, now = store.keys, await store.session().server_ms()
    head = (
        keys.meta, keys.index, *keys.lanes, keys.states, keys.ticks, keys.bell, keys.dead_index,
        keys.record(tick.job_id), keys.delayed, keys.counters, keys.minutes(now),
    )  # fmt: skip
    lined = bool(tick.record or tick.dedup)
    command = (lines_script("fire") if lined else script("fire")).call(
        (*head, *keys.flow) if lined else head, PROTOCOL, row.id, row.version, row.last_ms,
        "" if tick.tick_ms is None else tick.tick_ms,
        "+inf" if tick.next_ms == inf else int(tick.next_ms), tick.job_id, tick.lane, tick.body, store.max_pending,
        scheduler, minute_of(now), int(row.tick_ms) if tick.missed else "",
        *((tick.record, tick.dedup, keys.control) if lined else ()),
    )  # fmt: skip
    reply, again = await store.call_noting(command)
    answer: Fired = reply.decode()
    return "fired" if answer == "already" and again else answer


async def _listed(store: Store, what: str, first: int, most: int, scheduler: str = "", *ids: str) -> Page:
    keys = store.keys
    head = (keys.meta, keys.specs, keys.states, keys.ticks)
    now, upcoming, known, listable, holder, *rows = await store.call(
        script("schedules").call(head, PROTOCOL, what, first, most, scheduler, *ids)
    )
    return Page(int(now), float(upcoming), known, listable, holder.decode(), [_row(row) for row in rows])


def _row(row: Reply) -> Row:
    schedule_id, spec, state, tick = row
    status, version, last, count, since, _ = state.decode().split(" ")
    return Row(
        schedule_id.decode(), spec, status, version, int(last), int(count), int(since), float(tick) if tick else inf
    )
