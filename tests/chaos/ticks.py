"""Ticks of the schedule of a chaos run: none is missing but where the server lost its data or its time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tests.chaos.windows import Window
from tests.ledger import Line

SCHEDULE = "tick"
SLACK = 10.0
"""Seconds before and after a fault in which a tick may be missing: until a scheduler noticed that it is forgotten."""

EXCUSED = ("FLUSHALL", "power loss", "clock")


def is_tick(job: str) -> bool:
    """Whether a job is one of a schedule."""
    return job.startswith(f"{SCHEDULE}@")


def instant(job: str) -> datetime:
    """Return which tick a job is of."""
    return datetime.fromisoformat(job.partition("@")[2].removesuffix("Z")).replace(tzinfo=UTC)


def job_of(tick: datetime) -> str:
    """Return the job of a tick, in whole seconds."""
    return f"{SCHEDULE}@{tick:%Y-%m-%dT%H:%M:%S}Z"


def missing(completed: Collection[str], lines: Sequence[Line], windows: Sequence[Window], period: float) -> list[str]:
    """Return ticks between the first and the last that never ran. ``period`` in seconds; 0: there is no schedule."""
    if not period:
        return []
    wall = next((line.more["wall"] - line.at for line in lines if line.what == "fault"), 0.0)
    excused = [
        (window.since + wall - SLACK, window.until + wall + SLACK)
        for window in windows
        if window.kind.startswith(EXCUSED)
    ]
    ran = sorted({instant(job) for job in completed if is_tick(job)})
    found: list[str] = []
    for one, other in pairwise(ran):
        tick = one + timedelta(seconds=period)
        while tick < other:
            at = tick.timestamp()
            if not any(since <= at <= until for since, until in excused):
                found.append(job_of(tick))
            tick += timedelta(seconds=period)
    return found
