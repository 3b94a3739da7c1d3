"""How much and how fast: `RateLimit` and `Group` as users write them, `GateConfig` as it stands in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from ..errors import ConfigError
from .units import Seconds, millis, seconds

MOST = 1_000_000_000
"""Highest count, concurrency and size: more is a mistake."""

OnLimit = Literal["wait", "drop", "bury"]
"""What becomes of a job that meets a closed rate limit: it waits, is not enqueued, or is buried."""

OnConflict = Literal["queue", "drop", "cancel_running"]
"""What becomes of a job whose places are taken: it waits, is not enqueued, or those that run are cancelled."""

Key = str | Callable[[Mapping[str, Any]], str]
"""Which value a limit counts by: the name of an argument, or a function from the arguments by name to text."""

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_MONDAY_MS = 4 * _DAY_MS  # the first Monday after the epoch, a Thursday


@dataclass(frozen=True, slots=True, repr=False)
class RateLimit:
    """At most ``count`` starts in ``per`` seconds, on the server's clock, over all workers.

    ``RateLimit(50)`` is a sliding window: never more than 50 starts in any interval of one second, wherever it begins.
    That is what providers mean, and neither a fixed window (twice 50 across its edge) nor a token bucket can promise
    it, hence the default. Up to 128 it is exact to the millisecond; above, starts count until up to ``per`` / 128
    longer, never shorter.

    Attributes:
        count: Starts, or their ``cost`` in all: 1 to 1,000,000,000.
        per: Seconds or timedelta (1.0), counted in whole milliseconds, rounded up.
        burst: Makes it a token bucket of so many tokens that fills evenly with ``count`` in ``per``: starts are spread
            out, at most ``burst`` + ``count`` in any ``per``. Not with ``align``.
        align: ``"clock"`` makes it a quota that starts anew at each boundary of the clock, as some providers count:
            twice ``count`` is possible across a boundary. ``per`` must divide a day, or be a week (from Monday).
        tz: Time zone of these boundaries ("UTC"); a day begins at local midnight, whatever daylight saving does.

    Raises:
        ConfigError: for a value that cannot be right; names option, value and remedy.
    """

    count: int
    per: Seconds = 1.0
    _: KW_ONLY
    burst: int | None = None
    align: Literal["clock"] | None = None
    tz: str | None = None

    def __post_init__(self) -> None:
        whole("RateLimit(count)", self.count)
        object.__setattr__(self, "per", seconds("RateLimit(per)", self.per, least=0.001))
        if self.burst is not None:
            whole("RateLimit(burst)", self.burst)
        if self.align not in (None, "clock"):
            raise ConfigError("RateLimit(align)", self.align, 'use "clock", or leave it out for a sliding window')
        if self.align is None:
            if self.tz is not None:
                raise ConfigError("RateLimit(tz)", self.tz, 'belongs to align="clock"; a sliding window has no zone')
            return
        if self.burst is not None:
            raise ConfigError("RateLimit(burst)", self.burst, 'cannot be combined with align="clock"; choose one')
        if _DAY_MS % self.per_ms and self.per_ms != _WEEK_MS:
            raise ConfigError("RateLimit(per)", self.per, 'with align="clock" it must divide a day, or be a week')
        _zone(self.tz)

    @property
    def per_ms(self) -> int:
        """The period in milliseconds."""
        return millis("RateLimit(per)", self.per)

    @property
    def most_at_once(self) -> int:
        """The highest cost that can ever pass."""
        return self.count if self.burst is None else min(self.count, self.burst)

    def offset_ms(self, now_ms: int) -> int | None:
        """Return the offset of its boundaries in force at ``now_ms``; None for a limit that is not clock-aligned.

        Boundaries are the instants with ``(instant - offset) % per_ms == 0``. The offset follows daylight saving, so it
        is to be declared anew when it changes. Whoever counts must take a start of a window that moved by less than
        half a period for the same window: only the offset has changed.
        """
        if self.align is None:
            return None
        zone = _zone(self.tz)
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).utcoffset()
        ahead = 0 if local is None else round(local.total_seconds() * 1000)
        origin = _MONDAY_MS if self.per_ms == _WEEK_MS else 0
        return (origin - ahead) % self.per_ms

    def __repr__(self) -> str:
        """As it was written, without defaults: RateLimit(50, per=1)."""
        parts = [str(self.count), f"per={self.per:.12g}"]
        parts += [
            f"{name}={value!r}" for name in ("burst", "align", "tz") if (value := getattr(self, name)) is not None
        ]
        return f"RateLimit({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Group:
    """What holds for each group of jobs (``group=`` of a job), such as one customer's: fair turns, and limits.

    Groups take turns in proportion to their weights, so that a customer with a million jobs does not hold up one with
    ten. Everything here can be changed for a single group while workers run.

    Attributes:
        concurrency: Jobs of a group that may run at once, over all workers (None: no bound). 1 makes groups
            ordered: jobs of one priority run one after the other as they came, and a job that is retried holds the
            next ones back until it has ended.
        rate: `RateLimit` of each group (None: no bound).
        size: Jobs that may wait in a group; more are refused with `GroupFull` (None: no bound).
        weight: Share of a group (1.0): 0.001 to 1000. With 2 it gets two turns for one of the others.
        reserve: Part of a worker's places, 0 to 0.9, that groups ahead of their share leave free for the others (0.1).
            Without one, a group that fills every place makes the others wait for the end of its jobs.

    Raises:
        ConfigError: for a value that cannot be right; names option, value and remedy.
    """

    concurrency: int | None = None
    rate: RateLimit | None = None
    size: int | None = None
    weight: float = 1.0
    reserve: float = 0.1

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            whole("Group(concurrency)", self.concurrency)
        if self.rate is not None:
            rate_limit("Group(rate)", self.rate)
        if self.size is not None:
            whole("Group(size)", self.size)
        _share("Group(weight)", self.weight, 0.001, 1000)
        _share("Group(reserve)", self.reserve, 0, 0.9)

    @property
    def ordered(self) -> bool:
        """Whether jobs of a group run one after the other."""
        return self.concurrency == 1

    def __repr__(self) -> str:
        """As it was written, without defaults: Group(concurrency=5)."""
        given = [(one, getattr(self, one)) for one in ("concurrency", "rate", "size", "weight", "reserve")]
        return f"Group({', '.join(f'{name}={value!r}' for name, value in given if value != _GROUP_DEFAULTS[name])})"


_GROUP_DEFAULTS = {"concurrency": None, "rate": None, "size": None, "weight": 1.0, "reserve": 0.1}


class GateConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is declared for a gate or a class of gates, as it stands in Redis. None: nothing is said about it.

    ``concurrency``; ``count`` in ``per_ms``, as a token bucket with ``burst``, as windows on the clock with
    ``offset_ms``, else sliding; ``weight`` and ``size`` of a group; ``paused`` 1; ``reserve`` part of a worker.
    A negative concurrency or count says: no bound, whatever the class says.
    """

    concurrency: int | None = msgspec.field(name="c", default=None)
    count: int | None = msgspec.field(name="n", default=None)
    per_ms: int | None = msgspec.field(name="p", default=None)
    burst: int | None = msgspec.field(name="b", default=None)
    offset_ms: int | None = msgspec.field(name="o", default=None)
    weight: float | None = msgspec.field(name="w", default=None)
    size: int | None = msgspec.field(name="s", default=None)
    paused: int | None = msgspec.field(name="x", default=None)
    reserve: float | None = msgspec.field(name="v", default=None)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(GateConfig).decode


def config(
    rate: RateLimit | None = None, *, concurrency: int | None = None, group: Group | None = None, now_ms: int
) -> GateConfig:
    """Return what a gate with these limits is declared as; a ``group`` brings its own."""
    weight = size = reserve = None
    if group is not None:
        rate, concurrency, size = group.rate, group.concurrency, group.size
        weight = None if group.weight == 1 else float(group.weight)
        reserve = float(group.reserve) or None
    if rate is None:
        return GateConfig(concurrency=concurrency, weight=weight, size=size, reserve=reserve)
    return GateConfig(
        concurrency=concurrency,
        count=rate.count,
        per_ms=rate.per_ms,
        burst=rate.burst,
        offset_ms=rate.offset_ms(now_ms),
        weight=weight,
        size=size,
        reserve=reserve,
    )


def whole(option: str, value: object) -> int:
    """Return a count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ConfigError(option, value, f"give a whole number from 1 to {MOST:,}")
    return value


def rate_limit(option: str, value: object) -> RateLimit:
    """Return ``value`` if it is a `RateLimit`; a bare number would leave open per how long."""
    if not isinstance(value, RateLimit):
        raise ConfigError(option, value, "give RateLimit(count, per=seconds)")
    return value


def _share(option: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(option, value, f"give a number from {least:g} to {most:,g}")


def _zone(name: str | None) -> tzinfo:
    if name is None or name == "UTC":
        return UTC  # needs no time zone data
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:  # a folder, such as "Europe": OSError
        remedy = "use an IANA name, such as 'Europe/Athens' (the package tzdata has them if the system has not)"
        raise ConfigError("RateLimit(tz)", name, remedy) from error
