"""Measures flow control: what each feature costs a job, how exact rates are, and how fair groups are with a hog.

    python benchmarks/flow_bench.py [--server valkey|redis7|redis8] [--runs 3] [--only costs] [--json FILE]

Costs are the server's CPU (INFO) and the worker's (os.times) per job, medians of interleaved runs, beside a plain job
of the same run. Precision counts starts in every window of the period: by the server's clock, where the limit holds,
and by the clock of the handlers, which the event loop and the network may have pressed together. Fairness is the wait
of jobs of 10,000 small groups, from the enqueue to the handler's start, with and without a hog. ``--only`` takes costs,
precision or fairness.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.streamq_bench import cpu, memory, server_cpu
from streamq import Dedup, Group, Priority, Queue, RateLimit, Worker
from streamq._runtime.attempt import Attempt
from streamq._store import lines
from streamq.joint import Joint
from tests.servers import Server

JOBS = 5_000
HOG = 20_000
GROUPS = 10_000
Spec = Callable[[Any, int], Any]
Declare = Callable[[str], Queue]


class Case:
    """One feature: how its queue is declared, the options of its handler, and those of job number n."""

    def __init__(self, name: str, queue: dict[str, Any], handler: dict[str, Any], job: Callable[[int], Any]) -> None:
        self.name = name
        self.queue = queue
        self.handler = handler
        self.job = job


def cases() -> Iterator[Case]:
    """Every feature, the plain job first."""
    wide = RateLimit(10_000_000, per=1)
    yield Case("plain", {}, {}, lambda _: {})
    yield Case("plain, on a queue with limits", {"limits": {"other": wide}}, {}, lambda _: {})
    yield Case("priority, by weights", {"lanes": _weights()}, {}, lambda n: {"priority": Priority(n % 5)})
    yield Case("queue rate limit", {"rate_limit": wide}, {}, lambda _: {})
    yield Case("queue concurrency", {"global_concurrency": 1000}, {}, lambda _: {})
    yield Case("dedup simple, all new", {}, {}, lambda n: {"dedup": Dedup(f"k{n}")})
    yield Case("group, 1 group", {"group": Group(reserve=0)}, {}, lambda _: {"group": "g"})
    yield Case("group, 100 groups", {"group": Group(reserve=0)}, {}, lambda n: {"group": f"g{n % 100}"})
    yield Case("group, a group a job", {"group": Group(reserve=0)}, {}, lambda n: {"group": f"g{n}"})
    yield Case("group, concurrency 5", {"group": Group(concurrency=5)}, {}, lambda n: {"group": f"g{n % 1000}"})
    yield Case("ordered group, 1000 groups", {"group": Group(concurrency=1)}, {}, lambda n: {"group": f"g{n % 1000}"})
    yield Case("rate limit, one key", {"limits": {"sms": wide}}, {}, lambda _: {"rate_key": "sms"})
    yield Case("handler concurrency", {}, {"concurrency": 1000}, lambda _: {})
    yield Case("concurrency key, a key a job", {}, {"concurrency_key": "contact_id"}, lambda _: {})
    yield Case(
        "group + rate + key",
        {"group": Group(concurrency=50, reserve=0), "limits": {"sms": wide}},
        {"concurrency_key": "contact_id"},
        lambda n: {"group": f"g{n % 100}", "rate_key": "sms"},
    )


def _weights() -> dict[str, int]:
    return {"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1}


async def cost(server: Server, case: Case, number: int) -> dict[str, float]:
    """Return what a job of this case costs: enqueued in bulk, then drained by one worker of 100 places."""
    queue = Queue(f"c{number}", url=server.url, **case.queue)

    @queue.handler("noop", **case.handler)
    async def noop(contact_id: str, body: str) -> None:
        del contact_id, body

    specs = [noop.with_options(**case.job(n)).job(f"c_{n:06d}", body="x" * 54) for n in range(JOBS)]
    async with Worker(queue, concurrency=1):  # declares the limits, loads the scripts
        await noop.enqueue("warm", body="up")
        while (await queue.counts()).completed < 1:  # noqa: ASYNC110 - nobody else is running
            await asyncio.sleep(0.01)
    await queue.pause()
    before, held = server_cpu(server), memory(server)
    await queue.enqueue_many(specs)
    middle, full = server_cpu(server), memory(server)
    await queue.resume()
    own, started = cpu(), time.perf_counter()
    await Worker(queue, concurrency=100).run(burst=True)
    took, own_after, after = time.perf_counter() - started, cpu(), server_cpu(server)
    assert (await queue.counts()).completed == JOBS + 1
    await queue.aclose()
    return {
        "enqueue, server us": (middle - before) / JOBS * 1e6,
        "run, server us": (after - middle) / JOBS * 1e6,
        "run, worker us": (own_after - own) / JOBS * 1e6,
        "jobs/s": JOBS / took,
        "bytes waiting": (full - held) / JOBS,
    }


async def costs(server: Server, runs: int) -> dict[str, dict[str, float]]:
    """Return the medians per case, runs interleaved."""
    found: dict[str, list[dict[str, float]]] = {}
    numbers = itertools.count()
    for _ in range(runs):
        for case in cases():
            found.setdefault(case.name, []).append(await cost(server, case, next(numbers)))
            server.command("FLUSHALL")
    return {
        name: {what: round(statistics.median(run[what] for run in many), 1) for what in many[0]}
        for name, many in found.items()
    }


def most_in_window(starts: list[float], per: float) -> int:
    """Return the highest number of starts in any window of ``per`` seconds."""
    most = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] >= per:
            first += 1
        most = max(most, last - first + 1)
    return most


async def precision(server: Server, count: int, seconds: float) -> dict[str, float]:
    """Return how exact ``RateLimit(count)`` is over three workers with a backlog."""
    queue = Queue(f"p{count}", url=server.url, limits={"sms": RateLimit(count)})
    starts: list[float] = []

    @queue.handler("send")
    async def send(n: int) -> None:
        del n
        starts.append(time.time())
        await asyncio.sleep(0.02)

    taken: list[float] = []
    begin = Joint.start

    def noting(joint: Joint, attempt: Attempt) -> None:
        held = lines.held(attempt.token)
        assert held is not None
        taken.append(held.taken_ms / 1000)
        begin(joint, attempt)

    jobs = int(count * (seconds + 1))
    bound = send.with_options(rate_key="sms")
    before_calls = float(server.info("stats")["total_commands_processed"])
    await queue.enqueue_many([bound.job(n) for n in range(jobs)])
    workers = [Worker(queue, concurrency=40) for _ in range(3)]
    own = server_cpu(server)
    began = time.perf_counter()
    Joint.start = noting  # type: ignore[assignment, method-assign]  # noted, and put back below
    try:
        async with workers[0], workers[1], workers[2]:
            while len(starts) < count * seconds:  # noqa: ASYNC110 - nobody else is running
                await asyncio.sleep(0.01)
            took = time.perf_counter() - began
            used_cpu = server_cpu(server) - own
    finally:
        Joint.start = begin  # type: ignore[method-assign]  # as it was
    calls = float(server.info("stats")["total_commands_processed"]) - before_calls
    await queue.aclose()
    starts.sort()
    taken.sort()
    # Whole windows only: in each the limit could have been spent.
    windows = int(taken[int(count * seconds) - 1] - taken[0])
    used = len([at for at in taken if at < taken[0] + windows])
    return {
        "limit per s": count,
        "most in any window of 1 s": most_in_window(taken, 1.0),
        "most by the handlers' clocks": most_in_window(starts, 1.0),
        "% of the limit used": round(100 * used / (count * windows), 1),
        "commands/s": round(calls / took, 1),
        "server core, %": round(100 * used_cpu / took, 1),
    }


async def fairness(
    server: Server, number: int, rate: int, *, hog: bool, group: Group, seconds: float
) -> dict[str, Any]:
    """Return the waits of the small groups' jobs, ms, and what the hog got."""
    queue = Queue(f"f{number}", url=server.url, group=group)
    waits: list[float] = []
    hogs = 0
    sent: dict[int, float] = {}

    @queue.handler("work")
    async def work(n: int) -> None:
        nonlocal hogs
        if n < 0:
            hogs += 1
        else:
            waits.append(time.perf_counter() - sent[n])
        await asyncio.sleep(random.uniform(0.02, 0.06))

    if hog:
        await queue.enqueue_many([work.with_options(group="hog").job(-1) for _ in range(HOG)])
    numbers = itertools.count()

    async def producer() -> None:
        began = time.perf_counter()
        for sent_so_far in itertools.count():
            due = began + sent_so_far / rate
            if due - began > seconds:
                return
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            n = next(numbers)
            bound = work.with_options(group=f"g{random.randrange(GROUPS)}")
            sent[n] = time.perf_counter()
            tasks.add(task := asyncio.ensure_future(bound.enqueue(n)))
            task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Future[Any]] = set()
    first, second = Worker(queue, concurrency=40), Worker(queue, concurrency=40)
    async with first, second:
        await asyncio.sleep(0.5)
        before = hogs
        await producer()
        got = hogs - before
        await asyncio.gather(*tasks)
        while len(waits) < len(sent):  # noqa: ASYNC110 - nobody else is running
            await asyncio.sleep(0.01)
        await queue.pause()
    await queue.aclose()
    server.command("FLUSHALL")
    ordered = sorted(waits)
    return {
        "jobs": len(ordered),
        "wait p50 ms": round(1000 * ordered[len(ordered) // 2], 2),
        "wait p99 ms": round(1000 * ordered[int(len(ordered) * 0.99)], 2),
        "starts of the hog": got,
    }


async def fair(server: Server, seconds: float) -> list[dict[str, Any]]:
    """Return all combinations; capacity is 80 places of 40 ms, 2,000 jobs/s."""
    rows: list[dict[str, Any]] = []
    numbers = itertools.count()
    for rate in (1000, 1600):
        for title, hog, group in (
            ("no hog", False, Group(reserve=0)),
            ("hog, no reserve", True, Group(reserve=0)),
            ("hog, concurrency 16", True, Group(concurrency=16, reserve=0)),
            ("hog, reserve 0.1 (the default)", True, Group()),
        ):
            found = await fairness(server, next(numbers), rate, hog=hog, group=group, seconds=seconds)
            rows.append({"load of the others, jobs/s": rate, "case": title, **found})
            print(rows[-1], flush=True)
    return rows


async def main(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": arguments.server, "at": datetime.now(UTC).isoformat(timespec="minutes"), "jobs": JOBS,
        "runs": arguments.runs, "python": platform.python_version(), "cores": os.cpu_count(),
    }  # fmt: skip
    parts: dict[str, Callable[[Server], Awaitable[Any]]] = {
        "costs": lambda server: costs(server, arguments.runs),
        "precision": _precisions,
        "fairness": lambda server: fair(server, arguments.seconds),
    }
    for part, measure in parts.items():
        if arguments.only in (None, part):
            server = Server(arguments.server)
            server.start()
            try:
                found["server"] = server.info("server").get("valkey_version", server.info("server")["redis_version"])
                found[part] = await measure(server)
            finally:
                server.close()
            print(part, json.dumps(found[part], indent=1), flush=True)
    return found


async def _precisions(server: Server) -> list[dict[str, float]]:
    return [await precision(server, 50, 6), await precision(server, 1000, 6)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="redis7", choices=["valkey", "redis7", "redis8"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", choices=["costs", "precision", "fairness"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = asyncio.run(main(given))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n")
