"""Queues in memory: made new or led there for a while, isolated, and gone afterwards."""

from __future__ import annotations

import pytest

from streamq import Queue, Worker
from streamq.errors import ConfigError
from streamq.testing import Clock, MemoryQueues, freeze, run_until_idle
from tests.servers import Server


async def test_a_queue_made_here_runs_jobs(memory_queue: MemoryQueues) -> None:
    queue = memory_queue("sums", max_attempts=2)

    @queue.handler("add")
    async def add(a: int, b: int) -> int:
        return a + b

    job = await add.enqueue(1, b=2)
    async with Worker(queue):
        assert await job.result(timeout=5) == 3
    assert queue.name == "sums"
    assert queue.where == memory_queue.url


async def test_a_queue_of_the_application_is_led_here_and_back(server: Server, prefix: str) -> None:
    queue = Queue("app", url=server.url, prefix=prefix)

    @queue.handler("greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    async with queue:
        on_the_server = await greet.enqueue("server")
        async with MemoryQueues() as memory:
            assert memory(queue) is queue
            assert (await queue.counts()).waiting == 0
            await greet.enqueue("memory")
            report = await run_until_idle(queue)
            assert [one.result for one in report.attempts] == ["hello memory"]
        assert (await queue.counts()).waiting == 1
        assert (await queue.job(on_the_server.id)) is not None


async def test_one_block_shares_its_broker_and_another_does_not(memory_queue: MemoryQueues) -> None:
    sending, looking = memory_queue("q"), memory_queue("q")
    await sending.enqueue("work")
    assert (await looking.counts()).waiting == 1
    async with MemoryQueues() as other:
        assert (await other("q").counts()).waiting == 0


async def test_what_is_in_memory_is_gone_with_the_block() -> None:
    with MemoryQueues() as memory:
        queue = memory("q")
        await queue.enqueue("work")
        url = memory.url
    late = Queue("q", url=url)
    assert (await late.counts()).waiting == 0
    await late.aclose()


def test_a_queue_may_be_taken_twice_and_comes_back_once() -> None:
    queue = Queue("app", url="redis://nowhere")
    with MemoryQueues() as memory:
        memory(queue)
        memory(queue)
        assert queue.where == memory.url
    assert queue.where == ""


def test_options_belong_to_a_new_queue(memory_queue: MemoryQueues) -> None:
    with pytest.raises(ConfigError, match="belong to a new queue"):
        memory_queue(Queue("app"), max_attempts=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_the_clock_is_that_of_the_test(memory_queue: MemoryQueues, streamq_clock: Clock) -> None:
    assert memory_queue.clock is streamq_clock
    assert streamq_clock.is_frozen


def test_without_it_time_runs(memory_queue: MemoryQueues) -> None:
    assert not memory_queue.clock.is_frozen


def test_two_blocks_may_share_a_clock() -> None:
    clock = freeze()
    with MemoryQueues(clock=clock) as one, MemoryQueues(clock=clock) as two:
        assert one.clock is two.clock
        assert one.url != two.url
