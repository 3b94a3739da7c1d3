"""The overview: which queues need somebody, why, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ..._core.health import Reason
from ...reading import Counts, WorkerInfo
from . import bars, charts, states, words

SHOWN = 5
"""Verdicts on the page; the rest is a number."""


class Verdict(NamedTuple):
    """What is wrong with one queue, and the next step. ``does``: which page or dialog the button opens."""

    queue: str
    level: str
    fact: str
    rest: str
    command: str
    does: str
    label: str


class QueueFacts(NamedTuple):
    """What was read of one queue. ``problem``: why there is nothing."""

    name: str
    counts: Counts | None
    workers: Sequence[WorkerInfo]
    series: Sequence[charts.Minute]
    reasons: Sequence[Reason]
    p95: float | None = None
    problem: str = ""

    @property
    def alive(self) -> list[WorkerInfo]:
        """Workers that are heard of."""
        return [one for one in self.workers if one.alive]

    @property
    def lost(self) -> list[WorkerInfo]:
        """Workers that are not."""
        return [one for one in self.workers if not one.alive]


class Row(NamedTuple):
    """One queue of the table."""

    name: str
    level: str
    counts: Mapping[str, int]
    parts: list[bars.Part]
    told: str
    workers: str
    trend: charts.Trend
    chart: charts.Gap | None
    oldest: str
    is_old: bool
    died: int | None
    said: str


class Totals(NamedTuple):
    """The four facts above the table; None for what no counter tells."""

    arrived: float | None
    completed: float | None
    p95: float | None
    died: float | None
    busy: int
    slots: int
    workers: int
    lost: int


def numbers(counts: Counts | None) -> dict[str, int]:
    """Return the counts that a bar shows; what is due already counts as waiting, as it does for who waits for it."""
    if counts is None:
        return {}
    return {
        "active": counts.active,
        "waiting": counts.waiting,
        "delayed": counts.delayed,
        "parked": counts.parked,
        "dead": counts.dead,
    }


def level(facts: QueueFacts) -> str:
    """Return the level a queue is at: paused unless something else is graver."""
    if facts.counts is None:
        return "critical"
    resting = {"paused", "workers"} if facts.counts.paused else set[str]()
    found = {str(one.level) for one in facts.reasons if one.what not in resting}
    if "critical" in found:
        return "critical"
    if facts.lost or _is_parked(facts) or "warning" in found:
        return "paused" if facts.counts.paused and not facts.lost and "warning" not in found else "warning"
    return "paused" if facts.counts.paused else "ok"


def _is_parked(facts: QueueFacts) -> bool:
    return facts.counts is not None and facts.counts.parked > 0


def ordered(all_facts: Sequence[QueueFacts]) -> list[QueueFacts]:
    """Return the queues, worst first, then by name."""
    return sorted(all_facts, key=lambda one: (states.LEVELS.index(level(one)), one.name))


def verdict(facts: QueueFacts, now: datetime) -> Verdict | None:
    """Return what is to be said of a queue; None when all is well."""
    grade = level(facts)
    counts = facts.counts
    if counts is None:
        return Verdict(facts.name, "critical", "It cannot be read", facts.problem, "", "server", "See the server")
    if grade == "ok":
        return None
    if counts.paused and grade == "paused":
        return _paused(facts, counts, now)
    reasons = sorted(facts.reasons, key=lambda one: str(one.level) != "critical")
    first = next((one for one in reasons if one.what != "paused"), None)
    if first is not None:
        return _reason(facts, first, more=len(reasons) - 1)
    if facts.lost:
        names = words.listed([one.name for one in facts.lost[:3]])
        silent = words.count(len(facts.lost), "worker")
        rest = f"{names}. Another worker takes over their jobs by itself."
        return Verdict(facts.name, grade, f"{silent} went silent", rest, "", "workers", "See the workers")
    parked = words.count(counts.parked, "job")
    rest = "no worker that is connected knows their handler."
    return Verdict(facts.name, grade, f"{parked} parked", rest, "", "parked", "See them")


def _paused(facts: QueueFacts, counts: Counts, now: datetime) -> Verdict:
    when = f" {words.ago(counts.paused_at, now)}" if counts.paused_at else ""
    why = f": “{counts.pause_reason}”." if counts.pause_reason else "."
    rest = f"{why} {words.count(counts.waiting + counts.due, 'job')} wait."
    return Verdict(facts.name, "paused", f"Paused{when}", rest, "", "resume", "Resume…")


_DOES = {
    "size": ("waiting", "See what waits"),
    "oldest": ("waiting", "See what waits"),
    "failed": ("retrying", "See the errors"),
    "error_rate": ("dead", "See the errors"),
    "stalled": ("workers", "See the workers"),
    "dead": ("dead", "See the errors"),
    "workers": ("workers", "See the workers"),
    "redis": ("server", "See the server"),
}


def _reason(facts: QueueFacts, reason: Reason, *, more: int) -> Verdict:
    does, label = _DOES.get(reason.what, ("queue", "See the queue"))
    said = reason.said[:1].upper() + reason.said[1:]
    fact, comma, rest = said.partition(", limit")
    tail = f"{comma}{rest}." if comma else "."
    if more:
        tail += f" {words.count(more, 'more reason')} on its page."
    step = reason.do.rpartition(": ")[2] if "streamq " in reason.do else ""
    return Verdict(facts.name, str(reason.level), fact, tail, step, does, label)


def heading(all_facts: Sequence[QueueFacts]) -> str:
    """Return the page's answer: "2 of 5 queues need you, 1 is paused"."""
    if not all_facts:
        return "No queue yet"
    levels = [level(one) for one in all_facts]
    needy = sum(one in {"critical", "warning"} for one in levels)
    paused = sum(one.counts is not None and one.counts.paused for one in all_facts)
    resting = f"{paused} {'is' if paused == 1 else 'are'} paused"
    if not needy:
        all_of = "The queue is" if len(levels) == 1 else f"All {len(levels)} queues are"
        if paused == len(levels):
            return f"{all_of} paused"
        return f"{len(levels) - paused} of {len(levels)} queues are well, {resting}" if paused else f"{all_of} well"
    if len(levels) == 1:
        return "The queue needs you" + (", it is paused" if paused else "")
    head = f"{needy} of {len(levels)} queues need{'s' if needy == 1 else ''} you"
    return f"{head}, {resting}" if paused else head


def row(facts: QueueFacts) -> Row:
    """Return a queue as a row of the table."""
    counted = numbers(facts.counts)
    counts = facts.counts
    is_paused = counts is not None and counts.paused
    waiting = (counts.waiting + counts.due) if counts else 0
    grade = level(facts)
    lost = f", {len(facts.lost)} lost" if facts.lost else ""
    too_old = any(one.what == "oldest" for one in facts.reasons)
    return Row(
        facts.name,
        grade,
        counted,
        bars.parts(counted, 274.0),
        bars.told(counted),
        (words.count(len(facts.alive), "worker") if facts.alive else "no worker") + lost,
        charts.trend(facts.series, waiting, paused=is_paused),
        charts.gap(facts.series, 112.0, 26.0),
        words.duration(counts.oldest) if counts and counts.oldest is not None else words.NONE,
        too_old,
        sum(one.dead for one in facts.series) if facts.series else None,
        str(facts.reasons[0]) if facts.reasons else "",
    )


def totals(all_facts: Sequence[QueueFacts]) -> Totals:
    """Return the four facts. A worker of several queues is one worker."""
    workers = {one.name: one for facts in all_facts for one in facts.workers}
    alive = [one for one in workers.values() if one.alive]
    rates = [_recent(facts.series) for facts in all_facts if facts.series]
    waits = [facts.p95 for facts in all_facts if facts.p95 is not None]
    return Totals(
        sum(one[0] for one in rates) if rates else None,
        sum(one[1] for one in rates) if rates else None,
        max(waits) if waits else None,
        sum(one[2] for one in rates) if rates else None,
        sum(one.active for one in alive),
        sum(one.concurrency for one in alive),
        len(alive),
        len(workers) - len(alive),
    )


def _recent(series: Sequence[charts.Minute]) -> tuple[float, float, float]:
    recent = [*series][-charts.LOOKED_AT - 1 : -1] or [*series]
    many = len(recent) or 1
    return (
        sum(one.arrived for one in recent) / many,
        sum(one.completed for one in recent) / many,
        sum(one.dead for one in recent) / many,
    )


class Sum(NamedTuple):
    """One minute of several queues together."""

    arrived: int
    completed: int
    dead: int


def together(all_facts: Sequence[QueueFacts]) -> list[Sum]:
    """Return the series of all queues added up, minute by minute from the last backwards."""
    longest = max((len(facts.series) for facts in all_facts), default=0)
    found: list[Sum] = []
    for back in range(longest, 0, -1):
        minutes = [facts.series[-back] for facts in all_facts if len(facts.series) >= back]
        found.append(
            Sum(
                sum(one.arrived for one in minutes),
                sum(one.completed for one in minutes),
                sum(one.dead for one in minutes),
            )
        )
    return found
