"""What ``streamq top`` knows and shows: what was seen, what is selected, what is asked. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .. import Counts, JobInfo
from ..glance import Glance, QueueGlance

Level = Literal["ok", "warning", "critical", "paused"]
Panel = Literal["running", "workers", "died"]

PANELS: tuple[Panel, ...] = ("running", "workers", "died")
ORDERS = ("worst", "name", "waiting", "dead")
WORST: dict[Level, int] = {"critical": 0, "warning": 1, "paused": 2, "ok": 3}

SPAN = 60.0
"""Seconds over which rates are taken."""


class Fact(NamedTuple):
    """What is asked of a queue less often: its verdict with a reason, and how many jobs each minute completed."""

    level: Literal["ok", "warning", "critical"] = "ok"
    reason: str = ""
    minutes: tuple[int, ...] = ()


class Ask(NamedTuple):
    """A question in the bottom line. ``keys``: letter -> what it does; any other key is no. ``text``: typed so far."""

    what: str
    queue: str
    said: str
    keys: dict[str, str] = {}  # noqa: RUF012 - never changed
    typed: str | None = None


class Do(NamedTuple):
    """What a key asks for: ``verb`` for a queue, with what was typed."""

    verb: str
    queue: str = ""
    text: str = ""


class Sample(NamedTuple):
    """Totals at an instant, to take rates from."""

    at: float
    there: int
    ended: int
    completed: int
    retried: int


class Rates(NamedTuple):
    """Jobs a minute: enqueued, completed, and attempts that failed and led to another. None: not known yet."""

    arrived: float | None
    done: float | None
    retried: float | None = None

    @property
    def words(self) -> str:
        """What that means for the queue."""
        if self.arrived is None or self.done is None:
            return ""
        gap = round(self.arrived - self.done)
        if abs(gap) <= max(1.0, 0.02 * max(self.arrived, self.done)):
            return "keeping up" if self.done or self.arrived else "quiet"
        return f"growing {gap:,}" if gap > 0 else f"shrinking {-gap:,}"


class Running(NamedTuple):
    """A job that runs, as its worker's last heartbeat told it."""

    queue: str
    job: str
    handler: str
    worker: str
    seconds: float


class Died(NamedTuple):
    """A dead letter."""

    queue: str
    job: JobInfo


class Model:
    """Everything on the screen. ``now`` in the calls is monotonic, in seconds."""

    def __init__(self, only: Sequence[str] = ()) -> None:
        self.only: tuple[str, ...] = tuple(only)
        self.glance: Glance | None = None
        self.facts: dict[str, Fact] = {}
        self.selected: str = ""
        self.touched: bool = False
        self.order: str = ORDERS[0]
        self.filter: str = ""
        self.focus: str = ""
        self.panel: Panel = PANELS[0]
        self.held: bool = False
        self.help: bool = False
        self.over: bool = False
        self.ask: Ask | None = None
        self.said: str = ""
        self.seen_at: float = 0.0
        self.away: str = ""
        self.next_try: float = 0.0
        self._samples: dict[str, deque[Sample]] = {}

    # -- what is seen -------------------------------------------------------------------------------

    def saw(self, glance: Glance, now: float) -> None:
        """Take note of a look; while held only of the rates."""
        self.away, self.seen_at = "", now
        for one in glance.queues:
            kept = self._samples.setdefault(one.name, deque())
            kept.append(_sample(one.counts, now))
            while len(kept) > 2 and kept[1].at <= now - SPAN:
                kept.popleft()
        if self.held and self.glance is not None:
            return
        self.glance = glance
        rows = self.rows()
        if rows and (not self.touched or self.selected not in {one.name for one in rows}):
            self.selected = rows[0].name

    def lost(self, why: str, next_try: float) -> None:
        """Take note that the server is away; the numbers stay."""
        self.away, self.next_try = why, next_try

    def rates(self, name: str) -> Rates:
        """Return how many jobs a minute come and go."""
        kept = self._samples.get(name)
        if kept is None or len(kept) < 2:
            return Rates(None, None)
        first, last = kept[0], kept[-1]
        minutes = (last.at - first.at) / 60
        if minutes <= 0:
            return Rates(None, None)
        arrived = max(0, last.there + last.ended - first.there - first.ended)
        completed, retried = last.completed - first.completed, last.retried - first.retried
        return Rates(arrived / minutes, completed / minutes, retried / minutes)

    def level(self, one: QueueGlance) -> Level:
        """Return how a queue is; paused is a decision and not a fault, but what is critical stays critical."""
        fact = self.facts.get(one.name, Fact())
        if one.counts.paused and fact.level != "critical":
            return "paused"
        return fact.level

    def rows(self) -> list[QueueGlance]:
        """Return the queues to show, in order."""
        if self.glance is None:
            return []
        wanted = self.filter.casefold()
        found = [
            one
            for one in self.glance.queues
            if (not self.focus or one.name == self.focus) and (wanted in one.name.casefold() or self._inside(one))
        ]
        return sorted(found, key=self._place)

    def _place(self, one: QueueGlance) -> tuple[int, str]:
        """Return what the order of the rows goes by."""
        by = {"worst": WORST[self.level(one)], "waiting": -one.counts.waiting, "dead": -one.counts.dead}
        return by.get(self.order, 0), one.name

    def _inside(self, one: QueueGlance) -> bool:
        """Whether something of a queue fits the filter, so that its row has to stay."""
        return bool(self.filter) and bool(self._running(one) or self._died(one))

    def running(self) -> list[Running]:
        """Return what runs, longest first."""
        found = [job for one in self.rows() for job in self._running(one)]
        return sorted(found, key=lambda one: -one.seconds)

    def _running(self, one: QueueGlance) -> list[Running]:
        jobs = [
            Running(one.name, job, handler, short(worker.name), seconds)
            for worker in one.alive
            for job, handler, seconds in worker.running
        ]
        return [job for job in jobs if self._fits(one.name, job.job, job.handler, job.worker)]

    def died(self) -> list[Died]:
        """Return the newest dead letters, newest first."""
        found = [letter for one in self.rows() for letter in self._died(one)]
        return sorted(found, key=lambda one: -one.job.finished_at.timestamp() if one.job.finished_at else 0.0)

    def _died(self, one: QueueGlance) -> list[Died]:
        return [
            Died(one.name, job)
            for job in one.dead
            if self._fits(one.name, job.id, job.name, job.tenant or "", why(job))
        ]

    def _fits(self, *texts: str) -> bool:
        wanted = self.filter.casefold()
        return not wanted or any(wanted in one.casefold() for one in texts)


def _sample(counts: Counts, now: float) -> Sample:
    there = counts.waiting + counts.active + counts.delayed + counts.parked + counts.dead
    ended = counts.completed + counts.cancelled + counts.expired
    return Sample(now, there, ended, counts.completed, counts.retried)


def short(worker: str) -> str:
    """Return a worker's name without the part that makes it unique: host, or name, and process."""
    return worker.rsplit(":", 1)[0]


def why(job: JobInfo) -> str:
    """Return what a job died of, in one line."""
    if not job.errors:
        return job.reason
    last = job.errors[-1]
    return " ".join(f"{last.type}: {last.message}".split())
