"""A schedule within bounds, and which of its ticks are due: fired on time, fired late, or dropped."""

from __future__ import annotations

from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Literal

import msgspec

from ...errors import ConfigError
from ..units import Seconds, seconds
from .instants import EPOCH, is_count, keep_instant, utc
from .kinds import AtSchedule, Schedule

_INSTANT = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)

Misfire = Literal["skip", "fire_once", "catch_up"]
"""What happens to ticks that nobody fired within the grace: dropped; only the latest fired; the latest few fired."""

_MISFIRES: tuple[Misfire, ...] = ("skip", "fire_once", "catch_up")


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
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
        if not isinstance(self.schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a checker
            raise ConfigError("schedule", self.schedule, "give CronSchedule, EverySchedule or AtSchedule")
        if self.misfire not in _MISFIRES:
            near = get_close_matches(str(self.misfire), _MISFIRES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError("misfire", self.misfire, f"{hint}use one of {', '.join(map(repr, _MISFIRES))}")
        if self.limit is not None and not is_count(self.limit, 1, 2**53):
            raise ConfigError("limit", self.limit, "must be a whole number, at least 1, or None for no limit")
        if not is_count(self.catch_up, 1, 1000):
            raise ConfigError("catch_up", self.catch_up, "must be a whole number from 1 to 1000")
        grace = seconds("grace", self.grace, least=1)
        if grace > 3600:
            raise ConfigError("grace", self.grace, "must be 1 s to 3600 s; use misfire='catch_up' for longer")
        msgspec.structs.force_setattr(self, "grace", grace)
        self._check_bounds()

    def _check_bounds(self) -> None:
        for bound in ("start", "end"):
            if getattr(self, bound) is not None:
                keep_instant(self, bound, bound)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ConfigError("end", self.end, f"must be after start ({self.start:%Y-%m-%d %H:%M:%S} UTC)")
        if _next(self, EPOCH) is None:
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
    now = utc("now", now)
    left = None if plan.limit is None else plan.limit - fired
    if left is not None and left <= 0:
        return [], None
    since = EPOCH if isinstance(plan.schedule, AtSchedule) else utc("created", created)
    if last_tick is not None:
        since = max(since, utc("last_tick", last_tick))
    late_until = max(since, now - timedelta(seconds=seconds("grace", plan.grace)) - _INSTANT)
    ticks = [*_latest(plan, since, late_until, _late_ones(plan)), *_between(plan, late_until, now)][:left]
    if left is not None and len(ticks) >= left:
        return ticks, None
    return ticks, _next(plan, max(since, now))


def preview(plan: Plan, after: datetime, n: int, *, fired: int = 0) -> list[datetime]:
    """Return the next ``n`` ticks (at most 1000) strictly after ``after``; fewer if the plan ends before."""
    if not is_count(n, 0, 1000):
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
