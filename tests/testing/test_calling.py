"""One attempt by hand, through the code of a worker; fakes instead of dependencies."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamq import Context, Depends, Queue, current_context
from streamq.errors import ConfigError, InvalidPayload
from streamq.testing import MemoryQueues, overrides, perform, run_until_idle

opened: list[str] = []


def settings() -> str:
    return "production"


async def database(where: str = Depends(settings)) -> AsyncIterator[str]:
    opened.append(where)
    yield f"database of {where}"
    opened.append("closed")


def unused() -> None: ...


@pytest.fixture
def queue() -> Queue:
    opened.clear()
    return Queue("q")


async def test_one_attempt_is_run_as_by_a_worker(queue: Queue) -> None:
    seen: list[tuple[Any, ...]] = []

    @queue.middleware
    async def around(ctx: Context, call_next: Any) -> Any:
        seen.append(("before", ctx.attempt))
        return await call_next(ctx)

    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context, ids: tuple[int, ...], db: str = Depends(database)) -> str:
        assert current_context() is ctx
        seen.append((ids, ctx.tenant, ctx.headers, ctx.is_last_attempt, ctx.stalls, ctx.state))
        return db

    job = work.with_options(tenant="t", headers={"x-request-id": "r"}).job((1, 2))
    result = await perform(job, attempt=3, stalls=1, state="state")
    assert result == "database of production"
    assert seen == [("before", 3), ((1, 2), "t", {"x-request-id": "r"}, True, 1, "state")]
    assert opened == ["production", "closed"]


async def test_what_it_raises_is_raised(queue: Queue) -> None:
    @queue.handler("fail")
    async def fail() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        await perform(fail.job())


async def test_a_plain_function_runs_in_a_thread(queue: Queue) -> None:
    @queue.handler("where")
    def where() -> str:
        return threading.current_thread().name

    assert await perform(where.job()) != threading.main_thread().name


async def test_jobs_by_name_are_decoded_by_their_handler(queue: Queue) -> None:
    @queue.handler("add")
    async def add(a: int, b: int = 5) -> int:
        return a + b

    assert await perform(queue.spec("add", {"a": 1})) == 6
    foreign = queue.spec("add", {"a": 1})
    foreign.args = b"\x81\xa1a\xa3one"
    with pytest.raises(InvalidPayload, match="add"):
        await perform(foreign)


async def test_a_job_of_a_batch_handler_is_refused(queue: Queue) -> None:
    @queue.batch_handler("sync", wait=1)
    async def sync(items: list[int]) -> None: ...

    with pytest.raises(ConfigError, match="list of items"):
        await perform(sync.job(1))


async def test_fakes_are_injected_within_the_block_only(queue: Queue) -> None:
    @queue.handler("work")
    async def work(db: str = Depends(database)) -> str:
        return db

    async def fake() -> AsyncIterator[str]:
        opened.append("fake")
        yield "a fake"

    with overrides(queue, {database: fake}):
        assert await perform(work.job()) == "a fake"
        assert await work() == "a fake"
    assert opened == ["fake", "fake"]
    assert await perform(work.job()) == "database of production"


async def test_dependencies_of_dependencies_are_replaced(queue: Queue) -> None:
    @queue.handler("work")
    async def work(db: str = Depends(database), where: str = Depends(settings)) -> str:
        return f"{db}, {where}"

    with overrides(queue, {settings: lambda: "a test"}):
        assert await perform(work.job()) == "database of a test, a test"


async def test_fakes_are_injected_in_a_worker(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()

    @queue.handler("work")
    async def work(db: str = Depends(database)) -> str:
        return db

    await work.enqueue()
    with overrides(queue, {database: lambda: "a fake"}):
        report = await run_until_idle(queue)
    assert [one.result for one in report.attempts] == ["a fake"]


def test_a_fake_that_nobody_would_get_is_refused(queue: Queue) -> None:
    @queue.handler("work")
    async def work(db: str = Depends(database)) -> None: ...

    with pytest.raises(ConfigError, match=r"unused.*there are database, settings"), overrides(queue, {unused: unused}):
        pass


async def test_fakes_end_with_an_error(queue: Queue) -> None:
    @queue.handler("work")
    async def work(db: str = Depends(database)) -> str:
        return db

    with pytest.raises(ZeroDivisionError), overrides(queue, {database: lambda: "a fake"}):
        raise ZeroDivisionError
    assert await perform(work.job()) == "database of production"
