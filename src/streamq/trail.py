"""The audit trail: who did what to which jobs, when and from where. One for all queues of a prefix."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from ._core.units import from_ms
from ._store import trail
from ._store.session import Store
from .errors import ConfigError

log: Final = logging.getLogger("streamq.audit")

LOOKED_AT = 2000
"""Most entries a filtered page looks at before it says how far it came."""

_CHUNK = 200
_CURSOR = re.compile(r"\d{1,15}-\d{1,15}")


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act. who: as the access function says; '' when nobody said. origin: the address it came from.

    action: what was done, such as "job.retry", "dead.replay", "queue.pause". queue: to which; '' for all. filter: which
    jobs, in words. count: how many. outcome: "done", or what stood in the way.
    """

    who: str = ""
    origin: str = ""
    action: str
    queue: str = ""
    filter: str = ""
    count: int = 0
    outcome: str = "done"
    at: datetime | None = None
    id: str = ""


class AuditPage(msgspec.Struct, frozen=True):
    """Some entries, newest first; ``looked_at`` were examined, ``cursor`` goes on from there ('' at the end)."""

    entries: Sequence[AuditEntry]
    cursor: str
    looked_at: int


class _Kept(msgspec.Struct, array_like=True):
    """An entry as it stands in Redis; new fields are appended. ``key`` tells a repeated one."""

    key: str
    who: str
    origin: str
    action: str
    queue: str
    filter: str
    count: int
    outcome: str


class Home(Protocol):
    """What the trail needs of a queue: the way to its server."""

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...


class Trail:
    """Writes and reads the audit trail of the prefix that ``home`` has."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def tell(self, entry: AuditEntry) -> None:
        """Write an entry to the logger ``streamq.audit``."""
        told = {"event": "audit", **{f"audit_{name}": getattr(entry, name) for name in _TOLD}}
        log.info(
            "%s by %s from %s: %s %s (%d), %s", entry.action, _plain(entry.who) or "somebody", entry.origin,
            entry.queue, _plain(entry.filter), entry.count, _plain(entry.outcome), extra=told,
        )  # fmt: skip

    async def note(self, entry: AuditEntry) -> None:
        """Write an entry to the logger, then to Redis; its time is the server's.

        The logger has it even when Redis cannot be reached, which raises `RedisUnavailable`.
        """
        self.tell(entry)
        kept = _Kept(secrets.token_hex(6), *(getattr(entry, name) for name in _TOLD))
        await trail.write((await self._home.stores())[0], msgspec.msgpack.encode(kept))

    async def page(
        self,
        *,
        who: str | None = None,
        action: str | None = None,
        queue: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> AuditPage:
        """Return entries that fit all that is given, newest first; at most `LOOKED_AT` are looked at.

        action: how it begins, so that "dead." finds replays and purges. text: in the filter or the outcome. Raises
        `ConfigError` for a cursor that is none.
        """
        if cursor and not _CURSOR.fullmatch(cursor):
            raise ConfigError("cursor", cursor, "give the cursor of an earlier page")
        store = (await self._home.stores())[0]
        found: list[AuditEntry] = []
        seen: set[str] = set()
        looked = 0
        since_ms = 0 if since is None else int(since.astimezone(UTC).timestamp() * 1000)
        is_open = who is action is queue is text is None
        while looked < LOOKED_AT and len(found) < limit:
            rows, cursor = await trail.read(store, cursor, min(_CHUNK, limit - len(found)) if is_open else _CHUNK)
            for row in rows:
                if row.at_ms < since_ms:
                    return AuditPage(found, "", looked)
                looked += 1
                kept = _decoded(row.body)
                if kept is None or kept.key in seen:
                    continue
                seen.add(kept.key)
                if _fits(kept, who, action, queue, text):
                    told = {name: getattr(kept, name) for name in _TOLD}
                    found.append(AuditEntry(**told, at=from_ms(row.at_ms), id=row.id))
                    if len(found) == limit and row is not rows[-1]:
                        return AuditPage(found, row.id, looked)
            if not cursor:
                break
        return AuditPage(found, cursor, looked)


_TOLD = ("who", "origin", "action", "queue", "filter", "count", "outcome")


def _fits(kept: _Kept, who: str | None, action: str | None, queue: str | None, text: str | None) -> bool:
    return (
        (who is None or kept.who == who)
        and (action is None or kept.action.startswith(action))
        and (queue is None or kept.queue == queue)
        and (text is None or text.casefold() in f"{kept.filter}\n{kept.outcome}".casefold())
    )


def _plain(text: str) -> str:
    """Return text that cannot begin a line of its own in a log."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _decoded(body: bytes) -> _Kept | None:
    try:
        return msgspec.msgpack.decode(body, type=_Kept)
    except (msgspec.DecodeError, ValueError):
        return None
