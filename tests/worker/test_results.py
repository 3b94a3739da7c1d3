"""What a handler returned, where and as long as it can be had."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pydantic
import pytest

from streamq import Job, JobState, Keep, Queue, Worker
from streamq._store import desk
from streamq._store.session import Waiters
from streamq.errors import JobCancelled, JobDead, ResultExpired, ResultUnavailable
from tests.servers import Server
from tests.worker.helpers import Gate, MakeQueue, drain, ended, inside, keys_of, until


class Point(msgspec.Struct):
    x: int
    at: datetime


class Model(pydantic.BaseModel):
    name: str
    points: list[int]


async def test_values_come_back_as_declared(queue: Queue) -> None:
    point = Point(3, datetime(2025, 1, 2, tzinfo=UTC))

    @queue.handler("struct")
    async def struct(p: Point) -> Point:
        assert isinstance(p, Point)
        return p

    @queue.handler("model")
    async def model(m: Model) -> Model:
        assert isinstance(m, Model)
        return m

    @queue.handler("models")
    async def models(m: Model) -> dict[str, list[Model]]:
        return {"all": [m, m]}

    @queue.handler("untyped")
    async def untyped(p: Any):  # type: ignore[no-untyped-def]  # noqa: ANN202 - that is the point
        return {"p": [p, None, 1.5]}

    m = Model(name="n", points=[1, 2])
    jobs: list[tuple[Job[Any], Any]] = [
        (await struct.enqueue(point), point),
        (await model.enqueue(m), m),
        (await models.enqueue(m), {"all": [m, m]}),
        (await untyped.enqueue("x"), {"p": ["x", None, 1.5]}),
    ]
    await drain(queue)
    for job, expected in jobs:
        assert await job.result(timeout=5) == expected


async def test_none_is_none_and_leaves_nothing_behind(queue: Queue, server: Server) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    @queue.handler("kept", keep_result=True)
    async def kept() -> None: ...

    plain, keep, asked = await work.enqueue(), await kept.enqueue(), await work.with_options(keep_result=True).enqueue()
    await drain(queue)
    for job in (plain, keep, asked):
        none: object = await Job[Any](queue, job.id).result(timeout=5)
        assert none is None
        assert await job.state() is JobState.COMPLETED
    keys = keys_of(queue)
    assert [server.command("EXISTS", keys.record(job.id)) for job in (plain, keep, asked)] == [0, 1, 1]


async def test_whoever_waits_hears_of_the_end_at_once(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("value")
    async def value() -> str:
        await gate.through("value")
        return "v"

    @queue.handler("none")
    async def none() -> None:
        await gate.through("none")

    @queue.handler("fail", max_attempts=1)
    async def fail() -> None:
        await gate.through("fail")
        raise ValueError("no")

    jobs: list[Job[Any]] = [await value.enqueue(), await none.enqueue(), await fail.enqueue()]
    async with Worker(queue):
        waiters = [asyncio.create_task(job.result(timeout=10)) for job in jobs for _ in range(3)]
        await until(lambda: len(gate.started) == 3)
        await until(lambda: waiting(queue))
        loop = asyncio.get_running_loop()
        started = loop.time()
        gate.open()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert loop.time() - started < 1.5  # below the two seconds of polling
    assert found[:6] == ["v"] * 3 + [None] * 3
    assert all(isinstance(one, JobDead) for one in found[6:])


async def waiting(queue: Queue) -> bool:
    """Whether three jobs are waited for."""
    return bool(await (await queue.stores())[0].call((b"HLEN", keys_of(queue).waiters)) == 3)


async def test_the_word_may_come_sooner_than_the_answer_that_it_was_asked_for(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    heard: list[object] = []

    @queue.handler("work")
    async def work() -> str:
        await gate.through("work")
        return "v"

    look, hear = desk.look, Waiters._hear  # pyright: ignore[reportPrivateUsage] - what a test has to look into

    async def slow_look(*args: Any, channel: str = "", **options: Any) -> desk.Look:
        found = await look(*args, channel=channel, **options)
        if channel:
            gate.open()
            await until(lambda: len(heard) == 2, "the subscription, and the word of the end")
        return found

    def noted(waiters: Waiters, message: object) -> None:
        heard.append(message)
        hear(waiters, message)

    monkeypatch.setattr(desk, "look", slow_look)
    monkeypatch.setattr(Waiters, "_hear", noted)
    job = await work.enqueue()
    async with Worker(queue):
        await until(lambda: gate.started)
        started = asyncio.get_running_loop().time()
        assert await job.result(timeout=10) == "v"
        assert asyncio.get_running_loop().time() - started < 1.5


async def test_a_timeout_leaves_the_job_alone(queue: Queue) -> None:
    gate = Gate()

    @queue.handler("work")
    async def work() -> str:
        await gate.through("work")
        return "done"

    job = await work.enqueue()
    with pytest.raises(TimeoutError):
        await job.result(timeout=0.05)
    assert await job.state() is JobState.WAITING
    async with Worker(queue):
        await until(lambda: gate.started)
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.05)
        assert gate.cancelled == []
        gate.open()
        assert await job.result(timeout=10) == "done"


async def test_one_too_large_is_not_kept_and_the_job_is_complete(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=1000)

    @queue.handler("work")
    async def work(size: int) -> str:
        return "x" * size

    fits, large = await work.enqueue(900), await work.enqueue(2000)
    await drain(queue)
    assert await fits.result(timeout=5) == "x" * 900
    assert await large.state() is JobState.COMPLETED
    problem = await ended(large)
    assert isinstance(problem, ResultUnavailable)
    assert "max_payload" in problem.problem
    assert (await queue.counts()).completed == 2


async def test_one_that_cannot_be_encoded_does_not_undo_the_work(queue: Queue) -> None:
    class Foreign:
        pass

    loop: list[Any] = []
    loop.append(loop)

    @queue.handler("work")
    async def work(how: str) -> object:
        return {"foreign": Foreign(), "endless": loop, "surrogate": "\udcff", "huge": 2**100}[how]

    jobs = {how: await work.enqueue(how) for how in ("foreign", "endless", "surrogate", "huge")}
    await drain(queue)
    for job in jobs.values():
        assert await job.state() is JobState.COMPLETED
        assert isinstance(await ended(job), ResultUnavailable)
    counts = await queue.counts()
    assert (counts.completed, counts.failed) == (4, 0)


async def test_one_that_does_not_fit_the_annotation_is_told(make_queue: MakeQueue) -> None:
    queue = make_queue()

    @queue.handler("work")
    async def work() -> int:
        wrong: Any = "seven"
        return wrong  # type: ignore[no-any-return]

    job = await work.enqueue()
    await drain(queue)
    assert isinstance(await ended(job), ResultUnavailable)


async def test_a_result_from_another_process(queue: Queue, server: Server, prefix: str) -> None:
    @queue.handler("where")
    async def where(n: int) -> dict[str, int]: ...  # type: ignore[empty-body]

    job = await where.enqueue(20)
    program = f"""
import asyncio, os
from streamq import Queue, Worker
queue = Queue("q", url={server.url!r}, prefix={prefix!r})
@queue.handler("where")
async def where(n: int) -> dict[str, int]:
    return {{"pid": os.getpid(), "n": n + 1}}
asyncio.run(Worker(queue).run(burst=True))
"""
    waiter = asyncio.create_task(job.result(timeout=20))
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await waiter == {"pid": child.pid, "n": 21}
    assert await child.wait() == 0
    # And from a handle that never saw the enqueue.
    other = await queue.job(job.id)
    assert other is not None
    assert (await other.result(timeout=5))["n"] == 21


async def test_a_result_is_forgotten_after_its_time(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue(result_ttl=1, keep_completed=Keep(count=0))

    @queue.handler("work")
    async def work() -> str:
        return "v"

    job = await work.enqueue()
    await drain(queue)
    assert await job.result(timeout=5) == "v"
    key = keys_of(queue).record(job.id)
    await until(lambda: not server.command("EXISTS", key))
    await until(lambda: not inside(job)._is_recent())
    problem = await ended(job)
    assert isinstance(problem, ResultExpired)
    assert await job.state() is JobState.UNKNOWN
    assert await queue.job(job.id) is None


async def test_success_is_not_inferred_by_a_handle_that_saw_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue(keep_completed=Keep(count=0))

    @queue.handler("work")
    async def work() -> None: ...

    job = await work.enqueue()
    await drain(queue)
    assert await job.state() is JobState.COMPLETED  # its enqueue was acknowledged a moment ago
    await job.result(timeout=5)
    stranger = Job[None](queue, job.id)
    assert await stranger.state() is JobState.UNKNOWN
    assert isinstance(await ended(stranger), ResultExpired)


async def test_every_end_has_its_error(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        raise ValueError("broken")

    dead, cancelled = await work.enqueue(), await work.with_options(delay=60).enqueue()
    await cancelled.cancel()
    await drain(queue)
    assert isinstance(await ended(dead), JobDead)
    assert isinstance(await ended(cancelled), JobCancelled)


async def test_a_waiter_of_a_job_that_is_cancelled_hears_it(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    job = await work.with_options(delay=60).enqueue()
    waiter = asyncio.create_task(job.result(timeout=10))

    async def registered() -> bool:
        return bool(await (await queue.stores())[0].call((b"HLEN", keys_of(queue).waiters)))

    await until(registered)
    started = asyncio.get_running_loop().time()
    await job.cancel()
    with pytest.raises(JobCancelled):
        await waiter
    assert asyncio.get_running_loop().time() - started < 1.5
