"""Explains every job of a chaos run from the ledgers and from what the server holds in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.ledger import Line


class Window(NamedTuple):
    """A process that was away: killed (without end) or frozen."""

    kind: str
    pid: int
    since: float
    until: float


class Run(NamedTuple):
    """One run of a job: its begin in a process, its effect and the answer to its settlement, as far as they came."""

    pid: int
    start: float
    attempt: int
    stalls: int
    effect: float | None
    answer: str | None


class Recovery(NamedTuple):
    """From a fault to the next run of a job it hit. ``further``: faults in between, which may have hit the rescuer."""

    seconds: float
    further: int


class Report(NamedTuple):
    """The findings. Everything but ``why`` and the figures must be empty."""

    jobs: int
    unknown: int
    faults: Counter[str]
    lost: list[str]
    invented: list[str]
    settled_twice: list[str]
    dead: list[str]
    why: Counter[str]
    unexplained: list[str]
    recoveries: list[Recovery]

    def table(self) -> str:
        """The findings for people."""
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items())) or "none"
        again = ", ".join(f"{count} {reason}" for reason, count in self.why.most_common()) or "none"
        seconds = sorted(one.seconds for one in self.recoveries)
        recovery = (
            f"{seconds[len(seconds) // 2]:.1f} s median, {seconds[-1]:.1f} s at most" if seconds else "none needed"
        )
        rows = [
            ("jobs acknowledged", f"{self.jobs:,} (and {self.unknown:,} unknown)"),
            ("faults", faults),
            ("lost", str(len(self.lost))),
            ("settled twice", str(len(self.settled_twice))),
            ("dead letters", str(len(self.dead))),
            ("run twice, and why", f"{self.why.total() + len(self.unexplained):,}: {again}"),
            ("unexplained", str(len(self.unexplained))),
            ("recovery after a kill or freeze", recovery),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, invented, doubled or left unexplained."""
        return not (self.lost or self.invented or self.settled_twice or self.unexplained)


def check(lines: Sequence[Line], completed: Mapping[str, int], dead: Collection[str]) -> Report:
    """Explain every job of ``lines``. ``completed``: how often the server counted an end, by job id.

    1. acknowledged: exactly one end; else it is lost, or settled twice. 2. unknown: one end at most. 3. accepted
    settles that end a job: one. 4. each run beyond the first has a reason: the one before it ended in a retry, was
    handed back, lost its lease, was refused by the fence, or its process was killed or frozen meanwhile.
    """
    acked = [line.job for line in lines if line.what == "ok"]
    unknown = {line.job for line in lines if line.what == "unknown"}
    accepted: Counter[str] = Counter()
    for line in lines:
        if line.what == "settled" and line.more["answer"] == "a" and line.more["verb"] not in {"r", "u", "p"}:
            accepted[line.job] += 1
    ended = {*completed, *dead}
    twice = {job for job, count in completed.items() if count > 1} | (completed.keys() & set(dead))
    twice |= {job for job, count in accepted.items() if count > 1}
    windows = list(_windows(lines))
    why: Counter[str] = Counter()
    unexplained = list[str]()
    recoveries = list[Recovery]()
    for job, runs in _runs(lines).items():
        for before, after in pairwise(runs):
            reason, since = _reason(before, after, windows)
            if reason is None:
                unexplained.append(f"{job}: {before} then {after}")
                continue
            why[reason] += 1
            if since is not None:
                further = sum(1 for window in windows if since < window.since < after.start)
                recoveries.append(Recovery(after.start - since, further))
    return Report(
        jobs=len(acked),
        unknown=len(unknown),
        faults=Counter(window.kind for window in windows),
        lost=sorted(set(acked) - ended),
        invented=sorted(ended - set(acked) - unknown),
        settled_twice=sorted(twice),
        dead=sorted(dead),
        why=why,
        unexplained=unexplained,
        recoveries=recoveries,
    )


def _windows(lines: Sequence[Line]) -> Iterator[Window]:
    thawed = {(line.more["pid"], line.at) for line in lines if line.what == "thawed"}
    for line in lines:
        if line.what == "killed":
            yield Window("killed", line.more["pid"], line.at, float("inf"))
        elif line.what == "frozen":
            ends = [at for pid, at in thawed if pid == line.more["pid"] and at > line.at]
            yield Window("frozen", line.more["pid"], line.at, min(ends, default=float("inf")))


def _runs(lines: Sequence[Line]) -> dict[str, list[Run]]:
    """Runs of each job in the order of their starts; effects and answers belong to the run of their process."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for line in lines:
        known = runs[line.job]
        if line.what == "start":
            known.append(Run(line.pid, line.at, line.more["attempt"], line.more["stalls"], None, None))
            continue
        mine = [at for at, run in enumerate(known) if run.pid == line.pid and run.answer is None]
        if not mine:
            continue
        at = mine[0] if line.what in {"settled", "lost"} else mine[-1]
        if line.what == "effect":
            known[at] = known[at]._replace(effect=line.at)
        elif line.what == "settled":
            answer = line.more["answer"]
            known[at] = known[at]._replace(answer=line.more["verb"] if answer == "a" else answer)
        elif line.what == "lost":
            known[at] = known[at]._replace(answer="lost")
    return {job: found for job, found in runs.items() if found}


def _reason(before: Run, after: Run, windows: Sequence[Window]) -> tuple[str | None, float | None]:
    """Return why a job ran again, and since when its first worker was away."""
    if before.answer in {"r", "u"}:
        return {"r": "retried by its handler", "u": "handed back at stop"}[before.answer], None
    for window in windows:
        # The fault must fall between the start of the first run and that of the second.
        if window.pid == before.pid and before.start <= window.until and window.since <= after.start:
            if window.kind == "killed":
                done = "after its effect" if before.effect is not None else "in its run"
                return f"worker killed {done}", window.since
            if before.answer in {"l", "g", "lost"} or window.until == float("inf"):
                return "worker frozen beyond its lease", window.since
    if before.answer == "lost" and any(w.pid == before.pid and w.until <= before.start for w in windows):
        return "lease lost by a worker just thawed", None
    return None, None
