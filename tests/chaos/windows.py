"""When something was wrong: the nemesis' lines as spans of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.ledger import Line

FOR_EVER = float("inf")


class Window(NamedTuple):
    """A fault. ``pid``: the process it hit, 0 for all. ``explains``: whether a job may run again because of it.

    A killed process is away without end; a fault that hit all has effects for a while after it was over.
    """

    kind: str
    pid: int
    since: float
    until: float
    explains: bool = True

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether some of it lies between two instants."""
        return self.since <= end and begin <= self.until


def windows_of(lines: Sequence[Line], after: float) -> list[Window]:
    """Return all windows. ``after``: seconds that a fault of all is felt after it was over."""
    return sorted([*_of_processes(lines), *_of_all(lines, after)], key=lambda one: one.since)


def _of_processes(lines: Sequence[Line]) -> Iterator[Window]:
    thawed = [(line.more["pid"], line.at) for line in lines if line.what == "thawed"]
    told = set[tuple[str, int]]()
    for line in lines:
        if line.what in {"killed", "stopped"} and "pid" in line.more:
            if (line.what, line.more["pid"]) in told:
                continue  # a process that killed itself said so; who watches it says so again
            told.add((line.what, line.more["pid"]))
            yield Window(line.what, line.more["pid"], line.at, FOR_EVER, line.what == "killed")
        elif line.what == "frozen":
            ends = [at for pid, at in thawed if pid == line.more["pid"] and at > line.at]
            yield Window("frozen", line.more["pid"], line.at, min(ends, default=FOR_EVER))


def _of_all(lines: Sequence[Line], after: float) -> Iterator[Window]:
    healed = {line.more["n"]: line.at for line in lines if line.what == "healed"}
    for line in lines:
        if line.what == "fault":
            until = healed.get(line.more["n"], FOR_EVER)
            yield Window(line.more["kind"], 0, line.at, until + after, bool(line.more["explains"]))
