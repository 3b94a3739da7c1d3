"""Measures streamq on a server of its own: enqueue, drain, latency, lateness, bytes and CPU per job.

    python benchmarks/streamq_bench.py [--server valkey|redis7|redis8] [--runs 5] [--loop asyncio|uvloop] [--json FILE]

Every figure is the median of the runs; runs of different measures are interleaved, so that a slow minute of the machine
falls on all of them. Worker CPU is the process's own (os.times), server CPU is INFO's. A bare redis-py loop that reads
and acknowledges batches of 100 on the same event loop is measured beside, as the limit: ratios travel, seconds do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis.asyncio

from streamq import Queue, Worker
from tests.servers import Server

JOBS = 20_000
Figures = dict[str, float]


def cpu() -> float:
    times = os.times()
    return times.user + times.system


def server_cpu(server: Server) -> float:
    info = server.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def memory(server: Server) -> int:
    return int(server.info("memory")["used_memory"])


class Bench:
    """One queue on a fresh server, with the handlers that the measures need."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.queue = Queue("bench", url=server.url)
        self.started: list[float] = []
        self.lateness: list[float] = []

        @self.queue.handler("noop")
        async def noop(contact_id: str, body: str) -> None:
            del contact_id, body

        @self.queue.handler("five")
        async def five(number: int) -> None:
            del number
            await asyncio.sleep(0.005)

        @self.queue.handler("stamp")
        async def stamp(sent: float) -> None:
            self.started.append(time.perf_counter() - sent)

        @self.queue.handler("late")
        async def late(due: float) -> None:
            self.lateness.append(time.time() - due)

        self.noop, self.five, self.stamp, self.late = noop, five, stamp, late

    def specs(self, count: int) -> list[Any]:
        return [self.noop.job(f"c_{number:06d}", body="x" * 54) for number in range(count)]

    async def bulk_and_drain(self) -> Figures:
        await self.noop.enqueue("warm", body="up")
        specs = self.specs(JOBS)
        used, spent, started = memory(self.server), server_cpu(self.server), time.perf_counter()
        await self.queue.enqueue_many(specs)
        elapsed = time.perf_counter() - started
        figures = {"enqueue bulk, jobs/s": JOBS / elapsed}
        figures["bytes per waiting job beyond its arguments"] = (memory(self.server) - used) / JOBS - len(specs[0].args)
        mine, started = cpu(), time.perf_counter()
        await Worker(self.queue, concurrency=100).run(burst=True)
        elapsed = time.perf_counter() - started
        figures["no-op drain, jobs/s"] = JOBS / elapsed
        figures["worker CPU per no-op job, us"] = (cpu() - mine) / JOBS * 1e6
        figures["server CPU per job, enqueue + drain, us"] = (server_cpu(self.server) - spent) / JOBS * 1e6
        left = memory(self.server) - used
        figures["bytes left per completed job beyond the window"] = max(0.0, (left - 250_000) / JOBS)
        return figures

    async def five_ms(self) -> Figures:
        await self.queue.enqueue_many([self.five.job(number) for number in range(10_000)])
        started = time.perf_counter()
        await Worker(self.queue, concurrency=100).run(burst=True)
        return {"5 ms handlers, % of ideal": 10_000 * 0.005 / 100 / (time.perf_counter() - started) * 100}

    async def singles(self) -> Figures:
        started = time.perf_counter()
        for _ in range(3000):
            await self.noop.enqueue("c", body="b")
        one = 3000 / (time.perf_counter() - started)

        async def caller() -> None:
            for _ in range(200):
                await self.noop.enqueue("c", body="b")

        started = time.perf_counter()
        await asyncio.gather(*[caller() for _ in range(50)])
        return {
            "enqueue one by one, jobs/s": one,
            "enqueue 50 concurrent, jobs/s": 10_000 / (time.perf_counter() - started),
        }

    async def latency(self) -> Figures:
        self.started.clear()
        async with Worker(self.queue):
            for _ in range(500):
                await self.stamp.enqueue(time.perf_counter())
                await asyncio.sleep(0.005)
            await self._until(lambda: len(self.started) >= 500)
        found = sorted(self.started)
        return {"enqueue to start p50, ms": found[250] * 1e3, "enqueue to start p99, ms": found[494] * 1e3}

    async def delays(self) -> Figures:
        self.lateness.clear()
        async with Worker(self.queue):
            first = time.time() + 0.5
            dues = [first + at * 0.005 for at in range(300)]
            jobs = [self.late.with_options(at=datetime.fromtimestamp(due, UTC)).job(due) for due in dues]
            await self.queue.enqueue_many(jobs)
            await self._until(lambda: len(self.lateness) >= 300)
        found = sorted(self.lateness)
        return {"lateness of delayed p50, ms": found[150] * 1e3, "lateness of delayed p99, ms": found[297] * 1e3}

    async def bare(self) -> Figures:
        """The limit: XREADGROUP 100, a task per entry, one pipelined XACK + XDEL; no queue at all."""
        kind: Any = redis.asyncio.Redis
        client: Any = kind.from_url(self.server.url, protocol=2)
        await client.delete("bare")
        pipe = client.pipeline(transaction=False)
        for _ in range(JOBS):
            pipe.xadd("bare", {"d": b"x" * 99})
        await pipe.execute()
        await client.xgroup_create("bare", "g", "0")

        async def nothing(_: bytes) -> None: ...

        mine, started, done = cpu(), time.perf_counter(), 0
        while done < JOBS:
            reply = await client.xreadgroup("g", "c", {"bare": ">"}, count=100)
            entries = reply[0][1]
            await asyncio.gather(*[asyncio.create_task(nothing(fields[b"d"])) for _, fields in entries])
            ids = [entry for entry, _ in entries]
            pipe = client.pipeline(transaction=False)
            pipe.xack("bare", "g", *ids)
            pipe.xdel("bare", *ids)
            await pipe.execute()
            done += len(ids)
        elapsed = time.perf_counter() - started
        await client.aclose()
        return {
            "bare redis-py loop, jobs/s": JOBS / elapsed,
            "bare redis-py loop, CPU per job, us": (cpu() - mine) / JOBS * 1e6,
        }

    async def _until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not fact():  # noqa: ASYNC110 - looked at from outside, nothing signals it
                await asyncio.sleep(0.01)


async def one_run(server: Server) -> Figures:
    bench = Bench(server)
    figures: Figures = {}
    measures: list[Callable[[], Awaitable[Figures]]] = [
        bench.bare, bench.bulk_and_drain, bench.singles, bench.five_ms, bench.latency, bench.delays,
    ]  # fmt: skip
    for measure in measures:
        server.command("FLUSHALL")
        figures |= await measure()
    await bench.queue.aclose()
    return figures


def import_times() -> Figures:
    """Seconds over a bare interpreter; the best of five, since nothing else can make a start faster than it is."""

    def best(*args: str) -> float:
        taken: list[float] = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - started)
        return min(taken)

    bare = best("-c", "pass")
    return {
        "import streamq, ms over bare Python": (best("-c", "import streamq") - bare) * 1e3,
        "from streamq import Queue, ms over bare Python": (best("-c", "from streamq import Queue") - bare) * 1e3,
        "streamq --help, ms": best("-m", "streamq", "--help") * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--server", default="redis7", choices=["valkey", "redis7", "redis8"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop  # noqa: PLC0415 - optional

        run: Callable[[Any], Figures] = uvloop.run
    else:
        run = asyncio.run
    runs: list[Figures] = []
    version: dict[str, str] = {}
    for number in range(options.runs):
        with Server(options.server) as server:
            runs.append(run(one_run(server)))
            version = server.info("server")
        print(f"run {number + 1} of {options.runs}", file=sys.stderr)
    medians = {name: statistics.median(one[name] for one in runs) for name in runs[0]} | import_times()
    medians["drain, % of the bare loop"] = medians["no-op drain, jobs/s"] / medians["bare redis-py loop, jobs/s"] * 100
    width = max(map(len, medians))
    for name, value in medians.items():
        print(f"{name:{width}}  {value:>12,.2f}")
    if options.json:
        kept = {
            "python": platform.python_version(),
            "loop": options.loop,
            "server": version.get("valkey_version") or version.get("redis_version"),
            "kind": options.server,
            "cores": os.cpu_count(),
            "medians": medians,
            "runs": runs,
        }
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
