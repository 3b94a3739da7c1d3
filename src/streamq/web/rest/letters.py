"""Operations on dead letters: list, show, replay, purge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...errors import ConfigError, JobStateError, JobUnknown
from ...queue import Queue
from ..links import in_words
from .shapes import Acted, Letter, LetterList, Retrying, letter_of, whole_letter
from .table import Call, Table
from .words import Cursor, Lapse, Limit, Needle, Text, lapse, priority

table: Table = Table("dead letters")

Ids = Annotated[list[Text], Meta(min_length=1, max_length=1000)]

GroupKey = Annotated[str, Meta(pattern=r"^([0-9a-f]{12})?$", description="Key of a group of one error; '' for any.")]


class LetterGroup(msgspec.Struct, kw_only=True):
    """Dead letters of one error. count: how many, exactly. first_at: since there were none; newest_id: '' if unknown.

    In message, words such as N and ID stand for what varies.
    """

    key: str
    name: str
    type: str
    message: str
    count: int
    first_at: datetime
    newest_at: datetime
    newest_id: str


class GroupList(msgspec.Struct, kw_only=True):
    """What dead letters died of, the largest group first. exact: False while ``recover`` counts anew.

    total: of all. as_of: the moment of the counts.
    """

    groups: list[LetterGroup]
    total: int
    as_of: datetime
    exact: bool


class LetterQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters. error: text in the reason or an error. text: in id, name, tenant or error. since: age."""

    name: Needle = ""
    tenant: Needle = ""
    error: Needle = ""
    text: Needle = ""
    since: Needle = ""
    limit: Limit = 50
    cursor: Cursor = ""


class Replay(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters to put back: ``ids``, or all that fit; nothing given: all there are. group: its ``key``.

    rate: at most so many a second. dry_run: only count.
    """

    ids: Ids | None = None
    name: Needle = ""
    tenant: Needle = ""
    error: Needle = ""
    group: GroupKey = ""
    since: Lapse | None = None
    rate: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    dry_run: bool = False


class Replayed(msgspec.Struct, kw_only=True):
    """What was done, or with ``dry_run`` would be. refused: ids that live again already, or are not there."""

    replayed: int
    refused: list[str]
    dry_run: bool


class Purge(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters to forget: ``ids``, or those of a handler, error, group, age; ``everything`` for all."""

    ids: Ids | None = None
    name: Needle = ""
    tenant: Needle = ""
    error: Needle = ""
    group: GroupKey = ""
    older_than: Lapse | None = None
    everything: bool = False
    dry_run: bool = False


class Purged(msgspec.Struct, kw_only=True):
    """How many were forgotten, or with ``dry_run`` would be."""

    purged: int
    dry_run: bool


@table.get("/queues/{queue}/dead", errors=(404,))
async def list_dead(call: Call, query: LetterQuery) -> LetterList:
    """List dead letters, newest first.

    With filters no more than 5,000 are looked at a request; the cursor goes on from there.
    """
    if query.cursor and not query.cursor.replace("-", "", 1).isdecimal():
        raise ConfigError("cursor", query.cursor, "give the cursor of an earlier page")
    queue = call.queue
    wanted: dict[str, Any] = {name: getattr(query, name) or None for name in ("name", "tenant", "error", "text")}
    wanted["since"] = lapse("since", query.since)
    page = await queue.jobs("dead", limit=query.limit, cursor=query.cursor, **wanted)
    letters = [letter_of(info, call.site.redaction) for info in page.jobs]
    return LetterList(
        letters=letters, total=await queue.dlq.count(), looked_at=page.looked_at, complete=not page.cursor,
        cursor=page.cursor,
    )  # fmt: skip


@table.get("/queues/{queue}/dead-groups", errors=(404,))
async def list_groups(call: Call) -> GroupList:
    """List dead letters by what they died of: handler, type of the error, its message but for numbers and ids.

    A thousand groups at most; one more, of the type "other", has the rest.
    """
    found = await call.queue.dead_groups(most=500)
    groups = [
        LetterGroup(
            key=one.key, name=one.name, type=one.type, message=one.message, count=one.count, first_at=one.first_at,
            newest_at=one.newest_at, newest_id=one.newest_id,
        )
        for one in found.groups
    ]  # fmt: skip
    return GroupList(groups=groups, total=found.total, as_of=found.as_of, exact=found.exact)


@table.post("/queues/{queue}/dead/replay", errors=(400, 404, 413, 415))
async def replay_dead(call: Call, body: Replay) -> Replayed:
    """Put dead letters back: same ids, all attempts anew, history kept. What dies meanwhile is left alone."""
    queue = call.queue
    filters: dict[str, Any] = {
        "name": body.name or None, "tenant": body.tenant or None, "error": body.error or None,
        "group": body.group or None, "since": lapse("since", body.since),
    }  # fmt: skip
    if body.ids is not None and any(filters.values()):
        raise ConfigError("ids", len(body.ids), "give ids, or what they are found by, not both")
    if body.dry_run and body.ids is None:
        found = await queue.dlq.replay_all(**filters, dry_run=True)
        return Replayed(replayed=found.replayed, refused=[], dry_run=True)
    told = in_words({**filters, "rate": body.rate, "ids": " ".join(body.ids or ())[:500]})
    if body.ids is not None:
        return await _replay_ids(call, queue, body, told)
    async with call.site.acting(call.request, "dead.replay", queue.name, told) as act:
        done = await queue.dlq.replay_all(**filters, rate=body.rate)
        act.count = done.replayed
        act.outcome = f"done, {len(done.refused)} refused" if done.refused else "done"
    return Replayed(replayed=done.replayed, refused=list(done.refused), dry_run=False)


async def _replay_ids(call: Call, queue: Queue, body: Replay, told: str) -> Replayed:
    ids = body.ids or []
    if body.dry_run:
        missing = [one for one in ids if await queue.dlq.get(one) is None]
        return Replayed(replayed=len(ids) - len(missing), refused=missing, dry_run=True)
    refused: list[str] = []
    async with call.site.acting(call.request, "dead.replay", queue.name, told) as act:
        for at, one in enumerate(ids):
            try:
                await queue.dlq.replay(one, delay=at / body.rate if body.rate else None)
                act.count += 1
            except (JobStateError, JobUnknown):
                refused.append(one)
        act.outcome = f"done, {len(refused)} refused" if refused else "done"
    return Replayed(replayed=act.count, refused=refused, dry_run=False)


@table.post("/queues/{queue}/dead/purge", errors=(400, 404, 413, 415))
async def purge_dead(call: Call, body: Purge) -> Purged:
    """Forget dead letters, for good."""
    queue = call.queue
    filters = {name: getattr(body, name) for name in ("name", "tenant", "error", "group", "older_than")}
    given = any(value not in ("", None) for value in filters.values())
    if not given and body.ids is None and not body.everything:
        raise ConfigError("everything", body.everything, 'say which, or {"everything": true} for all there are')
    if body.ids is not None and (given or body.everything):
        raise ConfigError("ids", len(body.ids), "give ids, or what they are found by, not both")
    if body.dry_run:
        return Purged(purged=len(await _matching(queue, body)), dry_run=True)
    told = in_words({**filters, "everything": body.everything or None, "ids": " ".join(body.ids or ())[:500]})
    async with call.site.acting(call.request, "dead.purge", queue.name, told) as act:
        if body.ids is None and not (body.tenant or body.error or body.group):
            act.count = await queue.dlq.purge(older_than=lapse("older_than", body.older_than), name=body.name or None)
        else:
            for one in await _matching(queue, body):
                act.count += await queue.dlq.purge(one)
    return Purged(purged=act.count, dry_run=False)


async def _matching(queue: Queue, body: Purge) -> list[str]:
    """Return the ids that are meant, as they are now: what dies later is left alone."""
    if body.ids is not None:
        return body.ids if not body.dry_run else [one for one in body.ids if await queue.dlq.get(one) is not None]
    age = lapse("older_than", body.older_than)
    before = None if age is None else datetime.now(UTC) - timedelta(seconds=age)
    wanted: dict[str, Any] = {name: getattr(body, name) or None for name in ("name", "tenant", "error", "group")}
    letters = queue.dlq.list(**wanted)
    return [one.id async for one in letters if before is None or one.died_at <= before]


@table.post("/queues/{queue}/dead/{job_id:path}/replay", errors=(400, 404, 409, 413, 415), body_required=False)
async def replay_one(call: Call, body: Retrying) -> Acted:
    """Put one dead letter back. 409 when a job of its id lives again."""
    queue, job_id = call.queue, call.path("job_id")
    async with call.site.acting(call.request, "dead.replay", queue.name, in_words({"job": job_id})) as act:
        try:
            await queue.dlq.replay(job_id, delay=lapse("delay", body.delay), priority=priority(body.priority))
        except ConfigError as problem:
            if problem.option == "job_id":
                raise JobUnknown(job_id) from None
            raise
        act.count = 1
    return Acted(id=job_id, state="delayed" if lapse("delay", body.delay) else "waiting", changed=True)


@table.get("/queues/{queue}/dead/{job_id:path}", errors=(404,))
async def show_dead(call: Call) -> Letter:
    """Return a dead letter with every failed attempt that was kept."""
    letter = await call.queue.dlq.get(call.path("job_id"))
    if letter is None:
        raise JobUnknown(call.path("job_id"))
    return whole_letter(letter, call.site.redaction)
