"""Priorities under load: what the server handed out, in its own order, and what became of jobs that changed theirs."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest
import redis

from streamq import Context, Priority, Queue, Retry, Worker
from streamq.errors import ConfigError, JobStateError, JobUnknown
from tests.servers import Server
from tests.worker.helpers import Gate, MakeQueue, drain, ended, keys_of, loose, until

LANES = [int(one) for one in Priority]
HALVING = {"critical": 16, "high": 8, "normal": 4, "low": 2, "background": 1}


class Handed(NamedTuple):
    """One lane read by one fetch: how many jobs it gave, and how many waited in better lanes at that moment."""

    lane: int
    jobs: int
    passed_over: int


class Transcript:
    """What the server did, in its order: each job that came into a lane, each read of a lane; from MONITOR.

    Begun on an empty queue whose lanes have their groups. It is exact while no worker vanishes and nobody cancels: then
    jobs leave a lane by these reads only.
    """

    def __init__(self, server: Server, queue: Queue) -> None:
        self.handed: list[Handed] = []
        self._lanes = {key.decode(): lane for lane, key in enumerate(keys_of(queue).lanes)}
        self._waiting = [0] * len(LANES)
        self._end = f"end-of-{queue.prefix}"
        of_redis: Any = redis.Redis
        self._client = of_redis.from_url(server.url)
        self._monitor = self._client.monitor()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._monitor.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.echo(self._end)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._monitor.__exit__(kind, error, traceback)
        self._client.close()

    def _listen(self) -> None:
        while True:
            words: list[str] = self._monitor.next_command()["command"].split()
            if words[-1] == self._end:
                return
            if words[0] == "XADD" and words[1] in self._lanes:
                self._waiting[self._lanes[words[1]]] += 1
            elif words[0] == "XREADGROUP" and words[-2] in self._lanes:
                lane = self._lanes[words[-2]]
                jobs = min(int(words[words.index("COUNT") + 1]), self._waiting[lane])
                if jobs:
                    self._waiting[lane] -= jobs
                    self.handed.append(Handed(lane, jobs, sum(self._waiting[:lane])))

    def first(self, jobs: int) -> Counter[int]:
        """By lane, how many of the first so many jobs."""
        counted: Counter[int] = Counter()
        for one in self.handed:
            counted[one.lane] += min(one.jobs, jobs - counted.total())
        return counted


async def opened(queue: Queue, work: Any) -> None:
    """Bring each lane into being."""
    for lane in LANES:
        await work.with_options(priority=Priority(lane)).enqueue(0)
    await drain(queue)


def nothing(queue: Queue, seconds: float = 0.0) -> Any:
    @queue.handler("work")
    async def work(n: int) -> None:
        await asyncio.sleep(seconds)

    return work


# -- strict ------------------------------------------------------------------------------------------


async def test_strict_order_has_no_inversion_under_load(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue()
    work = nothing(queue, 0.002)
    await opened(queue, work)
    chance = random.Random(7)
    with Transcript(server, queue) as transcript:
        async with Worker(queue, concurrency=3), Worker(queue, concurrency=5), Worker(queue, concurrency=20):
            for _ in range(40):
                jobs = [
                    work.with_options(priority=Priority(lane), delay=delay).job(1)
                    for lane, delay in zip(chance.choices(LANES, k=50), chance.choices([0, 0, 0.05], k=50), strict=True)
                ]
                await queue.enqueue_many(jobs)
            await until(lambda: _all_done(queue), "all done")
    assert sum(one.jobs for one in transcript.handed) == 2000
    inversions = [one for one in transcript.handed if one.passed_over]
    assert inversions == []
    # It was load: many a fetch had to choose.
    assert len(transcript.handed) > 100
    assert len({one.lane for one in transcript.handed}) == 5


async def _all_done(queue: Queue) -> bool:
    counts = await queue.counts()
    return not (counts.waiting or counts.active or counts.delayed)


class Flood:
    """Keeps so many jobs of one priority waiting until told to stop."""

    def __init__(self, queue: Queue, work: Any, priority: Priority, waiting: int = 60) -> None:
        self._queue, self._work, self._waiting = queue, work.with_options(priority=priority), waiting
        self._going = True
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._fill()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        self._going = False
        assert self._task is not None
        await self._task

    async def _fill(self) -> None:
        more = self._waiting - (await self._queue.counts()).waiting
        if more > 0:
            await self._queue.enqueue_many([self._work.job(1) for _ in range(more)])

    async def _run(self) -> None:
        while self._going:
            await self._fill()
            await asyncio.sleep(0)


def counted(queue: Queue) -> tuple[Any, Counter[int]]:
    """A handler of two milliseconds that counts its starts by argument."""
    starts: Counter[int] = Counter()

    @queue.handler("work")
    async def work(n: int) -> None:
        starts[n] += 1
        await asyncio.sleep(0.002)

    return work, starts


async def test_without_a_clock_strict_is_strict(make_queue: MakeQueue) -> None:
    queue = make_queue()
    work, starts = counted(queue)
    await work.with_options(priority=Priority.BACKGROUND).enqueue(2)
    async with Flood(queue, work, Priority.CRITICAL) as flood, Worker(queue, concurrency=2):
        await until(lambda: starts[1] > 600, "the flood runs")
        assert starts[2] == 0
        await flood.stop()
        await until(lambda: starts[2], "its turn comes when nothing better waits")


async def test_with_max_wait_nothing_starves(make_queue: MakeQueue) -> None:
    queue = make_queue(max_wait=0.3)
    work, starts = counted(queue)
    await queue.enqueue_many([work.with_options(priority=Priority.BACKGROUND).job(2) for _ in range(50)])
    async with Flood(queue, work, Priority.CRITICAL), Worker(queue, concurrency=2):
        await until(lambda: starts[2] == 50, "the whole backlog while the flood goes on")
        # Half at most, and nothing in the first 300 ms.
        assert starts[1] > 50


# -- weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 7, 100])
async def test_under_backlog_the_shares_are_the_weights(
    make_queue: MakeQueue, server: Server, concurrency: int
) -> None:
    queue = make_queue(lanes=HALVING)
    work = nothing(queue)
    await opened(queue, work)
    total = 3100 if concurrency > 1 else 1240
    with Transcript(server, queue) as transcript:
        for lane, weight in enumerate(HALVING.values()):
            some = [work.with_options(priority=Priority(lane)).job(1)] * (total * weight // 31 + 3 * concurrency + 50)
            await queue.enqueue_many(some)
        async with Worker(queue, concurrency=concurrency), Worker(queue, concurrency=concurrency):
            await until(lambda: transcript_total(transcript) >= total, "enough was handed out")
    shares = transcript.first(total)
    for lane, weight in enumerate(HALVING.values()):
        assert abs(shares[lane] / (total * weight / 31) - 1) <= 0.05, shares


def transcript_total(transcript: Transcript) -> int:
    return sum(one.jobs for one in transcript.handed)


@pytest.mark.parametrize("flood", [Priority.CRITICAL, Priority.BACKGROUND])
async def test_with_weights_nothing_starves(make_queue: MakeQueue, flood: Priority) -> None:
    queue = make_queue(lanes=HALVING)
    work, starts = counted(queue)
    async with Flood(queue, work, flood), Worker(queue, concurrency=2):
        await until(lambda: starts[1] > 100, "the flood runs")
        for number, lane in enumerate(LANES, 2):
            if lane != flood:
                before = starts[1]
                await work.with_options(priority=Priority(lane)).enqueue(number)
                await until(partial(starts.get, number), f"a job of lane {lane} while the flood goes on")
                assert starts[1] - before < 400
    assert starts.total() > 100


async def test_lanes_of_a_queue_are_checked(make_queue: MakeQueue) -> None:
    with pytest.raises(ConfigError, match=r"lanes=.*'hihg' is no lane; there are critical, high, normal, low, backgr"):
        make_queue(lanes={"critical": 1, "hihg": 1, "normal": 1, "low": 1, "background": 1})


# -- another priority --------------------------------------------------------------------------------


async def test_a_job_of_another_priority_runs_in_its_new_turn(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[int] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        ran.append(n)

    jobs = [await work.enqueue(n) for n in range(4)]
    later = await work.with_options(delay=60).enqueue(4)
    await jobs[2].set_priority(Priority.HIGH)
    await jobs[0].set_priority(Priority.BACKGROUND)
    await jobs[1].set_priority(Priority.NORMAL)
    await later.set_priority(Priority.CRITICAL)
    assert [(await job.info()).priority for job in (*jobs, later)] == [
        Priority.BACKGROUND, Priority.NORMAL, Priority.HIGH, Priority.NORMAL, Priority.CRITICAL,
    ]  # fmt: skip
    await later.promote()
    await drain(queue, concurrency=1)
    assert ran == [4, 2, 1, 3, 0]


async def test_its_retries_and_its_dead_letter_stay_in_the_new_lane(make_queue: MakeQueue) -> None:
    queue = make_queue()
    seen: list[Priority | None] = []

    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context) -> None:
        handle = await queue.job(ctx.job_id)
        assert handle is not None
        seen.append((await handle.info()).priority)
        raise Retry

    job = await work.enqueue()
    await job.set_priority(Priority.LOW)
    await drain(queue)
    assert seen == [Priority.LOW] * 3
    letter = await queue.dlq.get(job.id)
    assert letter is not None
    assert letter.priority is Priority.LOW
    await job.retry()
    assert (await job.info()).priority is Priority.LOW


async def test_a_parked_job_comes_back_to_the_new_lane(make_queue: MakeQueue) -> None:
    sender, other = make_queue(), make_queue()
    nothing(other)
    job = await sender.enqueue("rare")
    async with Worker(other):
        await until(lambda: _is(job, "parked"), "parked")
        await job.set_priority(Priority.HIGH)
    seen: list[Priority | None] = []

    @sender.handler("rare", max_attempts=2)
    async def rare(ctx: Context) -> None:
        seen.append((await job.info()).priority)
        if ctx.attempt == 1:
            raise Retry

    async with Worker(sender):
        await ended(job)
    # Taken from where it was parked, then through its lane.
    assert seen == [Priority.HIGH, Priority.HIGH]


async def _is(job: Any, state: str) -> bool:
    return str(await job.state()) == state


async def test_running_and_ended_jobs_keep_theirs(make_queue: MakeQueue) -> None:
    queue = make_queue()
    gate = Gate()

    @queue.handler("held", max_attempts=1, timeout=None)
    async def held(name: str) -> None:
        await gate.through(name)
        if name == "bad":
            raise ValueError

    good, bad = await held.enqueue("good"), await held.enqueue("bad")
    async with Worker(queue):
        await until(lambda: len(gate.started) == 2)
        with pytest.raises(JobStateError, match=r"cannot reprioritise job .*: it is active"):
            await good.set_priority(Priority.HIGH)
        gate.open()
        await ended(good)
        await ended(bad)
    with pytest.raises(JobStateError, match="it is completed"):
        await good.set_priority(Priority.HIGH)
    with pytest.raises(JobStateError, match=r"it is dead; a dead job takes another by retry\(priority=...\)"):
        await bad.set_priority(Priority.HIGH)
    await queue.dlq.purge()
    server_forgot = await queue.enqueue("held", {"name": "x"})
    await server_forgot.remove()
    with pytest.raises(JobStateError, match="it is cancelled"):
        await server_forgot.set_priority(Priority.HIGH)
    with pytest.raises(ConfigError, match="priority=1"):
        await good.set_priority(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - wrong on purpose


async def test_without_a_trace_it_is_unknown(queue: Queue, server: Server) -> None:
    enqueued = await queue.enqueue("work")
    handle = await queue.job(enqueued.id)
    assert handle is not None
    await handle.remove()
    server.command("DEL", keys_of(queue).record(handle.id))
    with pytest.raises(JobUnknown):
        await handle.set_priority(Priority.HIGH)


async def test_priorities_that_change_while_jobs_run_lose_and_double_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue(max_attempts=50)
    starts: Counter[tuple[int, int]] = Counter()
    chance = random.Random(3)

    @queue.handler("work")
    async def work(ctx: Context, n: int) -> None:
        starts[n, ctx.attempt] += 1
        await asyncio.sleep(0.001)
        if chance.random() < 0.3:
            raise Retry(after=chance.choice([0, 0.01]))

    jobs = [await work.enqueue(n) for n in range(300)]
    said: Counter[str] = Counter()

    async def meddle() -> None:
        while not await _all_done(queue):
            job = chance.choice(jobs)
            try:
                await job.set_priority(chance.choice(list(Priority)))
                said["moved"] += 1
            except JobStateError as refused:
                said[refused.state] += 1

    worker = Worker(queue, concurrency=10)
    async with loose(worker) as leaving, Worker(queue, concurrency=10):
        meddlers = asyncio.gather(*(meddle() for _ in range(4)))
        await until(lambda: sum(starts.values()) > 100, "under way")
        worker.stop()  # what it has not started is released
        await leaving
        await meddlers
    for job in jobs:
        assert await ended(job) is None
    assert {n for n, _ in starts} == set(range(300))
    assert said["moved"] > 20
    counts = await queue.counts()
    assert (counts.dead, counts.waiting, counts.active, counts.delayed) == (0, 0, 0, 0)
