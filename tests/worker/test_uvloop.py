"""The same on uvloop, where it is installed: start, work, fail, delay, cancel, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streamq import Context, Depends, Fixed, Queue, Worker
from streamq.errors import JobCancelled, JobDead
from tests.servers import Server
from tests.worker.helpers import Gate, ended, until

uvloop = pytest.importorskip("uvloop")

Story = Callable[[Queue], Coroutine[Any, Any, None]]


async def works(queue: Queue) -> None:
    @queue.handler("work")
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n * 2

    @queue.handler("threaded")
    def threaded(n: int) -> int:
        return n * 3

    async with Worker(queue, concurrency=20):
        jobs = await queue.enqueue_many([work.job(n) for n in range(300)])
        others = await queue.enqueue_many([threaded.job(n) for n in range(20)])
        assert [await job.result(timeout=10) for job in jobs] == [n * 2 for n in range(300)]
        assert [await job.result(timeout=10) for job in others] == [n * 3 for n in range(20)]


async def fails_and_delays(queue: Queue) -> None:
    ran: list[tuple[int, str]] = []

    def value() -> str:
        return "injected"

    @queue.handler("work", max_attempts=2, timeout=0.1)
    async def work(ctx: Context, how: str, d: str = Depends(value)) -> str:
        ran.append((ctx.attempt, how))
        if how == "slow":
            await asyncio.sleep(30)
        if how == "fail":
            raise ValueError
        return d

    async with Worker(queue):
        good = await work.with_options(delay=0.05).enqueue("good")
        bad, slow = await work.enqueue("fail"), await work.enqueue("slow")
        assert await good.result(timeout=10) == "injected"
        assert isinstance(await ended(bad), JobDead)
        problem = await ended(slow)
        assert isinstance(problem, JobDead)
        assert problem.error_type == "TimeoutError"
    assert sorted(ran) == [(1, "fail"), (1, "good"), (1, "slow"), (2, "fail"), (2, "slow")]


async def cancels_and_stops(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("held")
    async def held(ctx: Context) -> str:
        await gate.through(ctx.job_id)
        return "done"

    async with Worker(queue, grace=0.1):
        one, two = await held.enqueue(), await held.enqueue()
        await until(lambda: len(gate.started) == 2)
        await one.cancel()
        assert isinstance(await ended(one), JobCancelled)
    gate.open()
    async with Worker(queue):
        assert await two.result(timeout=10) == "done"


@pytest.mark.parametrize("story", [works, fails_and_delays, cancels_and_stops])
def test_on_uvloop(server: Server, prefix: str, story: Story) -> None:
    async def told() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        async with Queue("q", url=server.url, prefix=prefix, backoff=Fixed(0)) as queue, asyncio.timeout(30):
            await story(queue)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(told())
