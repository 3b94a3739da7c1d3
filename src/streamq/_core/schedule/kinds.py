"""Anything with ticks: cron expressions in a time zone, intervals, single instants."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ...errors import ConfigError
from ..units import Seconds, millis, seconds
from .expression import compiled, refusal
from .instants import EPOCH, LAST, keep_instant, utc
from .words import in_words
from .zones import next_elapsed, next_fixed, zone_named

MIN_EVERY = 0.1
"""Shortest interval in seconds. Clocks of machines differ by about as much, and each tick costs a round trip."""


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
        if not isinstance(self.expression, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a checker
            raise refusal(self.expression, "give text such as '0 2 * * *'")
        if len(self.expression) > 1000:
            raise refusal(f"{self.expression[:50]}...", "is over 1000 characters")
        if not isinstance(self.tz, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a checker
            raise ConfigError("CronSchedule(tz)", self.tz, "give the name of a time zone, such as 'Europe/Athens'")
        # One definition, one text: spaces must not make it look changed.
        msgspec.structs.force_setattr(self, "expression", " ".join(self.expression.split()))
        compiled(self.expression)
        zone_named(self.tz)

    def next(self, after: datetime) -> datetime | None:
        """Return the first tick strictly after ``after``, in UTC; None if there is none within 50 years."""
        after = utc("after", after)
        if after >= LAST:
            return None
        cron, zone = compiled(self.expression), zone_named(self.tz)
        return next_fixed(cron, zone, after) if cron.is_fixed else next_elapsed(cron, zone, after)

    def words(self) -> str:
        """Return the schedule in plain English if it is a common one, otherwise its expression; without time zone."""
        return in_words(compiled(self.expression)) or f"cron {self.expression}"

    def describe(self) -> str:
        """Return `words` with the time zone."""
        return f"{self.words()} {self.tz}"

    def note(self, tick: datetime) -> str:
        """Return what is odd about ``tick`` because clocks change there: in which pass it is, or what it stands for."""
        cron, zone = compiled(self.expression), zone_named(self.tz)
        local = utc("tick", tick).astimezone(zone)
        if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            which = "second" if local.fold else "first"
            return f"clocks go back: {local:%H:%M} comes twice, this is the {which}"
        if cron.is_fixed and (local.minute not in cron.minute.numbers or local.hour not in cron.hour.numbers):
            return f"clocks go forward: the time of this run is skipped, so it runs at {local:%H:%M}"
        return ""


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
        after = utc("after", after)
        if after >= LAST:
            return None
        every = timedelta(milliseconds=millis("seconds", self.seconds))
        return EPOCH + ((after - EPOCH) // every + 1) * every

    def words(self) -> str:
        """Return the schedule in plain English."""
        every = seconds("seconds", self.seconds)
        for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if every % size == 0:
                count = int(every // size)
                return f"every {unit}" if count == 1 else f"every {count} {unit}s"
        return f"every {every:g} seconds"

    def describe(self) -> str:
        """Return the same as `words`: an interval has no time zone."""
        return self.words()

    def note(self, tick: datetime) -> str:
        """Return nothing: elapsed time is never odd."""
        del tick
        return ""


class AtSchedule(msgspec.Struct, frozen=True, tag="a", array_like=True):
    """Due once, at the aware instant ``at``, rounded up to the millisecond."""

    at: datetime

    def __post_init__(self) -> None:
        keep_instant(self, "at", "AtSchedule(at)")

    def next(self, after: datetime) -> datetime | None:
        """Return the instant if it is strictly after ``after``, otherwise None."""
        return self.at if self.at > utc("after", after) else None

    def words(self) -> str:
        """Return the schedule in plain English; without time zone."""
        return f"once at {self.at:%Y-%m-%d %H:%M:%S}"

    def describe(self) -> str:
        """Return `words` with the time zone, UTC."""
        return f"{self.words()} UTC"

    def note(self, tick: datetime) -> str:
        """Return nothing: an instant is never odd."""
        del tick
        return ""


Schedule = CronSchedule | EverySchedule | AtSchedule
"""Anything with ticks."""
