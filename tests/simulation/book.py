"""What happened in a world, in order: told as the trace of a job, and added up in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    """At ``at`` (virtual seconds since the beginning) ``who`` did ``what`` to ``job`` ('' for none)."""

    at: float
    who: str
    what: str
    job: str = ""
    more: str = ""

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.who:<9} {self.what:<14} {self.job} {self.more}".rstrip()


class Window(NamedTuple):
    """A fault: ``who`` it befell ('' for everybody), from when to when."""

    since: float
    until: float
    kind: str
    who: str = ""

    def touches(self, who: str, since: float, until: float) -> bool:
        """Whether it may have befallen somebody in that time."""
        return self.who in {"", who} and self.since <= until and self.until >= since


@dataclass
class Run:
    """One run of a handler. ``fence`` names the take it is of; ``cancelled``: it was asked to stop."""

    job: str
    who: str
    fence: int
    attempt: int
    since: float
    until: float | None = None
    cancelled: bool = False


@dataclass
class Sent:
    """What a producer was told of a job: ok, met, refused, unknown, unsent."""

    job: str
    n: int
    how: str
    told: str


@dataclass
class Book:
    """All of it. ``problems``: invariants that did not hold, each with the job it is about."""

    events: list[Event] = field(default_factory=list[Event])
    windows: list[Window] = field(default_factory=list[Window])
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict[str, list[Run]](list))
    sent: list[Sent] = field(default_factory=list[Sent])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    faults: Counter[str] = field(default_factory=Counter[str])
    heard: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """What hooks were told: kind of event and job."""
    again: Counter[str] = field(default_factory=Counter[str])
    """Why jobs were handed out again."""
    is_closed: bool = False
    """Whether the world is being taken apart: what happens then concerns nobody."""
    clock: Callable[[], float] = lambda: 0.0

    @property
    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self.clock()

    def note(self, who: str, what: str, job: str = "", more: str = "") -> None:
        """Write an event down."""
        if not self.is_closed:
            self.events.append(Event(self.now, who, what, job, more))

    def fault(self, kind: str, who: str = "", seconds: float = 0.0) -> None:
        """Write a fault down, and for how long it may have consequences."""
        self.faults[kind] += 1
        self.windows.append(Window(self.now, self.now + seconds, kind, who))
        self.note(who or "world", f"[{kind}]", "", f"{seconds:.2f} s" if seconds else "")

    def wrong(self, rule: str, job: str = "") -> None:
        """Write down that something does not hold."""
        if len(self.problems) < 5 and not self.is_closed:
            self.problems.append((rule, job))
            self.note("CHECK", rule, job)

    def excuse(self, who: str, since: float, until: float) -> str | None:
        """Return which fault befell somebody in that time, None if none did."""
        return next((one.kind for one in self.windows if one.touches(who, since, until)), None)

    def trace(self, job: str) -> Iterator[str]:
        """Tell what happened to a job, and the faults meanwhile; '': everything."""
        mine = [event for event in self.events if job in {"", event.job}]
        if not mine:
            mine = self.events
        since, until = mine[0].at - 1, mine[-1].at + 1
        for event in self.events:
            if event.job == job or not job or (not event.job and since <= event.at <= until):
                yield str(event)
