"""Measures what counting, hooks, events and tracing cost a job.

    python benchmarks/watching_bench.py [--server valkey|redis7|redis8] [--runs 12] [--json FILE]

Each variant is a process of its own with a fresh server: jobs enqueued in bulk, then drained by one worker of 100
places. Variants take turns, and another begins in every run; the least of the runs is told, for differences of a
microsecond drown in what a busy machine adds. CPU of the process is the operating system's, the server's is INFO's.
Counting cannot be switched off: the first variant takes it out to see what it costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.streamq_bench import cpu, server_cpu
from streamq import Alert, AlertRule, Event, Queue, Worker
from streamq._core import tally
from streamq._core.tally import Arriving, Fact
from tests.servers import Server

JOBS = 40_000
WARM = 2_000
BULK = 1_000


def uncounted(queue: Queue) -> None:
    """Take out what a worker sums up and what the scripts add."""
    del queue

    def settled(facts: Sequence[Fact | None], minute: int) -> tuple[bytes, bytes]:
        del facts, minute
        return b"", b""

    def arrived(batch: Sequence[Arriving], minute: int) -> bytes:
        del batch, minute
        return b""

    tally.settled, tally.arrived = settled, arrived


def counted(queue: Queue) -> None:
    """Do nothing: as it is installed."""
    del queue


def hooked(queue: Queue) -> None:
    @queue.on("completed")
    async def completed(event: Event) -> None:
        del event


def alerted(queue: Queue) -> None:
    @queue.on_alert
    async def told(alert: Alert) -> None:
        del alert


def traced(queue: Queue) -> None:
    """Record every span, and send them nowhere."""
    from opentelemetry import trace  # noqa: PLC0415 - who does not trace loads none of it
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same

    del queue
    trace.set_tracer_provider(TracerProvider())


VARIANTS: dict[str, tuple[dict[str, Any], Callable[[Queue], None]]] = {
    "nothing counted (no option)": ({}, uncounted),
    "as installed": ({}, counted),
    "a hook on completed jobs": ({}, hooked),
    "an alert rule": ({"alerts": [AlertRule("dead", above=50)]}, alerted),
    "events of dead letters": ({"events": {"dead"}}, counted),
    "all events": ({"events": True}, counted),
    "tracing, every span recorded": ({}, traced),
}


async def one(variant: str, server: Server) -> dict[str, float]:
    """Measure a variant in this process; microseconds a job."""
    options, prepare = VARIANTS[variant]
    queue = Queue("watched", url=server.url, **options)
    prepare(queue)
    done, left = asyncio.Event(), 0

    @queue.handler("noop")
    async def noop(number: int) -> None:
        nonlocal left
        del number
        left -= 1
        if left == 0:
            done.set()

    async def play(jobs: int) -> dict[str, float]:
        nonlocal left
        left = jobs
        done.clear()
        server.command("CONFIG", "RESETSTAT")
        mine, its = cpu(), server_cpu(server)
        specs = [noop.job(number) for number in range(BULK)]
        for _ in range(jobs // BULK):
            await queue.enqueue_many(specs)
        enqueued, its_then = cpu(), server_cpu(server)
        async with Worker(queue, concurrency=100):
            await done.wait()
        commands = sum(server.commandstats().values())
        return {
            "enqueue, process": (enqueued - mine) / jobs * 1e6,
            "enqueue, server": (its_then - its) / jobs * 1e6,
            "run, process": (cpu() - enqueued) / jobs * 1e6,
            "run, server": (server_cpu(server) - its_then) / jobs * 1e6,
            "commands": commands / jobs,
        }

    async with queue:
        await play(WARM)
        return await play(JOBS)


def measured(kind: str, runs: int) -> dict[str, dict[str, float]]:
    """Measure all variants, each run in processes of their own, and return the least of each figure."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    for number in range(runs):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            command = [sys.executable, __file__, "--server", kind, "--one", name]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[name].append(json.loads(said))
            print(number + 1, name, said.strip(), file=sys.stderr, flush=True)
    return {
        name: {what: round(min(one[what] for one in every), 2) for what in every[0]} for name, every in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="redis7", choices=["valkey", "redis7", "redis8"])
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--one", choices=VARIANTS, help="this variant alone, in this process")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.one:
        with Server(given.server, tcp=True) as server:
            print(json.dumps(asyncio.run(one(given.one, server))))
        return
    with Server(given.server) as server:
        info = server.info("server")
    result = {
        "kind": given.server, "server": info.get("valkey_version", info["redis_version"]),
        "at": datetime.now(UTC).isoformat(timespec="minutes"), "jobs": JOBS, "runs": given.runs,
        "python": platform.python_version(), "cores": os.cpu_count(),
        "watching": measured(given.server, given.runs),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
