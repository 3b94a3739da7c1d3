"""One job never leaks into the next: contexts, tasks, cancellations."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from streamq import Context, Queue, Worker, current_context
from streamq._runtime.table import Table
from streamq._store import desk
from tests.worker.helpers import Gate, MakeQueue, drain, until

mine: ContextVar[str] = ContextVar("mine", default="nobody")


@pytest.mark.parametrize("concurrency", [10, 100])
async def test_what_a_job_sets_in_its_context_is_gone_with_it(queue: Queue, concurrency: int) -> None:
    seen: list[str] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        seen.append(mine.get())
        mine.set(f"job {n}")
        await asyncio.sleep(0.01)  # long enough for the worker to be full and hold a few jobs ready
        assert mine.get() == f"job {n}"

    await queue.enqueue_many([work.job(n) for n in range(3 * concurrency)])
    await drain(queue, concurrency=concurrency)
    assert seen == ["nobody"] * (3 * concurrency)


async def test_queues_of_one_worker_do_not_leak_into_each_other(make_queue: MakeQueue) -> None:
    queues = [make_queue(name) for name in ("one", "two")]
    seen: list[str] = []
    for queue in queues:

        @queue.handler("work")
        async def work(n: int) -> None:
            seen.append(mine.get())
            mine.set(f"job {n}")
            await asyncio.sleep(0.001)

        await queue.enqueue_many([queue.spec("work", {"n": n}) for n in range(100)])
    await drain(*queues, concurrency=1)
    assert seen == ["nobody"] * 200


async def test_what_a_lifespan_sets_is_there_for_all(queue: Queue) -> None:
    seen: list[str] = []

    @queue.lifespan
    async def life():  # type: ignore[no-untyped-def]  # noqa: ANN202 - the public type is tested elsewhere
        token = mine.set("lifespan")
        yield
        mine.reset(token)

    @queue.handler("work")
    async def work(n: int) -> None:
        seen.append(mine.get())
        mine.set("work")

    await queue.enqueue_many([work.job(n) for n in range(30)])
    await drain(queue, concurrency=10)
    assert seen == ["lifespan"] * 30


async def test_each_attempt_is_a_task_of_its_own(queue: Queue) -> None:
    tasks: list[asyncio.Task[object] | None] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)

    await queue.enqueue_many([work.job(n) for n in range(20)])
    await drain(queue, concurrency=10)
    assert len(set(tasks)) == 20


async def test_the_current_context_is_there_for_code_that_was_not_handed_it(queue: Queue) -> None:
    seen: dict[str, tuple[str, int]] = {}

    def helper(name: str) -> None:
        seen[name] = (current_context().job_id, current_context().attempt)

    @queue.handler("plain")
    async def plain() -> None:
        await asyncio.sleep(0)
        helper("plain")

    @queue.handler("given")
    async def given(ctx: Context) -> None:
        helper("given")
        assert current_context() is ctx

    @queue.handler("threaded")
    def threaded() -> None:
        helper("threaded")

    @queue.handler("nested")
    async def nested() -> None:
        async def inner() -> None:
            helper("nested")

        await asyncio.create_task(inner())

    jobs = {name: await queue.enqueue(name) for name in ("plain", "given", "threaded", "nested")}
    await drain(queue)
    assert seen == {name: (job.id, 1) for name, job in jobs.items()}
    with pytest.raises(LookupError):
        current_context()


async def test_cancelling_one_job_leaves_its_neighbours_alone(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        await gate.through(ctx.job_id)

    jobs = await queue.enqueue_many([work.job() for _ in range(5)])
    async with Worker(queue):
        await until(lambda: len(gate.started) == 5)
        await jobs[2].cancel()
        await until(lambda: gate.cancelled == [jobs[2].id])
        gate.open()
        await until(lambda: len(gate.ended) == 4)
    assert jobs[2].id not in gate.ended


async def test_a_job_cancelled_before_its_first_step_is_handed_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        await asyncio.sleep(0)  # where a task's first step comes at once, it is cancelled here
        runs.append(ctx.attempt)

    job = await work.enqueue()
    take = Table.take

    def take_and_stop(table: Table, *args: object) -> object:
        attempt = take(table, *args)  # type: ignore[arg-type]
        attempt.cancel("shutdown")
        return attempt

    monkeypatch.setattr(Table, "take", take_and_stop)
    async with Worker(queue):
        await until(lambda: queue_released(queue))
    monkeypatch.undo()
    counts = await queue.counts()
    assert counts.active == 0
    await drain(queue)
    assert await job.state() == "completed"
    assert runs == [1]


async def queue_released(queue: Queue) -> bool:
    """Whether a job was handed back."""
    return int((await desk.counts((await queue.stores())[0])).meta.get("released", 0)) > 0
