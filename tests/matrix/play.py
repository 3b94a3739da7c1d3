"""One play: two features, two waves of jobs, workers; and what was sent, for the checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streamq import Arg, Job, JobSpec, JobState, Scheduler
from streamq._store.keys import Keys
from streamq.errors import EnqueueManyError, GroupFull, QueueFull
from tests.ledger import Line
from tests.matrix.features import BY_NAME, CHUNK, EVERY, EXPIRES, FIRST, LIFE_BEFORE_REPLAY, SECOND, key_of, merged
from tests.matrix.world import PING, WORK, Note, Piece, World
from tests.servers import Server

PATIENCE = 40.0
ANSWERING = frozenset({"rate-drop", "conflict-drop", *(name for name in BY_NAME if name.startswith("dedup-"))})
"""Features by which a job may be answered without being added."""

AHEAD = 0.1
"""Seconds from the declaration of a schedule to its tick."""


@dataclass
class Sent:
    """One job that was handed to the queue. Times in ms of this machine's clock, which is the server's."""

    n: int
    id: str
    created: bool
    met: str | None
    refused: str | None
    before: float
    after: float
    due: float
    wave: int

    @property
    def key(self) -> str:
        """Its key."""
        return key_of(self.n)


@dataclass
class Play:
    """What happened, for the checks."""

    names: frozenset[str]
    prefix: str
    sent: list[Sent] = field(default_factory=list[Sent])
    states: dict[str, JobState] = field(default_factory=dict[str, JobState])
    cancelled_waiting: set[str] = field(default_factory=set[str])
    replayed: set[str] = field(default_factory=set[str])
    held: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    meta: dict[str, int] = field(default_factory=dict[str, int])
    left: dict[str, Any] = field(default_factory=dict[str, Any])
    lines: Sequence[Line] = ()
    killed: dict[int, float] = field(default_factory=dict[int, float])
    again: list[bool] = field(default_factory=list[bool])
    deepest: int = 0
    late: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When this process was busy with other plays, and for how long."""
    pings: int = 0
    opened: bool = False
    waits: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    @property
    def created(self) -> dict[str, Sent]:
        """Jobs that were added, by id."""
        return {one.id: one for one in self.sent if one.created}


def now_ms() -> float:
    """This machine's clock."""
    return time.time() * 1000


class Stage:
    """Plays two features on a server. Its workers are whoever runs them: the caller does, within `workers`."""

    def __init__(self, server: Server, world: World) -> None:
        self.server = server
        self.world = world
        self.queue = world.queue
        self.keys = Keys(world.prefix, "m")
        self.play = Play(world.names, world.prefix)
        self.ways = {one.way for one in world.features} - {"one by one"}
        self.scheduler = Scheduler(world.queue)
        self._block: Any = None
        self._held_since = 0.0
        self._ticks = 0
        self.lines: Callable[[], Sequence[Line]] = tuple

    def has(self, *names: str) -> bool:
        """Whether one of these features is played."""
        return bool(self.world.names & set(names))

    # -- the acts ------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make the limits known, as any worker does that starts; close what is closed at first."""
        async with self.world.worker():
            pass
        if self.has("group-weights"):
            await self.queue.limits.set("g:g0", weight=4.0)
        if self.has("pause"):
            await self.queue.pause(handler=WORK, reason="the play")
        if self.has("block"):
            n = Arg("item.n") if self.has("batch") else Arg("n")
            self._block = await self.queue.block(name=WORK, where=n < 6)
        self._held_since = now_ms()

    async def release(self) -> None:
        """Open it again, after workers showed that they take jobs."""
        if not self.has("pause", "block"):
            return
        for _ in range(3):
            await (await self.world.outside.enqueue(PING)).result(timeout=PATIENCE)
            self.play.pings += 1
        self.play.held.append((self._held_since, now_ms()))
        if self.has("pause"):
            assert await self.queue.resume(handler=WORK)
        if self.has("block"):
            assert await self._block.release()

    async def mend(self) -> None:
        """Bring the provider back, once its breaker has opened."""
        if not self.has("breaker"):
            return
        began = time.monotonic()
        while (await self.world.breaker.state(self.queue)).state == "closed":
            assert time.monotonic() - began < PATIENCE, "the breaker does not open"
            await asyncio.sleep(0.005)
        self.play.opened = True
        self.world.provider.touch()

    async def enqueue(self, wave: int, numbers: Iterable[int]) -> None:
        """Enqueue one wave, the way its features say."""
        numbers = list(numbers)
        before = now_ms()
        if self.ways == {"enqueue_many"}:
            await self._many(wave, numbers, before)
        else:
            for n in numbers:
                await (self._tick(wave, n) if self.ways else self._one(wave, n))
        self.play.deepest = max(self.play.deepest, self.unsettled())

    async def _one(self, wave: int, n: int) -> None:
        before = now_ms()
        try:
            job = await self._bound(n).enqueue(*self._arguments(n))
        except (QueueFull, GroupFull) as full:
            self._note(wave, n, full.job_id, before, refused=type(full).__name__, due=0)
            return
        self._note_job(wave, n, job, before, self._due(n, before))

    async def _many(self, wave: int, numbers: Sequence[int], before: float) -> None:
        specs = [self._spec(n) for n in numbers]
        dues = {n: self._due(n, before) + at // CHUNK * EVERY * 1000 for at, n in enumerate(numbers)}
        try:
            jobs = await self.queue.enqueue_many(specs, chunk=CHUNK, every=EVERY)
        except EnqueueManyError as problem:
            if problem.unknown or not self.has("max-pending"):
                raise
            # Which of the jobs it was does not matter: what counts is that they were told apart.
            ids = [*problem.done, *problem.refused]
            for n, job_id in zip(numbers, ids, strict=True):
                refused = problem.refused.get(job_id)
                self._note(wave, n, job_id, before, refused=type(refused).__name__ if refused else None, due=dues[n])
            return
        for n, job in zip(numbers, jobs, strict=True):
            self._note_job(wave, n, job, before, dues[n])

    async def _tick(self, wave: int, n: int) -> None:
        before = now_ms()
        at = datetime.now(UTC) + timedelta(seconds=AHEAD)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        assert await self.scheduler.upsert(f"s{n}", self._spec(n), at=at)
        self._ticks += 1
        job_id = f"s{n}@{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
        if not at.microsecond:
            job_id = f"s{n}@{at:%Y-%m-%dT%H:%M:%S}Z"
        self._note(wave, n, job_id, before, refused=None, due=at.timestamp() * 1000)

    def _note_job(self, wave: int, n: int, job: Job[Any], before: float, due: float) -> None:
        self.play.sent.append(
            Sent(n, job.id, job.created, job.met, job.refused, before, now_ms(), due if job.created else 0, wave)
        )

    def _note(self, wave: int, n: int, job_id: str, before: float, *, refused: str | None, due: float) -> None:
        self.play.sent.append(Sent(n, job_id, refused is None, None, refused, before, now_ms(), due, wave))

    def _options(self, n: int) -> dict[str, Any]:
        return merged(*(one.job(n) for one in self.world.features))

    def _bound(self, n: int) -> Any:
        return self.world.handler.with_options(**self._options(n))

    def _spec(self, n: int) -> JobSpec[Any]:
        spec: JobSpec[Any] = self._bound(n).job(*self._arguments(n))
        return spec

    def _arguments(self, n: int) -> tuple[Any, ...]:
        return (Piece(n, key_of(n)),) if self.has("batch") else (n, key_of(n))

    def _due(self, n: int, before: float) -> float:
        if n % 2 and self.has("delay", "at"):
            return before + 100 - 1  # the server counts whole milliseconds
        return 0

    async def after_first(self) -> None:
        """What is done to the first wave while no worker runs."""
        created = [one for one in self.play.sent if one.created]
        if self.has("cancel-waiting") and "schedule" not in self.ways:
            for one in created[::3]:
                job = await self.queue.job(one.id)
                assert job is not None
                assert await job.cancel()
                self.play.cancelled_waiting.add(one.id)
        if self.has("custom-id"):
            one = created[-1]
            job = await self._bound(one.n).enqueue(*self._arguments(one.n))
            self.play.again.append(job.created)
        if self.has("expiry") and "schedule" not in self.ways:
            late = max((one.after for one in created if one.n % 4 == 3), default=0.0) + EXPIRES * 1000
            await asyncio.sleep(max(0.0, (late - now_ms()) / 1000))  # until the fact: it is past

    async def drained(self) -> None:
        """Wait until every job has ended, and every tick has come."""
        began = time.monotonic()
        while self.unsettled() or await self._ticks_ahead():
            assert time.monotonic() - began < PATIENCE, f"{self.unsettled()} jobs are left: {await self._stuck()}"
            looked = time.monotonic()
            await asyncio.sleep(0.01)
            self.play.late.append((looked, time.monotonic() - looked - 0.01))
        self.play.waits.append((began, time.monotonic()))

    async def _ticks_ahead(self) -> bool:
        if not self._ticks:
            return False
        return sum(one.count for one in await self.scheduler.list()) < self._ticks

    async def _stuck(self) -> list[str]:
        ids = self.server.command("HKEYS", self.keys.index)[:5]
        told = [str(await self.queue.explain(one.decode())) for one in ids]
        return [*told, *(str(one) for one in await self.queue.limits.list() if one.used or one.waiting)]

    async def replay(self) -> None:
        """Give the dead another life, in which they do not fail."""
        if not self.has("replay"):
            return
        self.world.mended.touch()
        for one in self.play.created.values():
            if await self._state(one.id) is JobState.DEAD:
                letter = await self.queue.dlq.get(one.id)
                if letter is not None and LIFE_BEFORE_REPLAY in letter.reason:
                    await self.queue.dlq.replay(one.id)
                    self.play.replayed.add(one.id)

    async def _state(self, job_id: str) -> JobState:
        job = await self.queue.job(job_id)
        return JobState.UNKNOWN if job is None else await job.state()

    def unsettled(self) -> int:
        """Rows of the index."""
        return int(self.server.command("HLEN", self.keys.index))

    async def finish(self, lines: Iterable[Line]) -> Play:
        """Look at how everything ended."""
        play, command, base = self.play, self.server.command, self.keys.base
        play.lines = [line for line in lines if line.more.get("scene") == play.prefix]
        known = {line.job for line in play.lines}
        for one in play.sent:
            play.states[one.id] = state = await self._state(one.id)
            if "schedule" in self.ways and play.names & ANSWERING and state is JobState.UNKNOWN and one.id not in known:
                one.created = False  # its tick was answered, not fired
        flat = command("HGETALL", self.keys.meta)
        meta = {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}
        totals = ("completed", "dead", "cancelled", "expired", "replayed")
        play.meta = {name: int(meta.get(name, 0)) for name in totals}
        left = {f"l{lane}": command("XLEN", key) for lane, key in enumerate(self.keys.lanes)}
        left["t"] = command("XLEN", self.keys.taken)
        for suffix in ("i", "b", "fl", "c"):
            left[suffix] = command("HLEN", base + suffix.encode())
        for suffix in ("d", "p", "f", "fp", "f0", "f1", "f2", "f3", "f4"):
            left[suffix] = command("ZCARD", base + suffix.encode())
        play.left = {name: count for name, count in left.items() if count}
        for gate in await self.queue.limits.list():
            if gate.used or gate.waiting:
                play.left[gate.gate] = (gate.used, gate.waiting)
        return play

    # -- who watches ---------------------------------------------------------------------------------

    async def cancelling(self) -> None:
        """Cancel what waits to be cancelled, for ever."""
        while self.has("cancel-running"):
            ids = {one.job for one in self.lines() if one.what == "waits" and one.more["scene"] == self.play.prefix}
            for job_id in ids:
                job = await self.queue.job(job_id)
                if job is not None and await job.state() is JobState.ACTIVE:
                    await job.cancel()
            await asyncio.sleep(0.02)


async def play_here(server: Server, prefix: str, names: Sequence[str], folder: Path, book: Any) -> Play:
    """Play with three workers in this process."""
    note: Note = book.note
    world = World(server.url, prefix, names, note, folder)
    stage = Stage(server, world)
    try:
        await stage.prepare()
        async with AsyncExitStack() as stack:
            stage.lines = lambda: list(book.lines)
            cancelling = asyncio.create_task(stage.cancelling())
            stack.callback(cancelling.cancel)
            await stage.enqueue(1, FIRST)
            await stage.after_first()
            schedulers = [stage.scheduler] if stage.ways == {"schedule"} else None
            for _ in range(3):
                await stack.enter_async_context(world.worker(scheduler=schedulers))
            await stage.release()
            await stage.mend()
            await stage.drained()
            await stage.replay()
            await stage.drained()
            await stage.enqueue(2, SECOND)
            await stage.drained()
            await stage.replay()
            await stage.drained()
        return await stage.finish(book.lines)
    finally:
        await world.aclose()
