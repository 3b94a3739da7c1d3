"""``streamq cron``: list, preview, run, pause, resume, remove schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
import msgspec

from .. import ScheduleInfo, Scheduler
from .._core.schedule import CronSchedule, Plan, preview
from .connect import awaited, one_name, opened
from .options import Command, chosen, one_queue, printing
from .say import CliError, ago, confirm, count, note, sign, table
from .show import emit, masked

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def cron() -> None:
    """List, preview, run, pause, resume and remove schedules."""


@cron.command("list", cls=Command)
@one_queue
@click.option("--payload", is_flag=True, help="Show arguments, in JSON.")
@printing
@awaited
async def list_schedules(**options: Any) -> None:
    """List schedules by their next tick, paused ones and those that are over last."""
    async with opened(await one_name(options), options) as queue:
        found = await Scheduler(queue).list()
    if chosen(options, "as_json"):
        shown = [one if options["payload"] else msgspec.structs.replace(one, args=masked(one.args)) for one in found]
        emit({"queue": queue.name, "schedules": shown})
        return
    if not found:
        note("no schedules")
        return
    rows = [
        [one.id, one.when or one.problem, _next(one), _last(one), f"{one.count:,}", one.handler, one.last_job_id or "-"]
        for one in found
    ]
    table(("schedule", "when", "next", "last", "fired", "handler", "last job"), rows, right=("fired",))


@cron.command("next", cls=Command)
@click.argument("wanted", metavar="ID|EXPRESSION")
@click.option("-n", "--count", "number", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many.")
@click.option("--tz", help="Time zone of an EXPRESSION.  [default: UTC]")
@one_queue
@printing
@awaited
async def show_next(wanted: str, **options: Any) -> None:
    """Show the next ticks of a schedule, or of a cron expression such as "0 9 * * MON"; that needs no server."""
    schedule: CronSchedule | None
    if " " in wanted.strip() or wanted.startswith("@"):
        schedule = CronSchedule(wanted, options["tz"] or "UTC")
        ticks = preview(Plan(schedule), datetime.now(UTC), options["number"])
        when, paused = schedule.describe(), False
    else:
        if options["tz"]:
            raise click.UsageError("--tz is for an EXPRESSION; a schedule has its own time zone")
        async with opened(await one_name(options), options) as queue:
            scheduler = Scheduler(queue)
            ticks = await scheduler.preview(wanted, options["number"])
            info = await scheduler.get(wanted)
        if info is None:
            raise CliError(f"schedule {wanted!r} was removed just now")
        schedule = CronSchedule(info.cron, info.tz or "UTC") if info.cron else None
        when, paused = info.when, info.paused
    lines = [_Line(tick, schedule) for tick in ticks]
    if chosen(options, "as_json"):
        emit({"when": when, "paused": paused, "ticks": [line.data() for line in lines]})
        return
    click.echo(when + (", paused" if paused else ""))
    for line in lines:
        click.echo(f"  {line.text()}")
    if not lines:
        note("no further tick")


class _Line:
    """One tick as it is shown: in its own zone, and in UTC."""

    def __init__(self, tick: datetime, schedule: CronSchedule | None) -> None:
        self.tick = tick
        self.local = tick if schedule is None or schedule.tz == "UTC" else tick.astimezone(ZoneInfo(schedule.tz))
        self.note = "" if schedule is None else schedule.note(tick)

    def data(self) -> dict[str, Any]:
        return {"utc": self.tick, "local": self.local, "note": self.note}

    def text(self) -> str:
        local = f"{self.local:%a %Y-%m-%d %H:%M:%S}" + (f".{ms:03}" if (ms := self.tick.microsecond // 1000) else "")
        zone = "UTC" if self.local.tzinfo is UTC else f"{self.local:%z}, {self.tick:%Y-%m-%d %H:%M}Z"
        soon = ago(self.tick)
        parts = [f"{local} {zone}", soon if soon.startswith("in ") else "", self.note]
        return "  ".join(part for part in parts if part)


@cron.command("run", cls=Command)
@click.argument("schedule_id", metavar="ID")
@one_queue
@printing
@awaited
async def run(schedule_id: str, **options: Any) -> None:
    """Enqueue a job of a schedule now; an extra one, its ticks stay as they are. Prints the job's id."""
    async with opened(await one_name(options), options) as queue:
        job = await Scheduler(queue).trigger(schedule_id)
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "schedule": schedule_id, "job": job.id})
        return
    click.echo(job.id)
    note(f"enqueued; the next tick of {schedule_id} is unchanged")


def _verb(word: str, help_text: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command that does something to schedules by id."""

    def make(fn: Callable[..., None]) -> click.Command:
        decorated = click.argument("ids", nargs=-1, required=True, metavar="ID...")(one_queue(printing(fn)))
        return cron.command(word, cls=Command, help=help_text)(decorated)

    return make


@_verb("pause", "Fire no more ticks of these schedules; jobs fired already run.")
@awaited
async def pause(ids: Sequence[str], **options: Any) -> None:
    """Pause."""
    await _each(ids, options, Scheduler.pause, ("paused", "is paused already"))


@_verb("resume", "Fire ticks again, from the next one on.")
@awaited
async def resume(ids: Sequence[str], **options: Any) -> None:
    """Resume."""
    await _each(ids, options, Scheduler.resume, ("resumed", "was not paused"))


def _with_yes(fn: F) -> F:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(fn)


@_verb("remove", "Remove schedules for good: code that still declares them does not bring them back.")
@_with_yes
@awaited
async def remove(ids: Sequence[str], **options: Any) -> None:
    """Remove."""
    confirm(f"Remove {count(len(ids), 'schedule')}: {', '.join(ids)}?", yes=options["yes"])
    await _each(ids, options, Scheduler.remove, ("removed", "was removed already"))


async def _each(ids: Sequence[str], options: dict[str, Any], verb: Callable[..., Any], words: tuple[str, str]) -> None:
    changed: dict[str, bool] = {}
    async with opened(await one_name(options), options) as queue:
        scheduler = Scheduler(queue)
        for one in ids:
            changed[one] = await verb(scheduler, one)
    if chosen(options, "as_json"):
        emit({"queue": queue.name, "schedules": [{"id": one, "changed": value} for one, value in changed.items()]})
        return
    for one, value in changed.items():
        click.echo(f"{one} {words[0] if value else words[1]}")


def _next(info: ScheduleInfo) -> str:
    if info.paused:
        return f"{sign('‖', '||')} paused"
    if info.next is None:
        return "-" if info.problem else "over"
    overdue = (datetime.now(UTC) - info.next).total_seconds()
    return f"overdue, {ago(info.next)}" if overdue > 5 else ago(info.next) if overdue < 0 else "now"


def _last(info: ScheduleInfo) -> str:
    return "-" if info.last_tick is None else ago(info.last_tick)
