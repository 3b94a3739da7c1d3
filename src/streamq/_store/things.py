"""What there is to look at in a queue, page by page: things, each a letter (lua/flow/_facts.lua) and a name.

The queue goes on meanwhile: a page is only a hint where to look. No command here costs more the larger the queue is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, TypeVar

from .._core.verify import PSEUDO, SILENT_MS
from .keys import CATALOGUE
from .link import Command
from .scripts import PROTOCOL, script
from .session import Store

T = TypeVar("T")
Pages = AsyncGenerator[list[bytes]]

PAGE = 100
"""Things in one look; entries, fields and members in one page."""

STREAMS = "01234t"
ANYWHERE = b"01234tdpf"


def walk(store: Store, *, bodies: bool, details: bool) -> Iterator[tuple[str, Pages]]:
    """Yield the sorts of things, each with its pages. ``bodies``, ``details``: whether these have to be looked at."""
    keys = store.keys
    for letter, key in zip(STREAMS, (*keys.lanes, keys.taken), strict=True):
        yield "entries", _entries(store, letter)
        yield "pending", _pending(store, letter, key)
        yield "consumers", _consumers(store, letter, key)
    yield "delayed", _elsewhere(store, b"ZSCAN", keys.delayed, b"d")
    yield "parked", _members(store, keys.parked, b"p")
    yield "in lines", _members(store, keys.lines, b"f")
    if bodies:
        yield "envelopes", _elsewhere(store, b"HSCAN", keys.bodies, b"dpf")
    yield "marks", _elsewhere(store, b"HSCAN", keys.cancels, ANYWHERE)
    yield "waiters", _elsewhere(store, b"HSCAN", keys.waiters, ANYWHERE)
    # After every place where a job can be found: what is in none of them is lost.
    yield "jobs", _scan(store, b"HSCAN", keys.index, b"i")
    yield "dead letters", _entries(store, "x")
    yield "dead index", _scan(store, b"HSCAN", keys.dead_index, b"i")
    yield "lines", _scan(store, b"HSCAN", keys.flow[1], b"l")
    yield "limits", _scan(store, b"HSCAN", keys.gates, b"g")
    yield "heartbeats", _scan(store, b"HSCAN", keys.workers, b"h")
    if details:
        yield "completed", _details(store)


async def names(store: Store) -> Pages:
    """Page through the names of all keys of the queue, without what they have in common."""
    base = store.keys.base
    pattern = re.sub(rb"([\[\]?*\\])", rb"\\\1", base) + b"*"
    cursor: Any = b"0"
    while True:
        cursor, found = await store.call((b"SCAN", cursor, b"MATCH", pattern, b"COUNT", 10 * PAGE))
        yield [name.removeprefix(base) for name in found]
        if cursor == b"0":
            return


async def fields(store: Store, scan: bytes, key: bytes) -> Pages:
    """Page through the fields of a hash or the members of a zset."""
    cursor: Any = b"0"
    while True:
        cursor, flat = await store.call((scan, key, cursor, b"COUNT", PAGE))
        yield flat[::2]
        if cursor == b"0":
            return


async def stream(store: Store, letter: str) -> AsyncGenerator[list[tuple[bytes, bytes]]]:
    """Page through a stream: entry and job id ('' for none) of each."""
    after = b""
    while True:
        [[_, *flat]] = await facts(store, [b"s" + letter.encode() + after])
        yield list(zip(flat[::2], flat[1::2], strict=True))
        if len(flat) < 2 * PAGE:
            return
        after = flat[-2]


async def facts(store: Store, things: Sequence[bytes]) -> list[list[bytes]]:
    """Return the digest of the facts of each thing, and the facts."""
    found: list[list[bytes]] = await ask(store, "verify", things, *things)
    return found


async def ask(store: Store, verb: str, things: Sequence[bytes], *args: bytes | str | int) -> Any:
    """Call verify or recover for some things."""
    keys = store.keys
    head = (
        keys.meta, keys.index, *keys.lanes, keys.taken, keys.delayed, keys.parked, keys.dead, keys.dead_index,
        keys.waiters, keys.workers, keys.beats, keys.window, keys.window_details, keys.deaths, *keys.flow,
        *(_own_key(store, thing) for thing in things if thing[:1] in b"irek"),
    )  # fmt: skip
    return await store.call(script(verb).call(head, PROTOCOL, SILENT_MS, *args))


def cut(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield parts of at most ``size``."""
    for start in range(0, len(things), size):
        yield things[start : start + size]


def is_mortal(name: bytes) -> bool:
    """Whether a key is a record or a memo, which must have a lifetime."""
    return name[:2] in (b"r:", b"e:", b"k:")


def is_minutes(name: bytes) -> bool:
    """Whether a key holds the counters of ten minutes."""
    return name[:2] == b"n:" and name[2:].isdigit()


def ours() -> frozenset[bytes]:
    """Return the names of all other keys that a queue can have."""
    found: set[bytes] = set()
    for row in CATALOGUE:
        first, _, last = row.suffix.partition(" .. ")
        found.update([first.encode()] if not last else [b"%b%d" % (first[:1].encode(), n) for n in range(5)])
    return frozenset(found)


async def _scan(store: Store, scan: bytes, key: bytes, letter: bytes) -> Pages:
    async for page in fields(store, scan, key):
        yield [letter + name for name in page]


async def _elsewhere(store: Store, scan: bytes, key: bytes, places: bytes) -> Pages:
    """Page through ids, giving the jobs whose rows name none of ``places``."""
    async for page in fields(store, scan, key):
        rows = await _rows(store, page)
        yield [b"i" + job for job, row in zip(page, rows, strict=True) if not row or row[:1] not in places]


async def _members(store: Store, key: bytes, letter: bytes) -> Pages:
    """Page through members of the parked or the lines, and the jobs of those that have no row."""
    async for page in fields(store, b"ZSCAN", key):
        ids = [one[9:] if letter == b"f" else one.rpartition(b"\0")[2] for one in page]
        rows = await _rows(store, ids)
        yield [b"i" + job for job, row in zip(ids, rows, strict=True) if not row] + [letter + one for one in page]


async def _rows(store: Store, ids: Sequence[bytes]) -> list[bytes | None]:
    found: list[bytes | None] = await store.call((b"HMGET", store.keys.index, *ids)) if ids else []
    return found


async def _entries(store: Store, letter: str) -> Pages:
    async for page in stream(store, letter):
        yield [letter.encode() + entry for entry, _ in page]


async def _pending(store: Store, letter: str, key: bytes) -> Pages:
    start = "-"
    while True:
        rows = await _of_group(store, (b"XPENDING", key, b"w", start, b"+", PAGE))
        yield [letter.encode() + row[0] for row in rows]
        if len(rows) < PAGE:
            return
        start = f"({rows[-1][0].decode()}"


async def _consumers(store: Store, letter: str, key: bytes) -> Pages:
    """Give the consumers that are forgotten."""
    for some in cut(await _of_group(store, (b"XINFO", b"CONSUMERS", key, b"w")), PAGE):
        found = [bytes(dict(zip(one[::2], one[1::2], strict=True))[b"name"]) for one in some]
        named = [name for name in found if name not in PSEUDO]
        if named:
            beats = await store.call((b"ZMSCORE", store.keys.beats, *named))
            yield [b"u" + letter.encode() + name for name, beat in zip(named, beats, strict=True) if beat is None]


async def _details(store: Store) -> Pages:
    """Give completed jobs that the window does not know."""
    known: set[bytes] = set()
    start = 0
    while some := await store.call((b"LRANGE", store.keys.window, start, start + 999)):
        known.update(some)
        start += len(some)
    async for page in fields(store, b"HSCAN", store.keys.window_details):
        yield [b"w" + job for job in page if job not in known]


async def _of_group(store: Store, command: Command) -> list[Any]:
    """Call what fails where there is no stream or no group; nothing then."""
    try:
        found: list[Any] = await store.call(command)
    except Exception as problem:
        if "NOGROUP" in str(problem) or "no such key" in str(problem):
            return []
        raise
    return found


def _own_key(store: Store, thing: bytes) -> bytes:
    return store.keys.record(thing[1:]) if thing[:1] == b"i" else store.keys.base + thing[:1] + b":" + thing[1:]
