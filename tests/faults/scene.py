"""What the fault tests share: a queue whose handlers keep count, and the checks that nothing was lost or doubled."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self

import redis

from streamq import Context, Fixed, Job, Keep, Queue, Retry, Worker
from streamq._store.keys import Keys
from streamq._store.scripts import LINES, VERBS, lines_script, script
from tests.servers import Server

PATIENCE = 15.0
"""Seconds a test waits for a fact before it fails; far above what is asserted about time."""


async def until(
    fact: Callable[[], object | Awaitable[object]], what: str, *, seconds: float = PATIENCE, every: float = 0.01
) -> float:
    """Wait until ``fact`` is true; returns the seconds it took, fails with ``what`` after ``seconds``."""
    started = time.monotonic()
    while True:
        found: Any = fact()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return time.monotonic() - started
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(every)


class Ledger:
    """What the handlers did, and the tokens under which they were started, per job id."""

    def __init__(self) -> None:
        self.starts: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()


class Scene:
    """A queue through ``url`` (perhaps a proxy), looked at past the proxy through ``server``.

    Handlers: ``plain``; ``flaky`` fails at its first attempt; ``slow`` takes its argument in seconds.
    """

    def __init__(self, server: Server, url: str, prefix: str, name: str = "q", **options: Any) -> None:
        self.server = server
        self.url = url
        self.others: list[Queue] = []
        self.keys = Keys(prefix, name)
        self.ledger = Ledger()
        self.acked: list[str] = []
        settings: dict[str, Any] = {"keep_completed": Keep(count=100_000), "backoff": Fixed(0.05)}
        self.queue = queue = Queue(name, url=url, prefix=prefix, **{**settings, **options})
        ledger = self.ledger

        @queue.handler("plain")
        async def plain(ctx: Context, n: int) -> None:
            ledger.starts[ctx.job_id] += 1
            await asyncio.sleep(0)
            ledger.effects[ctx.job_id] += 1

        @queue.handler("flaky")
        async def flaky(ctx: Context, n: int) -> None:
            ledger.starts[ctx.job_id] += 1
            if ctx.attempt == 1:
                raise Retry
            ledger.effects[ctx.job_id] += 1

        @queue.handler("slow", timeout=None)
        async def slow(ctx: Context, seconds: float) -> None:
            ledger.starts[ctx.job_id] += 1
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                ledger.cancelled[ctx.job_id] += 1
                raise
            ledger.effects[ctx.job_id] += 1

        self.plain, self.flaky, self.slow = plain, flaky, slow

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for queue in (self.queue, *self.others):
            await queue.aclose()

    def another(self, **options: Any) -> Queue:
        """A second Queue object on the same keys, as another process has: without handlers."""
        queue = Queue(self.queue.name, url=self.url, prefix=self.queue.prefix, **options)
        self.others.append(queue)
        return queue

    def worker(self, **options: Any) -> Worker:
        """A worker with a short lease, so that tests are quick."""
        settings: dict[str, Any] = {"lease": 3.0, "concurrency": 10, "grace": 5.0}
        return Worker(self.queue, **{**settings, **options})

    async def add(self, count: int, handler: Any = None, **options: Any) -> list[str]:
        """Enqueue jobs one by one, side by side; returns the ids of the acknowledged, which are noted."""
        bound = (handler or self.plain).with_options(**options)
        jobs: list[Job[Any]] = await asyncio.gather(*(bound.enqueue(n) for n in range(count)))
        ids = [job.id for job in jobs]
        self.acked += ids
        return ids

    # -- what the server says -------------------------------------------------------------------------

    def unsettled(self) -> int:
        """Rows of the index."""
        return int(self.server.command("HLEN", self.keys.index))

    def completed(self) -> Counter[str]:
        """Completions by job id: one per accepted settle."""
        return Counter(one.decode() for one in self.server.command("LRANGE", self.keys.window, 0, -1))

    def dead(self) -> dict[str, str]:
        """Reasons of the dead letters by job id."""
        found: dict[str, str] = {}
        for _, fields in self.server.command("XRANGE", self.keys.dead, "-", "+"):
            by_name = dict(zip(fields[::2], fields[1::2], strict=True))
            job = by_name[b"j"].decode("utf-8", "replace")
            assert job not in found, f"{job} has two dead letters"
            found[job] = by_name.get(b"r", b"").decode()
        return found

    def entries(self) -> int:
        """Entries in all streams."""
        return sum(int(self.server.command("XLEN", key)) for key in (*self.keys.lanes, self.keys.taken))

    def pending(self) -> dict[bytes, tuple[str, int]]:
        """Pending entries: (stream's letter and entry id) -> (consumer, idle ms)."""
        found: dict[bytes, tuple[str, int]] = {}
        for letter, key in zip(b"01234t", (*self.keys.lanes, self.keys.taken), strict=True):
            try:
                rows = self.server.command("XPENDING", key, "w", "-", "+", 10_000)
            except redis.ResponseError:
                continue
            for entry, consumer, idle, _ in rows:
                found[bytes([letter]) + entry] = (consumer.decode(), int(idle))
        return found

    async def settled(self, *, seconds: float = PATIENCE) -> float:
        """Wait until nothing is unsettled."""
        return await until(lambda: not self.unsettled() and not self.entries(), "all jobs settled", seconds=seconds)

    def check(self, *, unknown: Iterable[str] = (), also_dead: Iterable[str] = ()) -> None:
        """Each acknowledged job ended exactly once, and nothing is left in any place.

        ``unknown`` may have ended once or never were; ``also_dead`` are expected among the dead letters.
        """
        completed, dead = self.completed(), self.dead()
        twice = {job: times for job, times in completed.items() if times > 1}
        assert not twice, f"settled more than once: {twice}"
        assert not completed.keys() & dead.keys(), "completed and dead"
        ended = completed.keys() | dead.keys()
        assert set(self.acked) <= ended, f"acknowledged and lost: {set(self.acked) - ended}"
        assert ended <= set(self.acked) | set(unknown) | set(also_dead), "jobs nobody enqueued"
        assert set(dead) == set(also_dead), f"dead letters: {dead}"
        assert not self.pending()
        assert not self.entries()
        assert not self.unsettled()
        assert not int(self.server.command("ZCARD", self.keys.delayed))
        assert not int(self.server.command("HLEN", self.keys.bodies))
        assert not int(self.server.command("HLEN", self.keys.cancels))

    def check_runs(self, most: int = 1) -> None:
        """No plain job took effect more than ``most`` times."""
        more = {job: times for job, times in self.ledger.effects.items() if times > most}
        assert not more, f"took effect more often than {most}: {more}"


class GhostWatch:
    """Looks for entries that are pending for a worker which does not know of them, and remembers the oldest."""

    def __init__(self, scene: Scene, *workers: Worker) -> None:
        self.oldest = 0.0
        self._scene = scene
        self._workers = workers
        self._since: dict[tuple[str, bytes], float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(0.05)

    def _look(self) -> None:
        now = time.monotonic()
        known = {
            (worker.name, row.token.split(b":")[0])
            for worker in self._workers
            for joint in worker._joints  # pyright: ignore[reportPrivateUsage] - what a test has to look into
            for row in joint.exchange.leased()
        }
        names = {worker.name for worker in self._workers}
        ghosts = {(owner, place) for place, (owner, _) in self._scene.pending().items() if owner in names} - known
        self._since = {ghost: self._since.get(ghost, now) for ghost in ghosts}
        for since in self._since.values():
            self.oldest = max(self.oldest, now - since)


def load_scripts(server: Server) -> None:
    """Load every verb, so that the first call of one is answered and not refused as unknown."""
    for one in (*map(script, VERBS), *map(lines_script, LINES)):
        server.command("SCRIPT", "LOAD", one.source)


def run_script(server: Server, verb: str, keys: list[bytes], *args: bytes | str | int) -> Any:
    """Run a verb's script past streamq; for tests at the level of the protocol."""
    source = script(verb).source
    return server.command("EVAL", source, len(keys), *keys, *args)
