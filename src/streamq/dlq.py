"""Dead letters: jobs that were given up on, kept with their whole history until replayed, purged or too old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from ._core import envelope as _wire
from ._core import units
from ._core.envelope import Envelope
from ._core.lifecycle import JobState
from ._core.options import Priority
from ._core.units import Seconds
from ._store import desk, inspector
from ._store.inspector import Seen
from ._store.session import Store
from .errors import ConfigError, JobStateError, JobUnknown
from .info import AttemptInfo, from_envelope

PAGE = 100


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter. ``payload`` the arguments by name (None if undecodable); ``errors`` every failed attempt kept."""

    id: str
    queue: str
    name: str
    reason: str
    payload: Mapping[str, Any] | None
    headers: Mapping[str, str]
    attempts: int
    errors: Sequence[AttemptInfo]
    died_at: datetime
    created_at: datetime | None = None
    tenant: str | None = None
    worker: str = ""
    priority: Priority = Priority.NORMAL


class Replayed(msgspec.Struct, frozen=True):
    """What ``replay_all`` did, or with ``dry_run`` would do. ``refused``: ids that live again already."""

    replayed: int
    refused: Sequence[str] = ()
    dry_run: bool = False


class Home(Protocol):
    """What the dead letters need of their queue."""

    name: str

    async def stores(self) -> Sequence[Store]:
        """Return the partitions."""
        ...

    async def store_of(self, job_id: str) -> Store:
        """Return the partition a job lives in."""
        ...


class DeadLetters:
    """``queue.dlq``. Every listing walks in pages of 100, newest first."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def list(
        self,
        *,
        name: str | None = None,
        tenant: str | None = None,
        since: Seconds | datetime | None = None,
        error: str | None = None,
    ) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, newest first. ``since``: age in seconds, timedelta or aware datetime; ``error``: text in an error."""
        since_ms = _since_ms(since)
        for store in await self._home.stores():
            cursor = ""
            while True:
                page = await inspector.dead(store, cursor, PAGE, since_ms=since_ms)
                for seen in page.jobs:
                    letter = _letter(self._home.name, seen)
                    if _matches(letter, name, tenant, error):
                        yield letter
                cursor = page.cursor
                if not cursor:
                    break

    async def get(self, job_id: str) -> DeadLetter | None:
        """Return one dead letter, None if there is none of this id."""
        found = await desk.look(await self._home.store_of(job_id), job_id)
        if found.place != "dead":
            return None
        fields = found.fields
        seen = Seen(
            job_id, "dead", fields.get("d", b""), since_ms=int(found.entry.split("-")[0]),
            consumer=fields.get("w", b"").decode("utf-8", "replace"), reason=fields.get("r", b"").decode("utf-8", "replace"),
        )  # fmt: skip
        return _letter(self._home.name, seen)

    async def count(self) -> int:
        """Return how many there are. O(1)."""
        return sum([(await desk.counts(store)).dead for store in await self._home.stores()])

    async def replay(self, job_id: str, *, delay: Seconds | None = None, priority: Priority | None = None) -> None:
        """Put a dead letter back as a job: same id, all attempts anew, history kept.

        Raises `JobUnknown` when there is none of this id, `JobStateError` when a job of this id lives again.
        """
        letter = await self.get(job_id)
        if letter is None:
            raise JobUnknown(job_id)
        store = await self._home.store_of(job_id)
        answers = await desk.replay(store, [await self._item(store, job_id, delay, priority)])
        if answers == "g":
            raise JobUnknown(job_id)
        if answers == "l":
            raise JobStateError(job_id, "replay", "alive again", "a job of this id was enqueued meanwhile")

    async def replay_all(
        self,
        *,
        name: str | None = None,
        tenant: str | None = None,
        since: Seconds | datetime | None = None,
        error: str | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> Replayed:
        """Put all matching dead letters back, oldest first within a page, at most ``rate`` a second (None: at once).

        ``dry_run`` only counts. What died while this ran is not replayed a second time.
        """
        if rate is not None and not rate > 0:
            raise ConfigError("rate", rate, "is jobs a second, above 0")
        ids = [letter.id async for letter in self.list(name=name, tenant=tenant, since=since, error=error)]
        if dry_run:
            return Replayed(len(ids), dry_run=True)
        done, refused, spacing = 0, list[str](), 0.0 if rate is None else 1000.0 / rate
        ids.reverse()
        for at in range(0, len(ids), PAGE):
            for store in await self._home.stores():
                part = [one for one in ids[at : at + PAGE] if await self._home.store_of(one) is store]
                items = [
                    await self._item(store, one, (at + place) * spacing / 1000 if rate else None, None)
                    for place, one in enumerate(part)
                ]
                if not items:
                    continue
                answers = await desk.replay(store, items)
                done += answers.count("a")
                refused += [one for one, answer in zip(part, answers, strict=True) if answer == "l"]
            await asyncio.sleep(0)
        return Replayed(done, refused)

    async def purge(
        self, job_id: str | None = None, *, older_than: Seconds | None = None, name: str | None = None
    ) -> int:
        """Forget one dead letter, those older than a while, those of a handler, or all; returns how many."""
        if job_id is not None:
            return await desk.purge(await self._home.store_of(job_id), ids=[job_id])
        before = (
            datetime.now(UTC) - timedelta(seconds=units.seconds("older_than", older_than))
            if older_than is not None
            else None
        )
        total = 0
        for store in await self._home.stores():
            ids = [one.id async for one in self.list(name=name) if before is None or one.died_at <= before]
            for at in range(0, len(ids), PAGE):
                total += await desk.purge(store, ids=ids[at : at + PAGE])
        return total

    async def _item(
        self, store: Store, job_id: str, delay: Seconds | None, priority: Priority | None
    ) -> tuple[str, int, str, bytes]:
        found = await desk.look(store, job_id)
        envelope = _decoded(found.fields.get("d", b""))
        if envelope is None:
            raise JobStateError(job_id, "replay", "undecodable", "look at it with dlq.get and purge it")
        lane = envelope.lane if priority is None else int(priority)
        fresh = _wire.replaced(envelope, attempts=0, hop=envelope.hop + 1, lane=lane, expires_ms=None, deadline_ms=None)
        wait = 0 if delay is None else units.millis("delay", delay)
        return job_id, lane, f"+{wait}" if wait else "0", _wire.encode(fresh)


def _letter(queue: str, seen: Seen) -> DeadLetter:
    envelope = _decoded(seen.body)
    info = from_envelope(queue, seen.id, JobState.DEAD, envelope or Envelope(name="?"))
    return DeadLetter(
        seen.id, queue, info.name, seen.reason, info.args if envelope else None, info.headers, info.attempts, info.errors,
        units.from_ms(seen.since_ms), created_at=info.created_at, tenant=info.tenant, worker=seen.consumer,
        priority=info.priority or Priority.NORMAL,
    )  # fmt: skip


def _decoded(body: bytes) -> Envelope | None:
    try:
        return _wire.decode(body)
    except _wire.MALFORMED:
        return None


def _matches(letter: DeadLetter, name: str | None, tenant: str | None, error: str | None) -> bool:
    if name is not None and letter.name != name:
        return False
    if tenant is not None and letter.tenant != tenant:
        return False
    return (
        error is None
        or any(error in one.message or error in one.type for one in letter.errors)
        or error in letter.reason
    )


def _since_ms(since: Seconds | datetime | None) -> int:
    if since is None:
        return 0
    if isinstance(since, datetime):
        return units.instant_ms("since", since)
    return units.instant_ms("since", datetime.now(UTC) - timedelta(seconds=units.seconds("since", since)))
