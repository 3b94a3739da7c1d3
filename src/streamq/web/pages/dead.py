"""Dead letters by error; schedules; the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ...errors import ConfigError, RedisUnavailable, ScheduleUnknown, StreamqError
from ...grouping import DeadGroups
from ...queue import Queue
from ...scheduler import Scheduler
from ...timetable import ScheduleInfo
from ..site import Site
from ..views import dead, payload, places, schedules, words
from ..views.command import line
from .ground import Ground, Page

GROUPS = 100
QUEUES = 20
SCHEDULES = 100
MOST_MARKS = 24
"""Runs a day above which a schedule is left off the line."""


async def groups(ground: Ground, request: Request) -> Page:
    """Show dead letters grouped by error: of one queue, or of those that have some."""
    site = ground.site
    chosen = request.query_params.get("queue", "")
    now = datetime.now(UTC)
    facts = await ground.pulse.look()
    if chosen:
        queues = [site.named(chosen)]
    else:
        queues = [site.named(one.name) for one in facts if one.counts and one.counts.dead and one.name in site.queues]
    found: list[tuple[Queue, DeadGroups]] = [
        (queue, await queue.dead_groups(seconds=0.08 / max(1, min(len(queues), QUEUES)))) for queue in queues[:QUEUES]
    ]
    rows = [dead.group(queue.name, one, now, _hidden(site, one.shares)) for queue, seen in found for one in seen.groups]
    rows.sort(key=lambda one: (-one.count, one.key))
    as_of = {queue.name: seen.as_of for queue, seen in found}
    total = sum(seen.total for _, seen in found)

    def see(one: dead.Group) -> str:
        return _see(site, request, one)

    def pairs(one: dead.Group) -> list[tuple[str, object]]:
        return _pairs(one, as_of[one.queue])

    context: dict[str, Any] = {
        "names": list(site.queues)[:200],
        "chosen": chosen,
        "groups": rows[:GROUPS],
        "under": dead.under(rows, total),
        "looked": dead.looked([seen for _, seen in found]),
        "see": see,
        "pairs": pairs,
    }
    title = dead.heading(total, len(rows), whole=dead.are_told_apart([seen for _, seen in found]))
    return Page("dead.html", title, context, line("dlq", "groups", queue=chosen), "/dead")


def _hidden(site: Site, shares: Mapping[str, object]) -> list[str]:
    return [name for name in shares if name.startswith("payload.") and site.redaction.hides(name.split(".")[1:])]


def _pairs(one: dead.Group, as_of: datetime) -> list[tuple[str, object]]:
    """Return what a button on a group sends: the set is frozen as it was read."""
    return [
        ("queue", one.queue), ("group", one.key), ("count", one.count), ("frozen", as_of.isoformat()),
        ("type", one.type[:100]),
    ]  # fmt: skip


def _see(site: Site, request: Request, one: dead.Group) -> str:
    return site.url(request, "/jobs", queue=one.queue, state="dead", name=one.name, error=one.type if one.name else "")


# -- schedules --------------------------------------------------------------------------------------


async def timetable(ground: Ground, request: Request) -> Page:
    """Show the schedules of all queues in plain English."""
    now = datetime.now(UTC)
    rows: list[schedules.Row] = []
    times: list[tuple[str, datetime]] = []
    asked = request.query_params.get("queue", "")
    queues = [ground.site.named(asked)] if asked else list(ground.site.queues.values())[:QUEUES]
    for queue in queues:
        try:
            infos = await Scheduler(queue).list()
        except RedisUnavailable:
            raise
        except StreamqError:
            continue
        rows += [schedules.row(queue.name, info, now) for info in infos]
        for info in infos[:SCHEDULES]:
            times += [(info.id, when) for when in _day(info, now)]
    rows.sort(key=lambda one: (one.next is None, one.next or now, one.queue, one.id))
    context: dict[str, Any] = {
        "rows": rows[:SCHEDULES],
        "under": schedules.under(rows),
        "marks": schedules.marks(times, now),
        "hours": schedules.hours(now),
        "cut": f"{SCHEDULES} of {len(rows):,} shown, those that come next" if len(rows) > SCHEDULES else "",
    }
    return Page("schedules.html", schedules.heading(rows), context, line("cron", "list", queue=asked), "/schedules")


def _day(info: ScheduleInfo, now: datetime) -> list[datetime]:
    """Return the runs of the next 24 hours of a schedule that does not run more often than hourly."""
    if info.paused or info.problem or info.next is None or (info.every is not None and info.every < 3600):
        return []
    times: list[datetime] = [info.next]
    while info.every is not None and len(times) <= MOST_MARKS and times[-1] - now < timedelta(days=1):
        times.append(times[-1] + timedelta(seconds=info.every))
    return times


async def schedule(ground: Ground, request: Request) -> Page | Response:
    """Show one schedule and its next runs."""
    queue = ground.site.named(request.query_params.get("queue", ""))
    schedule_id = request.query_params.get("id", "")
    scheduler = Scheduler(queue)
    info = await scheduler.get(schedule_id)
    if info is None:
        raise ScheduleUnknown(queue.name, words.cut(schedule_id, 200))
    now = datetime.now(UTC)
    try:
        runs = await scheduler.preview(schedule_id, 5)
    except (StreamqError, ConfigError):
        runs = []
    row = schedules.row(queue.name, info, now)
    misfire = {
        "fire_once": "a missed run is made up for once", "skip": "missed runs are left out",
        "catch_up": "missed runs are made up for, up to a number",
    }.get(info.misfire, info.misfire)  # fmt: skip
    details = [
        ("Handler", info.handler), ("When", f"{row.when} ({row.under})"), ("Missed runs", misfire),
        ("Runs so far", words.number(info.count)), ("Last run", words.ago(info.last_tick, now)),
        ("Not before", words.instant(info.start)), ("Not after", words.instant(info.end)),
        ("Runs in all", words.number(info.limit) if info.limit else ""), ("Known since", words.ago(info.since, now)),
        ("Problem", info.problem),
    ]  # fmt: skip
    context: dict[str, Any] = {
        "row": row,
        "runs": [(when, schedules.local(when, info.tz)) for when in runs],
        "details": [pair for pair in details if pair[1]],
        "payload": payload.tree(ground.site.redact(info.args)),
    }
    state = "is paused" if info.paused else f"runs {row.until}" if row.until else "is over"
    command = line("cron", "next", info.id, queue=queue.name)
    return Page("schedule.html", f"{info.id} {state}", context, command, "/schedules")


# -- audit ------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """The filter of the audit page."""

    who: str
    what: str
    queue: str
    q: str
    since: str


async def audit(ground: Ground, request: Request) -> Page:
    """Show who did what."""
    asked = Asked(*(request.query_params.get(name, "").strip()[:200] for name in Asked._fields))
    since = words.since(asked.since, datetime.now(UTC)) if asked.since else None
    found = await ground.site.trail(
        who=asked.who or None, action=asked.what or None, queue=asked.queue or None, text=asked.q or None, since=since,
        limit=50, cursor=request.query_params.get("cursor", ""),
    )  # fmt: skip
    entries = [(one.id, places.entry(one)) for one in found.entries]
    older = ground.site.url(request, "/audit", **asked._asdict(), cursor=found.cursor) if found.cursor else ""
    latest = entries[0][1] if entries else None
    title = "Audit"
    if latest is not None and not any(asked):
        title = f"{latest.who} {latest.said} {words.ago(latest.at, datetime.now(UTC))}"
    context = {"asked": asked, "asked_any": any(asked), "entries": entries, "older": older}
    return Page("audit.html", title, context, "", "/audit")
