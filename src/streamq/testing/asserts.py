"""What is in a queue, and assertions about it whose messages say what is there instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from .._core import units
from .._core.lifecycle import JobState
from .._core.options import Priority
from .._core.signature import REFUSED, encode_value
from .._core.units import Seconds
from ..errors import ConfigError
from ..handler import BoundHandler
from ..info import JobInfo
from ..queue import Queue

STATES = (JobState.WAITING, JobState.DELAYED, JobState.PARKED, JobState.ACTIVE)
"""Where a job can be that has not ended."""

SHOWN = 5
"""Jobs that a message lists."""


async def enqueued(queue: Queue, job: str | BoundHandler[..., Any] | None = None) -> list[JobInfo]:
    """Return the jobs of a queue that have not ended, waiting ones first, then the delayed by their time.

    ``job``: only those of this handler, or name on the wire. Arguments are plain values, as they travel.
    """
    name = job.name if isinstance(job, BoundHandler) else job
    found: list[JobInfo] = []
    for state in STATES:
        cursor = ""
        while True:
            page = await queue.jobs(state, name=name, limit=500, cursor=cursor)
            found += page.jobs
            cursor = page.cursor
            if not cursor:
                break
    return found


async def assert_enqueued(
    queue: Queue,
    job: str | BoundHandler[..., Any],
    arguments: Mapping[str, Any] | None = None,
    /,
    *,
    count: int | None = None,
    delay: Seconds | None = None,
    at: datetime | None = None,
    priority: Priority | None = None,
    within: Seconds = 1.0,
    **more: Any,
) -> list[JobInfo]:
    """Assert that jobs of a handler are enqueued and have not ended; return those that match.

    Arguments are given by name, as ``contact_id="c_1"``; those left out may be anything, and so may a value that says
    it equals, such as ``unittest.mock.ANY``. One that is called like an option goes into the mapping ``arguments``.
    ``count``: exactly so many (None: at least one). ``delay``: due so long from now; ``at``: due at an aware instant;
    both to ``within`` seconds. The message of the `AssertionError` lists what is enqueued instead, closest first.
    """
    __tracebackhide__ = True
    wanted = await _wanted(queue, job, {**(arguments or {}), **more}, delay, at, priority, within)
    jobs = await enqueued(queue)
    matching = [one for one in jobs if not wanted.differences(one)]
    if count is None and matching:
        return matching
    if count is not None and len(matching) == count:
        return matching
    many = "no job" if not matching else f"{len(matching)} {'job' if len(matching) == 1 else 'jobs'}"
    expected = "" if count is None else f", not {count}"
    raise AssertionError(f"{many} {wanted} in queue {queue.name!r}{expected}{_instead(wanted, jobs, matching)}")


async def assert_not_enqueued(
    queue: Queue,
    job: str | BoundHandler[..., Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    /,
    **more: Any,
) -> None:
    """Assert that no job, or none of this handler with these arguments, is enqueued that has not ended."""
    __tracebackhide__ = True
    jobs = await enqueued(queue)
    if job is not None:
        wanted = await _wanted(queue, job, {**(arguments or {}), **more}, None, None, None, 1.0)
        jobs = [one for one in jobs if not wanted.differences(one)]
    if jobs:
        listed = "\n".join(f"  {_shown(one)}" for one in jobs[:SHOWN])
        rest = f"\n  and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
        raise AssertionError(f"enqueued in queue {queue.name!r}:\n{listed}{rest}")


class _Wanted(NamedTuple):
    """What a job must be like. ``due``: when, and how near it must be."""

    name: str
    arguments: Mapping[str, Any]
    due: datetime | None
    within: timedelta
    priority: Priority | None

    def __str__(self) -> str:
        said = f"{self.name!r}"
        if self.arguments:
            said += f" with {', '.join(f'{key}={value!r}' for key, value in self.arguments.items())}"
        if self.due is not None:
            said += f", due at {self.due.isoformat(timespec='milliseconds')}"
        return said + (f", priority {self.priority.name}" if self.priority is not None else "")

    def differences(self, job: JobInfo) -> list[str]:
        """Return in what a job differs, in words."""
        if job.name != self.name:
            return [f"is {job.name!r}"]
        args = job.args or {}
        found = [_difference(key, value, args) for key, value in self.arguments.items()]
        if self.due is not None and (job.due_at is None or abs(job.due_at - self.due) > self.within):
            found.append(
                "is not delayed" if job.due_at is None else f"due at {job.due_at.isoformat(timespec='milliseconds')}"
            )
        if self.priority is not None and job.priority != self.priority:
            found.append(f"priority {'unknown' if job.priority is None else job.priority.name}")
        return [one for one in found if one]

    def distance(self, job: JobInfo) -> float:
        """Return how far a job is from it: its name counts most."""
        alike = difflib.SequenceMatcher(None, self.name, job.name).ratio()
        return (1 - alike) * 100 + len(self.differences(job))


async def _wanted(
    queue: Queue,
    job: str | BoundHandler[..., Any],
    arguments: Mapping[str, Any],
    delay: Seconds | None,
    at: datetime | None,
    priority: Priority | None,
    within: Seconds,
) -> _Wanted:
    if delay is not None and at is not None:
        raise ConfigError("delay", delay, "and at= say the same thing twice; give one of them")
    due = None if at is None else units.from_ms(units.instant_ms("at", at))
    if delay is not None:
        now = await (await queue.stores())[0].session().server_ms()
        due = units.from_ms(now + units.millis("delay", delay))
    near = timedelta(seconds=units.seconds("within", within))
    return _Wanted(job if isinstance(job, str) else job.name, arguments, due, near, priority)


def _difference(key: str, value: Any, args: Mapping[str, Any]) -> str:
    if key not in args:
        return f"has no {key}"
    return "" if args[key] == value or args[key] == _plain(value) else f"{key}={args[key]!r}"


def _plain(value: Any) -> Any:
    """Return a value as it is when it has travelled: a model becomes a dict, an enum its value."""
    try:
        return msgspec.msgpack.decode(encode_value(value))
    except REFUSED:
        return value


def _instead(wanted: _Wanted, jobs: Sequence[JobInfo], matching: Sequence[JobInfo]) -> str:
    others = sorted((one for one in jobs if one not in matching), key=wanted.distance)
    if not others:
        return "" if matching else "; nothing is enqueued there"
    lines = [f"  {_shown(one)}: {', '.join(wanted.differences(one))}" for one in others[:SHOWN]]
    if len(others) > SHOWN:
        lines.append(f"  and {len(others) - SHOWN} more")
    return "; closest first, there are:\n" + "\n".join(lines)


def _shown(job: JobInfo) -> str:
    args = ", ".join(f"{key}={value!r}" for key, value in (job.args or {}).items())
    return f"{job.name}({args}) {job.state}"
