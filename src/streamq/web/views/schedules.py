"""Schedules in plain English, with their next runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from ...timetable import ScheduleInfo
from . import words

DAY = 24 * 3600.0


class Row(NamedTuple):
    """One schedule of the table. ``local``: the next run in its own zone, and in UTC when they differ."""

    queue: str
    id: str
    handler: str
    when: str
    under: str
    next: datetime | None
    until: str
    local: str
    paused: bool
    last: datetime | None
    runs: int
    problem: str
    is_over: bool
    last_job_id: str


class Mark(msgspec.Struct, frozen=True):
    """Runs of the next 24 hours that fall together on the line."""

    x: float
    count: int
    said: str


def row(queue: str, info: ScheduleInfo, now: datetime) -> Row:
    """Return a schedule as a row."""
    said = info.when.removesuffix(f" {info.tz}") if info.tz else info.when
    when = said[:1].upper() + said[1:] if said else "cannot be read here"
    zone = f", {info.tz}" if info.tz else ""
    under = f"{info.cron}{zone}" if info.cron else f"every {words.duration(info.every)}" if info.every else "once"
    is_over = info.next is None and not info.paused and not info.problem
    return Row(
        queue, info.id, info.handler, when, under, info.next, words.until(info.next, now) if info.next else "",
        local(info.next, info.tz), info.paused, info.last_tick, info.count, info.problem, is_over,
        info.last_job_id or "",
    )  # fmt: skip


def local(when: datetime | None, zone: str | None) -> str:
    """Return an instant in a schedule's own zone, and in UTC beside it when that is another time."""
    if when is None:
        return ""
    utc = when.astimezone(UTC)
    if zone in {None, "UTC"}:
        return f"{_day(utc)} UTC"
    try:
        there = when.astimezone(ZoneInfo(str(zone)))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{_day(utc)} UTC"
    city = str(zone).rpartition("/")[2].replace("_", " ")
    return f"{_day(there)} in {city}, {utc:%H:%M} UTC"


def _day(when: datetime) -> str:
    return f"{when:%a} {when.day} {when:%b, %H:%M}"


def heading(rows: Sequence[Row]) -> str:
    """Return the page's answer: "14 schedules, next in 4 s"."""
    if not rows:
        return "No schedule yet"
    coming = [one for one in rows if one.next is not None]
    first = min(coming, key=lambda one: one.next or datetime.max.replace(tzinfo=UTC), default=None)
    head = words.count(len(rows), "schedule")
    return f"{head}, next {first.until}" if first else f"{head}, none will run"


def under(rows: Sequence[Row]) -> str:
    """Return what is to be known besides: paused ones, those that cannot be read."""
    paused, broken = sum(one.paused for one in rows), sum(bool(one.problem) for one in rows)
    said = [f"{paused} {'is' if paused == 1 else 'are'} paused."] if paused else []
    if broken:
        said.append(f"{broken} cannot be read by this version.")
    return " ".join(said)


def marks(times: Sequence[tuple[str, datetime]], now: datetime, width: float = 860.0) -> list[Mark]:
    """Return the next 24 hours as marks; what falls into the same 15 minutes is one mark with its number."""
    found: dict[int, list[str]] = {}
    for name, when in times:
        seconds = (when - now).total_seconds()
        if 0 <= seconds < DAY:
            found.setdefault(int(seconds // 900), []).append(name)
    return [
        Mark(
            round(width * (slot * 900 + 450) / DAY, 1),
            len(names),
            f"{(now + timedelta(seconds=slot * 900)):%H:%M}: {words.listed(sorted(set(names))[:8])}",
        )
        for slot, names in sorted(found.items())
    ]


def hours(now: datetime, width: float = 860.0) -> list[tuple[float, str]]:
    """Return the hours on the line, each third named."""
    first = (now + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    found: list[tuple[float, str]] = []
    for step in range(24):
        when = first + timedelta(hours=step)
        x = width * (when - now).total_seconds() / DAY
        found.append((round(x, 1), f"{when:%H:%M}" if when.hour % 3 == 0 else ""))
    return found
