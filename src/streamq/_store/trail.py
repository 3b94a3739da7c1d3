"""The audit trail of a prefix: one capped stream of what people did. Off every hot path."""

from __future__ import annotations

from typing import NamedTuple

from .desk import pairs
from .keys import trail_key
from .session import Store

KEPT = 10_000
"""Entries kept, at least; the oldest go first, a node of the stream at a time."""


class Written(NamedTuple):
    """One entry: ``id`` its place in the stream, ``at_ms`` the server's time of it."""

    id: str
    at_ms: int
    body: bytes


async def write(store: Store, body: bytes) -> None:
    """Append an entry. A repeated call may append it twice: the body carries what readers know it by."""
    await store.call((b"XADD", trail_key(store.prefix), b"MAXLEN", b"~", KEPT, b"*", b"d", body))


async def read(store: Store, cursor: str, limit: int) -> tuple[list[Written], str]:
    """Return entries, newest first, and the cursor of the next page ('' at the end). Cursor: entry id."""
    end = f"({cursor}" if cursor else "+"
    found = await store.call((b"XREVRANGE", trail_key(store.prefix), end, b"-", b"COUNT", limit))
    rows = [Written(entry.decode(), int(entry.split(b"-")[0]), pairs(fields).get("d", b"")) for entry, fields in found]
    return rows, rows[-1].id if len(rows) == limit else ""
