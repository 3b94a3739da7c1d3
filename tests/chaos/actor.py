"""A worker process for the tests to kill and to freeze: ``python -m tests.chaos.actor``. Writes a ledger."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from pathlib import Path

from streamq import Context, Fixed, Keep, Queue, Worker
from streamq._runtime.attempt import Attempt
from streamq._runtime.settler import Settler
from streamq._runtime.table import Table
from streamq._store.verbs import Item
from tests.ledger import Ledger


def make_queue(url: str, prefix: str, ledger: Ledger | None = None) -> Queue:
    """The queue of the chaos tests, with the handlers that keep a ledger."""
    queue = Queue("chaos", url=url, prefix=prefix, keep_completed=Keep(count=1_000_000), backoff=Fixed(0.05))

    def note(what: str, ctx: Context) -> None:
        if ledger is not None:
            ledger.write(what, ctx.job_id, attempt=ctx.attempt, stalls=ctx.stalls, fence=ctx.fence)

    @queue.handler("work", timeout=None)
    async def work(ctx: Context, seconds: float) -> None:
        note("start", ctx)
        await asyncio.sleep(seconds)
        note("effect", ctx)

    @queue.handler("poison")
    async def poison(ctx: Context, seconds: float) -> None:
        """Kill the process; after a while, so that its neighbours have begun."""
        note("start", ctx)
        await asyncio.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    @queue.handler("block", timeout=None)
    async def block(ctx: Context, seconds: float) -> None:
        note("start", ctx)
        time.sleep(seconds)  # noqa: ASYNC251 - the offence itself
        note("effect", ctx)

    return queue


def tell(ledger: Ledger) -> None:
    """Note each answer to a settlement, and each lease that is given up."""
    answered, lose = Settler.answered, Table.lose

    def noting_answered(self: Settler, reply: bytes) -> list[Item]:
        items = answered(self, reply)
        for item, letter in zip(items, reply.decode(), strict=True):
            ledger.write("settled", item.id.decode(), verb=item.verb.decode(), answer=letter, token=item.token.decode())
        return items

    def noting_lose(self: Table, attempt: Attempt) -> None:
        ledger.write("lost", attempt.job_id)
        lose(self, attempt)

    Settler.answered = noting_answered  # type: ignore[method-assign]
    Table.lose = noting_lose  # type: ignore[method-assign]


async def work(options: argparse.Namespace) -> None:
    ledger = Ledger(Path(options.ledger), options.name)
    tell(ledger)
    queue = make_queue(options.url, options.prefix, ledger)
    worker = Worker(queue, concurrency=options.concurrency, lease=options.lease, grace=5, name=options.name)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with worker:
        ledger.write("ready", worker=worker.name)
        await told.wait()
    await queue.aclose()
    ledger.write("stopped")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("url", "prefix", "ledger", "name"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--lease", type=float, default=3.0)
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
