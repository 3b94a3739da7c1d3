"""``streamq bench``: what this machine and that server can do, in a few seconds; leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import Handler, Queue, Worker
from .._embedded import attach
from .connect import clear_prefix
from .demo_load import percentile
from .options import Command, chosen
from .say import count, duration, note, table
from .show import emit

CALLERS = 50
"""How many await their enqueue at the same time."""

ALONE = 5
"""A job in so many is enqueued again one by one, and again by all callers: these ways are slower than bulk."""

PACE = 0.005
"""Seconds between two jobs when latency is measured."""

LONGEST = 60.0
"""Seconds the jobs of a measure may take; then something is wrong."""


@click.command(cls=Command)
@click.option("--jobs", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True, help="Jobs to run.")
@click.option(
    "--size", type=click.IntRange(0, 100_000), default=100, show_default=True, help="Bytes of text in each job."
)
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Jobs at a time."
)
@click.option(
    "--samples", type=click.IntRange(10, 10_000), default=200, show_default=True, help="Jobs to measure latency with."
)
@click.option("--url", help="Measure this server instead of an embedded one; it gets the load.")
@click.option("--prefix", help='Put the jobs below this prefix; else STREAMQ_PREFIX, "streamq".')
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(**options: Any) -> None:
    """Measure how fast jobs are enqueued, run and started here.

    Producer and worker are this one process. The jobs do nothing and go to a queue of their own, under a prefix of its
    own; other queues of the server are not touched, but share its time. Figures of a busy machine are of no use.
    """
    logging.getLogger("streamq").addHandler(logging.NullHandler())
    url = chosen(options, "url")
    if url is not None:
        asyncio.run(_run(url, "your server", options))
        return
    os.environ.setdefault("STREAMQ_ENV", "development")
    with (
        tempfile.TemporaryDirectory(prefix="streamq-bench-", ignore_cleanup_errors=True) as folder,
        attach(Path(folder)) as server,
    ):
        asyncio.run(_run(server.url, f"an embedded {server.version}", options))


async def _run(url: str, where: str, options: dict[str, Any]) -> None:
    prefix = chosen(options, "prefix") or os.environ.get("STREAMQ_PREFIX") or "streamq"
    # Below the given prefix, so that permissions for its keys are enough.
    queue = Queue("bench", url=url, prefix=f"{prefix}:bench-{os.urandom(4).hex()}")
    try:
        await queue.ping()  # connects
        trip = await queue.ping()
        number = count(options["jobs"], "job")
        note(f"measuring with {number} of {options['size']} bytes on {where}, {options['concurrency']} at a time")
        figures = await Bench(queue, options).run()
    finally:
        await clear_prefix(queue)
        await queue.aclose()
    _show({"where": where, "round_trip": trip, **figures}, options)


class Bench:
    """The measures, on a queue of their own."""

    def __init__(self, queue: Queue, options: dict[str, Any]) -> None:
        self._queue = queue
        self._jobs: int = options["jobs"]
        self._samples: int = options["samples"]
        self._concurrency: int = options["concurrency"]
        self._text = "x" * options["size"]
        self._done = 0
        self._waits: list[float] = []
        self._nothing: Handler[[str], None] = queue.handler("nothing")(self._count)
        self._stamp: Handler[[float], None] = queue.handler("stamp")(self._note)

    async def run(self) -> dict[str, float]:
        """Return all figures: jobs a second, seconds."""
        alone = max(CALLERS, self._jobs // ALONE)
        found = {"enqueue_one": await self._rate(alone, self._one_by_one)}
        found["enqueue_concurrent"] = await self._rate(alone, self._at_once)
        found["enqueue_bulk"] = await self._rate(self._jobs, self._bulk)
        found["drain"] = await self._drain(2 * alone + self._jobs)
        await self._low_load()
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return found | {f"start_{name}": percentile(self._waits, share) or 0.0 for name, share in shares.items()}

    async def _count(self, text: str) -> None:
        del text
        self._done += 1

    async def _note(self, sent: float) -> None:
        self._waits.append(time.perf_counter() - sent)

    async def _rate(self, jobs: int, enqueue: Callable[[int], Any]) -> float:
        started = time.perf_counter()
        await enqueue(jobs)
        return jobs / (time.perf_counter() - started)

    async def _one_by_one(self, jobs: int) -> None:
        for _ in range(jobs):
            await self._nothing.enqueue(self._text)

    async def _at_once(self, jobs: int) -> None:
        shares = [jobs // CALLERS + (caller < jobs % CALLERS) for caller in range(CALLERS)]
        await asyncio.gather(*[self._one_by_one(share) for share in shares])

    async def _bulk(self, jobs: int) -> None:
        await self._queue.enqueue_many([self._nothing.job(self._text) for _ in range(jobs)])

    async def _drain(self, jobs: int) -> float:
        """Run what was enqueued; the clock begins with the first job, since connecting is another matter."""
        async with Worker(self._queue, concurrency=self._concurrency, grace=5):
            await self._until(lambda: self._done > 0)
            before, started = self._done, time.perf_counter()
            await self._until(lambda: self._done >= jobs)
            elapsed = time.perf_counter() - started
        return (jobs - before) / elapsed

    async def _low_load(self) -> None:
        async with Worker(self._queue, concurrency=self._concurrency, grace=5):
            for _ in range(self._samples):
                await self._stamp.enqueue(time.perf_counter())
                await asyncio.sleep(PACE)
            await self._until(lambda: len(self._waits) >= self._samples)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST + self._jobs / 500):
            while not holds():  # noqa: ASYNC110 - handlers count; an event would cost each of them
                await asyncio.sleep(0.001)


def _show(figures: dict[str, Any], options: dict[str, Any]) -> None:
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    if chosen(options, "as_json"):
        kept = {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}
        emit({"machine": machine, "jobs": options["jobs"], "concurrency": options["concurrency"], **kept})
        return
    rates = {
        "enqueue, one by one": "enqueue_one",
        f"enqueue, {CALLERS} concurrent": "enqueue_concurrent",
        "enqueue, bulk": "enqueue_bulk",
        "run jobs that do nothing": "drain",
    }
    waits = {f"from enqueue to start, {name}": f"start_{name}" for name in ("p50", "p95", "p99")}
    rows = [[title, f"{figures[name]:,.0f} jobs/s"] for title, name in rates.items()]
    rows += [[title, duration(figures[name])] for title, name in waits.items()]
    rows.append(["round trip to the server", duration(figures["round_trip"])])
    table(("what", "measured"), rows, right=("measured",))
    note(f"\n{machine}, {figures['where']}; run it twice and trust no difference below a fifth")
