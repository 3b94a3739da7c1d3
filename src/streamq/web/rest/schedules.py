"""Operations on schedules: list, show, create or change, pause, resume, trigger, preview, remove."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ...errors import ScheduleUnknown
from ...scheduler import Scheduler
from ...timetable import ScheduleInfo
from ..links import in_words
from .shapes import Attempts
from .table import Call, Table
from .words import Instant, Lapse, Level, Name, Text, lapse, priority

table: Table = Table("schedules")


class Schedules(msgspec.Struct, kw_only=True):
    """All schedules of a queue, by their next tick."""

    schedules: list[ScheduleInfo]


class ScheduleBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A schedule of a job: one of ``cron`` (with ``tz``), ``every`` and ``at``. See `ScheduleOptions`, `JobOptions`."""

    name: Name
    payload: dict[str, Any] = {}
    cron: Annotated[str, Meta(max_length=200)] | None = None
    every: Lapse | None = None
    at: Instant | None = None
    tz: Annotated[str, Meta(max_length=100)] | None = None
    misfire: Literal["fire_once", "skip", "catch_up"] | None = None
    catch_up: Annotated[int, Meta(ge=1, le=1000)] | None = None
    grace: Lapse | None = None
    start: Instant | None = None
    end: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    priority: Level | None = None
    max_attempts: Attempts | None = None
    timeout: Lapse | None = None
    headers: dict[str, str] = {}
    tenant: Text | None = None
    expires_in: Lapse | None = None
    group: Text | None = None


class Changed(msgspec.Struct, kw_only=True):
    """Whether an action on a schedule was news."""

    id: str
    changed: bool


class Triggered(msgspec.Struct, kw_only=True):
    """The extra job of a schedule; its ticks stay as they are."""

    id: str
    job_id: str
    url: str


class PreviewQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How many ticks."""

    n: Annotated[int, Meta(ge=1, le=100)] = 5


class Preview(msgspec.Struct, kw_only=True):
    """The next ticks in UTC, as if the schedule were not paused."""

    id: str
    ticks: list[datetime]


@table.get("/queues/{queue}/schedules", errors=(404,))
async def list_schedules(call: Call) -> Schedules:
    """List schedules by their next tick, paused ones and those that are over last."""
    found = await Scheduler(call.queue).list()
    return Schedules(schedules=[_shown(call, one) for one in found])


@table.get("/queues/{queue}/schedules/{schedule_id:path}/preview", errors=(404,))
async def preview_schedule(call: Call, query: PreviewQuery) -> Preview:
    """Return the next ticks."""
    ticks = await Scheduler(call.queue).preview(call.path("schedule_id"), query.n)
    return Preview(id=call.path("schedule_id"), ticks=ticks)


@table.post("/queues/{queue}/schedules/{schedule_id:path}/pause", errors=(404,))
async def pause_schedule(call: Call) -> Changed:
    """Fire no more ticks of a schedule. Jobs that were fired already run."""
    return await _change(call, "pause")


@table.post("/queues/{queue}/schedules/{schedule_id:path}/resume", errors=(404,))
async def resume_schedule(call: Call) -> Changed:
    """Fire ticks again, from the next one on."""
    return await _change(call, "resume")


@table.post("/queues/{queue}/schedules/{schedule_id:path}/trigger", status=202, errors=(404,))
async def trigger_schedule(call: Call) -> Triggered:
    """Enqueue a job of a schedule now, paused or not."""
    queue, schedule_id = call.queue, call.path("schedule_id")
    async with call.site.acting(
        call.request, "schedule.trigger", queue.name, in_words({"schedule": schedule_id})
    ) as act:
        job = await Scheduler(queue).trigger(schedule_id)
        act.count = 1
    return Triggered(id=schedule_id, job_id=job.id, url=call.job_url(queue.name, job.id))


@table.get("/queues/{queue}/schedules/{schedule_id:path}", errors=(404,))
async def show_schedule(call: Call) -> ScheduleInfo:
    """Return a schedule."""
    found = await Scheduler(call.queue).get(call.path("schedule_id"))
    if found is None:
        raise ScheduleUnknown(call.queue.name, call.path("schedule_id"))
    return _shown(call, found)


@table.put("/queues/{queue}/schedules/{schedule_id:path}", errors=(400, 404, 413, 415))
async def put_schedule(call: Call, body: ScheduleBody) -> Changed:
    """Create or change a schedule. A paused one stays paused, a removed one is there again."""
    queue, schedule_id = call.queue, call.path("schedule_id")
    options: dict[str, Any] = {
        "priority": priority(body.priority), "max_attempts": body.max_attempts,
        "timeout": lapse("timeout", body.timeout), "headers": body.headers or None,
        "tenant": body.tenant, "expires_in": lapse("expires_in", body.expires_in), "group": body.group,
    }  # fmt: skip
    bounds: dict[str, Any] = {
        "cron": body.cron, "every": lapse("every", body.every), "at": body.at, "tz": body.tz, "misfire": body.misfire,
        "catch_up": body.catch_up, "grace": lapse("grace", body.grace), "start": body.start, "end": body.end,
        "limit": body.limit,
    }  # fmt: skip
    told = in_words({"schedule": schedule_id, "name": body.name, "cron": body.cron, "every": body.every, "at": body.at})
    async with call.site.acting(call.request, "schedule.upsert", queue.name, told) as act:
        job = queue.spec(body.name, body.payload, **_given(options))
        changed = await Scheduler(queue).upsert(schedule_id, job, **_given(bounds))
        act.count = int(changed)
        act.outcome = "done" if changed else "no news"
    return Changed(id=schedule_id, changed=changed)


@table.delete("/queues/{queue}/schedules/{schedule_id:path}", errors=(404,))
async def remove_schedule(call: Call) -> Changed:
    """Remove a schedule for good: processes whose code still declares it do not bring it back."""
    return await _change(call, "remove")


async def _change(call: Call, verb: Literal["pause", "resume", "remove"]) -> Changed:
    queue, schedule_id = call.queue, call.path("schedule_id")
    scheduler = Scheduler(queue)
    acts = {"pause": scheduler.pause, "resume": scheduler.resume, "remove": scheduler.remove}
    told = in_words({"schedule": schedule_id})
    async with call.site.acting(call.request, f"schedule.{verb}", queue.name, told) as act:
        act.count = int(await acts[verb](schedule_id))
        act.outcome = "done" if act.count else "no news"
    return Changed(id=schedule_id, changed=bool(act.count))


def _shown(call: Call, info: ScheduleInfo) -> ScheduleInfo:
    return msgspec.structs.replace(info, args=call.site.redact(info.args))


def _given(options: dict[str, Any]) -> Any:
    return {name: value for name, value in options.items() if value is not None}
