"""An ordinary queue on memory://: the same public API, the same outcomes, no server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from streamq import Context, Fixed, Group, JobState, Queue, RateLimit, Scheduler, Worker
from streamq._store.scripts import script
from streamq.errors import ConfigError, JobDead
from tests.simulation.memory import MemoryServer
from tests.worker.helpers import MakeQueue, drain, ended, until


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as made:
        yield made


@pytest.fixture
async def make_queue(memory: MemoryServer) -> AsyncIterator[MakeQueue]:
    made: list[Queue] = []

    def make(name: str = "q", **options: Any) -> Queue:
        defaults: dict[str, Any] = {"url": memory.url, "backoff": Fixed(0)}
        queue = Queue(name, **{**defaults, **options})
        made.append(queue)
        return queue

    yield make
    for queue in made:
        await queue.aclose()


async def test_a_job_runs_and_its_result_is_told(make_queue: MakeQueue) -> None:
    queue = make_queue()

    @queue.handler("add")
    async def add(a: int, b: int) -> int:
        return a + b

    async with Worker(queue):
        assert await (await add.enqueue(1, b=2)).result(timeout=5) == 3
        jobs = await queue.enqueue_many([add.job(n, n) for n in range(300)])
        assert [await job.result(timeout=5) for job in jobs] == [2 * n for n in range(300)]
    assert (await queue.counts()).completed == 301


async def test_failures_are_tried_again_and_buried_at_last(make_queue: MakeQueue) -> None:
    queue = make_queue()
    seen: list[int] = []

    @queue.handler("fail", max_attempts=3)
    async def fail(ctx: Context) -> None:
        seen.append(ctx.attempt)
        raise ValueError(f"number {ctx.attempt}")

    job = await fail.enqueue()
    await drain(queue)
    assert seen == [1, 2, 3]
    assert isinstance(await ended(job), JobDead)
    letter = await queue.dlq.get(job.id)
    assert letter is not None
    assert [one.message for one in letter.errors] == ["number 1", "number 2", "number 3"]
    await queue.dlq.replay(job.id)
    await drain(queue)
    assert seen == [1, 2, 3, 1, 2, 3]


async def test_a_delayed_job_is_never_early_and_soon_after(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[float] = []

    @queue.handler("later")
    async def later() -> None:
        ran.append(time.time())

    async with Worker(queue):
        started = time.time()
        await later.with_options(delay=0.2).enqueue()
        await until(lambda: ran)
    assert 0.2 <= ran[0] - started < 2


async def test_an_idle_worker_is_woken_by_the_bell(make_queue: MakeQueue, memory: MemoryServer) -> None:
    queue = make_queue()

    @queue.handler("work")
    async def work() -> str:
        return "done"

    async with Worker(queue):
        await until(lambda: any(one.waits for one in memory.broker.connections.values()), "it rests")
        job = await work.enqueue()
        assert await job.result(timeout=1) == "done"


async def test_a_schedule_fires_each_tick_once(make_queue: MakeQueue) -> None:
    queue = make_queue()
    scheduler = Scheduler(queue)
    ran: list[str] = []

    @scheduler.every(0.1, id="poll")
    async def poll(ctx: Context) -> None:
        ran.append(ctx.job_id)

    async with Worker(queue, scheduler=scheduler):
        await until(lambda: len(ran) >= 3)
    assert len(set(ran)) == len(ran)


async def test_a_rate_holds_jobs_back_and_lets_them_go(make_queue: MakeQueue) -> None:
    queue = make_queue(limits={"sms": RateLimit(2, per=0.3)})
    ran: list[float] = []

    @queue.handler("send")
    async def send() -> None:
        ran.append(time.time())

    async with Worker(queue):
        await queue.enqueue_many([send.with_options(rate_key="sms").job() for _ in range(5)])
        await until(lambda: len(ran) == 5)
    assert all(later - first >= 0.29 for first, later in zip(ran, ran[2:], strict=False))


async def test_groups_keep_their_concurrency(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(concurrency=1))
    running: list[str] = []
    most: list[int] = []

    @queue.handler("work")
    async def work(tenant: str) -> None:
        running.append(tenant)
        most.append(running.count(tenant))
        await asyncio.sleep(0.005)
        running.remove(tenant)

    async with Worker(queue):
        jobs = await queue.enqueue_many([work.with_options(group=tenant).job(tenant) for tenant in "aabbaabb"])
        for job in jobs:
            await job.result(timeout=5)
    assert (len(most), max(most)) == (8, 1)


async def test_a_stopped_worker_hands_back_and_charges_nobody(make_queue: MakeQueue, memory: MemoryServer) -> None:
    queue = make_queue()
    attempts: list[int] = []

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    job = await work.enqueue()
    async with Worker(queue, grace=0):
        await until(lambda: attempts)
    assert await job.state() is JobState.WAITING
    assert [one.name for one in memory.broker.connections.values() if "worker" in one.name] == []
    await drain(queue)
    assert attempts == [1, 1]


async def test_a_running_job_is_asked_to_stop(make_queue: MakeQueue) -> None:
    queue = make_queue()
    begun = asyncio.Event()

    @queue.handler("work")
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with Worker(queue):
        job = await work.enqueue()
        await begun.wait()
        await job.cancel()
        await until(lambda: _is(job.state, JobState.CANCELLED))


async def _is(state: Any, wanted: JobState) -> bool:
    return await state() is wanted


async def test_leases_are_renewed_in_the_loop_not_by_a_thread(make_queue: MakeQueue, memory: MemoryServer) -> None:
    queue = make_queue()
    renewed, door = asyncio.Event(), asyncio.Event()

    def look(words: Sequence[bytes]) -> None:
        if words[:2] == [b"EVALSHA", script("renew").sha]:
            renewed.set()

    @queue.handler("long")
    async def long() -> str:
        await door.wait()
        return "done"

    memory.broker.on_command = look
    async with Worker(queue, lease=1.5):
        job = await long.enqueue()
        async with asyncio.timeout(5):
            await renewed.wait()
        assert not [one for one in threading.enumerate() if one.name == "streamq-keeper"]
        door.set()
        assert await job.result(timeout=5) == "done"
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "streamq-keeper"]


async def test_a_worker_comes_back_after_a_crash_of_the_broker(make_queue: MakeQueue, memory: MemoryServer) -> None:
    memory.broker.journal = []
    queue = make_queue()

    @queue.handler("work")
    async def work() -> str:
        return "done"

    async with Worker(queue):
        await (await work.enqueue()).result(timeout=5)
        memory.broker.crash()
        assert await (await work.enqueue()).result(timeout=10) == "done"


async def test_queues_in_memory_share_no_name(make_queue: MakeQueue) -> None:
    queue = make_queue("other")
    with MemoryServer() as foreign:
        stranger = Queue("other", url=foreign.url)

        @stranger.handler("work")
        async def work() -> None: ...

        await work.enqueue()
        assert (await queue.counts()).waiting == 0
        assert (await stranger.counts()).waiting == 1
        await stranger.aclose()


async def test_without_lupa_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib  # noqa: PLC0415 - only to be replaced

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named 'lupa' ({name})", name="lupa")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"streamq\[testing\]"):
        await Queue("q", url="memory://nowhere").ping()
