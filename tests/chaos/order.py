"""Rule 10: where nothing went wrong, the better priority starts first, and of one priority who came first. Pure.

Of two jobs it is certain which was there first when one was acknowledged before the other was sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.chaos.runs import Run
from tests.chaos.windows import FOR_EVER, Window
from tests.ledger import Line

SLACK = 1.0
"""Seconds by which a worker may start a job late that it was given in time: it holds a few ready."""


class Wait(NamedTuple):
    """A job that waited for nothing but its turn: ``sent``, ``acked`` to its producer, ``start`` of its first run."""

    job: str
    lane: int
    sent: float
    acked: float
    start: float


def waits_of(lines: Sequence[Line], runs: Mapping[str, Sequence[Run]]) -> list[Wait]:
    """Return the jobs whose producer noted a lane: neither delayed nor in a group."""
    sent = {line.job: line for line in lines if line.what == "try" and line.more.get("lane") is not None}
    acked = {line.job: line.at for line in lines if line.what == "ok"}
    return [
        Wait(job, int(line.more["lane"]), line.at, acked[job], runs[job][0].start)
        for job, line in sent.items()
        if job in acked and job in runs
    ]


def calm(waits: Sequence[Wait], windows: Sequence[Window], after: float) -> list[Wait]:
    """Return those whose whole wait nothing disturbed; a process that is away is felt for ``after`` seconds."""
    spans = [(one.since, one.since + after if one.until == FOR_EVER else one.until) for one in windows]
    spans.sort()
    found: list[Wait] = []
    latest, at = -1.0, 0
    for wait in sorted(waits, key=lambda one: one.start):
        while at < len(spans) and spans[at][0] <= wait.start:
            latest = max(latest, spans[at][1])
            at += 1
        if latest < wait.sent:
            found.append(wait)
    return found


def overtaken(waits: Sequence[Wait]) -> Iterator[str]:
    """Tell each job that was overtaken: one that was sent when it was there already, in no better lane, started first.

    A job's rivals are those that were sent after it was acknowledged. They are looked through by their starts.
    """
    by_sent = sorted(waits, key=lambda one: -one.sent)
    for lane in range(5):
        rivals: list[tuple[float, str, int]] = []
        at = 0
        for wait in sorted((one for one in waits if one.lane == lane), key=lambda one: -one.acked):
            while at < len(by_sent) and by_sent[at].sent > wait.acked:
                if by_sent[at].lane >= lane:
                    heapq.heappush(rivals, (by_sent[at].start, by_sent[at].job, by_sent[at].lane))
                at += 1
            if rivals and rivals[0][0] < wait.start - SLACK:
                start, job, other = rivals[0]
                yield f"{wait.job} (lane {lane}) started {wait.start - start:.2f} s after {job} (lane {other})"
