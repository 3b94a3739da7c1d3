"""How long the dashboard's pages take, and how many commands they cost, with very many jobs.

    python benchmarks/dashboard_load.py [--waiting 1000000] [--delayed 100000] [--dead 50000] [--json FILE]

Fills a server of its own through the library, then asks each page several times: medians of the time a page takes and
of the CPU of the process that serves it, and what the server counted of commands. Ends with 1 if a page took longer
than --limit milliseconds (median). The last column: its commands with a thousandth of the jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import httpx  # noqa: E402 - found by the path above
from starlette.requests import Request  # noqa: E402 - the same

from streamq import Queue, Worker  # noqa: E402 - the same
from streamq.web import Dashboard, Level  # noqa: E402 - the same
from tests.servers import Server  # noqa: E402 - the same

CHUNK = 20_000
ROUNDS = 7
PAGES = (
    "/", "/queues/load", "/jobs?state=waiting", "/jobs?state=delayed", "/jobs?state=dead",
    "/jobs?state=dead&error=Timeout",
    "/jobs?state=waiting&payload=contact=c_999999", "/jobs?q=nowhere", "/dead", "/schedules", "/workers", "/limits",
    "/server", "/audit", "/job?queue=load&id={id}", "/act/queue-drain?queue=load",
    "/act/jobs-retry?queue=load&state=dead&error=Timeout",
)  # fmt: skip


class TimeoutOfProvider(Exception):
    """What most of the dead died of."""


def declare(queue: Queue) -> None:
    @queue.handler("send", max_attempts=1)
    async def send(contact: str, channel: str = "sms") -> None:
        number = int(contact.removeprefix("c_"))
        if number % 10:
            raise TimeoutOfProvider(f"{channel}: no answer within {number} s")
        raise ValueError(f"no such contact {contact}")


async def fill(queue: Queue, waiting: int, delayed: int, dead: int) -> str:
    """Bring the queue into the state; returns the id of a waiting job."""
    for start in range(0, dead, CHUNK):
        await queue.enqueue_many(
            [queue.spec("send", {"contact": f"c_{n}"}) for n in range(start, min(dead, start + CHUNK))]
        )
    async with Worker(queue, concurrency=200):
        while (await queue.counts()).dead < dead:  # noqa: ASYNC110 - counted on the server
            await asyncio.sleep(0.1)
    last = ""
    for start in range(0, delayed, CHUNK):
        await queue.enqueue_many(
            [
                queue.spec("send", {"contact": f"c_{n}"}, delay=3600 + n)
                for n in range(start, min(delayed, start + CHUNK))
            ]
        )
    for start in range(0, waiting, CHUNK):
        jobs = await queue.enqueue_many(
            [queue.spec("send", {"contact": f"c_{n}"}) for n in range(start, min(waiting, start + CHUNK))]
        )
        last = jobs[-1].id
    return last


def everybody(request: Request) -> Level:
    del request
    return "full"


async def measured(server: Server, client: httpx.AsyncClient, path: str) -> tuple[float, float, int]:
    """Return the milliseconds a page takes, those of them that are CPU of this process, and its commands."""
    took: list[float] = []
    busy: list[float] = []
    for _ in range(ROUNDS):
        await asyncio.sleep(0.02)
        started, worked = time.perf_counter(), time.process_time()
        answer = await client.get(path, headers={"accept": "text/html"})
        took.append((time.perf_counter() - started) * 1000)
        busy.append((time.process_time() - worked) * 1000)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    await asyncio.sleep(2.5)  # so that nothing cached helps
    server.command("CONFIG", "RESETSTAT")
    await client.get(path, headers={"accept": "text/html"})
    commands = sum(number for name, number in server.commandstats().items() if not name.startswith(("config", "info")))
    return statistics.median(took), statistics.median(busy), commands


async def table(waiting: int, delayed: int, dead: int) -> dict[str, tuple[float, float, int]]:
    """Fill a server and measure every page."""
    with Server(tcp=True) as server:
        queue = Queue("load", url=server.url)
        declare(queue)
        began = time.perf_counter()
        job_id = await fill(queue, waiting, delayed, dead)
        counts = await queue.counts()
        print(
            f"{counts.waiting:,} waiting, {counts.delayed:,} delayed, {counts.dead:,} dead after "
            f"{time.perf_counter() - began:.0f} s"
        )
        found: dict[str, tuple[float, float, int]] = {}
        transport = httpx.ASGITransport(app=Dashboard(queue, access=everybody))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            for path in PAGES:
                found[path] = await measured(server, client, path.format(id=job_id))
        await queue.aclose()
        return found


def judge(few: dict[str, Any], many: dict[str, Any], limit: float) -> Sequence[str]:
    """Print the table; return what is wrong."""
    wrong: list[str] = []
    print(f"{'page':<56} {'median':>9} {'cpu':>9} {'commands':>9} {'of few':>7}")
    for path, (median, cpu, commands) in many.items():
        before = few[path][2]
        print(f"{path:<56} {median:>6.1f} ms {cpu:>6.1f} ms {commands:>9} {before:>7}")
        if median > limit:
            wrong.append(f"{path} took {median:.0f} ms")
    return wrong


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("waiting", 1_000_000), ("delayed", 100_000), ("dead", 50_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--limit", type=float, default=200.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    logging.getLogger("streamq").setLevel(logging.CRITICAL)  # tens of thousands of jobs die here on purpose
    sizes = (asked.waiting, asked.delayed, asked.dead)
    few = asyncio.run(table(*(max(60, one // 1000) for one in sizes)))
    many = asyncio.run(table(*sizes))
    wrong = judge(few, many, asked.limit)
    if asked.json:
        result = {
            "sizes": dict(zip(("waiting", "delayed", "dead"), sizes, strict=True)), "rounds": ROUNDS,
            "at": datetime.now(UTC).isoformat(timespec="minutes"), "python": platform.python_version(),
            "cores": os.cpu_count(),
            "pages": {path: (*figures, few[path][2]) for path, figures in many.items()},
        }  # fmt: skip
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    for one in wrong:
        print(f"! {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
