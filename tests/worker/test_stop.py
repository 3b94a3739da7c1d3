"""How a worker starts, and how it stops without losing or charging anything."""

from __future__ import annotations

import asyncio
import time

import pytest

from streamq import Context, Fixed, JobState, Queue, Worker
from streamq.errors import ConfigError, JobDead, RedisUnavailable
from tests.servers import Server
from tests.worker.helpers import Gate, MakeQueue, drain, ended, hold_ready, inside, keys_of, loose, until


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_a_burst_ends_when_nothing_waits_or_runs(queue: Queue) -> None:
    ran: list[int] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        await asyncio.sleep(0.01)
        ran.append(n)
        if n < 3:
            await work.enqueue(n + 1)

    await work.enqueue(0)
    await work.with_options(delay=3600).enqueue(100)
    await drain(queue)
    assert ran == [0, 1, 2, 3]
    assert (await queue.counts()).delayed == 1


async def test_a_burst_on_an_empty_queue_is_short(queue: Queue) -> None:
    started = time.monotonic()
    await drain(queue)
    assert time.monotonic() - started < 2


async def test_a_burst_on_a_paused_queue_ends(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    await work.enqueue()
    await queue.pause()
    await drain(queue)
    assert (await queue.counts()).waiting == 1


async def test_within_the_grace_running_jobs_finish(queue: Queue, gate: Gate) -> None:
    @queue.handler("work")
    async def work(n: int) -> str:
        await gate.through(str(n))
        return "done"

    jobs = await queue.enqueue_many([work.job(n) for n in range(3)])
    worker = Worker(queue, grace=10)
    async with loose(worker) as running:
        await until(lambda: len(gate.started) == 3)
        worker.stop()
        await until(inside(worker)._stopping.is_set)
        late = await work.enqueue(3)
        assert not running.done()
        gate.open()
        await asyncio.wait_for(running, 5)
    assert [await job.result(timeout=5) for job in jobs] == ["done"] * 3
    assert await late.state() is JobState.WAITING
    assert worker.handed_back == 0


async def test_over_the_grace_they_are_handed_back_and_nobody_is_charged(queue: Queue, gate: Gate) -> None:
    seen: list[tuple[int, int]] = []

    @queue.handler("work", max_attempts=1)
    async def work(ctx: Context) -> str:
        seen.append((ctx.attempt, ctx.stalls))
        await gate.through(ctx.job_id)
        return "done"

    job = await work.enqueue()
    worker = Worker(queue, grace=0.1)
    async with worker:
        await until(lambda: gate.started)
    assert gate.cancelled == [job.id]
    assert worker.handed_back == 1
    assert await job.state() is JobState.WAITING
    counts = await queue.counts()
    assert (counts.waiting, counts.active, counts.failed) == (1, 0, 0)
    gate.open()
    await drain(queue)
    assert await job.result(timeout=5) == "done"
    assert seen == [(1, 0), (1, 0)]
    counts = await queue.counts()
    assert (counts.waiting, counts.failed, counts.stalled, counts.completed) == (0, 0, 0, 1)


async def test_cancel_stops_without_grace(queue: Queue, gate: Gate) -> None:
    @queue.handler("work")
    async def work(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    job = await work.enqueue()
    worker = Worker(queue, grace=60)
    async with loose(worker) as running:
        await until(lambda: gate.started)
        worker.stop()
        worker.cancel()
        await asyncio.wait_for(running, 5)
    assert gate.cancelled == [job.id]
    assert await job.state() is JobState.WAITING


async def test_unstarted_jobs_go_to_another_worker_at_once(queue: Queue, gate: Gate) -> None:
    """A saturated worker holds a few jobs ready; it hands them back when it begins to stop, not when it has stopped."""
    by_worker: dict[int, str] = {}

    @queue.handler("held")
    async def held(n: int) -> None:
        await gate.through(str(n))

    @queue.handler("work")
    async def work(ctx: Context, n: int) -> None:
        by_worker[n] = ctx.worker

    first = Worker(queue, concurrency=20, lease=60, grace=30)
    async with loose(first):
        await queue.enqueue_many([held.job(n) for n in range(20)])
        await until(lambda: len(gate.started) == 20)
        await queue.enqueue_many([work.job(n) for n in range(10)])
        [joint] = inside(first)._joints
        joint.exchange.hungry = True
        joint.exchange.demand.was_full = True
        hold_ready(first)
        await until(lambda: joint.exchange.table.ready, "it holds jobs ready")
        held_ready = joint.exchange.table.ready
        async with Worker(queue, lease=60) as second:
            await until(lambda: len(by_worker) == 10 - held_ready)
            started = time.monotonic()
            first.stop()
            await until(lambda: len(by_worker) == 10)
            assert time.monotonic() - started < 3  # far below the lease
            assert set(by_worker.values()) == {second.name}
            gate.open()
    counts = await queue.counts()
    assert (counts.stalled, counts.failed) == (0, 0)


async def test_a_job_running_over_the_grace_goes_to_another_worker_at_once(queue: Queue, gate: Gate) -> None:
    runs: list[str] = []

    @queue.handler("work")
    async def work(ctx: Context) -> str:
        runs.append(ctx.worker)
        if len(runs) == 1:
            await gate.through("first")
        return "done"

    job = await work.enqueue()
    async with loose(Worker(queue, lease=60, grace=0)) as running, Worker(queue, lease=60, concurrency=1):
        await until(lambda: gate.started)
        first = next(iter(runs))
        del running, first
        # Whichever took it: the one that runs it is told to stop.
    gate.open()
    await drain(queue)
    assert await job.result(timeout=5) == "done"


async def test_a_stopped_worker_leaves_no_trace(queue: Queue, server: Server) -> None:
    @queue.handler("work")
    async def work(n: int) -> None: ...

    await queue.enqueue_many([work.job(n) for n in range(20)])
    worker = Worker(queue)
    async with worker:
        await until(lambda: completed(queue, 20))
    assert await queue.workers() == []
    keys = keys_of(queue)
    consumers = server.command("XINFO", "CONSUMERS", keys.lanes[2], "w")
    assert all(worker.name.encode() not in info for info in consumers)
    assert server.command("EXISTS", keys.worker_memo(worker.name.encode())) == 0


async def completed(queue: Queue, count: int) -> bool:
    return (await queue.counts()).completed == count


async def test_it_runs_beside_a_block_and_stops_with_it(queue: Queue) -> None:
    @queue.handler("work")
    async def work(n: int) -> int:
        return n + 1

    async with Worker(queue) as worker:
        assert await (await work.enqueue(1)).result(timeout=10) == 2
        assert worker.active == 0
    assert inside(worker)._runner.done()


async def test_an_error_in_the_block_stops_it_too(queue: Queue) -> None:
    worker = Worker(queue)
    with pytest.raises(KeyError):
        async with worker:
            raise KeyError
    assert inside(worker)._runner.done()


async def test_it_works_inside_a_busy_application(queue: Queue) -> None:
    """As in a web application's lifespan: the same loop serves requests that enqueue and wait."""

    @queue.handler("work")
    async def work(n: int) -> int:
        await asyncio.sleep(0.001)
        return n * 2

    async def request(n: int) -> int:
        return await (await work.enqueue(n)).result(timeout=10)

    async with Worker(queue, concurrency=10):
        for start in range(0, 200, 50):
            found = await asyncio.gather(*[request(n) for n in range(start, start + 50)])
            assert found == [n * 2 for n in range(start, start + 50)]


async def test_a_worker_cancelled_from_outside_hands_its_jobs_back(queue: Queue, gate: Gate) -> None:
    @queue.handler("work")
    async def work(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    job = await work.enqueue()
    running = asyncio.create_task(Worker(queue, grace=0).run())
    await until(lambda: gate.started)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await job.state() is JobState.WAITING


async def test_a_handler_that_blocks_the_loop_keeps_its_job(make_queue: MakeQueue) -> None:
    """Its lease is renewed from a thread: a second worker does not take it."""
    queue = make_queue()
    runs: list[str] = []

    @queue.handler("work", timeout=None)
    async def work(ctx: Context) -> None:
        runs.append(ctx.worker)
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point

    job = await work.enqueue()
    async with Worker(queue, lease=1.5):
        await job.result(timeout=10)
    assert len(runs) == 1
    assert (await queue.counts()).stalled == 0


async def test_a_handler_longer_than_the_lease_keeps_its_job(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", timeout=None)
    async def work() -> str:
        runs.append(1)
        await asyncio.sleep(3.2)
        return "done"

    job = await work.enqueue()
    async with Worker(queue, lease=1.5), Worker(queue, lease=1.5):
        assert await job.result(timeout=10) == "done"
    assert runs == [1]


async def test_no_server_at_start(make_queue: MakeQueue) -> None:
    queue = make_queue(url="redis://127.0.0.1:1/0")
    with pytest.raises(RedisUnavailable):
        await Worker(queue).run()
    started = time.monotonic()
    with pytest.raises(RedisUnavailable):
        async with Worker(queue, wait_for_redis=0.3):
            pytest.fail("there is no server")
    assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0}, {"concurrency": True}, {"concurrency": 10**6}, {"lease": 0.5}, {"lease": -1}, {"grace": -1},
        {"max_stalls": -1}, {"max_stalls": 1000}, {"wait_for_redis": -1},
    ],
)  # fmt: skip
async def test_options_out_of_bounds_are_refused(queue: Queue, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Worker(queue, **options)  # type: ignore[arg-type]  # wrong on purpose


async def test_a_job_that_is_enqueued_while_a_worker_stops_is_not_lost(queue: Queue) -> None:
    ran: list[int] = []

    @queue.handler("work", backoff=Fixed(0))
    async def work(n: int) -> None:
        ran.append(n)
        await asyncio.sleep(0)

    number = 0
    for _ in range(10):
        async with Worker(queue, concurrency=5):
            for _ in range(20):
                await work.enqueue(number)
                number += 1
    await drain(queue)
    assert sorted(set(ran)) == list(range(200))
    assert (await queue.counts()).completed == 200


async def test_a_job_over_max_stalls_is_buried_before_its_handler_starts(
    queue: Queue, server: Server, gate: Gate
) -> None:
    runs: list[int] = []

    @queue.handler("work", timeout=None)
    async def work(ctx: Context) -> None:
        runs.append(ctx.stalls)
        await gate.through(ctx.job_id)

    job = await work.enqueue()
    async with Worker(queue, lease=60, grace=0) as first:
        await until(lambda: gate.started)
        key = keys_of(queue).lanes[2]
        [(entry, *_)] = server.command("XPENDING", key, "w", "-", "+", 1)
        server.command("XCLAIM", key, "w", first.name, 0, entry, "IDLE", 3_600_000, "JUSTID")
        server.command("HDEL", keys_of(queue).meta, "swept")
        async with Worker(queue, lease=3, max_stalls=0):
            problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.reason == "stalled"
    assert runs == [0]
    info = await job.info()
    assert info.state is JobState.DEAD
    assert (await queue.counts()).failed == 0  # no attempt failed: the worker vanished
