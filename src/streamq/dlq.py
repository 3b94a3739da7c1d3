"""Dead letters: jobs that were given up on, kept with their whole history until replayed, purged or too old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from ._core import envelope as _wire
from ._core import fingerprint, units
from ._core.envelope import Envelope
from ._core.lifecycle import JobState
from ._core.options import Priority
from ._core.units import Seconds
from ._store import deaths, desk, inspector
from ._store.inspector import Seen
from ._store.session import Store
from .errors import ConfigError, JobStateError, JobUnknown
from .info import AttemptInfo, from_envelope

PAGE = 100


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter. ``payload`` the arguments by name (None if undecodable); ``errors`` every failed attempt kept.

    group: the ``key`` of its `DeadGroup`.
    """

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
    group: str = ""


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


class _Wanted(msgspec.Struct, frozen=True):
    """Which dead letters; None: any."""

    name: str | None = None
    tenant: str | None = None
    error: str | None = None
    group: str | None = None

    def passes(self, letter: DeadLetter) -> bool:
        """Whether a letter is wanted."""
        if self.name is not None and letter.name != self.name:
            return False
        if self.tenant is not None and letter.tenant != self.tenant:
            return False
        text = self.error
        if text is None or text in letter.reason:
            return True
        return any(text in one.message or text in one.type for one in letter.errors)


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
        group: str | None = None,
    ) -> AsyncIterator[DeadLetter]:
        """Yield dead letters, newest first.

        since: age in seconds or timedelta, or an aware datetime. error: text in an error or reason. group: as in
        `replay_each`.
        """
        async for _, letter, _ in self._seen(_Wanted(name, tenant, error, group), _since_ms(since)):
            yield letter

    async def get(self, job_id: str) -> DeadLetter | None:
        """Return one dead letter, None if there is none of this id."""
        found = await desk.look(await self._home.store_of(job_id), job_id)
        if found.place != "dead":
            return None
        fields = {name: found.fields.get(name, b"").decode("utf-8", "replace") for name in ("w", "r")}
        died_ms = int(found.entry.split("-")[0])
        body = found.fields.get("d", b"")
        seen = Seen(job_id, "dead", body, since_ms=died_ms, consumer=fields["w"], reason=fields["r"])
        return _letter(self._home.name, seen._replace(label=found.fields.get("g", fingerprint.OTHER)))

    async def count(self) -> int:
        """Return how many there are. O(1)."""
        return sum([(await desk.counts(store)).dead for store in await self._home.stores()])

    async def replay(self, job_id: str, *, delay: Seconds | None = None, priority: Priority | None = None) -> None:
        """Put a dead letter back as a job: same id, all attempts anew, history kept.

        Raises `JobUnknown` when there is none of this id, `JobStateError` when a job of this id lives again.
        """
        store = await self._home.store_of(job_id)
        found = await desk.look(store, job_id)
        if found.place == "row":
            raise JobStateError(job_id, "replay", "not dead", "cancel it or wait for its end")
        if found.place != "dead":
            raise JobUnknown(job_id)
        envelope = _wire.decoded(found.fields.get("d", b""))
        if envelope is None:
            raise JobStateError(job_id, "replay", "undecodable", "look at it with dlq.get and purge it")
        wait = 0 if delay is None else units.millis("delay", delay)
        answers = await desk.replay(store, [_revived(job_id, envelope, wait, priority)])
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
        group: str | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> Replayed:
        """Put all matching dead letters back, oldest first within a page, at most ``rate`` a second (None: at once).

        ``dry_run`` only counts. What died while this ran is not replayed a second time.
        """
        if rate is not None and not rate > 0:
            raise ConfigError("rate", rate, "is jobs a second, above 0")
        wanted = self._seen(_Wanted(name, tenant, error, group), _since_ms(since))
        jobs = [(store, seen.id, seen.body) async for store, _, seen in wanted]
        if dry_run:
            return Replayed(len(jobs), dry_run=True)
        jobs.reverse()
        done = 0
        refused: list[str] = []
        for at in range(0, len(jobs), PAGE):
            waits = [0 if rate is None else round(place * 1000 / rate) for place in range(at, at + PAGE)]
            step = await _put_back(jobs[at : at + PAGE], waits)
            done += step.replayed
            refused += step.refused
        return Replayed(done, refused)

    async def replay_each(
        self, *, name: str | None = None, until: datetime | None = None, group: str | None = None, step: int = PAGE
    ) -> AsyncIterator[Replayed]:
        """Put matching dead letters back, newest first, and yield what each step of up to ``step`` (100) of them did.

        Whoever iterates sets the pace and may stop; what was put back stays so, the next call goes on with the rest.
        until: what died later is left alone. group: the ``key`` of a `DeadGroup`.
        """
        waiting: list[tuple[Store, str, bytes]] = []
        async for store, _, seen in self._seen(_Wanted(name, group=group), 0, _until(until)):
            waiting.append((store, seen.id, seen.body))
            if len(waiting) >= min(step, PAGE):
                yield await _put_back(waiting, [0] * len(waiting))
                waiting.clear()
        if waiting:
            yield await _put_back(waiting, [0] * len(waiting))

    async def purge_each(
        self, *, name: str | None = None, until: datetime | None = None, group: str | None = None
    ) -> AsyncIterator[int]:
        """Forget matching dead letters for good, newest first; yields how many each step of up to 100 forgot."""
        ids: list[str] = []
        async for store, _, seen in self._seen(_Wanted(name, group=group), 0, _until(until)):
            ids.append(seen.id)
            if len(ids) == PAGE:
                yield await desk.purge(store, ids=ids)
                ids.clear()
        if ids:
            yield await desk.purge((await self._home.stores())[0], ids=ids)

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

    async def _seen(
        self, wanted: _Wanted, since_ms: int, begin: str = ""
    ) -> AsyncIterator[tuple[Store, DeadLetter, Seen]]:
        for store in await self._home.stores():
            cursor, first_ms, left = await deaths.span(store, wanted.group, begin)
            while left:
                page = await inspector.dead(store, cursor, PAGE, since_ms=max(since_ms, first_ms))
                mine = [seen for seen in page.jobs if wanted.group in {None, fingerprint.key(seen.label)}]
                left -= len(mine)
                for seen in mine:
                    letter = _letter(self._home.name, seen)
                    if wanted.passes(letter):
                        yield store, letter, seen
                cursor = page.cursor
                if not cursor:
                    break


async def _put_back(jobs: Sequence[tuple[Store, str, bytes]], waits: Sequence[int]) -> Replayed:
    """Put dead letters back, each after its wait in ms; one script call."""
    items: list[tuple[str, int, str, bytes]] = []
    refused: list[str] = []
    for (_, job_id, body), wait in zip(jobs, waits, strict=False):
        envelope = _wire.decoded(body)
        if envelope is None:
            refused.append(job_id)
        else:
            items.append(_revived(job_id, envelope, wait, None))
    if not items:
        return Replayed(0, refused)
    answers = await desk.replay(jobs[0][0], items)
    refused += [item[0] for item, answer in zip(items, answers, strict=True) if answer == "l"]
    return Replayed(answers.count("a"), refused)


def _until(when: datetime | None) -> str:
    """Return the cursor behind which the letters lie that died up to ``when``."""
    return "" if when is None else f"{units.instant_ms('until', when) + 1}-0"


def _revived(job_id: str, envelope: Envelope, wait_ms: int, priority: Priority | None) -> tuple[str, int, str, bytes]:
    lane = envelope.lane if priority is None else int(priority)
    return job_id, lane, f"+{wait_ms}" if wait_ms else "0", _wire.revived(envelope, lane)


def _letter(queue: str, seen: Seen) -> DeadLetter:
    envelope = _wire.decoded(seen.body)
    info = from_envelope(queue, seen.id, JobState.DEAD, envelope or Envelope(name="?"))
    return DeadLetter(
        id=seen.id,
        queue=queue,
        name=info.name,
        reason=seen.reason,
        payload=info.args if envelope else None,
        headers=info.headers,
        attempts=info.attempts,
        errors=info.errors,
        died_at=units.from_ms(seen.since_ms),
        created_at=info.created_at,
        tenant=info.tenant,
        worker=seen.consumer,
        priority=Priority.NORMAL if info.priority is None else info.priority,
        group=fingerprint.key(seen.label),
    )


def _since_ms(since: Seconds | datetime | None) -> int:
    if since is None:
        return 0
    if isinstance(since, datetime):
        return units.instant_ms("since", since)
    return units.instant_ms("since", datetime.now(UTC) - timedelta(seconds=units.seconds("since", since)))
