"""When a schedule is due: cron expressions, intervals and single instants, their bounds, and what to do about misses.

Pure: instants come in and go out. Every tick is an aware UTC `datetime` on a whole millisecond, a function of the
definition alone, so that any number of schedulers agree on it and its instant can be its identity.

An expression is read here and handed to croniter as plain lists of numbers in local time without a zone. Therefore
neither the extensions of croniter (``H``, ``R``, ``?``) nor what changes between its versions moves a tick.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from croniter import CroniterBadDateError, croniter

from ..errors import ConfigError
from .units import Seconds, from_ms, instant_ms, millis, seconds

MIN_EVERY = 0.1
"""Shortest interval in seconds. Clocks of machines differ by about as much, and each tick costs a round trip."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9998, 1, 1, tzinfo=UTC)  # leaves room for every offset before datetime overflows
_INSTANT = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TERM = re.compile(r"(\*|[0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?(?:/([0-9]{1,2}))?")
_LAST_WEEKDAY = re.compile(r"L([0-7])|([0-7]|[A-Z]{3})L")
_NTH_WEEKDAY = re.compile(r"([0-7]|[A-Z]{3})#([1-5])")


class CronSchedule(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """Due when the local time in ``tz`` matches a cron ``expression``: minute, hour, day of month, month, day of week.

    Lists, ranges (``22-2`` and ``SAT-MON`` wrap round), steps, names (``JAN``, ``MON``), ``L`` for the last day of a
    month, ``5L`` for its last Friday, ``MON#2`` for its second Monday; Sunday is 0 and 7. ``@hourly``, ``@daily``,
    ``@weekly``, ``@monthly`` and ``@yearly`` are known. If both day fields are given, one of them has to match; if
    either starts with ``*`` (``*/2``), both have to.

    When clocks change:

    * an expression with fixed times (neither minute nor hour starts with ``*``) runs once for a local time that is
      skipped, at the first valid moment, and once, the first time, for a local time that is repeated;
    * any other follows elapsed time: it runs in both passes through a repeated hour and not in a skipped one.

    Source: Debian's cron(8), "Daylight Saving Time and other time changes", as cronsim does it.

    Raises:
        ConfigError: for an expression that is no cron expression or never matches, and for an unknown time zone.
    """

    expression: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _refusal(self.expression, "give text such as '0 2 * * *'")
        if len(self.expression) > 1000:
            raise _refusal(f"{self.expression[:50]}...", "is over 1000 characters")
        if not isinstance(self.tz, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("CronSchedule(tz)", self.tz, "give the name of a time zone, such as 'Europe/Athens'")
        # One definition, one text: spaces must not make it look changed.
        msgspec.structs.force_setattr(self, "expression", " ".join(self.expression.split()))
        _compiled(self.expression)
        _zone(self.tz)

    def next(self, after: datetime) -> datetime | None:
        """Return the first tick strictly after ``after``, in UTC; None if there is none within 50 years."""
        after = _utc("after", after)
        if after >= _LAST:
            return None
        cron, zone = _compiled(self.expression), _zone(self.tz)
        return _next_fixed(cron, zone, after) if cron.is_fixed else _next_elapsed(cron, zone, after)

    def describe(self) -> str:
        """Return the schedule in plain English if it is a common one, otherwise its expression; with the time zone."""
        words = _in_words(_compiled(self.expression))
        return f"{words} ({self.tz})" if words else f"cron {self.expression} ({self.tz})"


class EverySchedule(msgspec.Struct, frozen=True, tag="e", array_like=True):
    """Due at every multiple of ``seconds`` since 1970-01-01 00:00 UTC, so that it neither drifts nor shifts on restart.

    ``EverySchedule(900)`` is due at :00, :15, :30 and :45 of each hour; seven days fall on Thursdays, 00:00 UTC. At
    least `MIN_EVERY`, in whole milliseconds.
    """

    seconds: Seconds

    def __post_init__(self) -> None:
        option = "EverySchedule(seconds)"
        given = seconds(option, self.seconds, least=MIN_EVERY)
        if abs(given * 1000 - round(given * 1000)) > 1e-6:
            raise ConfigError(option, self.seconds, "must be whole milliseconds, or its ticks would drift")
        msgspec.structs.force_setattr(self, "seconds", millis(option, given) / 1000)

    def next(self, after: datetime) -> datetime | None:
        """Return the first tick strictly after ``after``, in UTC."""
        after = _utc("after", after)
        if after >= _LAST:
            return None
        every = timedelta(milliseconds=millis("seconds", self.seconds))
        return _EPOCH + ((after - _EPOCH) // every + 1) * every

    def describe(self) -> str:
        """Return the schedule in plain English."""
        every = seconds("seconds", self.seconds)
        for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if every % size == 0:
                count = int(every // size)
                return f"every {unit}" if count == 1 else f"every {count} {unit}s"
        return f"every {every:g} seconds"


class AtSchedule(msgspec.Struct, frozen=True, tag="a", array_like=True):
    """Due once, at the aware instant ``at``, rounded up to the millisecond."""

    at: datetime

    def __post_init__(self) -> None:
        _keep_instant(self, "at", "AtSchedule(at)")

    def next(self, after: datetime) -> datetime | None:
        """Return the instant if it is strictly after ``after``, otherwise None."""
        return self.at if self.at > _utc("after", after) else None

    def describe(self) -> str:
        """Return the schedule in plain English."""
        return f"once at {self.at:%Y-%m-%d %H:%M:%S} (UTC)"


Schedule = CronSchedule | EverySchedule | AtSchedule
"""Anything with ticks."""

Misfire = Literal["skip", "fire_once", "catch_up"]
"""What happens to ticks that nobody fired within the grace: dropped; only the latest fired; the latest few fired."""

_MISFIRES: tuple[Misfire, ...] = ("skip", "fire_once", "catch_up")


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """A schedule within bounds.

    Attributes:
        schedule: What is due when.
        start: First instant that may be a tick, itself included.
        end: First instant that may no longer be one: a tick at ``end`` does not happen.
        limit: How many ticks may be fired in all; dropped ones do not count.
        misfire: What to do with ticks found late, see `due`.
        catch_up: Most late ticks fired at a time with ``misfire="catch_up"``, 1 to 1000.
        grace: Seconds a tick may be late and still be on time, 1 to 3600. The default outlives a scheduler that
            dies and its successor that has to notice.
    """

    schedule: Schedule
    start: datetime | None = None
    end: datetime | None = None
    limit: int | None = None
    misfire: Misfire = "fire_once"
    catch_up: int = 10
    grace: Seconds = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("schedule", self.schedule, "give CronSchedule, EverySchedule or AtSchedule")
        if self.misfire not in _MISFIRES:
            near = get_close_matches(str(self.misfire), _MISFIRES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError("misfire", self.misfire, f"{hint}use one of {', '.join(map(repr, _MISFIRES))}")
        if self.limit is not None and not _is_count(self.limit, 1, 2**53):
            raise ConfigError("limit", self.limit, "must be a whole number, at least 1, or None for no limit")
        if not _is_count(self.catch_up, 1, 1000):
            raise ConfigError("catch_up", self.catch_up, "must be a whole number from 1 to 1000")
        grace = seconds("grace", self.grace, least=1)
        if grace > 3600:
            raise ConfigError("grace", self.grace, "must be 1 s to 3600 s; use misfire='catch_up' for longer")
        msgspec.structs.force_setattr(self, "grace", grace)
        self._check_bounds()

    def _check_bounds(self) -> None:
        for bound in ("start", "end"):
            if getattr(self, bound) is not None:
                _keep_instant(self, bound, bound)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ConfigError("end", self.end, f"must be after start ({self.start:%Y-%m-%d %H:%M:%S} UTC)")
        if _next(self, _EPOCH) is None:
            option = "end" if self.end is not None else "start"
            raise ConfigError(option, getattr(self, option), f"leaves no tick of: {self.schedule.describe()}")


def due(
    plan: Plan, last_tick: datetime | None, created: datetime, now: datetime, fired: int
) -> tuple[list[datetime], datetime | None]:
    """Return the ticks to fire at ``now``, oldest first, and the next tick after ``now`` (None: the plan is over).

    Ticks after ``last_tick`` and ``created`` up to ``now`` are owed. Those at most ``plan.grace`` late are on time and
    all of them are fired. Of the late ones, ``skip`` fires none, ``fire_once`` the latest, ``catch_up`` the latest
    ``plan.catch_up``. What is fired is thus always the newest part of what is owed: firing in order, remembering each
    tick as ``last_tick``, and asking again after a crash never fires more than was allowed and never goes back.

    The work does not grow with the time missed: it is bounded by the grace and ``plan.catch_up``.

    Args:
        plan: The schedule and its bounds.
        last_tick: The last tick fired, None if there was none.
        created: When the schedule came into force (created, changed or resumed); it owes nothing before. A single
            instant is owed even if it was past by then: a late scheduler must not lose it.
        now: The present.
        fired: How many ticks have been fired so far; counts against ``plan.limit``.
    """
    now = _utc("now", now)
    left = None if plan.limit is None else plan.limit - fired
    if left is not None and left <= 0:
        return [], None
    since = _EPOCH if isinstance(plan.schedule, AtSchedule) else _utc("created", created)
    if last_tick is not None:
        since = max(since, _utc("last_tick", last_tick))
    late_until = max(since, now - timedelta(seconds=seconds("grace", plan.grace)) - _INSTANT)
    ticks = [*_latest(plan, since, late_until, _late_ones(plan)), *_between(plan, late_until, now)][:left]
    if left is not None and len(ticks) >= left:
        return ticks, None
    return ticks, _next(plan, max(since, now))


def preview(plan: Plan, after: datetime, n: int, *, fired: int = 0) -> list[datetime]:
    """Return the next ``n`` ticks (at most 1000) strictly after ``after``; fewer if the plan ends before."""
    if not _is_count(n, 0, 1000):
        raise ConfigError("n", n, "must be a whole number from 0 to 1000")
    if plan.limit is not None:
        n = min(n, plan.limit - fired)
    ticks: list[datetime] = []
    tick = _next(plan, after)
    while tick is not None and len(ticks) < n:
        ticks.append(tick)
        tick = _next(plan, tick)
    return ticks


def _late_ones(plan: Plan) -> int:
    match plan.misfire:
        case "skip":
            return 0
        case "fire_once":
            return 1
        case "catch_up":
            return plan.catch_up


def _next(plan: Plan, after: datetime) -> datetime | None:
    if plan.start is not None:
        after = max(after, plan.start - _INSTANT)
    tick = plan.schedule.next(after)
    return None if tick is None or (plan.end is not None and tick >= plan.end) else tick


def _between(plan: Plan, after: datetime, until: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    tick = _next(plan, after)
    while tick is not None and tick <= until:
        ticks.append(tick)
        tick = _next(plan, tick)
    return ticks


def _latest(plan: Plan, after: datetime, until: datetime, most: int) -> list[datetime]:
    """Return the newest ``most`` ticks in (after, until], oldest first, without walking over the others."""
    ticks: list[datetime] = []
    step = _MINUTE
    while len(ticks) < most and (tick := _previous(plan, after, until, step)) is not None:
        ticks.append(tick)
        step = until - tick + _INSTANT  # the one before is probably as far away
        until = tick - _INSTANT
    return ticks[::-1]


def _previous(plan: Plan, after: datetime, until: datetime, step: timedelta) -> datetime | None:
    """Return the last tick in (after, until]: look back ever further until there is one, then halve the distance."""

    def first(since: datetime) -> datetime | None:
        tick = _next(plan, since)
        return None if tick is None or tick > until else tick

    low = high = until
    tick = None
    while tick is None:
        if low <= after:
            return None
        high, low = low, max(after, until - min(step, until - after))
        step *= 2
        tick = first(low)
    # There is a tick in (low, high] and none in (high, until].
    while (later := first(tick)) is not None:
        middle = later + (high - later) / 2
        beyond = first(middle)
        if beyond is None:
            high = middle
        tick = beyond or later
    return tick


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: dict[str, int]
    usage: str


_FIELDS = (
    _Field("minute", 0, 59, {}, "0 to 59, such as 0 or 5,35 or */15"),
    _Field("hour", 0, 23, {}, "0 to 23, such as 2 or 9-17 or */6"),
    _Field("day of month", 1, 31, {}, "1 to 31 or L (last), such as 1 or 1,15 or */2"),
    _Field(
        "month",
        1,
        12,
        {name[:3].upper(): number for number, name in enumerate(_MONTHS, 1)},
        "1 to 12 or JAN to DEC, such as 1 or 4-6 or */3",
    ),
    _Field(
        "day of week",
        0,
        7,
        {name[:3].upper(): number for number, name in enumerate(_WEEKDAYS)},
        "0 to 7 (0 and 7 are Sunday) or SUN to SAT, such as 1-5 or MON#1 (first) or 5L (last)",
    ),
)
_DAY_OF_MONTH, _WEEKDAY = _FIELDS[2], _FIELDS[4]


class _Values(NamedTuple):
    """What one field matches: numbers, and days that depend on the month, as croniter spells them."""

    text: str
    numbers: frozenset[int]
    special: tuple[str, ...]
    is_all: bool

    def options(self) -> list[str]:
        """Return the field as croniter reads it, one text for each kind of term, since it cannot mix them."""
        numbers = "*" if self.is_all else ",".join(map(str, sorted(self.numbers)))
        return [*([numbers] if numbers else []), *self.special]


class _Cron(NamedTuple):
    minute: _Values
    hour: _Values
    day: _Values
    month: _Values
    weekday: _Values
    parts: tuple[croniter[datetime], ...]
    """A local time matches if it matches any of them."""
    is_fixed: bool

    def next_wall(self, after: datetime) -> datetime | None:
        """Return the first matching local time strictly after the local time ``after``; both without zone."""
        found: list[datetime] = []
        for part in self.parts:
            try:
                # A croniter remembers where it is; a copy keeps threads apart.
                found.append(copy.copy(part).get_next(datetime, start_time=after))
            except (ValueError, OverflowError):  # no match in its 50 years, or past the year 9999
                continue
        first = min(found, default=None)
        return None if first is None or first.year > _LAST.year else first


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> _Cron:
    texts = _split(expression)
    minute, hour, day, month, weekday = (_values(expression, *one) for one in zip(_FIELDS, texts, strict=True))
    if day.text.startswith("*") or weekday.text.startswith("*"):
        days = list(product(day.options(), weekday.options()))
    elif day.is_all or weekday.is_all:
        days = [("*", "*")]
    else:
        days = [*((one, "*") for one in day.options()), *(("*", one) for one in weekday.options())]
    (minutes,), (hours,), (months,) = minute.options(), hour.options(), month.options()
    lines = [f"{minutes} {hours} {of_month} {months} {of_week}" for of_month, of_week in days]
    parts = tuple(part for part in map(_part, lines) if part is not None)
    if not parts:
        raise _refusal(expression, "never comes: none of its months has such a day; correct the days or the months")
    is_fixed = not texts[0].startswith("*") and not texts[1].startswith("*")
    return _Cron(minute, hour, day, month, weekday, parts, is_fixed)


def _split(expression: str) -> list[str]:
    text = expression.lower()
    if text.startswith("@"):
        if text in _ALIASES:
            return _ALIASES[text].split()
        if text.startswith("@every"):
            raise _refusal(expression, "is no cron expression; use every= for an interval")
        near = get_close_matches(text, _ALIASES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise _refusal(expression, f"{hint}known are {', '.join(_ALIASES)}")
    texts = expression.split()
    if len(texts) == 6:
        raise _refusal(expression, "has six fields, but cron has no seconds; use every= for less than a minute")
    if len(texts) != 5:
        raise _refusal(expression, f"has {len(texts)} fields; give minute, hour, day of month, month, day of week")
    return texts


def _values(expression: str, field: _Field, text: str) -> _Values:
    numbers: set[int] = set()
    special: list[str] = []
    for term in text.upper().split(","):
        if (day := _special(field, term)) is not None:
            special.append(day)
        elif found := _numbers(field, term):
            numbers |= found
        else:
            raise _refusal(expression, f"{field.name} {text!r} is wrong{_hint(field, term)}; use {field.usage}")
    is_all = len(numbers) == (7 if field is _WEEKDAY else field.high - field.low + 1)
    return _Values(text, frozenset(numbers), tuple(special), is_all)


def _special(field: _Field, term: str) -> str | None:
    if field is _DAY_OF_MONTH and term == "L":
        return term
    if field is _WEEKDAY:
        if (last := _LAST_WEEKDAY.fullmatch(term)) and (day := _number(field, last[1] or last[2])) is not None:
            return f"L{day % 7}"
        if (nth := _NTH_WEEKDAY.fullmatch(term)) and (day := _number(field, nth[1])) is not None:
            return f"{day % 7}#{nth[2]}"
    return None


def _numbers(field: _Field, term: str) -> set[int]:
    """Return what ``term`` stands for; nothing if it is wrong."""
    match = _TERM.fullmatch(term)
    if match is None:
        return set()
    low, high, step = match[1], match[2], int(match[3] or 1)
    if low == "*" and high:
        return set()
    first = field.low if low == "*" else _number(field, low)
    # Without a second bound, a step goes on to the end of the field.
    last = _number(field, high) if high else field.high if low == "*" or match[3] else first
    if first is None or last is None or not 1 <= step <= field.high:
        return set()
    if field is not _WEEKDAY:
        return set(_range(first, last, field.low, field.high)[::step])
    return {number % 7 for number in _range(first, last, 0, 6)[::step]}


def _range(first: int, last: int, low: int, high: int) -> list[int]:
    if first <= last:
        return list(range(first, last + 1))
    return [*range(first, high + 1), *range(low, last + 1)]


def _number(field: _Field, text: str) -> int | None:
    number = int(text) if text.isdigit() else field.names.get(text)
    return number if number is not None and field.low <= number <= field.high else None


def _hint(field: _Field, term: str) -> str:
    step = term.partition("/")[2]
    if step.isdigit() and int(step) > field.high:
        return f" (a step of {step} would match the first {field.name} only; use every= for long intervals)"
    if "?" in term:
        return " (write * for any; days count from 0 or SUN, other than in Quartz)"
    if field is _DAY_OF_MONTH and "W" in term:
        return " (W, the nearest weekday, is not supported)"
    return ""


def _part(line: str) -> croniter[datetime] | None:
    # Days that must match both are joined here; days of which one must match come as two lines.
    part = croniter(line, datetime(2000, 1, 1), ret_type=datetime, day_or=False)  # noqa: DTZ001 - local times
    try:
        part.get_next(datetime)
    except CroniterBadDateError:
        return None
    return part


def _refusal(expression: object, remedy: str) -> ConfigError:
    return ConfigError("CronSchedule(expression)", expression, remedy)


@lru_cache(maxsize=1024)
def _zone(name: str) -> tzinfo:
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


def _next_fixed(cron: _Cron, zone: tzinfo, after: datetime) -> datetime | None:
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


def _next_elapsed(cron: _Cron, zone: tzinfo, after: datetime) -> datetime | None:
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


def _in_words(cron: _Cron) -> str | None:
    minute, hour = cron.minute, cron.hour
    days = _days_in_words(cron)
    if days is None:
        return None
    if len(minute.numbers) == 1 and len(hour.numbers) <= 4:
        (past,) = minute.numbers
        return f"{days} at {_listed(f'{one:02}:{past:02}' for one in sorted(hour.numbers))}"
    if days != "every day":
        return None
    if hour.is_all and (every := _every(minute, 60, "minute")):
        return every
    if len(minute.numbers) == 1 and (every := _every(hour, 24, "hour")):
        (past,) = minute.numbers
        return f"{every} at :{past:02}"
    return None


def _every(values: _Values, size: int, unit: str) -> str | None:
    if values.is_all:
        return f"every {unit}"
    step = size // len(values.numbers)
    is_even = 1 < step < size and size % step == 0 and values.numbers == frozenset(range(0, size, step))
    return f"every {step} {unit}s" if is_even else None


def _days_in_words(cron: _Cron) -> str | None:
    day, month, weekday = cron.day, cron.month, cron.weekday
    if day.is_all and month.is_all:
        return "every day" if weekday.is_all else _weekdays_in_words(weekday)
    if not weekday.is_all or len(day.numbers) + len(day.special) > 4:
        return None
    days = [str(one) for one in sorted(day.numbers)]
    if month.is_all:
        named = [f"day{'s'[: len(days) > 1]} {_listed(days)}"] if days else []
        return f"on {_listed([*named, *('the last day' for _ in day.special)])} of every month"
    if len(month.numbers) == 1 and not day.special:
        (number,) = month.numbers
        return f"every year on {_listed(days)} {_MONTHS[number - 1]}"
    return None


def _weekdays_in_words(weekday: _Values) -> str | None:
    if not weekday.special:
        if weekday.numbers == frozenset(range(1, 6)):
            return "Monday to Friday"
        return f"every {_listed(_WEEKDAYS[one] for one in sorted(weekday.numbers, key=lambda one: one or 7))}"
    one, *more = weekday.special
    if weekday.numbers or more:
        return None
    if one.startswith("L"):
        return f"on the last {_WEEKDAYS[int(one[1])]} of every month"
    nth = ("first", "second", "third", "fourth", "fifth")[int(one[2]) - 1]
    return f"on the {nth} {_WEEKDAYS[int(one[0])]} of every month"


def _listed(words: Iterable[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last


def _utc(option: str, value: datetime) -> datetime:
    instant_ms(option, value)  # refuses a naive one
    return _EPOCH if value < _EPOCH else _LAST if value > _LAST else value.astimezone(UTC)


def _keep_instant(struct: AtSchedule | Plan, field: str, option: str) -> None:
    value: datetime = getattr(struct, field)
    at_ms = instant_ms(option, value)
    if at_ms <= 0:
        raise ConfigError(option, value, "must be after 1970")
    msgspec.structs.force_setattr(struct, field, from_ms(at_ms))


def _is_count(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
