"""What every Python contender shares: how it is asked, the jobs it runs, and how it tells what happened.

A contender is a program of two commands:

    NAME.py produce   reads a JSON line per request from standard input, answers each with a JSON line
    NAME.py work      is one worker process, until SIGTERM

Requests: {"do": "one" | "fifty" | "bulk" | "fill", "job": ..., "count": n}, {"do": "paced" | "late", "count": n,
"every": seconds}, {"do": "due", "job": ..., "count": n, "at": seconds since 1970, "singly": whether one by one}, {"do":
"block", "number": seconds}, {"do": "active"}, {"do": "exit"}. Answers: {"seconds": ..., "cpu": ...}, or
{"unsupported": reason}.
``fill`` takes the fastest way the contender has; ``one`` awaits each job, ``fifty`` has 50 callers do that.

The environment says the rest: PEER_URL (redis://127.0.0.1:port/0), PEER_CONCURRENCY (100), PEER_LOOP (asyncio or
uvloop), PEER_FOLDER: where the processes of one measure leave their figures. PEER_BODY: characters
of a job's body (60).

Jobs, all with two arguments, (number, body): ``noop`` returns at once, ``five`` sleeps 5 ms, ``stamp`` tells how long
ago it was enqueued, ``late`` how far from its due time it started, ``mark`` sleeps 50 ms and tells its start and end,
``block`` tells its start and holds the event loop for ``number`` seconds. How many have run
stands in a mapped file per process: a few tens of nanoseconds a job, where a command to the server would be a good part
of what is measured. Runs with the standard library alone, in the contender's environment.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

URL = os.environ.get("PEER_URL", "redis://127.0.0.1:6379/0")
CONCURRENCY = int(os.environ.get("PEER_CONCURRENCY", "100"))
LOOP = os.environ.get("PEER_LOOP", "asyncio")
FOLDER = Path(os.environ.get("PEER_FOLDER", "."))
BODY = "x" * int(os.environ.get("PEER_BODY", "60"))
FIFTY = 50
PART = max(100, min(10_000, 20_000_000 // len(BODY)))  # jobs in one call of a fill: nobody hands over a million at once
LEAD = 1.0  # seconds between the enqueueing of delayed jobs and the first due time
PORT = int(URL.rpartition(":")[2].partition("/")[0])


class _Process:
    """Figures of this process; a child made by fork starts its own."""

    log = -1
    count: memoryview | None = None

    def forget(self) -> None:
        self.log = -1
        self.count = None

    def open(self) -> memoryview:
        where = os.open(FOLDER / f"count-{os.getpid()}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(where, 8)
        self.log = os.open(FOLDER / f"log-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.count = memoryview(mmap.mmap(where, 8)).cast("Q")
        return self.count


_here = _Process()
_lock = threading.Lock()
os.register_at_fork(after_in_child=_here.forget)


def _done() -> None:
    count = _here.count
    if count is None:
        count = _here.open()
    count[0] += 1


def _done_in_thread() -> None:
    with _lock:  # += is a read and a write: two threads would lose a count between them
        _done()


def _tell(*what: object) -> None:
    if _here.log < 0:
        _here.open()
    os.write(_here.log, (" ".join(map(str, what)) + "\n").encode())


# -- the jobs -----------------------------------------------------------------------------------------


async def noop(number: float, body: str) -> None:
    _done()


async def five(number: float, body: str) -> None:
    await asyncio.sleep(0.005)
    _done()


async def stamp(number: float, body: str) -> None:
    _tell("stamp", time.monotonic() - number)
    _done()


async def late(number: float, body: str) -> None:
    _tell("late", time.time() - number)
    _done()


async def mark(number: float, body: str) -> None:
    _tell("start", int(number), time.monotonic())
    await asyncio.sleep(0.05)
    _tell("end", int(number), time.monotonic())
    _done()


async def block(number: float, body: str) -> None:
    _tell("start", 0, time.monotonic())
    time.sleep(number)  # noqa: ASYNC251 - that it holds the loop is the point
    _tell("end", 0, time.monotonic())
    _done()


def noop_in_thread(number: float, body: str) -> None:
    _done_in_thread()


def five_in_thread(number: float, body: str) -> None:
    time.sleep(0.005)
    _done_in_thread()


def stamp_in_thread(number: float, body: str) -> None:
    _tell("stamp", time.monotonic() - number)
    _done_in_thread()


def late_in_thread(number: float, body: str) -> None:
    _tell("late", time.time() - number)
    _done_in_thread()


def mark_in_thread(number: float, body: str) -> None:
    _tell("start", int(number), time.monotonic())
    time.sleep(0.05)
    _tell("end", int(number), time.monotonic())
    _done_in_thread()


Job = Callable[[float, str], Coroutine[Any, Any, None]]
JOBS: dict[str, Job] = {"noop": noop, "five": five, "stamp": stamp, "late": late, "mark": mark, "block": block}
THREADED: dict[str, Callable[[float, str], None]] = {
    "noop": noop_in_thread,
    "five": five_in_thread,
    "stamp": stamp_in_thread,
    "late": late_in_thread,
    "mark": mark_in_thread,
}


# -- the producer -------------------------------------------------------------------------------------


class Unsupported(Exception):
    """This contender has no such thing; the text says why."""


class Peer:
    """One contender. Overridden: what it has. ``due``: not to start before, in seconds since 1970."""

    threaded = False  # whether it may not be called from an event loop: no "50 at once" then

    async def open(self) -> None:
        """Connect."""

    async def enqueue(self, job: str, number: float, due: float | None = None) -> None:
        """Enqueue one job and wait for the server's answer."""
        raise NotImplementedError

    async def bulk(self, job: str, numbers: list[int]) -> None:
        """Enqueue many by the contender's own call for it."""
        raise Unsupported("it has no call for many jobs")

    async def bulk_due(self, job: str, numbers: list[int], due: float) -> None:
        """Enqueue many that are due at one time."""
        raise Unsupported("it has no call for many delayed jobs")

    async def active(self) -> int:
        """Return how many jobs are in workers' hands."""
        raise Unsupported("not asked")

    def work(self) -> None:
        """Be a worker until SIGTERM."""
        raise NotImplementedError


def cpu() -> float:
    """Return the seconds of CPU this process has used."""
    times = os.times()
    return times.user + times.system


async def one(peer: Peer, job: str, count: int) -> None:
    for number in range(count):
        await peer.enqueue(job, number)


async def fifty(peer: Peer, job: str, count: int) -> None:
    if peer.threaded:
        raise Unsupported("its call blocks")

    async def caller(first: int) -> None:
        for number in range(first, count, FIFTY):
            await peer.enqueue(job, number)

    await asyncio.gather(*[caller(first) for first in range(FIFTY)])


async def bulk(peer: Peer, job: str, count: int) -> None:
    await peer.bulk(job, list(range(count)))


async def fill(peer: Peer, job: str, count: int) -> None:
    for way in (bulk, fifty, one):
        try:
            for first in range(0, count, PART):
                await way(peer, job, min(PART, count - first))
        except Unsupported:
            continue
        return


async def paced(peer: Peer, count: int, every: float) -> None:
    for _ in range(count):
        await peer.enqueue("stamp", time.monotonic())
        await asyncio.sleep(every)


async def late_jobs(peer: Peer, count: int, every: float) -> None:
    first = time.time() + LEAD
    for number in range(count):
        due = first + number * every
        await peer.enqueue("late", due, due)


async def due(peer: Peer, job: str, count: int, at: float, *, singly: bool = False) -> None:
    if singly:
        for number in range(count):
            await peer.enqueue(job, number, at)
        return
    for first in range(0, count, PART):
        await peer.bulk_due(job, list(range(first, min(first + PART, count))), at)


async def blocking(peer: Peer, number: float) -> None:
    await peer.enqueue("block", number)


WAYS: dict[str, Callable[..., Awaitable[None]]] = {
    "one": one, "fifty": fifty, "bulk": bulk, "fill": fill, "paced": paced, "late": late_jobs, "due": due,
    "block": blocking,
}  # fmt: skip


async def answer(peer: Peer, asked: dict[str, Any]) -> dict[str, Any]:
    what = asked.pop("do")
    try:
        if what == "active":
            return {"active": await peer.active()}
        mine, started = cpu(), time.perf_counter()
        await WAYS[what](peer, **asked)
    except Unsupported as why:
        return {"unsupported": str(why)}
    return {"seconds": time.perf_counter() - started, "cpu": cpu() - mine}


async def produce(peer: Peer) -> None:
    await peer.open()
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if asked["do"] == "exit":
            return
        print(json.dumps(await answer(peer, asked)), flush=True)


def run(main: Coroutine[Any, Any, Any]) -> None:
    """Run on the event loop that was asked for."""
    if LOOP == "uvloop":
        import uvloop  # noqa: PLC0415 - only where it was asked for

        uvloop.run(main)
    else:
        asyncio.run(main)


def main(peer: Peer) -> None:
    if sys.argv[1:] == ["work"]:
        peer.work()
    elif sys.argv[1:] == ["produce"]:
        run(produce(peer))
    else:
        sys.exit(f"usage: {sys.argv[0]} produce|work")
