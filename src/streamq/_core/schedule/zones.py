"""Local time against elapsed time: which instant a local time is when clocks change, and the next one that matches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from ...errors import ConfigError
from .expression import Cron

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


@lru_cache(maxsize=1024)
def zone_named(name: str) -> tzinfo:
    option = "CronSchedule(tz)"
    if name == "UTC":
        return UTC  # needs no time zone data
    if name in {"localtime", "posixrules"}:
        raise ConfigError(option, name, "differs between machines; name the zone, such as 'Europe/Athens'")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: a folder, such as "Europe"
        raise ConfigError(option, name, f"is no known time zone; {_zone_hint(name)}") from error


def _zone_hint(name: str) -> str:
    known = available_timezones()
    if not known:
        return "this system has no time zone data: install the package tzdata"
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in sorted(known, reverse=True)}
    spellings = cities | {zone.casefold(): zone for zone in known}
    near = get_close_matches(name.strip().replace(" ", "_").casefold(), spellings, n=1, cutoff=0.75)
    return f"did you mean {spellings[near[0]]!r}?" if near else "use an IANA name, such as 'Europe/Athens'"


def next_fixed(cron: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """Return the next tick of fixed local times: skipped ones are moved on, repeated ones come in the first pass."""
    wall = after.astimezone(zone).replace(tzinfo=None)
    while (match := cron.next_wall(wall)) is not None:
        tick = _resolved(zone, match)
        if tick > after:  # in a second pass, the times up to its end have had their turn
            return tick
        wall = match
    return None


def _resolved(zone: tzinfo, wall: datetime) -> datetime:
    """Return the first instant at which the clock shows ``wall``, or has jumped over it."""
    tick = wall.replace(tzinfo=zone).astimezone(UTC)
    if tick.astimezone(zone).replace(tzinfo=None) == wall:
        return tick
    # Of a time that is skipped, fold=0 counts from before the change and so lies after it, fold=1 the other way round.
    return _change(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), tick) or tick


def next_elapsed(cron: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """Return the next instant whose local time matches: one stretch of equal offset after the other."""
    since, offset = after, _offset(zone, after)
    wall = (after + offset).replace(tzinfo=None)
    while (match := cron.next_wall(wall)) is not None:
        tick = match.replace(tzinfo=UTC) - offset
        change = _change(zone, since, tick)
        if change is None:
            return tick
        since, offset = change, _offset(zone, change)
        wall = (change + offset - _SECOND).replace(tzinfo=None)  # the moment of the change may match itself
    return None


def _change(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """Return the first second in (after, until] whose offset is not that of ``after``."""
    offset = _offset(zone, after)
    low = after
    while low < until:
        # A day at a time: no zone changes twice in a day.
        high = min(low + _DAY, until)
        if _offset(zone, high) != offset:
            low, high = low.replace(microsecond=0), high.replace(microsecond=0)
            while high - low > _SECOND:
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high
        low = high
    return None


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)
