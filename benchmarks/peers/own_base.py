"""What streamq's own measures share: a stage to open, a drain to wait for, a cost of which the middle counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from benchmarks.peers.measures import WARM
from benchmarks.peers.stage import LIMIT, Group, Stage

LONG = 300.0  # seconds that may be waited for a million jobs


class Open(Protocol):
    """Open a fresh stage of a contender; ``more`` are environment variables of its producer and its workers."""

    def __call__(self, name: str = "streamq", **more: str) -> Stage: ...


class Drained(NamedTuple):
    """What a job cost in a drain: worker and server CPU in microseconds, commands of the server."""

    jobs: int
    worker: float
    server: float
    commands: float


def middle(costs: Sequence[Drained]) -> Drained:
    """Return the median of each figure."""
    jobs, worker, server, commands = zip(*costs, strict=True)
    return Drained(int(statistics.median(jobs)), *map(statistics.median, (worker, server, commands)))


def reached(stage: Stage, goal: int, limit: float = LIMIT) -> None:
    """Wait until so many jobs have run."""
    stage.wait(lambda: stage.count() >= goal, f"{goal} jobs", limit)


def started(stage: Stage, **more: str) -> Group:
    """Start a worker that has run its first jobs and rests now."""
    base = stage.count()
    stage.producer.ask("one", job="noop", count=WARM)
    worker = stage.work(**more)
    reached(stage, base + WARM)
    time.sleep(0.3)  # its last acknowledgements
    return worker


def drain(stage: Stage, worker: Group, goal: int, limit: float = LIMIT) -> Drained:
    """Measure ``worker``, the only one, from its next job until ``goal`` have run."""
    earlier = stage.count()
    stage.wait(lambda: stage.count() > earlier, "the first job", limit)
    before, base, used = stage.moment(), stage.count(), worker.cpu()
    reached(stage, goal, limit)
    spent = worker.cpu() - used
    time.sleep(0.3)  # the last acknowledgements
    jobs = max(1, goal - base)
    cost = stage.moment().per_job(before, jobs)
    return Drained(jobs, spent / jobs * 1e6, cost["server"], cost["commands"])


def flow(stage: Stage, made: int, total: int, kept: int, step: int) -> Iterator[int]:
    """Enqueue ``step`` jobs whenever fewer than ``kept`` wait, until ``total`` are made; ``made`` are so far.

    Yields ``made`` just before each filling.
    """
    while made < total:
        stage.wait(lambda goal=made - kept: stage.count() > goal, "the flow")  # type: ignore[misc]  # a lambda with a default
        yield made
        stage.producer.ask("fill", job="noop", count=step)
        made += step


def asking(stage: Stage, count: int, what: str, **more: Any) -> Drained:
    """Measure what a job costs that the producer enqueues; nobody works, or what works is not concerned."""
    before = stage.moment()
    stage.producer.ask(what, count=count, job="noop", **more)
    cost = stage.moment().per_job(before, count)
    return Drained(count, 0.0, cost["server"], cost["commands"])


def several(count: int, thing: str) -> str:
    """Return "1 queue", "2 queues"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
