"""streamq alone, and more of everything: waiting jobs, delayed jobs, workers."""

from __future__ import annotations

import time

from benchmarks.peers.figures import at
from benchmarks.peers.measures import Found, Size
from benchmarks.peers.own_base import LONG, Drained, Open, asking, drain, flow, middle, reached, several, started

ROUNDS = 5
TAKEN = 300  # jobs of a round over which the cost of an enqueue is measured
RUN = 2000  # delayed jobs that become due at once
STEP = 500  # jobs that a flow is filled up by
WARMING = 4  # fillings before a flow counts
FAR = 7200.0  # seconds until those are due that only lie there


def growth(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Cost of an enqueue, and of a job in a steady flow, with 10^3 to 10^6 waiting.

    In the flow the producer fills up by 500 whenever fewer are left: all that a job costs, in batches of one size, and
    no worker that is getting going, which would weigh more the fewer jobs there are.
    """
    found: Found = {}
    jobs = int(20_000 * size.seconds)
    for power in (3, 4) if quick else (3, 4, 5, 6):
        with open_stage() as stage:
            waiting = 10**power
            stage.producer.ask("fill", job="noop", count=waiting, limit=LONG)
            _note(found, "enqueue", f"10^{power}", middle([asking(stage, TAKEN, "one") for _ in range(ROUNDS)]))
            made = waiting + ROUNDS * TAKEN
            stage.work()
            reached(stage, ROUNDS * TAKEN)
            before = None
            for number, _ in enumerate(flow(stage, made, made + jobs, waiting, STEP)):
                if number == WARMING:
                    before = stage.moment()
            assert before is not None
            cost = stage.moment().per_job(before, jobs - WARMING * STEP)
            _note(found, "a job in a flow", f"10^{power}", Drained(jobs, 0, cost["server"], cost["commands"]))
    return found


def delayed(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Cost of adding a delayed job, and of running those that become due, with 10^3 to 10^6 delayed for later."""
    del size
    found: Found = {}
    for power in (3, 4) if quick else (3, 4, 5, 6):
        with open_stage() as stage:
            far = time.time() + FAR
            stage.producer.ask("due", job="noop", count=10**power, at=far, limit=LONG)
            cost = middle([asking(stage, TAKEN, "due", at=far, singly=True) for _ in range(ROUNDS)])
            _note(found, "add one", f"10^{power}", cost)
            worker = started(stage)
            costs: list[Drained] = []
            for _ in range(ROUNDS):
                goal = stage.count() + RUN
                stage.producer.ask("due", job="noop", count=RUN, at=time.time() + 0.5)
                costs.append(drain(stage, worker, goal))
            _note(found, "run a due one", f"10^{power}", middle(costs))
    return found


def crowd(open_stage: Open, size: Size, *, quick: bool) -> Found:
    """Cost of a job, enqueued in bulk and drained, with 1 to 32 worker processes."""
    found: Found = {}
    for workers in (1, 4) if quick else (1, 8, 32):
        with open_stage() as stage:
            jobs = int(20_000 * size.seconds)
            stage.producer.ask("one", job="noop", count=100)
            for _ in range(workers):
                stage.work()
            reached(stage, 100)
            time.sleep(0.5 + 0.3 * workers)  # all of them connected
            before, base = stage.moment(), stage.count()
            stage.producer.ask("fill", job="noop", count=jobs)
            reached(stage, base + jobs)
            cost = stage.moment().per_job(before, jobs)
            _note(found, "a job", several(workers, "worker"), Drained(jobs, 0, cost["server"], cost["commands"]))
    return found


def _note(found: Found, what: str, point: str, cost: Drained) -> None:
    found[at(f"{what}, server CPU", point, "us")] = cost.server
    found[at(f"{what}, commands", point, "a job")] = cost.commands
