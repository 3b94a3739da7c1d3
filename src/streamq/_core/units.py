"""Durations and instants as users write them, to the whole milliseconds the store keeps."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from ..errors import ConfigError

Seconds = float | timedelta
"""A duration: seconds as a number, or a `timedelta`."""

MAX_SECONDS = 10 * 366 * 86_400.0
"""Ten years: anything longer is a unit mistake (milliseconds given for seconds)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000
"""The last second of the year 9999."""


def seconds(option: str, value: Seconds, *, least: float = 0.0) -> float:
    """Return ``value`` in seconds, or raise `ConfigError` naming ``option``.

    Refuses negatives, NaN, booleans and durations over ten years, which are always milliseconds by mistake.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(option, value, "give seconds as a number, or a timedelta")
    if math.isnan(value) or value < least:
        raise ConfigError(option, value, f"must be at least {least:g} s")
    if value > MAX_SECONDS:
        raise ConfigError(option, value, "is over ten years; streamq counts in seconds, not milliseconds")
    return float(value)


def millis(option: str, value: Seconds, *, least: float = 0.0) -> int:
    """Return ``value`` in whole milliseconds, rounded up so that nothing happens early."""
    ms = seconds(option, value, least=least) * 1000
    whole = round(ms)
    # What is whole but for the error of the product stays so; that error grows with the value.
    return whole if abs(ms - whole) <= max(5e-7, 2 * math.ulp(ms)) else math.ceil(ms)


def instant_ms(option: str, value: datetime) -> int:
    """Return an aware ``value`` in milliseconds since the epoch, rounded up; refuses naive datetimes."""
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(option, value, "give an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ConfigError(option, value, "is naive; add a time zone, such as value.replace(tzinfo=UTC)")
    ms, rest = divmod(value - _EPOCH, timedelta(milliseconds=1))
    return ms + bool(rest)


def from_ms(value: int) -> datetime:
    """Return the instant ``value`` milliseconds after the epoch, in UTC; what no datetime can hold becomes the last."""
    return _EPOCH + timedelta(milliseconds=min(max(value, 0), _LAST_MS))


UNITS: dict[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
"""Seconds in each unit that a duration may be written with."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str) -> float:
    """Return the seconds in "90s", "5m", "1h30m", "2d", "250ms", or a plain number of seconds.

    Raises:
        ValueError: It is none of these.
    """
    cleaned = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", cleaned):
        return float(cleaned)
    parts = _PART.findall(cleaned)
    if not parts or "".join(number + unit for number, unit in parts) != cleaned:
        raise ValueError(f"no duration: {text!r}")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
