"""The words that requests are made of: types with their checks, and how they are read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from ..._core.options import Priority
from ..._core.units import parse_duration
from ...errors import ConfigError

Level = Literal["critical", "high", "normal", "low", "background"]
"""A lane."""

Listed = Literal["waiting", "active", "delayed", "parked", "completed", "dead"]
"""A state whose jobs can be listed."""

LISTED: tuple[Listed, ...] = ("waiting", "active", "delayed", "parked", "completed", "dead")

Age = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?((ms|s|m|h|d|w)([0-9]{1,6}(ms|s|m|h|d|w))*)?$",
        description="A duration: 250ms, 90s, 5m, 1h30m, 2d, or seconds.",
        examples=["90s", "1h30m"],
    ),
]
"""A duration as people write it."""

Lapse = Annotated[float, Meta(ge=0, le=315_000_000, description="Seconds.")] | Age
"""A duration: seconds, or as people write it."""

Instant = Annotated[datetime, Meta(tz=True, description="An instant with its time zone.")]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:/@\-]{1,200}$", description="A name of a handler or a schedule.")]

Text = Annotated[str, Meta(min_length=1, max_length=200)]
"""An id, a tenant."""

Needle = Annotated[str, Meta(max_length=500)]
"""What is looked for; '' for anything."""

Limit = Annotated[int, Meta(ge=1, le=500, description="Most items of the page.")]

Cursor = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9:/\-]{0,100}$", description="Where an earlier page stopped; '' for the first.")
]

Reason = Annotated[str, Meta(max_length=500)]


def lapse(option: str, value: float | str | None) -> float | None:
    """Return a duration in seconds; None and '' stay None. Raises `ConfigError`."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError:
            raise ConfigError(option, value, "write 250ms, 90s, 5m, 1h30m, 2d, or seconds") from None
    return value


def priority(level: Level | None) -> Priority | None:
    """Return the lane of that name."""
    return None if level is None else Priority[level.upper()]


def level(lane: Priority | None) -> Level | None:
    """Return the name of a lane."""
    return None if lane is None else LEVELS[lane]


LEVELS: dict[Priority, Level] = {
    Priority.CRITICAL: "critical",
    Priority.HIGH: "high",
    Priority.NORMAL: "normal",
    Priority.LOW: "low",
    Priority.BACKGROUND: "background",
}
