"""Explains every job of a chaos run from the ledgers and from what the server holds in the end. Pure: no I/O."""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.chaos import order, ticks
from tests.chaos.runs import REFUSED, Run, runs_of
from tests.chaos.windows import FOR_EVER, Window, windows_of
from tests.ledger import Line

ENDS = frozenset("cCbex")
"""Letters of the settlements that end a job; the others hand it back or put it off."""

RETURNED = {
    "r": "retried by its handler",
    "u": "handed back at stop",
    "U": "handed back at stop",
    "l": "held by a limit",
    "v": "sent to its line",
    "V": "sent to its line",
    "p": "parked",
    "P": "parked",
}


UNHEARD = ", killed before it heard"
"""Of a job that was given back by a worker that did not live to be told so."""

FORGETS = frozenset({"group destroyed", "power loss"})
"""Faults after which the server may give out a second time, as if it were the first, what somebody holds."""

SUSPECT = 2
"""Stalls after which a job runs alone."""

HEARS = 5.0
"""Seconds within which a worker hears what became of a settlement, even if it has to ask again."""


class Terms(NamedTuple):
    """What was agreed: seconds of a lease and between two sweeps, stalls a job may have, seconds between two ticks."""

    lease: float = 3.0
    sweep: float = 2.0
    max_stalls: int = 2
    period: float = 0.0


USUAL = Terms()


class Final(NamedTuple):
    """What the server says in the end. ``completed``: ends by job id; ``dead``: reasons; ``stuck``: not settled."""

    completed: Mapping[str, int] = {}
    dead: Mapping[str, str] = {}
    stuck: Sequence[str] = ()
    leaks: Sequence[str] = ()


class Recovery(NamedTuple):
    """From a fault to the next run of a job it hit. ``further``: faults in between, which may have hit the rescuer.

    ``ahead``: for a suspect, the other suspects that began in between: they run one at a time, one a sweep.
    """

    seconds: float
    further: int
    ahead: int = 0


class Verdict(NamedTuple):
    """What became of the jobs. Everything from ``lost`` to ``crashed`` must be empty.

    ``calm``: jobs that waited while nothing was wrong, so that their order tells something.
    """

    jobs: int
    ambiguous: int
    runs: int
    excused: int
    lost: list[str]
    invented: list[str]
    double_enqueue: list[str]
    fence_broken: list[str]
    unexplained: list[str]
    too_many_runs: list[str]
    wrongly_dead: list[str]
    stuck: list[str]
    leaks: list[str]
    slow: list[str]
    early: list[str]
    ticks_missing: list[str]
    overtaken: list[str]
    crashed: list[str]
    why: Counter[str]
    effects_twice: int
    recoveries: list[Recovery]
    calm: int = 0

    @property
    def wrong(self) -> dict[str, list[str]]:
        """The violated rules, with the jobs."""
        fields = self._asdict()
        names = Verdict._fields[Verdict._fields.index("lost") : Verdict._fields.index("crashed") + 1]
        return {name: fields[name] for name in names if fields[name]}


class _Told(NamedTuple):
    """What producers and nemesis said of jobs."""

    acked: Mapping[str, Line]
    ambiguous: frozenset[str]
    expected_dead: frozenset[str]
    cancelled: frozenset[str]
    excused: Mapping[str, str]
    tried: Mapping[str, Line]
    astride: frozenset[str]


def check(lines: Sequence[Line], final: Final, terms: Terms = USUAL) -> Verdict:
    """Classify every job. ``lines`` of all actors, oldest first.

    1. Acknowledged: exactly one end, else it is lost. 2. Ambiguous: one end at most, else it was enqueued twice.
    3. Accepted settlements that end a job: one, else the fence is broken. 4. Each further run has a reason. 5. No more
    runs than retries, hand-backs and faults allow. 6. Dead only whom enough faults hit, or whom a handler kills. 7.
    Nothing is left behind. 8. Jobs of the killed run again in time. 9. None starts early, no tick is missing or twice.
    10. While nothing was wrong, the better priority starts first, and of one priority who came first.
    """
    told = _told(lines)
    windows = windows_of(lines, terms.lease + 2 * terms.sweep)
    runs = runs_of(lines)
    accepted = _accepted(lines)
    doubled = _doubled(accepted, final, told)
    ended = final.completed.keys() | final.dead.keys() | accepted.keys() | told.cancelled
    known = told.acked.keys() | told.ambiguous | told.expected_dead | told.excused.keys()
    why, unexplained, recoveries, too_many = Counter[str](), list[str](), list[Recovery](), list[str]()
    suspects = sorted(run.start for found in runs.values() for run in found if run.stalls >= SUSPECT)
    for job, found in runs.items():
        far = _judge(job, found, windows, told, why, unexplained, recoveries, suspects)
        if far is not None:
            too_many.append(far)
    calm = order.calm(order.waits_of(lines, runs), windows, terms.lease + 2 * terms.sweep)
    return Verdict(
        jobs=len(told.acked),
        ambiguous=len(told.ambiguous),
        runs=sum(len(found) for found in runs.values()),
        excused=len(told.excused.keys() & told.tried.keys()),
        lost=sorted(told.acked.keys() - ended - told.excused.keys() - set(final.stuck)),
        invented=sorted(one for one in ended - known if not ticks.is_tick(one) and not one.startswith("raw-")),
        double_enqueue=sorted(job for job, places in doubled.items() if places > 1),
        fence_broken=sorted({job for job, places in doubled.items() if places <= 1} | _outdated(runs, told)),
        unexplained=unexplained,
        too_many_runs=too_many,
        wrongly_dead=_wrongly_dead(final, told, runs, windows, terms),
        stuck=sorted(final.stuck),
        leaks=list(final.leaks),
        slow=[
            f"{one.seconds:.1f} s with {one.further} further faults and {one.ahead} suspects ahead"
            for one in recoveries
            if one.seconds > (terms.lease + terms.sweep) * (1 + one.further) + terms.sweep * one.ahead + 1
        ],
        early=_early(told, runs, windows),
        ticks_missing=ticks.missing(final.completed, lines, windows, terms.period),
        overtaken=list(order.overtaken(calm)),
        crashed=[f"{line.more['name']}: {line.more['said']}" for line in lines if line.what == "crashed"],
        why=why,
        effects_twice=sum(1 for found in runs.values() if sum(run.effect is not None for run in found) > 1),
        recoveries=recoveries,
        calm=len(calm),
    )


def _told(lines: Sequence[Line]) -> _Told:
    answered: dict[str, set[str]] = defaultdict(set)
    acked, tried, cancelling, kept = dict[str, Line](), dict[str, Line](), dict[str, Line](), dict[str, Line]()
    excused, fired = dict[str, str](), dict[str, Line]()
    wipes = [line.at for line in lines if line.what == "wiped"]
    for line in lines:
        if line.what == "ok":
            acked[line.job] = line
        if line.what == "try":
            tried[line.job] = line
        if line.what == "cancelling":
            cancelling[line.job] = line
        if line.what == "kept":
            kept[line.job] = line
        if line.what in {"ok", "unknown", "unsent", "refused", "doomed", "cancelled"}:
            answered[line.what].add(line.job)
        if line.what in {"wiped", "torn"}:
            excused |= dict.fromkeys(line.more["jobs"], line.what)
        if line.what == "start" and ticks.is_tick(line.job):
            fired.setdefault(line.job, line)
        if line.what == "wiped":
            excused |= dict.fromkeys(_ahead_of(line, fired), line.what)
    settled = answered["ok"] | answered["unsent"] | answered["refused"] | answered["doomed"]
    return _Told(
        acked=acked,
        ambiguous=frozenset((tried.keys() | answered["unknown"]) - settled),
        expected_dead=frozenset(answered["doomed"]),
        # Who asked for it and did not hear, or was killed meanwhile, may have cancelled it.
        cancelled=_astride(cancelling, kept, wipes).union(answered["cancelled"], cancelling.keys() - kept.keys()),
        excused=excused,
        tried=tried,
        astride=_astride(tried, acked, wipes),
    )


def _astride(asked: Mapping[str, Line], heard: Mapping[str, Line], wipes: Sequence[float]) -> frozenset[str]:
    """Jobs of which somebody was asking at a FLUSHALL: asked again, the server cannot know what it did before."""
    return frozenset(
        job
        for at in wipes
        for job, line in asked.items()
        if line.at <= at and (job not in heard or heard[job].at >= at)
    )


def _ahead_of(wipe: Line, fired: Mapping[str, Line]) -> list[str]:
    """Ticks that a clock ahead of its time fired before a FLUSHALL: whose instant was to come. They come again."""
    return [
        job
        for job, start in fired.items()
        if ticks.instant(job).timestamp() > float(start.more["wall"]) + wipe.at - start.at
    ]


def _accepted(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Places (lane and entry) of the accepted settlements that ended a job."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.what == "settled" and line.more["answer"] == "a" and line.more["verb"] in ENDS:
            found[line.job].append(str(line.more.get("token", "")).partition(":")[0])
    return found


def _doubled(accepted: Mapping[str, Sequence[str]], final: Final, told: _Told) -> dict[str, int]:
    """Jobs that ended more than once -> in how many places."""
    found = {job: len(set(places)) for job, places in accepted.items() if len(places) > 1}
    found |= {job: found.get(job, 1) for job, count in final.completed.items() if count > 1}
    found |= {job: found.get(job, 1) for job in final.completed.keys() & final.dead.keys()}
    return {job: places for job, places in found.items() if job not in told.excused.keys() | told.astride}


def _outdated(runs: Mapping[str, Sequence[Run]], told: _Told) -> set[str]:
    """Return jobs of which a settlement was accepted after somebody else had begun a later take of the same entry."""
    found: set[str] = set()
    for job, some in runs.items():
        for run in some:
            if run.told is None or run.answer in REFUSED or job in told.excused:
                continue
            later = (one for one in some if one.hop == run.hop and one.take > run.take)
            if any(one.start < run.told for one in later):
                found.add(job)
    return found


def _judge(
    job: str,
    found: Sequence[Run],
    windows: Sequence[Window],
    told: _Told,
    why: Counter[str],
    unexplained: list[str],
    recoveries: list[Recovery],
    suspects: Sequence[float],
) -> str | None:
    """Explain each run beyond the first; returns a complaint when there are more runs than rule 5 allows."""
    allowed = 1 + sum(1 for run in found if run.answer in RETURNED)
    for before, after in pairwise(found):
        reason, since = _reason(job, before, after, windows, told)
        if reason is None:
            unexplained.append(f"{job}: {before} then {after}")
            continue
        why[reason] += 1
        allowed += reason.endswith(UNHEARD)
        if since is not None:
            further = sum(1 for one in windows if one.explains and since < one.since < after.start)
            ahead = bisect(suspects, after.start) - bisect(suspects, since) - 1 if after.stalls >= SUSPECT else 0
            recoveries.append(Recovery(after.start - since, further, ahead))
    if len(found) <= allowed or job in told.excused:
        return None
    allowed += sum(1 for one in windows if one.explains and one.overlaps(found[0].start, found[-1].start))
    return None if len(found) <= allowed else f"{job}: {len(found)} runs, {allowed} allowed"


def _reason(
    job: str, before: Run, after: Run, windows: Sequence[Window], told: _Told
) -> tuple[str | None, float | None]:
    """Return why a job ran again, and since when its first worker was away."""
    if before.answer in RETURNED:
        return RETURNED[before.answer], None
    away = _away(before, after, windows)
    if away is not None:
        return away
    if job in told.excused:
        return f"{told.excused[job]} with the server's data", None
    return _refused(before, after, windows) or _cut_short(before, after, windows), None


def _away(before: Run, after: Run, windows: Sequence[Window]) -> tuple[str, float | None] | None:
    """Return what befell the process of the first run between its start and that of the second, and since when."""
    mine = [window for window in windows if window.pid == before.pid]
    for window in mine:
        if window.overlaps(before.start, after.start):
            if window.kind == "killed" and window.since >= before.start:
                phase = "after its effect" if before.effect is not None else "in its run"
                return f"worker killed {phase}", window.since
            lost = before.answer in REFUSED or _unheard(before, max(window.until, after.start), windows)
            if window.kind == "frozen" and (lost or window.until == FOR_EVER):
                return "worker frozen beyond its lease", window.since
    lost = before.answer == "lost" or _unheard(before, after.start, windows)
    if lost and any(one.kind == "frozen" and one.until <= before.start <= one.until + HEARS for one in mine):
        return "lease lost by a worker just thawed", None
    return None


def _refused(before: Run, after: Run, windows: Sequence[Window]) -> str | None:
    """Return which fault of all cost one of the two the lease: he was told so, the fence held."""
    ended = any(one.kind == "stopped" and one.pid == before.pid and one.since <= after.start for one in windows)
    if not (before.answer in REFUSED or after.answer in REFUSED or (before.answer is None and ended)):
        return None
    for window in windows:
        if window.pid == 0 and window.explains and window.overlaps(before.start, after.start):
            return f"lease lost: {window.kind}"
    return None


def _cut_short(before: Run, after: Run, windows: Sequence[Window]) -> str | None:
    """Return what explains that one of the two was never answered, as its process ended before it could hear.

    Two may have an entry under one token where the server forgot to whom it gave it: who of them was not refused would
    have been. Of a retry and a hand-back it is certain that the server took it: nobody else says so in his name.
    """
    again = after.take == 0 and before.hop == after.hop
    for window in windows if again else ():
        if window.kind in FORGETS and window.overlaps(after.start, after.start):
            ends = {_end(run, windows) for run in (before, after) if run.answer is None}
            if any(end <= window.until for end in ends):
                return f"delivered again: {window.kind}"
    if not _unheard(before, after.start, windows):
        return None
    if after.hop == before.hop + 1 and after.attempt == before.attempt + 1:
        return f"{RETURNED['r']}{UNHEARD}"
    stopped = any(one.kind == "stopped" and one.pid == before.pid and one.since <= after.start for one in windows)
    uncharged = (after.hop, after.take, after.stalls) == (before.hop, before.take + 1, before.stalls)
    return f"{RETURNED['u']}{UNHEARD}" if stopped and uncharged else None


def _unheard(run: Run, since: float, windows: Sequence[Window]) -> bool:
    """Whether a run has no answer because its process was killed or stopped before it could hear what came then."""
    return run.answer is None and since <= _end(run, windows, since) <= since + HEARS


def _end(run: Run, windows: Sequence[Window], since: float = 0.0) -> float:
    """Return when the process of a run was killed, or told to stop, after it began and after ``since``."""
    ends = (one.since for one in windows if one.pid == run.pid and one.kind in {"killed", "stopped"})
    return min((end for end in ends if end >= max(run.start, since)), default=FOR_EVER)


def _wrongly_dead(
    final: Final, told: _Told, runs: Mapping[str, Sequence[Run]], windows: Sequence[Window], terms: Terms
) -> list[str]:
    """Return dead letters that nothing explains, and runs that should not have been."""
    wrong = [
        f"{job}: a run with {run.stalls} stalls"
        for job, found in runs.items()
        for run in found
        if run.stalls > terms.max_stalls
    ]
    for job, reason in final.dead.items():
        if job in told.expected_dead or job.startswith("raw-"):
            continue
        enqueued = told.acked.get(job) or told.tried.get(job)
        since = enqueued.at if enqueued is not None else 0.0
        last = max([since, *(run.start for run in runs.get(job, ()))]) + terms.lease + 2 * terms.sweep
        faults = sum(1 for one in windows if one.explains and one.overlaps(since, last))
        if reason != "stalled" or faults <= terms.max_stalls:
            wrong.append(f"{job}: {reason}, with {faults} faults since it was enqueued")
    return wrong + [f"{job}: not dead" for job in sorted(told.expected_dead - final.dead.keys() - told.excused.keys())]


def _early(told: _Told, runs: Mapping[str, Sequence[Run]], windows: Sequence[Window]) -> list[str]:
    """Return jobs that started before they were due; by the wall clock, so not while the server's was moved."""
    found: list[str] = []
    for job, line in told.tried.items():
        due = line.more.get("due")
        if due is None or job not in runs:
            continue
        first = runs[job][0]
        moved = any(w.kind.startswith("clock") and w.overlaps(line.at, first.start) for w in windows)
        if first.wall < due - 0.002 and not moved:
            found.append(f"{job}: {due - first.wall:.3f} s early")
    return found
