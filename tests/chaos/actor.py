"""A worker process for the tests to kill and to freeze: ``python -m tests.chaos.actor``. Writes a ledger."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamq import Context, Fixed, Group, Keep, Queue, Worker
from streamq._core import envelope
from streamq._runtime.attempt import Attempt
from streamq._runtime.settler import Settler
from streamq._runtime.table import Table
from streamq._store.replies import Taken
from streamq._store.verbs import Item
from tests.chaos import ticks
from tests.ledger import Ledger

real_time = time.time
"""The clock of this machine, whatever ``--skew`` makes streamq see."""


def die(ledger: Ledger | None) -> None:
    """Kill this process, and say so before: whoever watches it may be busy for seconds."""
    if ledger is not None:
        ledger.write("killed", pid=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def make_queue(url: str, prefix: str, ledger: Ledger | None = None, *, lines: bool = False, **options: Any) -> Queue:
    """The queue of the chaos tests, with the handlers that keep a ledger; ``lines``: groups have a bound."""
    group = Group(concurrency=4) if lines else None
    settings: dict[str, Any] = {"keep_completed": Keep(count=1_000_000), "backoff": Fixed(0.05), "group": group}
    queue = Queue("chaos", url=url, prefix=prefix, **{**settings, **options})

    def note(what: str, ctx: Context) -> None:
        if ledger is not None:
            more = {"attempt": ctx.attempt, "stalls": ctx.stalls, "fence": ctx.fence, "wall": real_time()}
            ledger.write(what, ctx.job_id, **more)

    @queue.handler("work", timeout=None)
    async def work(ctx: Context, seconds: float) -> None:
        note("start", ctx)
        await asyncio.sleep(seconds)
        note("effect", ctx)

    @queue.handler("deaf", timeout=None)
    async def deaf(ctx: Context, seconds: float) -> None:
        """Go on when cancelled, as a function in a thread does: only the fence stops what it says then."""
        note("start", ctx)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)
        note("effect", ctx)

    @queue.handler("flaky", timeout=None)
    async def flaky(ctx: Context, seconds: float) -> None:
        note("start", ctx)
        await asyncio.sleep(seconds)
        if ctx.attempt == 1:
            raise RuntimeError("as every first time")
        note("effect", ctx)

    @queue.handler("poison")
    async def poison(ctx: Context, seconds: float) -> None:
        """Kill the process; after a while, so that its neighbours have begun."""
        note("start", ctx)
        await asyncio.sleep(seconds)
        die(ledger)

    @queue.handler("block", timeout=None)
    async def block(ctx: Context, seconds: float) -> None:
        note("start", ctx)
        time.sleep(seconds)  # noqa: ASYNC251 - the offence itself
        note("effect", ctx)

    @queue.handler(ticks.SCHEDULE, timeout=None)
    async def tick(ctx: Context) -> None:
        note("start", ctx)
        note("effect", ctx)

    return queue


def tell(ledger: Ledger) -> None:
    """Note each answer to a settlement, and each lease that is given up."""
    answered, lose = Settler.answered, Table.lose

    def noting_answered(self: Settler, reply: bytes) -> list[Item]:
        items = answered(self, reply)
        for item, letter in zip(items, reply.decode(), strict=True):
            token = item.token.decode("utf-8", "replace").partition("|")[0]
            job = item.id.decode("utf-8", "replace")
            ledger.write("settled", job, verb=item.verb.decode(), answer=letter, token=token)
        return items

    def noting_lose(self: Table, attempt: Attempt) -> None:
        if not attempt.settling:
            token = attempt.token.decode("utf-8", "replace").partition("|")[0]
            ledger.write("lost", attempt.job_id, token=token)
        lose(self, attempt)

    Settler.answered = noting_answered  # type: ignore[method-assign]
    Table.lose = noting_lose  # type: ignore[method-assign]


class Doom:
    """Kills this process in a phase of its work: when jobs came, when one is done, when the server has settled some.

    Armed by SIGUSR1; the phase stands in a file, so that the nemesis may choose it while we run.
    """

    PHASES = ("fetched", "done", "settled")

    def __init__(self, file: Path, ledger: Ledger) -> None:
        self._file = file
        self._ledger = ledger
        self._phase = ""

    def arm(self) -> None:
        """Die at the next occasion."""
        self._phase = self._file.read_text("utf-8")

    def _reached(self, phase: str) -> None:
        if self._phase == phase:
            die(self._ledger)

    def install(self) -> None:
        """Look at each occasion whether it is time."""
        reached = self._reached
        take_all, add, answered = Table.take_all, Settler.add, Settler.answered

        def taking(self: Table, jobs: Sequence[Taken], touched: float) -> list[Attempt]:
            if jobs:
                reached("fetched")
            return take_all(self, jobs, touched)

        def adding(self: Settler, attempt: Attempt, item: Item) -> None:
            if attempt.started:
                reached("done")
            add(self, attempt, item)

        def hearing(self: Settler, reply: bytes) -> list[Item]:
            reached("settled")  # the server has done it, and nobody will ever hear the answer
            return answered(self, reply)

        Table.take_all = taking  # type: ignore[method-assign]
        Settler.add = adding  # type: ignore[method-assign]
        Settler.answered = hearing  # type: ignore[method-assign]


def skew(seconds: float) -> None:
    """Let this process believe in another time of day."""
    real_ns = time.time_ns
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


async def work(options: argparse.Namespace) -> None:
    ledger = Ledger(Path(options.ledger), options.name)
    tell(ledger)
    doom = Doom(Path(options.ledger) / f"{options.name}.doom", ledger)
    doom.install()
    skew(options.skew)
    envelope.WIRE_VERSION = options.wire
    queue = make_queue(options.url, options.prefix, ledger, lines=options.lines)
    worker = Worker(
        queue, concurrency=options.concurrency, lease=options.lease, grace=5, name=options.name, wait_for_redis=20
    )
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_signal_handler(signal.SIGUSR1, doom.arm)
    async with worker:
        ledger.write("ready", worker=worker.name)
        stopping = asyncio.create_task(told.wait())
        beside = worker._runner  # pyright: ignore[reportPrivateUsage] - a worker that failed is not waited for
        assert beside is not None
        await asyncio.wait({stopping, beside}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    await queue.aclose()
    ledger.write("stopped")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return what every actor is told."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("url", "prefix", "ledger", "name"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--lines", action="store_true")
    return parser


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--skew", type=float, default=0.0)
    parser.add_argument("--wire", type=int, default=1)
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
