"""What must hold of every play, whatever its features; each check tells what is wrong, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from streamq import JobState, RateLimit
from tests.matrix.features import BURST, BY_CLOCK, DROPPING, KEYED, MAX_PENDING, SLIDING, key_of
from tests.matrix.play import Play, Sent

Problems = Iterator[str]

ENDINGS = frozenset("cCbe")
"""Verbs that end a job."""


class Run(NamedTuple):
    """One run of a job. ``start``, ``end`` in seconds by the monotonic clock; ``taken``: ms by the server's."""

    job: str
    n: int
    key: str
    attempt: int
    fence: int
    start: float
    end: float
    taken: float
    call: tuple[int, int]


def runs_of(play: Play) -> list[Run]:
    """Every run, by its start. A run that was cut short by SIGKILL ends with its process."""
    open_runs: dict[tuple[int, int, str], Run] = {}
    done: list[Run] = []
    for line in play.lines:
        if line.what == "start":
            more = line.more
            taken = more["taken"]
            call = (line.pid, more["call"])
            open_runs[line.pid, more["call"], line.job] = Run(
                line.job, more["n"], more["key"], more["attempt"], more["fence"], line.at, float("inf"),
                float("nan") if taken is None else float(taken), call,
            )  # fmt: skip
        elif line.what == "end":
            done.append(open_runs.pop((line.pid, line.more["call"], line.job))._replace(end=line.at))
    done += [one._replace(end=play.killed.get(one.call[0], float("inf"))) for one in open_runs.values()]
    return sorted(done, key=lambda one: one.start)


def problems(play: Play) -> list[str]:
    """All that is wrong."""
    runs = runs_of(play)
    return [problem for check in CHECKS for problem in check(play, runs)]


# -- nothing lost, nothing twice --------------------------------------------------------------------


def accounting(play: Play, runs: Sequence[Run]) -> Problems:
    created = play.created
    if play.left:
        yield f"left behind: {play.left}"
    ended = sum(play.meta[name] for name in ("completed", "dead", "cancelled", "expired"))
    if ended != len(created) + play.pings + play.meta["replayed"]:
        yield f"{len(created)} jobs and {play.meta['replayed']} lives more, but {ended} endings: {play.meta}"
    if play.meta["replayed"] != len(play.replayed):
        yield f"{len(play.replayed)} replayed, the server counts {play.meta['replayed']}"
    for job in created:
        if not play.states[job].is_final:
            yield f"{job} is lost: {play.states[job]}"
    for job in {run.job for run in runs} - created.keys():
        yield f"{job} ran, but nobody added it"


def accepted_once(play: Play, runs: Sequence[Run]) -> Problems:
    accepted = Counter(
        line.job
        for line in play.lines
        if line.what == "settled" and line.more["answer"] == "a" and line.more["verb"] in ENDINGS
    )
    for job, count in accepted.items():
        if count > 1 + (job in play.replayed):
            yield f"{job} ended {count} times"


def endings(play: Play, runs: Sequence[Run]) -> Problems:
    ran = {run.job for run in runs}
    for one in play.created.values():
        state, allowed = play.states[one.id], may_end(play, one)
        if state not in allowed:
            yield f"job {one.n} is {state}, not {' or '.join(allowed)}"
        if state is JobState.COMPLETED and one.id not in ran:
            yield f"job {one.n} completed and never ran"
    for job in play.cancelled_waiting & ran:
        yield f"{job} was cancelled while it waited, and ran"
    for one in play.sent:
        if not one.created and one.met is None and one.id not in play.created and play.states[one.id].is_final:
            yield f"job {one.n} was refused, and is {play.states[one.id]}"


def may_end(play: Play, one: Sent) -> set[JobState]:
    """How a job may end by its features."""
    numbers = {one.n}
    if play.names & {"dedup-debounce", "dedup-keep-last"}:
        numbers |= {other.n for other in play.sent if other.met == one.id}  # the last of them it was
        numbers = {max(numbers)} if one.wave == 1 else numbers
    allowed: set[JobState] = set()
    for n in numbers:
        if one.id in play.cancelled_waiting:
            allowed.add(JobState.CANCELLED)
        elif "deadline" in play.names and n % 4 == 3:
            allowed.add(JobState.DEAD)
        elif "cancel-running" in play.names and n % 4 == 1:
            allowed.add(JobState.CANCELLED)
        else:
            allowed.add(JobState.COMPLETED)
        if "expiry" in play.names and n % 4 == 3:
            allowed.add(JobState.EXPIRED)
    if play.names & {"conflict-cancel", "rate-drop"}:
        allowed.add(JobState.CANCELLED)
    if play.names >= {"batch", "cancel-running"}:
        allowed.add(JobState.COMPLETED)  # the call goes on for the others, and may be over first
    return allowed


def attempts(play: Play, runs: Sequence[Run]) -> Problems:
    fences: dict[str, int] = defaultdict(lambda: -1)
    counts: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.fence <= fences[run.job]:
            yield f"job {run.n} ran under fence {run.fence} after {fences[run.job]}"
        fences[run.job] = run.fence
        if run.attempt < counts[run.job] and run.job not in play.replayed:
            yield f"job {run.n} has attempt {run.attempt} after {counts[run.job]}"
        counts[run.job] = run.attempt
    if "retry" in play.names:
        for one in play.created.values():
            if play.states[one.id] is not JobState.COMPLETED or one.n % 2 or play.names & REPLACING:
                continue
            if counts[one.id] < 3 or (counts[one.id] > 3 and "breaker" not in play.names):
                yield f"job {one.n} completed at attempt {counts[one.id]}, and fails twice"


REPLACING = frozenset({"dedup-debounce", "dedup-keep-last"})


# -- when -------------------------------------------------------------------------------------------


def due(play: Play, runs: Sequence[Run]) -> Problems:
    created = play.created
    for run in runs:
        one = created.get(run.job)
        if one is not None and run.taken < one.due:
            yield f"job {run.n} was taken {one.due - run.taken:.0f} ms before it was due"
        if one is not None and "expiry" in play.names and "schedule" not in play.names and run.n % 4 == 3:
            sent = max(other.after for other in play.sent if one.id in {other.id, other.met})
            if run.taken >= sent + 300:
                yield f"job {run.n} was taken {run.taken - sent - 300:.0f} ms after it expired"
        if "deadline" in play.names and run.n % 4 == 3:
            yield f"job {run.n} ran after its deadline"


def held(play: Play, runs: Sequence[Run]) -> Problems:
    for since, until in play.held:
        for run in runs:
            if ("pause" in play.names or run.n < 6) and since <= run.taken < until - 1:  # whole milliseconds
                yield f"job {run.n} was taken {until - run.taken:.0f} ms before what held it was opened"


# -- how much ---------------------------------------------------------------------------------------


def rates(play: Play, runs: Sequence[Run]) -> Problems:
    for feature, limit, by in RATES:
        if feature not in play.names:
            continue
        found: dict[str, set[tuple[float, tuple[int, int]]]] = defaultdict(set)
        for run in runs:
            if run.taken == run.taken:  # known
                found[by(run)].add((run.taken, run.call))
        for key, starts in found.items():
            yield from (f"{feature} {key}: {told}" for told in over(limit, sorted(taken for taken, _ in starts)))


def over(limit: RateLimit, starts: Sequence[float]) -> Problems:
    """Where these starts are more than the limit allows; in ms."""
    count, per = limit.count, limit.per_ms
    if limit.align:
        for window, several in Counter(int(at // per) for at in starts).items():
            if several > count:
                yield f"{several} starts in window {window}"
    elif limit.burst:
        for first, since in enumerate(starts):
            for last in range(first, len(starts)):
                allowed = limit.burst + (starts[last] - since) * count / per
                if last - first + 1 > allowed + 1e-6:
                    yield f"{last - first + 1} starts in {starts[last] - since:g} ms"
    else:
        for since, until in zip(starts, starts[count:], strict=False):
            if until - since < per:
                yield f"{count + 1} starts in {until - since:g} ms"


def _whole(run: Run) -> str:
    return ""


def _key(run: Run) -> str:
    return run.key


RATES: tuple[tuple[str, RateLimit, Callable[[Run], str]], ...] = (
    ("rate-queue", SLIDING, _whole),
    ("rate-handler", BURST, _whole),
    ("rate-key", KEYED, _key),
    ("rate-named", BY_CLOCK, _whole),
    ("rate-drop", DROPPING, _whole),
)

SLOTS: tuple[tuple[str, int, Callable[[Run], str]], ...] = (
    ("concurrency-queue", 2, _whole),
    ("concurrency-handler", 2, _whole),
    ("concurrency-key", 1, _key),
    ("conflict-drop", 1, _key),
    ("conflict-cancel", 1, _key),
    ("group", 2, _key),
    ("group-ordered", 1, _key),
    ("dedup-keep-last", 1, _key),
)


def concurrency(play: Play, runs: Sequence[Run]) -> Problems:
    for feature, limit, by in SLOTS:
        if feature not in play.names:
            continue
        calls: dict[str, dict[tuple[int, int], tuple[float, float]]] = defaultdict(dict)
        for run in runs:
            calls[by(run)][run.call] = (run.start, run.end)
        for key, spans in calls.items():
            moments = sorted([(since, 1) for since, _ in spans.values()] + [(until, -1) for _, until in spans.values()])
            running = 0
            for _, step in sorted(moments, key=lambda one: (one[0], one[1])):
                running += step
                if running > limit:
                    yield f"{feature} {key}: {running} at once"
                    break


def order(play: Play, runs: Sequence[Run]) -> Problems:
    """Jobs of an ordered group run one after the other, each with all its attempts, as they came."""
    if "group-ordered" not in play.names:
        return
    for key in ("g0", "g1", "g2"):
        mine = [run for run in runs if run.key == key]
        last = {run.job: run.start for run in mine}
        for before, after in pairwise(mine):
            if before.job != after.job and last[before.job] > after.start and before.job not in play.replayed:
                yield f"ordered group {key}: job {after.n} ran between two runs of job {before.n}"
        if play.names & REORDERING:
            continue
        firsts = list(dict.fromkeys(run.n for run in mine))
        if firsts != sorted(firsts):
            yield f"ordered group {key} ran as {firsts}"


REORDERING = frozenset({"delay", "at", "chunks", "schedule", "dedup-debounce"})
"""Features by which another than the order of the calls is asked for."""


# -- the same one -----------------------------------------------------------------------------------


def dedup_answers(play: Play, runs: Sequence[Run]) -> Problems:
    """One unsettled job of a key, and the others know which; replaced data is what runs."""
    mode = next((name.removeprefix("dedup-") for name in play.names if name.startswith("dedup-")), None)
    if mode is None:
        return
    created = play.created
    for one in play.sent:
        if one.met is not None and (one.met not in created or created[one.met].key != one.key):
            yield f"job {one.n} met {one.met}, which is none of its key"
    for key in {one.key for one in play.sent}:
        mine = [one for one in play.sent if one.key == key and (one.created or one.met)]
        first = [one for one in mine if one.wave == 1]
        if mode == "throttle" and [one.created for one in mine].count(True) != 1:
            yield f"key {key}: {[one.n for one in mine if one.created]} were added while the ttl was running"
        if "schedule" in play.names:
            continue  # workers run while its ticks are fired
        if first and [one.created for one in first] != [True] + [False] * (len(first) - 1):
            yield f"key {key}: created {[one.n for one in first if one.created]} of {[one.n for one in first]}"
        if first and mode in {"debounce", "keep-last"}:
            told = {run.n for run in runs if run.job == first[0].id}
            if told - {first[-1].n}:
                yield f"key {key}: {mode} ran {sorted(told)}, the last one sent was {first[-1].n}"


def bounds(play: Play, runs: Sequence[Run]) -> Problems:
    if "max-pending" in play.names and play.deepest > MAX_PENDING:
        yield f"{play.deepest} jobs unsettled, max_pending={MAX_PENDING}"
    if "max-pending" not in play.names and any(one.refused == "QueueFull" for one in play.sent):
        yield "refused by a bound that is not there"
    if "breaker" in play.names and not play.opened:
        yield "the breaker did not open"
    if any(play.again):
        yield "a second job of one id was added"
    if "custom-id" in play.names and any(one.id != f"job-{one.n}" for one in play.sent if one.created):
        yield "a job has another id than it was given"
    for one in play.sent:
        if one.key != key_of(one.n):
            yield f"job {one.n} has key {one.key}"


def no_rest(play: Play, runs: Sequence[Run]) -> Problems:
    """Workers rest only while nothing can be done: a wake-up that got lost shows as a gap, until a tick finds it."""
    if play.killed:
        return
    events = sorted(line.at for line in play.lines)
    for since, until in play.waits:
        moments = [since, *(at for at in events if since < at < until), until]
        for before, after in pairwise(moments):
            busy = sum(late for at, late in play.late if before <= at < after)
            if after - before - busy > GAP:
                yield f"nothing happened for {after - before:.1f} s, {before - since:.1f} s after the wave"


GAP = 1.5
"""Seconds; the longest thing that anybody waits for here takes half a second, and ticks come every two."""

CHECKS = (
    accounting,
    accepted_once,
    endings,
    attempts,
    due,
    held,
    rates,
    concurrency,
    order,
    dedup_answers,
    bounds,
    no_rest,
)
