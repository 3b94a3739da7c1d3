"""The measures: each takes a fresh stage and returns figures (names in figures.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.peers.figures import percentile
from benchmarks.peers.stage import Group, Moment, Stage, UnsupportedError

WARM = 100
FIVE = 0.005
Found = dict[str, float]


class Size(NamedTuple):
    """How long measures last.

    seconds: of a drain, by the contender's expected pace. before: jobs that are run before memory is looked at. one,
    fifty, bulk: jobs to enqueue. samples: of latency and lateness. idle: seconds to look at an idle worker. recover:
    jobs of the kill. patience: seconds to wait for them.
    """

    seconds: float = 2.0
    before: int = 1500
    one: int = 3000
    fifty: int = 10_000
    bulk: int = 20_000
    samples: int = 500
    idle: float = 5.0
    recover: int = 1000
    patience: float = 90.0


QUICK = Size(seconds=0.4, before=1100, one=300, fifty=1000, bulk=1000, samples=60, idle=1.5, recover=200, patience=25.0)


def enqueue(stage: Stage, size: Size) -> Found:
    """Enqueue one by one, 50 at once and in bulk; nobody works."""
    producer = stage.producer
    producer.ask("one", job="noop", count=WARM)
    found: Found = {}
    for way, count in (("one", size.one), ("fifty", size.fifty), ("bulk", size.bulk)):
        earlier = stage.moment()
        try:
            answer = producer.ask(way, job="noop", count=count)
        except UnsupportedError:
            continue
        found[f"enqueue_{way}"] = count / answer["seconds"]
        found[f"enqueue_{way}_cpu"] = answer["cpu"] / count * 1e6
        cost = stage.moment().per_job(earlier, count)
        found |= {f"enqueue_{way}_{name}": value for name, value in cost.items()}
    return found


def drain(stage: Stage, size: Size) -> Found:
    """One worker process, jobs that do nothing.

    Some are run and their worker is ended beforehand, so that what is kept of the last so many jobs is not taken for
    what every job leaves.
    """
    jobs = _jobs(stage, size)
    stage.producer.ask("one", job="noop", count=WARM)
    stage.producer.ask("fill", job="noop", count=size.before)
    _run(stage, size.before + WARM, workers=1)  # whatever is kept of the last jobs is there from now on
    empty, ran = stage.moment(), stage.count()
    stage.producer.ask("fill", job="noop", count=jobs)
    full = stage.moment()
    run = _run(stage, ran + jobs, workers=1)
    cost = {f"drain_{name}": value for name, value in run.after.per_job(run.before, run.jobs).items()}
    return {
        "drain": run.rate,
        "drain_cpu": run.cpu / run.jobs * 1e6,
        **cost,
        "fill_server": full.per_job(empty, jobs)["server"],
        "bytes_waiting": (full.memory - empty.memory) / jobs,
        "bytes_left": max(0.0, (run.memory - empty.memory) / jobs),
        "jobs": run.jobs,
        "rss": run.resident / 1e6,
    }


def drain2(stage: Stage, size: Size) -> Found:
    """Two worker processes; the clock starts when both have run a job."""
    jobs = 2 * _jobs(stage, size)
    stage.producer.ask("fill", job="noop", count=jobs)
    run = _run(stage, jobs, workers=2)
    return {"drain2": run.rate, "drain2_jobs": run.jobs}


def five(stage: Stage, size: Size) -> Found:
    """One worker process, jobs that wait 5 ms; with 100 slots 20,000 a second is all there can be."""
    ideal = stage.concurrency / FIVE
    jobs = max(500, int(min(stage.contender.pace, ideal) * size.seconds))
    stage.producer.ask("fill", job="five", count=jobs)
    seen: list[int] = []
    run = _run(stage, jobs, workers=1, look=lambda: seen.append(_active(stage)))
    held: Found = {}
    if seen and max(seen) >= 0:
        held = {"five_active": max(seen)}
    return {"five": run.rate, "five_ideal": run.rate / ideal * 100, "five_jobs": run.jobs, **held}


def latency(stage: Stage, size: Size) -> Found:
    """Seconds from just before the enqueue to the first line of the handler, a job every 5 ms."""
    _ready(stage)
    stage.producer.ask("paced", count=size.samples, every=FIVE)
    stage.wait(lambda: stage.count() >= WARM + size.samples, "low load")
    waits = [float(line[0]) * 1e3 for line in stage.told("stamp")]
    return {"start_p50": percentile(waits, 0.5), "start_p99": percentile(waits, 0.99)}


def late(stage: Stage, size: Size) -> Found:
    """How long after its due time a delayed job starts, one due every 5 ms; below zero is early."""
    _ready(stage)
    stage.producer.ask("late", count=size.samples, every=FIVE)
    stage.wait(lambda: stage.count() >= WARM + size.samples, "delayed jobs")
    found = [float(line[0]) * 1e3 for line in stage.told("late")]
    return {
        "late_p50": percentile(found, 0.5),
        "late_p99": percentile(found, 0.99),
        "late_min": min(found),
        "late_max": max(found),
    }


def idle(stage: Stage, size: Size) -> Found:
    """What a worker costs that has nothing to do."""
    worker = _ready(stage)
    time.sleep(1.0)
    before, used, started = stage.moment(), worker.cpu(), time.monotonic()
    time.sleep(size.idle)
    elapsed, spent, after = time.monotonic() - started, worker.cpu() - used, stage.moment()
    return {
        "idle_cpu": spent / elapsed * 100,
        "idle_calls": max(0, after.reads - before.reads - 2) / elapsed,  # two are our own
        "idle_server": (after.cpu - before.cpu) / elapsed * 100,
    }


def recover(stage: Stage, size: Size) -> Found:
    """SIGKILL the only worker at half of the jobs, 50 ms each, and start another at once."""
    stage.producer.ask("fill", job="mark", count=size.recover)
    first = stage.work()
    stage.wait(lambda: stage.count() >= size.recover // 2, "half of the jobs")
    # All slots tend to end together: not now, when nothing is running.
    stage.wait(lambda: len(_running(stage)) > stage.concurrency // 10, "jobs that run")
    first.kill()
    killed = time.monotonic()
    running = _running(stage)
    stage.work()
    deadline = killed + size.patience
    while time.monotonic() < deadline and len({line[0] for line in stage.told("end")}) < size.recover:
        time.sleep(0.1)
    ends = [(line[0], float(line[1])) for line in stage.told("end")]
    done = {number for number, _ in ends}
    found: Found = {
        "recover_running": len(running),
        "recover_never": size.recover - len(done),
        "recover_twice": len(ends) - len(done),
        "recover_waited": size.patience,
    }
    if len(done) >= size.recover:
        found["recover"] = max(at for _, at in ends) - killed
    return found


Measure = Callable[[Stage, Size], Found]
MEASURES: dict[str, Measure] = {
    "enqueue": enqueue, "drain": drain, "drain2": drain2, "five": five, "latency": latency, "late": late, "idle": idle,
    "recover": recover,
}  # fmt: skip


class Run(NamedTuple):
    """A drain after its clock started.

    jobs, rate, worker CPU in seconds, resident bytes of the workers, data left in the server, the server's counters.
    """

    jobs: int
    rate: float
    cpu: float
    resident: int
    memory: int
    before: Moment
    after: Moment


def _jobs(stage: Stage, size: Size) -> int:
    return max(500, int(stage.contender.pace * size.seconds))


def _ready(stage: Stage) -> Group:
    """Start a worker and let it run a few jobs."""
    stage.producer.ask("one", job="noop", count=WARM)
    worker = stage.work()
    stage.wait(lambda: stage.count() >= WARM, "the first jobs")
    time.sleep(0.2)
    return worker


def _running(stage: Stage) -> set[str]:
    return {line[0] for line in stage.told("start")} - {line[0] for line in stage.told("end")}


def _active(stage: Stage) -> int:
    try:
        return int(stage.producer.ask("active")["active"])
    except UnsupportedError:
        return -1


def _run(stage: Stage, total: int, *, workers: int, look: Callable[[], None] | None = None) -> Run:
    """Start workers; from the moment each has run a job measure until ``total`` have run."""
    groups = [stage.work() for _ in range(workers)]
    stage.wait(lambda: all(map(stage.has_run, groups)) or stage.count() >= total, "the first job of every worker")
    used = sum(group.cpu() for group in groups)
    before, base, started = stage.moment(), stage.count(), time.perf_counter()
    if look is not None:
        for share in (0.2, 0.4, 0.6):
            stage.wait(lambda at=share: stage.count() >= base + (total - base) * at, "the drain")  # type: ignore[misc]  # a lambda with a default
            look()
    stage.wait(lambda: stage.count() >= total, "the drain")
    elapsed = time.perf_counter() - started
    spent = sum(group.cpu() for group in groups) - used
    resident = sum(group.resident() for group in groups)
    time.sleep(0.3)  # the last acknowledgements
    after = stage.moment()
    jobs = total - base
    if jobs < total / 10:
        raise UnsupportedError(f"too fast: only {jobs} of {total} jobs were left when every worker was there")
    stage.stop_workers()
    time.sleep(0.2)
    return Run(jobs, jobs / elapsed, spent, resident, stage.moment().memory, before, after)
