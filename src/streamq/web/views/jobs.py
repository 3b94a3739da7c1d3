"""Lists of jobs: headings, rows, what was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ...info import JobInfo
from . import payload, states, words
from .filters import JobFilter


class Row(NamedTuple):
    """One job of a list. ``pieces``: its payload in one line, as (key, value, hidden)."""

    id: str
    queue: str
    state: str
    name: str
    pieces: list[tuple[str, str, bool]]
    error: str
    tenant: str
    attempts: str
    when: str
    at: datetime | None


class Found(NamedTuple):
    """What a search came to. ``total``: how many there are in the states looked at; None: not known."""

    jobs: Sequence[JobInfo]
    looked_at: int
    is_whole: bool
    total: int | None
    ms: float


def row(info: JobInfo, now: datetime) -> Row:
    """Return a job, its payload cleaned, as a row of a list."""
    state = states.shown(info)
    said, at = _when(info, state, now)
    return Row(
        info.id,
        info.queue,
        state,
        info.name,
        payload.pieces(info.args),
        last_error(info),
        info.tenant or "",
        attempts(info),
        said,
        at,
    )


def attempts(info: JobInfo) -> str:
    """Return "5 of 5", or how many alone when the most is the handler's affair."""
    return f"{info.attempts} of {info.max_attempts}" if info.max_attempts else str(info.attempts)


def last_error(info: JobInfo) -> str:
    """Return the last error of a job in one line, or the reason it ended for."""
    if info.errors:
        last = info.errors[-1]
        return words.cut(f"{last.type}: {last.message}" if last.message else last.type, 200)
    return words.cut(info.reason, 200)


def _when(info: JobInfo, state: str, now: datetime) -> tuple[str, datetime | None]:
    """Return the time that matters for a state."""
    if state in {"delayed", "retrying"}:
        return (f"due {words.until(info.due_at, now)}" if info.due_at and info.due_at > now else "due"), info.due_at
    if state == "active":
        return (f"seen {words.duration(info.idle)} ago" if info.idle is not None else "running"), None
    if state in {"completed", "dead", "cancelled"}:
        return words.ago(info.finished_at, now), info.finished_at
    return (f"since {words.duration((now - info.created_at).total_seconds())}" if info.created_at else ""), (
        info.created_at
    )


WHEN_HEAD = {
    "active": "Last sign of life",
    "waiting": "Waits",
    "retrying": "Tries again",
    "delayed": "Due",
    "parked": "Waits",
    "dead": "Died",
    "completed": "Completed",
}


def heading(wanted: JobFilter, found: Found) -> str:
    """Return the page's answer: "1,240 dead jobs match"."""
    state = f"{wanted.state} " if wanted.state else ""
    if wanted.is_open:
        if found.total is None:
            return f"{state.capitalize()}jobs"
        if not found.total:
            return f"No {state}jobs"
        return words.count(found.total, f"{state}job")
    number = len(found.jobs)
    if not number:
        return f"No {state}job matches" if found.is_whole else f"No {state}job matches so far"
    verb = "matches" if number == 1 else "match"
    more = "" if found.is_whole else "at least "
    text = f"{more}{words.count(number, f'{state}job')} {verb}"
    return text[:1].upper() + text[1:]


def looked(wanted: JobFilter, found: Found) -> str:
    """Return the foot: how far the search came, so that no number is taken for more than it is."""
    took = f"Found in {words.duration(found.ms / 1000)}; " if found.jobs else ""
    state = f"{wanted.state} " if wanted.state else ""
    if wanted.is_open:
        total = "" if found.total is None else f" of {found.total:,}"
        return f"{words.count(len(found.jobs), f'{state}job')} shown{total}."
    if found.is_whole:
        return f"{took}looked at all {words.count(found.looked_at, f'{state}job')}."
    of = "" if found.total is None else f" of {found.total:,}"
    return f"{took}looked at {words.count(found.looked_at, f'{state}job')}{of}; there may be more."


def one_error(jobs: Sequence[JobInfo]) -> str:
    """Return the type of the error that all of some jobs died of; '' when they differ."""
    kinds = {info.errors[-1].type if info.errors else "" for info in jobs}
    return next(iter(kinds)) if len(kinds) == 1 and len(jobs) > 1 else ""


def strip(counts: Any, selected: str) -> list[tuple[str, int | None, bool]]:
    """Return the state strip: state, how many, whether it is the one shown."""
    numbers: dict[str, int | None] = {name: getattr(counts, name, None) for name in states.LISTED}
    return [(name, numbers[name], name == selected) for name in states.LISTED]
