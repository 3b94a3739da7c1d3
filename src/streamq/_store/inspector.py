"""Reads for people: pages of jobs and dead letters, workers, queues. Never on the hot path, never writes.

Every page is bounded: it looks at a window from a cursor and says where to go on, so a million jobs cost no more a page
than a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._core.fingerprint import OTHER
from .desk import pairs
from .keys import registry_key
from .link import Reply
from .replies import due_ms
from .session import Store


class Seen(NamedTuple):
    """One job in a page. ``place``: waiting, active, delayed, parked, completed, dead. ``label``: what it died of."""

    id: str
    place: str
    body: bytes
    since_ms: int = 0
    due_ms: int = 0
    consumer: str = ""
    reason: str = ""
    entry: str = ""
    label: bytes = OTHER


class Page(NamedTuple):
    """Some jobs, and the cursor of the next page ('' at the end)."""

    jobs: list[Seen]
    cursor: str


async def waiting(store: Store, cursor: str, limit: int) -> Page:
    """Page through the lanes, then the lines. Cursor: that of the lanes, or "lines:" and a rank."""
    if cursor.startswith("lines:"):
        page = await in_lines(store, cursor[6:], limit)
        return Page(page.jobs, page.cursor and f"lines:{page.cursor}")
    page = await in_lanes(store, cursor, limit)
    if page.cursor:
        return page
    more = await waiting(store, "lines:", limit - len(page.jobs)) if len(page.jobs) < limit else Page([], "lines:0")
    return Page([*page.jobs, *more.jobs], more.cursor)


async def in_lines(store: Store, cursor: str, limit: int) -> Page:
    """Page through the jobs in lines, line by line. Cursor: rank."""
    start = int(cursor or 0)
    members = await store.call((b"ZRANGE", store.keys.lines, start, start + limit - 1))
    ids = [member[9:] for member in members]
    bodies = await _fields(store, store.keys.bodies, ids)
    jobs = [Seen(one.decode("utf-8", "replace"), "waiting", body or b"") for one, body in zip(ids, bodies, strict=True)]
    return Page(jobs, str(start + limit) if len(ids) == limit else "")


async def in_lanes(store: Store, cursor: str, limit: int) -> Page:
    """Page through the lanes, best first: the released, then what nobody had yet. Cursor: lane, colon, entry id."""
    lane, after = _split(cursor)
    jobs: list[Seen] = []
    while lane < 6 and len(jobs) < limit:
        key = _streams(store)[lane]
        delivered = await _delivered(store, key)
        if _order(after) < _order(delivered):
            left = limit - len(jobs)
            held = await _pending(store, key, f"({after}" if after else "-", left, "~")
            for entry, _, _ in held:
                body = await store.call((b"XRANGE", key, entry, entry))
                if body:
                    jobs.append(_seen(body[0][0], pairs(body[0][1]), "waiting"))
            if len(held) == left:
                return Page(jobs, f"{lane}:{held[-1][0]}")
            after = delivered
        left = limit - len(jobs)
        found = await store.call((b"XRANGE", key, f"({after}" if after else "-", "+", "COUNT", left))
        for entry, fields in found:
            jobs.append(_seen(entry, pairs(fields), "waiting"))
        if len(found) == left:
            return Page(jobs, f"{lane}:{found[-1][0].decode()}")
        lane, after = lane + 1, ""
    return Page(jobs, f"{lane}:" if lane < 6 else "")


async def active(store: Store, cursor: str, limit: int) -> Page:
    """Page through the pending entries."""
    lane, after = _split(cursor)
    jobs: list[Seen] = []
    while lane < 6 and len(jobs) < limit:
        key = _streams(store)[lane]
        left = limit - len(jobs)
        held = await _pending(store, key, f"({after}" if after else "-", left)
        for entry, consumer, idle in held:
            body = await store.call((b"XRANGE", key, entry, entry))
            if body and consumer != "~":
                jobs.append(_seen(body[0][0], pairs(body[0][1]), "active")._replace(consumer=consumer, since_ms=idle))
        if len(held) == left:
            return Page(jobs, f"{lane}:{held[-1][0]}")
        lane, after = lane + 1, ""
    return Page(jobs, f"{lane}:" if lane < 6 else "")


async def delayed(store: Store, cursor: str, limit: int) -> Page:
    """Page through the delayed jobs, next due first. Cursor: rank."""
    start = int(cursor or 0)
    flat = await store.call((b"ZRANGE", store.keys.delayed, start, start + limit - 1, "WITHSCORES"))
    ids = flat[::2]
    bodies = await _fields(store, store.keys.bodies, ids)
    jobs = [
        Seen(one.decode("utf-8", "replace"), "delayed", body or b"", due_ms=max(0, due_ms(flat[at * 2 + 1])))
        for at, (one, body) in enumerate(zip(ids, bodies, strict=True))
    ]
    return Page(jobs, str(start + limit) if len(ids) == limit else "")


async def parked(store: Store, cursor: str, limit: int) -> Page:
    """Page through the parked jobs, by name. Cursor: rank."""
    start = int(cursor or 0)
    members = await store.call((b"ZRANGE", store.keys.parked, start, start + limit - 1))
    ids = [member.rsplit(b"\0", 1)[-1] for member in members]
    bodies = await _fields(store, store.keys.bodies, ids)
    jobs = [Seen(one.decode("utf-8", "replace"), "parked", body or b"") for one, body in zip(ids, bodies, strict=True)]
    return Page(jobs, str(start + limit) if len(ids) == limit else "")


async def completed(store: Store, cursor: str, limit: int) -> Page:
    """Page through the window of completed jobs, newest first; ``reason`` is its detail line. Cursor: rank."""
    start = int(cursor or 0)
    ids = await store.call((b"LRANGE", store.keys.window, start, start + limit - 1))
    details = await _fields(store, store.keys.window_details, ids)
    jobs = [
        Seen(one.decode("utf-8", "replace"), "completed", b"", reason=(detail or b"").decode("utf-8", "replace"))
        for one, detail in zip(ids, details, strict=True)
    ]
    return Page(jobs, str(start + limit) if len(ids) == limit else "")


async def dead(store: Store, cursor: str, limit: int, *, since_ms: int = 0) -> Page:
    """Page through the dead letters, newest first. Cursor: entry id."""
    end = f"({cursor}" if cursor else "+"
    start = f"{since_ms}-0" if since_ms else "-"
    found = await store.call((b"XREVRANGE", store.keys.dead, end, start, "COUNT", limit))
    return Page(letters(found), found[-1][0].decode() if len(found) == limit else "")


def letters(entries: Sequence[tuple[bytes, Reply]]) -> list[Seen]:
    """Return entries of the stream of dead letters."""
    return [_seen(entry, pairs(fields), "dead") for entry, fields in entries]


async def workers(store: Store) -> list[tuple[str, int, bytes]]:
    """Return (consumer, last sign of life in ms, heartbeat) of every known worker."""
    beats = await store.call((b"ZRANGE", store.keys.beats, 0, 9999, "WITHSCORES"))
    names = beats[::2]
    if not names:
        return []
    blobs = await store.call((b"HMGET", store.keys.workers, *names))
    return [
        (name.decode(), int(float(beats[at * 2 + 1])), blob)
        for at, (name, blob) in enumerate(zip(names, blobs, strict=True))
        if blob
    ]


async def queues(store: Store) -> list[str]:
    """Return the names of the queues of this prefix, sorted."""
    return sorted(name.decode() for name in await store.call((b"SMEMBERS", registry_key(store.prefix))))


async def _fields(store: Store, key: bytes, ids: Sequence[bytes]) -> list[bytes | None]:
    found: list[bytes | None] = await store.call((b"HMGET", key, *ids)) if ids else []
    return found


def _streams(store: Store) -> Sequence[bytes]:
    return (*store.keys.lanes, store.keys.taken)


async def _delivered(store: Store, key: bytes) -> str:
    """Return the last delivered entry id of a lane: what comes after it waits."""
    try:
        groups = await store.call((b"XINFO", b"GROUPS", key))
    except Exception as problem:
        if "no such key" in str(problem):
            return ""
        raise
    for group in groups:
        found = pairs(group)
        if found.get("name") == b"w":
            return found["last-delivered-id"].decode()
    return ""


def _order(entry: str) -> tuple[int, int]:
    """Return what entry ids are ordered by; '' comes first."""
    ms, _, number = entry.partition("-")
    return int(ms or 0), int(number or 0)


async def _pending(store: Store, key: bytes, start: str, limit: int, *owner: str) -> list[tuple[str, str, int]]:
    try:
        rows = await store.call((b"XPENDING", key, "w", start, "+", limit, *owner))
    except Exception as problem:
        if "NOGROUP" in str(problem):
            return []
        raise
    return [(entry.decode(), consumer.decode(), idle) for entry, consumer, idle, _ in rows]


def _seen(entry: bytes, fields: dict[str, bytes], place: str) -> Seen:
    return Seen(
        fields.get("j", b"?").decode("utf-8", "replace"),
        place,
        fields.get("d", b""),
        since_ms=int(entry.split(b"-")[0]),
        consumer=fields.get("w", b"").decode("utf-8", "replace"),
        reason=fields.get("r", b"").decode("utf-8", "replace"),
        entry=entry.decode(),
        label=fields.get("g", OTHER),
    )


def _split(cursor: str) -> tuple[int, str]:
    lane, _, after = cursor.partition(":")
    return int(lane or 0), after
