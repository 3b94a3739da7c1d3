"""streamq alone, for the budgets that compare it with itself: growth, idle workers, a blocked loop, imports."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.peers.measures import Found, Size
from benchmarks.peers.stage import Stage
from benchmarks.streamq_bench import import_times

TAKEN = 1000  # jobs over which a cost is measured; the server's CPU is told in microseconds
BLOCKED = 20.0
Open = Callable[[], Stage]


def growth(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Server CPU of an enqueue and of a drained job with 10^3 to 10^6 waiting."""
    found: Found = {}
    for power in (3, 4) if quick else (3, 4, 5, 6):
        with open_stage() as stage:
            stage.producer.ask("one", job="noop", count=100)
            stage.producer.ask("fill", job="noop", count=10**power, limit=300)
            before = stage.moment()
            stage.producer.ask("one", job="noop", count=TAKEN)
            found[f"enqueue at 10^{power}, us"] = stage.moment().per_job(before, TAKEN)["server"]
            stage.work()
            stage.wait(lambda here=stage: here.count() > 0, "the first job")  # type: ignore[misc]  # a lambda with a default
            before, base = stage.moment(), stage.count()
            most = min(10**power, int(30_000 * size.seconds))
            stage.wait(lambda here=stage, goal=most: here.count() >= goal, "the drain")  # type: ignore[misc]  # a lambda with a default
            after, done = stage.moment(), stage.count()
            found[f"drain at 10^{power}, us"] = after.per_job(before, max(1, done - base))["server"]
    return found


def crowd(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Server CPU of a drained job with 1 to 32 worker processes."""
    found: Found = {}
    for workers in (1, 4) if quick else (1, 8, 32):
        with open_stage() as stage:
            jobs = int(20_000 * size.seconds)
            stage.producer.ask("one", job="noop", count=100)
            groups = [stage.work() for _ in range(workers)]
            stage.wait(lambda here=stage: here.count() >= 100, "the first jobs")  # type: ignore[misc]  # a lambda with a default
            time.sleep(0.5 + 0.3 * workers)  # all of them connected
            before, base = stage.moment(), stage.count()
            stage.producer.ask("fill", job="noop", count=jobs)
            stage.wait(lambda here=stage, goal=base + jobs: here.count() >= goal, "the drain")  # type: ignore[misc]  # a lambda with a default
            found[f"{workers} workers, us"] = stage.moment().per_job(before, jobs)["server"]
            del groups
    return found


def idlers(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Server CPU of a job at low load with 1 to 100 idle workers, what they cost by themselves taken off."""
    found: Found = {}
    for workers in (1, 10) if quick else (1, 10, 100):
        with open_stage() as stage:
            stage.work(PEER_WORKERS=str(workers))
            stage.producer.ask("one", job="noop", count=100)
            stage.wait(lambda here=stage: here.count() >= 100, "the first jobs")  # type: ignore[misc]  # a lambda with a default
            time.sleep(1 + workers / 50)
            before, started = stage.moment(), time.monotonic()
            time.sleep(size.idle)
            after = stage.moment()
            by_itself = (after.cpu - before.cpu) / (time.monotonic() - started)
            before, started = stage.moment(), time.monotonic()
            stage.producer.ask("paced", count=size.samples, every=0.005)
            stage.wait(lambda here=stage: here.count() >= 100 + size.samples, "low load")  # type: ignore[misc]  # a lambda with a default
            spent = stage.moment().cpu - before.cpu - by_itself * (time.monotonic() - started)
            found[f"{workers} idle workers, us"] = spent / size.samples * 1e6
    return found


def blocked(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """A handler holds the event loop for 20 s: how often is its job started while a second worker looks on?"""
    del size
    seconds = 2.0 if quick else BLOCKED
    with open_stage() as stage:
        stage.work()
        stage.work()
        stage.producer.ask("one", job="noop", count=100)
        stage.wait(lambda: stage.count() >= 100, "the first jobs")
        stage.producer.ask("block", number=seconds)
        stage.wait(lambda: bool(stage.told("end")), "the blocked job", limit=seconds + 30)
        time.sleep(3.0)
        return {"starts": len(stage.told("start")), "seconds": seconds}


def imports(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """What starting costs; no server."""
    del open_stage, size, quick
    return import_times()


OWN: dict[str, Callable[..., Found]] = {
    "growth": growth, "crowd": crowd, "idlers": idlers, "blocked": blocked, "imports": imports,
}  # fmt: skip
