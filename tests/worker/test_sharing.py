"""Several queues and several lanes share the places of a worker."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from streamq import Context, Fixed, JobState, Priority, Queue, Worker
from streamq.errors import ConfigError
from tests.worker.helpers import Gate, MakeQueue, drain, until


@pytest.mark.parametrize("concurrency", [1, 2, 3, 10])
async def test_queues_share_the_places_and_none_starves(make_queue: MakeQueue, concurrency: int) -> None:
    queues = [make_queue(name) for name in ("one", "two", "three")]
    order: list[str] = []
    inside, most = 0, 0
    for queue in queues:

        @queue.handler("work")
        async def work(name: str) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            order.append(name)
            await asyncio.sleep(0.002)
            inside -= 1

        count = 120 if queue.name == "one" else 10
        await queue.enqueue_many([queue.spec("work", {"name": queue.name}) for _ in range(count)])
    await drain(*queues, concurrency=concurrency)
    assert Counter(order) == {"one": 120, "two": 10, "three": 10}
    assert most <= concurrency
    # The small queues are done long before the large one.
    assert max(at for at, name in enumerate(order) if name != "one") < 90


async def test_a_queue_that_fills_the_worker_leaves_room_as_soon_as_a_place_is_free(make_queue: MakeQueue) -> None:
    busy, other = make_queue("busy"), make_queue("other")
    gate = Gate()

    @busy.handler("work")
    async def work(n: int) -> None:
        await gate.through(f"busy {n}")

    @other.handler("work")
    async def small() -> str:
        return "done"

    await busy.enqueue_many([work.job(n) for n in range(2)])
    async with Worker([busy, other], concurrency=2):
        await until(lambda: len(gate.started) == 2)
        job = await small.enqueue()
        await busy.enqueue_many([work.job(n) for n in range(2, 6)])
        assert await job.state() in {JobState.WAITING, JobState.ACTIVE}
        gate.open()
        assert await job.result(timeout=10) == "done"


async def test_two_queues_on_two_servers_in_one_worker(make_queue: MakeQueue, prefix: str) -> None:
    one, two = make_queue("q"), make_queue("q", prefix=f"{prefix}-other")
    ran: list[str] = []

    @one.handler("work")
    async def work() -> None:
        ran.append("one")

    @two.handler("work")
    async def other() -> None:
        ran.append("two")

    await work.enqueue()
    await other.enqueue()
    await drain(one, two)
    assert sorted(ran) == ["one", "two"]


async def test_a_queue_given_twice_is_refused(queue: Queue, make_queue: MakeQueue) -> None:
    with pytest.raises(ConfigError, match="twice"):
        Worker([queue, make_queue("q")])
    with pytest.raises(ConfigError, match="at least one"):
        Worker([])


async def test_priorities_are_served_in_strict_order(queue: Queue) -> None:
    order: list[str] = []

    @queue.handler("work")
    async def work(name: str) -> None:
        order.append(name)

    for number in range(3):
        for priority in reversed(Priority):
            await work.with_options(priority=priority).enqueue(f"{priority.name} {number}")
    await drain(queue, concurrency=1)
    assert order == [f"{priority.name} {number}" for priority in Priority for number in range(3)]


async def test_an_urgent_job_overtakes_those_that_wait(queue: Queue) -> None:
    order: list[str] = []
    gate = Gate()

    @queue.handler("work")
    async def work(name: str) -> None:
        order.append(name)
        await gate.through(name)

    async with Worker(queue, concurrency=1):
        for number in range(5):
            await work.enqueue(f"normal {number}")
        await until(lambda: gate.started)
        await work.with_options(priority=Priority.CRITICAL).enqueue("urgent")
        gate.open()
        await until(lambda: len(order) == 6)
    assert order[:2] == ["normal 0", "urgent"]


async def test_a_handlers_priority_is_the_default_of_its_jobs(queue: Queue) -> None:
    @queue.handler("work", priority=Priority.HIGH)
    async def work() -> None: ...

    default, own = await work.enqueue(), await work.with_options(priority=Priority.LOW).enqueue()
    assert (await default.info()).priority is Priority.HIGH
    assert (await own.info()).priority is Priority.LOW
    by_name = await queue.enqueue("work")
    assert (await by_name.info()).priority is Priority.HIGH


async def test_a_job_keeps_its_priority_over_retries_and_replays(queue: Queue) -> None:
    @queue.handler("work", max_attempts=2, backoff=Fixed(3600))
    async def work() -> None:
        raise ValueError

    job = await work.with_options(priority=Priority.CRITICAL).enqueue()
    await drain(queue)
    info = await job.info()
    assert (info.state, info.priority) == (JobState.DELAYED, Priority.CRITICAL)
    await job.promote()
    await drain(queue)
    letter = await queue.dlq.get(job.id)
    assert letter is not None
    assert letter.priority is Priority.CRITICAL
    await queue.dlq.replay(job.id)
    assert (await job.info()).priority is Priority.CRITICAL


async def test_two_workers_share_a_burst(queue: Queue) -> None:
    by_worker: Counter[str] = Counter()

    @queue.handler("work")
    async def work(ctx: Context, n: int) -> None:
        by_worker[ctx.worker] += 1
        await asyncio.sleep(0.002)

    async with Worker(queue, concurrency=10), Worker(queue, concurrency=10):
        await queue.enqueue_many([work.job(n) for n in range(400)])
        await until(lambda: by_worker.total() == 400)
    assert len(by_worker) == 2
    assert min(by_worker.values()) > 40


async def test_a_thousand_jobs_are_each_run_once(queue: Queue) -> None:
    ran: Counter[int] = Counter()

    @queue.handler("work")
    async def work(n: int) -> None:
        ran[n] += 1

    await queue.enqueue_many([work.job(n) for n in range(1000)])
    async with Worker(queue), Worker(queue), Worker(queue):
        await until(lambda: len(ran) == 1000)
    assert set(ran.values()) == {1}
    assert (await queue.counts()).completed == 1000
