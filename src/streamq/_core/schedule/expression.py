"""Cron expressions: the text a person writes, read into numbers, checked, and matched against local times.

An expression is read here and handed to croniter as plain lists of numbers in local time without a zone. Therefore
neither the extensions of croniter (``H``, ``R``, ``?``) nor what changes between its versions moves a tick.
"""

from __future__ import annotations

import copy
import re
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from croniter import CroniterBadDateError, croniter

from ...errors import ConfigError
from .instants import LAST

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TERM = re.compile(r"(\*|[0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?(?:/([0-9]{1,2}))?")
_LAST_WEEKDAY = re.compile(r"L([0-7])|([0-7]|[A-Z]{3})L")
_NTH_WEEKDAY = re.compile(r"([0-7]|[A-Z]{3})#([1-5])")


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
        {name[:3].upper(): number for number, name in enumerate(MONTHS, 1)},
        "1 to 12 or JAN to DEC, such as 1 or 4-6 or */3",
    ),
    _Field(
        "day of week",
        0,
        7,
        {name[:3].upper(): number for number, name in enumerate(WEEKDAYS)},
        "0 to 7 (0 and 7 are Sunday) or SUN to SAT, such as 1-5 or MON#1 (first) or 5L (last)",
    ),
)
_DAY_OF_MONTH, _WEEKDAY = _FIELDS[2], _FIELDS[4]


class Values(NamedTuple):
    """What one field matches: numbers, and days that depend on the month, as croniter spells them."""

    text: str
    numbers: frozenset[int]
    special: tuple[str, ...]
    is_all: bool

    def options(self) -> list[str]:
        """Return the field as croniter reads it, one text for each kind of term, since it cannot mix them."""
        numbers = "*" if self.is_all else ",".join(map(str, sorted(self.numbers)))
        return [*([numbers] if numbers else []), *self.special]


class Cron(NamedTuple):
    minute: Values
    hour: Values
    day: Values
    month: Values
    weekday: Values
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
        return None if first is None or first.year > LAST.year else first


@lru_cache(maxsize=1024)
def compiled(expression: str) -> Cron:
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
        raise refusal(expression, "never comes: none of its months has such a day; correct the days or the months")
    is_fixed = not texts[0].startswith("*") and not texts[1].startswith("*")
    return Cron(minute, hour, day, month, weekday, parts, is_fixed)


def _split(expression: str) -> list[str]:
    text = expression.lower()
    if text.startswith("@"):
        if text in _ALIASES:
            return _ALIASES[text].split()
        if text.startswith("@every"):
            raise refusal(expression, "is no cron expression; use every= for an interval")
        near = get_close_matches(text, _ALIASES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise refusal(expression, f"{hint}known are {', '.join(_ALIASES)}")
    texts = expression.split()
    if len(texts) == 6:
        raise refusal(expression, "has six fields, but cron has no seconds; use every= for less than a minute")
    if len(texts) != 5:
        raise refusal(expression, f"has {len(texts)} fields; give minute, hour, day of month, month, day of week")
    return texts


def _values(expression: str, field: _Field, text: str) -> Values:
    numbers: set[int] = set()
    special: list[str] = []
    for term in text.upper().split(","):
        if (day := _special(field, term)) is not None:
            special.append(day)
        elif found := _numbers(field, term):
            numbers |= found
        else:
            raise refusal(expression, f"{field.name} {text!r} is wrong{_hint(field, term)}; use {field.usage}")
    is_all = len(numbers) == (7 if field is _WEEKDAY else field.high - field.low + 1)
    return Values(text, frozenset(numbers), tuple(special), is_all)


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


def refusal(expression: object, remedy: str) -> ConfigError:
    return ConfigError("CronSchedule(expression)", expression, remedy)
