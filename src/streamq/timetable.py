"""Schedules as people write and read them: options to a definition, and what is kept of one to `ScheduleInfo`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypedDict, TypeVar, cast, overload

import msgspec

from . import sending
from ._core import envelope as _wire
from ._core import names
from ._core.context import Context
from ._core.options import Checked, HandlerOptions, Priority
from ._core.schedule import (
    ID_LIMIT,
    AtSchedule,
    CronSchedule,
    Definition,
    EverySchedule,
    Misfire,
    Plan,
    Schedule,
    decode,
    due,
    preview,
    tick_id,
)
from ._core.units import Seconds, from_ms, seconds
from ._store.schedules import Row
from .errors import ConfigError, StreamqError
from .handler import Handler
from .job import JobSpec

R = TypeVar("R")
Coro = Coroutine[Any, Any, R]


class ScheduleOptions(TypedDict, total=False):
    """Bounds of a schedule, and what happens to ticks that nobody could fire in time.

    misfire: "fire_once" (default) fires the latest missed tick, "skip" none, "catch_up" the latest ``catch_up`` of
    them (10; 1 to 1000). grace: seconds a tick may be late without counting as missed (60; 1 to 3600). start: first
    instant that may be a tick. end: first instant that may no longer be one. limit: ticks fired in all. Instants are
    aware datetimes.
    """

    misfire: Misfire
    catch_up: int
    grace: Seconds
    start: datetime
    end: datetime
    limit: int


class TickOptions(HandlerOptions, ScheduleOptions, total=False):
    """What ``@scheduler.cron`` and ``@scheduler.every`` take: `ScheduleOptions`, and the handler's `HandlerOptions`."""


class ScheduleInfo(msgspec.Struct, frozen=True):
    """What is known of a schedule. Instants are aware and in UTC.

    ``when`` says it in English. One of ``cron`` (with ``tz``), ``every`` (seconds) and ``at`` is set. ``next``: next
    tick, in the past while it is overdue; None when paused or over. ``count``: ticks fired; ``trigger`` does not count.
    ``last_job_id``: the job of the last tick. ``args``: arguments of its jobs. ``problem``: why it cannot be read here.
    """

    id: str
    handler: str = ""
    when: str = ""
    cron: str | None = None
    every: float | None = None
    at: datetime | None = None
    tz: str | None = None
    misfire: str = ""
    start: datetime | None = None
    end: datetime | None = None
    limit: int | None = None
    paused: bool = False
    next: datetime | None = None
    last_tick: datetime | None = None
    last_job_id: str | None = None
    count: int = 0
    since: datetime | None = None
    args: Any = None
    problem: str = ""


class DecorateTick:
    """What ``scheduler.cron(...)`` and ``scheduler.every(...)`` return: takes a function that needs no arguments."""

    def __init__(self, register: Callable[[Any], Handler[[], Any]]) -> None:
        self._register = register

    @overload
    def __call__(self, fn: Handler[[], R], /) -> Handler[[], R]: ...
    @overload
    def __call__(self, fn: Callable[[], Coro[R]], /) -> Handler[[], R]: ...
    @overload
    def __call__(self, fn: Callable[[Context], Coro[R]], /) -> Handler[[], R]: ...
    @overload
    def __call__(self, fn: Callable[[], R], /) -> Handler[[], R]: ...
    @overload
    def __call__(self, fn: Callable[[Context], R], /) -> Handler[[], R]: ...
    def __call__(self, fn: Any, /) -> Handler[[], Any]:
        """Register the function as a handler of that name, or schedule a handler that exists."""
        return self._register(fn)


def checked_id(value: str) -> str:
    """Return a schedule's id: a name of at most 150 characters."""
    if len(names.checked("id", value)) > ID_LIMIT:
        raise ConfigError("id", value, f"use at most {ID_LIMIT} characters: the ids of its jobs are longer than that")
    return value


def schedule_of(cron: str | None, every: Seconds | None, at: datetime | None, tz: str | None, default: str) -> Schedule:
    """Return the one schedule that was given."""
    given = [name for name, value in (("cron", cron), ("every", every), ("at", at)) if value is not None]
    if len(given) != 1:
        raise ConfigError("cron", cron, f"give one of cron=, every= and at=, not {' and '.join(given) or 'none'}")
    if cron is not None:
        return CronSchedule(cron, default if tz is None else tz)
    if tz is not None:
        raise ConfigError("tz", tz, f"is for cron=; {given[0]}= has no time zone of its own")
    return AtSchedule(cast("datetime", at)) if every is None else EverySchedule(every)


def definition_of(schedule: Schedule, job: JobSpec[Any], options: ScheduleOptions) -> Definition:
    """Return what is kept; raises `ConfigError` for options of the job that have no meaning in a schedule."""
    for option in map(str, options):
        if option not in ScheduleOptions.__annotations__:
            known = ", ".join(ScheduleOptions.__annotations__)
            raise ConfigError(
                option, cast("dict[str, Any]", options)[option], f"is no schedule option; there are {known}"
            )
    carried = job.options
    if carried.when != "0":
        raise ConfigError("delay", carried.when, "the schedule says when its jobs start; move its ticks instead")
    if carried.job_id is not None:
        raise ConfigError("job_id", carried.job_id, "each tick makes the id of its own job, <schedule id>@<tick>")
    if carried.deadline_ms is not None and not isinstance(schedule, AtSchedule):
        deadline = from_ms(carried.deadline_ms)
        raise ConfigError("deadline", deadline, "is one instant for all ticks; use timeout=, expires_in= or end=")
    known_here = job.owner.handlers.get(job.name)
    lane = Priority.NORMAL if known_here is None else known_here.lane
    envelope = sending.template(job, lane, job.owner.wiring.max_payload)
    return Definition(Plan(schedule, **options), envelope, carried.expires_in_ms, job.flow)


def job_of(definition: Definition, owner: Any) -> JobSpec[Any]:
    """Return the job of a definition, to be enqueued outside of its ticks."""
    job = definition.job
    options = Checked(
        lane=job.lane,
        max_attempts=job.max_attempts,
        backoff=job.backoff,
        timeout_ms=job.timeout_ms,
        headers=job.headers,
        tenant=job.tenant,
        expires_in_ms=definition.expires_in_ms,
        deadline_ms=job.deadline_ms,
        keep_result=job.keep_result,
    )
    return JobSpec(owner, job.name, bytes(job.args), options, definition.flow)


def readable(row: Row) -> Definition:
    """Return what is kept of a schedule; raises `StreamqError` for what this streamq cannot read."""
    try:
        return decode(row.spec)
    except _wire.MALFORMED as problem:
        raise StreamqError(f"schedule {row.id!r} cannot be read here: {problem}") from None


def described(row: Row, now: datetime) -> ScheduleInfo:
    """Return what is known of a schedule at ``now``."""
    paused = row.status == "paused"
    last = from_ms(row.last_ms) if row.last_ms else None
    since = from_ms(row.since_ms)
    try:
        definition = readable(row)
    except StreamqError as problem:
        return ScheduleInfo(row.id, paused=paused, last_tick=last, count=row.total, since=since, problem=str(problem))
    plan, job = definition.plan, definition.job
    owed, after = due(plan, last, since, now, row.total)
    kind = plan.schedule
    return ScheduleInfo(
        id=row.id,
        handler=job.name,
        when=kind.describe(),
        cron=kind.expression if isinstance(kind, CronSchedule) else None,
        every=seconds("every", kind.seconds) if isinstance(kind, EverySchedule) else None,
        at=kind.at if isinstance(kind, AtSchedule) else None,
        tz=kind.tz if isinstance(kind, CronSchedule) else None,
        misfire=plan.misfire,
        start=plan.start,
        end=plan.end,
        limit=plan.limit,
        paused=paused,
        next=None if paused else (owed[0] if owed else after),
        last_tick=last,
        last_job_id=None if last is None else tick_id(row.id, last),
        count=row.total,
        since=since,
        args=_wire.plain(job.args),
    )


def upcoming(row: Row, now: datetime, n: int) -> list[datetime]:
    """Return the next ``n`` ticks after ``now``, as if the schedule were not paused."""
    plan = readable(row).plan
    after = max(now, from_ms(row.last_ms))
    return preview(plan, after, n, fired=row.total)
