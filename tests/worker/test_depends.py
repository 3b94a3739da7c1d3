"""Dependencies: set up before the handler, torn down after it, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from streamq import Context, Depends, JobState, Queue, Retry, Worker, current_context
from streamq.errors import InvalidPayload, JobDead
from tests.worker.helpers import drain, ended, until

log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


def value() -> str:
    log.append("value")
    return "value"


async def coroutine() -> str:
    await asyncio.sleep(0)
    return "coroutine"


def generator() -> Iterator[str]:
    log.append("generator up")
    try:
        yield "generator"
    except BaseException as problem:
        log.append(f"generator saw {type(problem).__name__}")
        raise
    finally:
        log.append("generator down")


async def async_generator() -> AsyncIterator[str]:
    log.append("async up")
    try:
        yield "async"
    finally:
        await asyncio.sleep(0)
        log.append("async down")


@asynccontextmanager
async def manager() -> AsyncGenerator[str]:
    log.append("manager up")
    yield "manager"
    log.append("manager down")


def nested(inner: str = Depends(async_generator), plain: str = Depends(value)) -> Iterator[str]:
    log.append("nested up")
    yield f"nested({inner},{plain})"
    log.append("nested down")


async def test_every_kind_is_injected_and_taken_down_in_reverse(queue: Queue) -> None:
    got: list[str] = []

    @queue.handler("work")
    async def work(
        ctx: Context,
        n: int,
        a: str = Depends(value),
        b: str = Depends(coroutine),
        c: str = Depends(generator),
        d: str = Depends(async_generator),
        e: str = Depends(manager),
    ) -> None:
        log.append("work")
        got.extend([str(n), a, b, c, d, e])

    await work.enqueue(7)
    await drain(queue)
    assert got == ["7", "value", "coroutine", "generator", "async", "manager"]
    assert log == [
        "value", "generator up", "async up", "manager up", "work", "manager down", "async down", "generator down",
    ]  # fmt: skip


async def test_dependencies_of_dependencies_and_once_per_attempt(queue: Queue) -> None:
    got: list[str] = []

    @queue.handler("work", max_attempts=2)
    async def work(
        ctx: Context, a: str = Depends(nested), b: str = Depends(async_generator), c: str = Depends(value)
    ) -> None:
        got.append(f"{a} {b} {c}")
        if ctx.attempt == 1:
            raise Retry

    await work.enqueue()
    await drain(queue)
    assert got == ["nested(async,value) async value"] * 2
    once = ["async up", "value", "nested up"]  # however often it is asked for
    assert log == [*once, "async down", *once, "nested down", "async down"]


async def test_teardown_comes_before_the_job_counts_as_done(queue: Queue) -> None:
    slow = asyncio.Event()

    async def resource() -> AsyncIterator[int]:
        yield 1
        await slow.wait()
        log.append("down")

    @queue.handler("work")
    async def work(r: int = Depends(resource)) -> None:
        log.append("work")

    job = await work.enqueue()
    async with Worker(queue):
        await until(lambda: log == ["work"])
        assert await job.state() is JobState.ACTIVE
        slow.set()
        await ended(job)
        assert log == ["work", "down"]


async def test_a_failure_is_seen_by_the_teardown_and_by_the_job(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work(c: str = Depends(generator), d: str = Depends(async_generator)) -> None:
        raise ValueError("handler")

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.message == "handler"
    assert log == ["generator up", "async up", "async down", "generator saw ValueError", "generator down"]


async def test_cancelled_by_a_timeout_it_is_torn_down_too(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1, timeout=0.05)
    async def work(c: str = Depends(generator), d: str = Depends(async_generator)) -> None:
        await asyncio.sleep(30)

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.error_type == "TimeoutError"
    assert log == ["generator up", "async up", "async down", "generator saw CancelledError", "generator down"]


async def test_an_error_in_the_setup_fails_the_attempt(queue: Queue) -> None:
    ran: list[int] = []

    async def broken() -> AsyncIterator[int]:
        log.append("broken")
        if log:
            raise ConnectionError("no database")
        yield 1

    @queue.handler("work", max_attempts=2)
    async def work(c: str = Depends(generator), b: int = Depends(broken)) -> None:
        ran.append(1)

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert (problem.error_type, problem.message) == ("ConnectionError", "no database")
    assert ran == []
    assert log.count("broken") == 2
    assert log.count("generator up") == log.count("generator down") == 2


async def test_an_error_in_the_teardown_fails_the_attempt(queue: Queue) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("commit failed")

    @queue.handler("work", max_attempts=1)
    async def work(c: str = Depends(generator), b: int = Depends(broken)) -> str:
        return "value"

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.message == "commit failed"
    assert log[-1] == "generator down"


async def test_def_handlers_get_them_too(queue: Queue) -> None:
    @queue.handler("work")
    def work(n: int, c: str = Depends(generator), d: str = Depends(async_generator)) -> str:
        return f"{n} {c} {d}"

    job = await work.enqueue(3)
    await drain(queue)
    assert await job.result(timeout=5) == "3 generator async"
    assert log == ["generator up", "async up", "async down", "generator down"]


async def test_a_dependency_may_ask_for_the_context(queue: Queue) -> None:
    def tenant() -> str | None:
        return current_context().tenant

    @queue.handler("work")
    async def work(name: str | None = Depends(tenant)) -> str | None:
        return name

    job = await work.with_options(tenant="acme").enqueue()
    await drain(queue)
    assert await job.result(timeout=5) == "acme"


async def test_what_is_injected_cannot_be_enqueued(queue: Queue) -> None:
    @queue.handler("work")
    async def work(n: int, c: str = Depends(generator)) -> None: ...

    with pytest.raises(InvalidPayload, match="injected"):
        await work.enqueue(1, c="mine")


async def test_attempts_side_by_side_have_their_own(queue: Queue) -> None:
    made: list[object] = []

    def resource() -> object:
        made.append(object())
        return made[-1]

    got: list[object] = []

    @queue.handler("work")
    async def work(n: int, r: object = Depends(resource)) -> None:
        await asyncio.sleep(0.01)
        got.append(r)

    await queue.enqueue_many([work.job(n) for n in range(20)])
    await drain(queue)
    assert len(set(map(id, got))) == 20
