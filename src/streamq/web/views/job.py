"""One job: heading, timeline, attempts, what can be done to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ...info import AttemptInfo, JobInfo
from . import states, traces, words

WIDE = 640.0
"""Pixels of the timeline."""


class Segment(NamedTuple):
    """A part of the timeline. ``kind``: waited, ran, paused (between attempts), running; ``failed``: a run that did."""

    kind: str
    label: str
    seconds: float
    x: float
    width: float
    failed: bool
    number: int


class Timeline(NamedTuple):
    """The life of a job in order. ``said`` sums it up."""

    said: str
    begin: datetime | None
    end: datetime | None
    parts: list[Segment]


class Attempt(NamedTuple):
    """One attempt as it is shown; ``trace``: (kind, text) lines."""

    number: int
    type: str
    message: str
    worker: str
    release: str
    began: datetime
    at: datetime
    ran: str
    trace: list[tuple[str, str]]
    folded: str


class Deed(NamedTuple):
    """Something that can be done to a job in its state. ``asks``: it opens a dialog first."""

    act: str
    label: str
    asks: bool
    main: bool
    danger: bool
    key: str = ""


def heading(info: JobInfo, why: str, now: datetime) -> str:
    """Return what became of the job: "delivery:send is dead after 5 attempts"."""
    state = states.shown(info)
    runs = words.count(info.attempts, "attempt")
    took = f" in {words.duration(info.duration)}" if info.duration is not None else ""
    said = {
        "dead": f"is dead after {runs}" if info.attempts else "is dead, it never ran",
        "completed": f"completed{took}",
        "cancelled": "expired before it could start" if str(info.state) == "expired" else "was cancelled",
        "active": f"runs on {words.worker(info.worker)}" if info.worker else "runs",
        "retrying": f"tries again {words.until(info.due_at, now)}, after {runs}",
        "delayed": f"is delayed, {_due(info, now)}",
        "parked": "is parked: no worker knows this handler",
    }.get(state, why if why.startswith("waits") else f"is {state}")
    return f"{info.name or 'This job'} {said}"


def _due(info: JobInfo, now: datetime) -> str:
    return f"due {words.until(info.due_at, now)}" if info.due_at and info.due_at > now else "due now"


def deeds(info: JobInfo) -> list[Deed]:
    """Return what can be done to the job in its state; what makes no sense is absent."""
    state = states.shown(info)
    again = Deed("job-edit", "Retry with changes…", asks=True, main=False, danger=False, key="e")
    twin = Deed("job-duplicate", "Duplicate…", asks=True, main=False, danger=False)
    gone = Deed("job-remove", "Remove…", asks=True, main=False, danger=True)
    stop = Deed("job-cancel", "Cancel", asks=False, main=False, danger=False)
    has_payload = [twin] if info.args is not None else []
    if state == "dead":
        retry = Deed("job-retry", "Retry", asks=False, main=True, danger=False, key="r")
        return [retry, *([again] if info.args is not None else []), *has_payload, gone]
    if state in {"delayed", "retrying"}:
        now = Deed("job-promote", "Run now", asks=False, main=True, danger=False, key="r")
        return [now, *has_payload, stop, gone]
    if state == "active":
        return [*has_payload, Deed("job-cancel", "Cancel…", asks=True, main=False, danger=True)]
    if state in {"waiting", "parked", "blocked"}:
        return [*has_payload, stop, gone]
    return has_payload


def timeline(info: JobInfo, now: datetime, running: float | None = None) -> Timeline:
    """Return the life of a job; ``running``: seconds since the attempt under way began, if one is."""
    found: list[tuple[str, str, float, bool, int]] = []
    before = info.created_at
    for error in info.errors:
        began = error.at.timestamp() - error.duration
        if before is not None and (gap := began - before.timestamp()) > 0:
            missing = error.attempt - (found[-1][4] if found else 0) > 1
            found.append((_between(found, missing=missing), "", gap, False, found[-1][4] if found else 0))
        found.append(("ran", "ran", error.duration, True, error.attempt))
        before = error.at
    found += _latest(info, now, before, running)
    shares = [math.sqrt(max(seconds, 0.0)) + 0.3 for _, _, seconds, _, _ in found]
    room, total, x = WIDE - 3 * max(0, len(found) - 1), sum(shares) or 1.0, 0.0
    parts: list[Segment] = []
    for (kind, label, seconds, failed, number), share in zip(found, shares, strict=True):
        width = max(6.0, room * share / total)
        parts.append(Segment(kind, label, seconds, round(x, 1), round(width, 1), failed, number))
        x += width + 3
    end = info.finished_at
    return Timeline(_summed(parts), info.created_at, end, parts)


def _between(found: Sequence[tuple[str, str, float, bool, int]], *, missing: bool) -> str:
    if not found:
        return "waited"
    return "unkept" if missing else "paused"


def _latest(
    info: JobInfo, now: datetime, before: datetime | None, running: float | None
) -> list[tuple[str, str, float, bool, int]]:
    """Return what came after the last failure that was kept."""
    state, last = states.shown(info), info.attempts
    found: list[tuple[str, str, float, bool, int]] = []
    if state == "completed" and info.duration is not None:
        began = info.finished_at.timestamp() - info.duration if info.finished_at else None
        if before is not None and began is not None and began > before.timestamp():
            kind = "paused" if info.errors else "waited"
            found.append((kind, "", began - before.timestamp(), False, 0))
        found.append(("ran", "ran", info.duration, False, last or 1))
    elif state == "active":
        since = (now - before).total_seconds() if before else 0.0
        if running is not None:
            if since > running:
                found.append(("paused" if info.errors else "waited", "", since - running, False, 0))
            found.append(("running", "runs", running, False, last + 1))
    elif not states.is_over(str(info.state)) and before is not None:
        kind = "paused" if info.errors else "waited"
        found.append((kind, "so far", max(0.0, (now - before).total_seconds()), False, 0))
    return found


def _summed(parts: Sequence[Segment]) -> str:
    def total(*kinds: str) -> float:
        return sum(one.seconds for one in parts if one.kind in kinds)

    ran, paused, waited = total("ran", "running"), total("paused", "unkept"), total("waited")
    said = [
        f"{words.duration(seconds)} {what}"
        for seconds, what in ((ran, "running"), (paused, "between attempts"), (waited, "waiting"))
        if seconds > 0
    ]
    whole = words.duration(ran + paused + waited)
    return f"{whole} in all: {', '.join(said)}" if len(said) > 1 else (said[0] if said else "")


def attempts(errors: Sequence[AttemptInfo]) -> list[Attempt]:
    """Return the attempts that failed, newest first."""
    found: list[Attempt] = []
    for one in sorted(errors, key=lambda error: error.attempt, reverse=True):
        trace, folded = traces.folded(one.traceback)
        began = datetime.fromtimestamp(one.at.timestamp() - one.duration, one.at.tzinfo)
        ran = words.duration(one.duration)
        found.append(
            Attempt(one.attempt, one.type, one.message, one.worker, one.release, began, one.at, ran, trace, folded)
        )
    return found


def unkept(errors: Sequence[AttemptInfo], attempts_made: int) -> int:
    """Return how many failed attempts left no trace: the first and the latest nine are kept."""
    return max(0, max([attempts_made, *(one.attempt for one in errors)]) - len(errors)) if errors else 0
