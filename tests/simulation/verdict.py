"""The end of a world: each job that was acknowledged has ended once, each further run has a reason, nothing is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from tests.simulation.app import PERIOD
from tests.simulation.counts import counted
from tests.simulation.desk import SCHEDULE
from tests.simulation.scenarios import MOST_STALLS
from tests.simulation.world import World
from tests.store import lined
from tests.store.snapshot import FOR_EVER, MORTAL

Problem = tuple[str, str]


class Verdict(NamedTuple):
    """What became of a world. ``problems``: rule and job; ``again``: why jobs were handed out again."""

    jobs: int
    runs: int
    verbs: Counter[str]
    seconds: float
    faults: Counter[str]
    again: Counter[str]
    problems: list[Problem]


def verdict(world: World) -> Verdict:
    """Judge a world that was played. Where something was wrong on the way the rest is not looked at."""
    book = world.book
    if not book.problems:
        for rule, job in (*_lost(world), *_runs(world), *_dead(world), *_ticks(world), *_left(world), *counted(world)):
            book.wrong(rule, job)
        if not world.watch.timeless:
            world.watch.takes.limits.verdict(world.state.lines().config)
    return Verdict(
        jobs=len(world.watch.lives),
        runs=sum(len(some) for some in book.runs.values()),
        verbs=world.watch.verbs,
        seconds=book.now,
        faults=book.faults,
        again=book.again,
        problems=list(book.problems),
    )


def _lost(world: World) -> Iterator[Problem]:
    """I5: what was acknowledged was there, and has ended."""
    watch = world.watch
    for sent in world.book.sent:
        if sent.told == "ok" and sent.job not in watch.lives:
            yield "LOST: acknowledged, and was never added", sent.job
    for job in watch.lives:
        if job not in watch.ended and job not in watch.torn:
            yield "LOST: neither there nor ended", job
    if watch.torn:
        return
    meta = world.state.texts("m")
    ends = sum(int(meta.get(name, 0)) for name in ("completed", "dead", "cancelled", "expired"))
    lives = sum(watch.lives.values())
    # A job that meets a closed limit and is dropped has ended without ever being there.
    dropped = sum(one.told.startswith("refused") for one in world.book.sent)
    if not lives <= ends <= lives + dropped:
        yield f"I3: {lives} lives, the server counts {ends} ends", ""


def _runs(world: World) -> Iterator[Problem]:
    """Whatever ran was added; the rest is judged when a run begins."""
    for job in world.book.runs:
        if job not in world.watch.lives:
            yield "ran, and nobody added it", job


def _dead(world: World) -> Iterator[Problem]:
    """Who is dead has a reason; who had none to fail is not."""
    stream = world.state.snapshot(with_lines=False).dead
    hows = defaultdict[str, set[str]](set)  # of those, too, that came in its place by deduplication
    for sent in world.book.sent:
        if sent.told in {"ok", "met"}:
            hows[sent.job].add(sent.how)
    hangs = any(sent.how == "hang" for sent in world.book.sent)
    for fields in stream.values():
        job, reason = fields["j"].decode(), fields["r"].decode()
        if reason == "stalled" and world.watch.takes.stalls[job] <= MOST_STALLS and job not in world.watch.torn:
            yield f"dead as stalled after {world.watch.takes.stalls[job]} stalls", job
        alone = not (world.plan.has("batches") and hangs)  # a call that takes too long fails as one
        if reason == "attempts exhausted" and hows[job] == {"ok"} and alone:
            yield "dead, although it does not fail", job


def _ticks(world: World) -> Iterator[Problem]:
    """I9: no tick is missing; that none comes twice is seen when it does."""
    plan = world.plan
    if not plan.has("schedules") or plan.has("rate-drop", "conflict-drop") or _dedups(world):
        return
    if world.book.faults["crash that loses writes"]:
        return
    at = sorted(datetime.fromisoformat(job.partition("@")[2]) for job in world.watch.lives if job.startswith(SCHEDULE))
    for one, other in pairwise(at):
        if (other - one).total_seconds() != PERIOD:
            yield f"no tick between {one:%H:%M:%S} and {other:%H:%M:%S}", ""
    if len(at) < 3 and not world.book.windows:
        yield f"{len(at)} ticks", ""


def _dedups(world: World) -> bool:
    return any(name.startswith("dedup") for name in world.plan.names)


def _left(world: World) -> Iterator[Problem]:
    """I2, I16, F8: nothing is left in lanes, lines and limits, and nothing lives for ever that should not."""
    state = world.state
    for letter, entries in state.lanes.items():
        if entries:
            yield f"left in lane {letter}: {len(entries)}", entries[0].job
    now = state.lines()
    try:
        lined.idle(now)
    except AssertionError as wrong:
        yield f"F8: {wrong}", ""
    for name, gate in now.gates.items():
        if gate.used or gate.waiting:
            yield f"F1: {name} still counts {gate.used} inside, {gate.waiting} waiting", ""
    base = state.keys.base.decode()
    for key, (_, _, until) in world.broker.dump().items():
        name = key.decode("utf-8", "replace").removeprefix(base)
        if name.startswith(MORTAL) and until is None:
            yield f"I16: {name} lives for ever", name[2:]
        elif key.startswith(state.keys.base) and not name.startswith(MORTAL) and name not in FOR_EVER:
            yield f"I16: {name} is no key of ours", ""
