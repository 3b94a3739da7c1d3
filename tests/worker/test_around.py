"""Middleware around each attempt, a lifespan around each worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from streamq import Context, Discard, JobState, Queue, Worker
from streamq.errors import JobDead
from tests.worker.helpers import MakeQueue, drain, ended, until


async def test_the_first_declared_is_the_outermost(queue: Queue) -> None:
    log: list[str] = []

    @queue.middleware
    async def outer(ctx: Context, call_next: Any) -> Any:
        log.append(f"outer in {ctx.name}")
        value = await call_next(ctx)
        log.append(f"outer out {value}")
        return value

    class Inner:
        async def __call__(self, ctx: Context, call_next: Any) -> Any:
            log.append("inner in")
            value = await call_next(ctx)
            log.append(f"inner out {value}")
            return value + 1

    queue.use(Inner())

    @queue.handler("work")
    async def work(n: int) -> int:
        log.append("work")
        return n

    job = await work.enqueue(1)
    await drain(queue)
    assert log == ["outer in work", "inner in", "work", "inner out 1", "outer out 2"]
    assert await job.result(timeout=5) == 2


async def test_it_sees_the_error_of_each_attempt(queue: Queue) -> None:
    seen: list[tuple[int, str]] = []

    @queue.middleware
    async def watch(ctx: Context, call_next: Any) -> Any:
        try:
            return await call_next(ctx)
        except BaseException as problem:
            seen.append((ctx.attempt, type(problem).__name__))
            raise

    @queue.handler("work", max_attempts=3, timeout=0.1)
    async def work(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError
        if ctx.attempt == 2:
            await asyncio.sleep(30)
        raise Discard

    job = await work.enqueue()
    await drain(queue)
    assert seen == [(1, "ValueError"), (2, "CancelledError"), (3, "Discard")]
    assert await job.state() is JobState.CANCELLED


async def test_it_may_end_the_attempt_without_the_handler(queue: Queue) -> None:
    ran: list[int] = []

    @queue.middleware
    async def gate(ctx: Context, call_next: Any) -> Any:
        if ctx.tenant == "blocked":
            raise Discard("tenant is blocked")
        if ctx.tenant == "cached":
            return 99
        return await call_next(ctx)

    @queue.handler("work")
    async def work() -> int:
        ran.append(1)
        return 1

    jobs = {name: await work.with_options(tenant=name).enqueue() for name in ("blocked", "cached", "other")}
    await drain(queue)
    assert len(ran) == 1
    assert await jobs["blocked"].state() is JobState.CANCELLED
    assert await jobs["cached"].result(timeout=5) == 99
    assert await jobs["other"].result(timeout=5) == 1


async def test_an_error_of_its_own_fails_the_attempt(queue: Queue) -> None:
    @queue.middleware
    async def broken(ctx: Context, call_next: Any) -> Any:
        await call_next(ctx)
        raise RuntimeError("middleware")

    @queue.handler("work", max_attempts=1)
    async def work() -> None: ...

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.message == "middleware"


async def test_it_surrounds_def_handlers_too(queue: Queue) -> None:
    @queue.middleware
    async def double(ctx: Context, call_next: Any) -> Any:
        return 2 * await call_next(ctx)

    @queue.handler("work")
    def work(n: int) -> int:
        return n

    job = await work.enqueue(4)
    await drain(queue)
    assert await job.result(timeout=5) == 8


async def test_a_lifespan_gives_its_state_to_every_attempt_and_ends_with_the_worker(queue: Queue) -> None:
    log: list[str] = []

    @queue.lifespan
    async def life() -> AsyncGenerator[dict[str, int]]:
        log.append("up")
        yield {"calls": 0}
        log.append("down")

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        ctx.state["calls"] += 1
        log.append(f"work {ctx.state['calls']}")

    await queue.enqueue_many([work.job(), work.job()])
    async with Worker(queue):
        assert log[0] == "up"
        await until(lambda: len(log) == 3)
        assert "down" not in log
    assert log == ["up", "work 1", "work 2", "down"]


async def test_every_worker_has_its_own(queue: Queue) -> None:
    states: list[object] = []

    @queue.lifespan
    async def life() -> AsyncGenerator[object]:
        states.append(object())
        yield states[-1]

    async with Worker(queue), Worker(queue):
        assert len(states) == 2


async def test_several_lifespans_make_a_list(queue: Queue) -> None:
    got: list[Any] = []

    @queue.lifespan
    async def one() -> AsyncGenerator[str]:
        yield "one"

    @queue.lifespan
    async def two() -> AsyncGenerator[str]:
        yield "two"

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        got.append(ctx.state)

    await work.enqueue()
    await drain(queue)
    assert got == [["one", "two"]]


async def test_queues_keep_their_lifespans_apart(make_queue: MakeQueue) -> None:
    got: dict[str, Any] = {}
    queues = [make_queue("one"), make_queue("two"), make_queue("three")]
    for queue in queues[:2]:

        def declare(queue: Queue) -> None:
            @queue.lifespan
            async def life() -> AsyncGenerator[str]:
                yield f"state of {queue.name}"

        declare(queue)
    for queue in queues:

        @queue.handler("work")
        async def work(ctx: Context) -> None:
            got[ctx.queue] = ctx.state

        await queue.enqueue("work")
    await drain(*queues)
    assert got == {"one": "state of one", "two": "state of two", "three": None}


async def test_a_lifespan_that_cannot_start_ends_the_worker(queue: Queue) -> None:
    @queue.lifespan
    async def life() -> AsyncGenerator[None]:
        if queue.name:
            raise ConnectionError("no database")
        yield

    with pytest.raises(ConnectionError, match="no database"):
        await Worker(queue).run(burst=True)
    with pytest.raises(ConnectionError, match="no database"):
        async with Worker(queue):
            pytest.fail("it must not start")


async def test_a_lifespan_outlives_the_last_attempt(queue: Queue) -> None:
    log: list[str] = []

    @queue.lifespan
    async def life() -> AsyncGenerator[None]:
        yield
        log.append("down")

    @queue.handler("work")
    async def work() -> None:
        log.append("start")
        await asyncio.sleep(0.1)
        log.append("end")

    await work.enqueue()
    async with Worker(queue):
        await until(lambda: log == ["start"])
    assert log == ["start", "end", "down"]
