"""People at the controls: pause, resume, counts, drain, clean, workers."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

import streamq
from streamq import Context, Counts, Fixed, JobState, Keep, Priority, Queue, Worker
from streamq._runtime import exchange
from streamq.errors import ConfigError
from tests.worker.helpers import Gate, MakeQueue, drain, inside, until


async def test_no_job_starts_after_pause_returned_but_those_fetched_before(queue: Queue) -> None:
    started: list[int] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        started.append(n)
        await asyncio.sleep(0.005)

    await queue.enqueue_many([work.job(n) for n in range(2000)])
    async with Worker(queue, concurrency=10), Worker(queue, concurrency=10):
        await until(lambda: len(started) > 50)
        assert await queue.pause(reason="provider down")
        at_pause = len(started)
        counts = await queue.counts()
        assert (counts.paused, counts.pause_reason) == (True, "provider down")
        held = counts.active
        assert held <= 2 * (10 + 1)
        await until(lambda: all_done(queue))
        await queue.enqueue_many([work.job(n) for n in range(5)])
        after = len(started)
        assert after - at_pause <= held
        # An idle worker asks again within a tick; nothing starts.
        await asyncio.sleep(0.3)
        assert len(started) == after
        assert await queue.resume()
        assert not await queue.resume()
        await until(lambda: len(started) == 2005, seconds=30)
    assert sorted(set(started)) == list(range(2000))


async def all_done(queue: Queue) -> bool:
    return (await queue.counts()).active == 0


async def test_a_paused_queue_wakes_at_once_when_resumed(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> str:
        return "done"

    await queue.pause()
    job = await work.enqueue()
    async with Worker(queue):
        await until(lambda: has_beat(queue))
        assert await job.state() is JobState.WAITING
        started = asyncio.get_running_loop().time()
        await queue.resume()
        assert await job.result(timeout=10) == "done"
        assert asyncio.get_running_loop().time() - started < 2.5


async def has_beat(queue: Queue) -> bool:
    return bool(await queue.workers())


async def test_delayed_jobs_of_a_paused_queue_wait_too(queue: Queue) -> None:
    ran: list[int] = []

    @queue.handler("work")
    async def work() -> None:
        ran.append(1)

    async with Worker(queue):
        await queue.pause()
        job = await work.with_options(delay=0.05).enqueue()
        await until(lambda: is_state(job, JobState.WAITING))
        assert ran == []
        await queue.resume()
        await until(lambda: ran)


async def is_state(job: streamq.Job[None], state: JobState) -> bool:
    return await job.state() is state


async def test_counts_agree_with_what_was_done(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("held")
    async def held(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    @queue.handler("fail", max_attempts=2)
    async def fail() -> None:
        raise ValueError

    @queue.handler("later", backoff=Fixed(3600))
    async def later() -> None:
        raise ValueError

    assert await queue.counts() == Counts(0, 0, 0, 0, 0)
    await queue.enqueue_many([held.job() for _ in range(5)])
    await queue.enqueue_many([held.with_options(delay=60).job() for _ in range(3)])
    counts = await queue.counts()
    assert (counts.waiting, counts.active, counts.delayed) == (5, 0, 3)
    assert counts.oldest is not None
    assert 0 <= counts.oldest < 5
    async with Worker(queue, concurrency=2):
        await until(lambda: len(gate.started) == 2)
        counts = await queue.counts()
        assert (counts.waiting, counts.active, counts.delayed) == (3, 2, 3)
        gate.open()
        await until(lambda: all_gone(queue))
    await fail.enqueue()
    await later.enqueue()
    await drain(queue)
    counts = await queue.counts()
    assert counts == Counts(
        waiting=0, active=0, delayed=4, parked=0, dead=1, completed=5, failed=3, retried=2, cancelled=0, oldest=None
    )


async def all_gone(queue: Queue) -> bool:
    counts = await queue.counts()
    return not counts.waiting and not counts.active


async def test_every_job_is_counted_in_one_place_at_any_moment(queue: Queue) -> None:
    """While two workers drain: waiting + active + delayed + ended is what was enqueued."""

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context, n: int) -> None:
        await asyncio.sleep(0.001)
        if n % 10 == 0:
            raise ValueError

    await queue.enqueue_many([work.job(n) for n in range(1000)])
    async with Worker(queue, concurrency=20), Worker(queue, concurrency=20):
        while True:
            now = await queue.counts()
            assert now.waiting + now.active + now.delayed + now.completed + now.dead == 1000, now
            if now.completed + now.dead == 1000:
                break
    assert (now.completed, now.dead, now.failed, now.retried) == (900, 100, 200, 100)


async def test_drain_removes_what_has_not_started(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("held")
    async def held(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    running = await held.enqueue()
    async with Worker(queue, concurrency=1):
        await until(lambda: gate.started)
        waiting = await queue.enqueue_many(
            [held.with_options(priority=priority).job() for priority in Priority for _ in range(70)]
        )
        delayed = await held.with_options(delay=60).enqueue()
        assert await queue.drain() == 350
        assert await waiting[0].state() is JobState.CANCELLED
        assert await delayed.state() is JobState.DELAYED
        assert await queue.drain(include_delayed=True) == 1
        assert await running.state() is JobState.ACTIVE
        gate.open()
        await until(lambda: all_done(queue))
    counts = await queue.counts()
    assert (counts.waiting, counts.delayed, counts.completed, counts.cancelled) == (0, 0, 1, 351)


async def test_drain_takes_what_a_stopped_worker_handed_back(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("held")
    async def held(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    jobs = await queue.enqueue_many([held.job() for _ in range(3)])
    async with Worker(queue, grace=0):
        await until(lambda: len(gate.started) == 3)
    assert (await queue.counts()).waiting == 3
    assert {info.id for info in (await queue.jobs(JobState.WAITING)).jobs} == {job.id for job in jobs}
    assert await queue.drain() == 3
    assert await queue.counts() == Counts(0, 0, 0, 0, 0, cancelled=3)


async def test_clean_forgets_what_is_over(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work(n: int) -> None:
        if n % 2:
            raise ValueError

    jobs = await queue.enqueue_many([work.job(n) for n in range(10)])
    await drain(queue)
    assert await queue.clean("completed", older_than=60) == 0
    assert await queue.clean("completed") == 5
    assert await queue.clean("dead", older_than=timedelta(minutes=1)) == 0
    assert await queue.clean("dead") == 5
    assert await queue.dlq.count() == 0
    assert await jobs[1].state() is JobState.DEAD  # how it ended is known as long as results are
    with pytest.raises(ConfigError, match="completed"):
        await queue.clean("waiting")


async def test_only_so_many_completed_and_dead_are_kept(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "TICK", 0.2)
    queue = make_queue(keep_completed=Keep(count=3), keep_dead=Keep(count=2))

    @queue.handler("work", max_attempts=1)
    async def work(n: int) -> None:
        if n % 2:
            raise ValueError

    await queue.enqueue_many([work.job(n) for n in range(20)])
    worker = Worker(queue)
    async with worker:
        await until(lambda: all_gone(queue))
        for joint in inside(worker)._joints:
            joint.exchange._next_purge = 0.0
        await until(lambda: dead_are(queue, 2))
    assert len((await queue.jobs(JobState.COMPLETED)).jobs) == 3
    assert (await queue.counts()).completed == 10


async def dead_are(queue: Queue, count: int) -> bool:
    return await queue.dlq.count() == count


async def test_workers_show_themselves(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "TICK", 0.1)
    gate = Gate()

    @queue.handler("held")
    async def held(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    @queue.handler("another")
    async def another() -> None: ...

    job = await held.enqueue()
    async with Worker(queue, name="blue", concurrency=7) as worker, Worker(queue):
        await until(lambda: gate.started)
        await until(lambda: shows_running(queue))
        found = {info.name: info for info in await queue.workers()}
        assert len(found) == 2
        # Either may have taken the job.
        [busy] = [info for info in found.values() if info.active]
        [(job_id, name, seconds)] = busy.running
        assert (job_id, name) == (job.id, "held")
        assert 0 <= seconds < 10
        blue = found[worker.name]
        assert blue.name.startswith(f"blue:{os.getpid()}:")
        assert (blue.host, blue.pid, blue.concurrency) == (socket.gethostname(), os.getpid(), 7)
        assert blue.version
        assert list(blue.handlers) == ["another", "held"]
        assert blue.alive
        now = datetime.now(UTC)
        assert abs(now - blue.seen_at) < timedelta(seconds=10)
        assert abs(now - blue.started_at) < timedelta(seconds=30)
        gate.open()
    assert await queue.workers() == []


async def shows_running(queue: Queue) -> bool:
    return any(info.active for info in await queue.workers())


async def test_pages_of_jobs(queue: Queue) -> None:
    @queue.handler("one")
    async def one(n: int) -> None: ...

    @queue.handler("two")
    async def two(n: int) -> None: ...

    await queue.enqueue_many([one.job(n) for n in range(25)])
    await queue.enqueue_many([two.with_options(tenant="acme", priority=Priority.HIGH).job(n) for n in range(25)])
    seen: list[str] = []
    cursor = ""
    while True:
        page = await queue.jobs(JobState.WAITING, limit=10, cursor=cursor)
        seen += [info.id for info in page.jobs]
        cursor = page.cursor
        if not cursor:
            break
    assert len(set(seen)) == len(seen) == 50
    assert len((await queue.jobs("waiting", name="two", limit=100)).jobs) == 25
    assert len((await queue.jobs("waiting", tenant="acme", limit=100)).jobs) == 25
    with pytest.raises(ConfigError, match="cannot be listed"):
        await queue.jobs("cancelled")
