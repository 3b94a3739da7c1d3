"""An attempt that takes too long is cancelled and has failed."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from streamq import Context, JobState, Queue, Worker
from streamq.errors import JobDead
from tests.worker.helpers import MakeQueue, drain, ended, until


async def test_an_async_handler_is_cancelled(queue: Queue) -> None:
    seen: list[str] = []

    @queue.handler("work", timeout=0.1, max_attempts=2)
    async def work(ctx: Context) -> None:
        started = time.monotonic()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(f"{ctx.attempt} after {time.monotonic() - started:.1f}")
            raise

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert (problem.error_type, problem.message) == ("TimeoutError", "timed out after 0.1 s")
    assert len(seen) == 2
    for text in seen:
        assert 0.1 <= float(text.rsplit(" ", 1)[1]) < 0.5


async def test_a_def_handler_is_left_behind_in_its_thread(queue: Queue) -> None:
    go_on, over = threading.Event(), threading.Event()

    @queue.handler("work", timeout=0.1, max_attempts=1)
    def work() -> str:
        go_on.wait(20)
        over.set()
        return "too late"

    job = await work.enqueue()
    started = time.monotonic()
    try:
        await drain(queue)
        problem = await ended(job)
        assert time.monotonic() - started < 5
        assert isinstance(problem, JobDead)
        assert problem.error_type == "TimeoutError"
        assert not over.is_set()
    finally:
        go_on.set()
    await until(over.is_set)
    assert await job.state() is JobState.DEAD  # what it returned at last changes nothing


async def test_the_jobs_own_timeout_counts(queue: Queue) -> None:
    @queue.handler("work", timeout=60, max_attempts=1)
    async def work() -> None:
        await asyncio.sleep(30)

    job = await work.with_options(timeout=0.05).enqueue()
    await drain(queue)
    assert isinstance(await ended(job), JobDead)


async def test_without_a_timeout_there_is_no_bound(make_queue: MakeQueue) -> None:
    queue = make_queue(timeout=0.05)

    @queue.handler("bounded", max_attempts=1)
    async def bounded(ctx: Context) -> None:
        assert ctx.deadline is not None
        await asyncio.sleep(30)

    @queue.handler("unbounded", timeout=None)
    async def unbounded(ctx: Context) -> str:
        assert ctx.deadline is None
        await asyncio.sleep(0.3)
        return "done"

    one, two = await bounded.enqueue(), await unbounded.enqueue()
    await drain(queue)
    assert isinstance(await ended(one), JobDead)
    assert await two.result(timeout=5) == "done"


async def test_a_handler_may_finish_what_it_does_when_cancelled(queue: Queue) -> None:
    @queue.handler("work", timeout=0.05, max_attempts=1)
    async def work() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "saved"
        return "slept"

    job = await work.enqueue()
    await drain(queue)
    assert await job.result(timeout=5) == "saved"


async def test_another_error_on_the_way_out_is_the_one_that_is_told(queue: Queue) -> None:
    @queue.handler("work", timeout=0.05, max_attempts=1)
    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            raise ValueError("cleaning up failed")

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.message == "cleaning up failed"


async def test_a_timeout_of_the_handlers_own_is_an_ordinary_failure(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.error_type == "TimeoutError"
    assert "timed out after" not in problem.message


async def test_a_thousand_jobs_that_are_in_time_are_not_disturbed(queue: Queue) -> None:
    @queue.handler("work", timeout=5)
    async def work(n: int) -> None:
        await asyncio.sleep(0.001)

    await queue.enqueue_many([work.job(n) for n in range(1000)])
    await drain(queue)
    counts = await queue.counts()
    assert (counts.completed, counts.failed) == (1000, 0)


@pytest.mark.parametrize("options", [{"timeout": 0.05}, {"timeout": None}])
async def test_places_are_free_again_after_timeouts(queue: Queue, options: dict[str, float | None]) -> None:
    @queue.handler("stuck", timeout=0.05, max_attempts=1)
    async def stuck() -> None:
        await asyncio.sleep(30)

    @queue.handler("work", timeout=options["timeout"])
    async def work() -> None: ...

    await queue.enqueue_many([stuck.job() for _ in range(6)])
    await queue.enqueue_many([work.job() for _ in range(6)])
    async with Worker(queue, concurrency=2) as worker:
        await until(lambda: completed(queue, 6))
        await until(lambda: worker.active == 0)
    assert (await queue.counts()).dead == 6


async def completed(queue: Queue, count: int) -> bool:
    return (await queue.counts()).completed == count
