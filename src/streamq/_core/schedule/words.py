"""Cron expressions in plain English, as far as they are common ones."""

from __future__ import annotations

from collections.abc import Iterable

from .expression import MONTHS, WEEKDAYS, Cron, Values


def in_words(cron: Cron) -> str | None:
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


def _every(values: Values, size: int, unit: str) -> str | None:
    if values.is_all:
        return f"every {unit}"
    step = size // len(values.numbers)
    is_even = 1 < step < size and size % step == 0 and values.numbers == frozenset(range(0, size, step))
    return f"every {step} {unit}s" if is_even else None


def _days_in_words(cron: Cron) -> str | None:
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
        return f"every year on {_listed(days)} {MONTHS[number - 1]}"
    return None


def _weekdays_in_words(weekday: Values) -> str | None:
    if not weekday.special:
        if weekday.numbers == frozenset(range(1, 6)):
            return "Monday to Friday"
        return f"every {_listed(WEEKDAYS[one] for one in sorted(weekday.numbers, key=lambda one: one or 7))}"
    one, *more = weekday.special
    if weekday.numbers or more:
        return None
    if one.startswith("L"):
        return f"on the last {WEEKDAYS[int(one[1])]} of every month"
    nth = ("first", "second", "third", "fourth", "fifth")[int(one[2]) - 1]
    return f"on the {nth} {WEEKDAYS[int(one[0])]} of every month"


def _listed(words: Iterable[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
