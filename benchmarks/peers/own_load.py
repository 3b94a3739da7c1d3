"""streamq alone, with larger payloads and with more queues on one worker."""

from __future__ import annotations

import time

from benchmarks.peers.figures import at
from benchmarks.peers.measures import WARM, Found, Size
from benchmarks.peers.own_base import Drained, Open, drain, middle, several, started

ROUNDS = 3
BYTES = 100_000_000  # of payload in one round, or JOBS
JOBS = 20_000
PAYLOADS = {"100 B": 100, "1 kB": 1000, "10 kB": 10_000, "100 kB": 100_000}


def payloads(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Cost of a job with 100 B to 100 kB of arguments, and what a bare stream takes for the same bytes.

    Bytes cost something wherever they pass. What a queue adds is the difference; a ratio to the bare loop that does not
    grow says that nothing but the bytes does.
    """
    del size
    found: Found = {}
    for point, length in PAYLOADS.items():
        jobs = max(200, min(BYTES, JOBS * length) // length // (10 if quick else 1))
        for name in ("streamq", "bare"):
            cost = middle([_carried(open_stage, name, length, jobs) for _ in range(1 if quick else ROUNDS)])
            found[at(f"{name}, server CPU", point, "us")] = cost.server
            found[at(f"{name}, worker CPU", point, "us")] = cost.worker
            found[at(f"{name}, commands", point, "a job")] = cost.commands
        for what in ("server CPU", "worker CPU"):
            ours, bare = (found[at(f"{name}, {what}", point, "us")] for name in ("streamq", "bare"))
            found[at(f"{what} over bare", point, "x")] = ours / bare
    return found


def queues(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Cost of a job of 1 to 200 queues, all with jobs waiting, on one worker of 100 places."""
    found: Found = {}
    del size
    jobs = JOBS // 2 if quick else JOBS
    for number in (1, 10) if quick else (1, 10, 50, 200):
        costs: list[Drained] = []
        for _ in range(1 if quick else ROUNDS):
            with open_stage(PEER_QUEUES=str(number)) as stage:
                stage.producer.ask("one", job="noop", count=max(WARM, number))
                stage.producer.ask("fill", job="noop", count=jobs)
                costs.append(drain(stage, stage.work(), max(WARM, number) + jobs))
        cost, point = middle(costs), several(number, "queue")
        found[at("server CPU", point, "us")] = cost.server
        found[at("worker CPU", point, "us")] = cost.worker
        found[at("commands", point, "a job")] = cost.commands
    return found


def rest(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """What a worker of 1 to 200 queues costs that has nothing to do."""
    found: Found = {}
    for number in (1, 20) if quick else (1, 20, 200):
        with open_stage(PEER_QUEUES=str(number)) as stage:
            worker = started(stage)
            time.sleep(1.0)
            before, used, begun = stage.moment(), worker.cpu(), time.monotonic()
            time.sleep(size.idle * 2)
            elapsed, spent, after = time.monotonic() - begun, worker.cpu() - used, stage.moment()
        point = several(number, "queue")
        calls = max(0, after.reads - before.reads - 2) / elapsed  # two are our own
        found[at("calls", point, "a queue and second")] = calls / number
        found[at("worker CPU", point, "% of a core")] = spent / elapsed * 100
        found[at("server CPU", point, "% of a core")] = (after.cpu - before.cpu) / elapsed * 100
    return found


def _carried(open_stage: Open, name: str, length: int, jobs: int) -> Drained:
    """Enqueue by the fastest way and drain; the server's cost is that of both."""
    with open_stage(name, PEER_BODY=str(length)) as stage:
        stage.producer.ask("one", job="noop", count=WARM)
        before = stage.moment()
        stage.producer.ask("fill", job="noop", count=jobs)
        filled = stage.moment().per_job(before, jobs)
        cost = drain(stage, stage.work(), WARM + jobs)
    return cost._replace(server=cost.server + filled["server"], commands=cost.commands + filled["commands"])
