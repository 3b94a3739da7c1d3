"""def handlers run in threads, or in child processes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamq import Context, JobState, Queue, Worker
from streamq.errors import ConfigError, JobDead, ResultUnavailable
from tests.servers import Server
from tests.worker import in_children
from tests.worker.helpers import drain, ended, until


async def test_def_handlers_run_in_threads_side_by_side(queue: Queue) -> None:
    together = threading.Barrier(4, timeout=10)
    main = threading.get_ident()

    @queue.handler("work")
    def work(ctx: Context, n: int) -> int:
        assert threading.get_ident() != main
        together.wait()
        return ctx.attempt + n

    jobs = await queue.enqueue_many([work.job(n) for n in range(4)])
    await drain(queue, concurrency=4)
    assert [await job.result(timeout=5) for job in jobs] == [1, 2, 3, 4]


async def test_a_def_handler_that_blocks_does_not_block_the_loop(queue: Queue) -> None:
    go_on = threading.Event()

    @queue.handler("block")
    def block() -> None:
        go_on.wait(20)

    @queue.handler("quick")
    async def quick() -> str:
        return "quick"

    blocked = await block.enqueue()
    async with Worker(queue):
        try:
            assert await (await quick.enqueue()).result(timeout=10) == "quick"
            assert await blocked.state() is JobState.ACTIVE
        finally:
            go_on.set()


async def test_as_many_threads_as_places(queue: Queue) -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    @queue.handler("work")
    def work(n: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1

    await queue.enqueue_many([work.job(n) for n in range(30)])
    await drain(queue, concurrency=5)
    assert most == 5


# -- processes --------------------------------------------------------------------------------------------


@pytest.fixture
async def children(server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    """The queue of `in_children`, on the test's server."""
    queue = Queue("children", url=server.url, prefix=prefix)
    monkeypatch.setattr(in_children.queue, "_store", (await queue.stores())[0])
    monkeypatch.setattr(in_children.queue, "prefix", prefix)
    yield in_children.queue
    await queue.aclose()


async def test_a_process_handler_runs_elsewhere_and_its_value_comes_back(children: Queue) -> None:
    job = await in_children.add.enqueue(2, two=3)
    await drain(children)
    found = await job.result(timeout=5)
    assert isinstance(found, in_children.Sum)
    assert found.total == 5
    assert found.pid != os.getpid()
    nothing = await in_children.nothing.enqueue()
    await drain(children)
    assert await nothing.state() is JobState.COMPLETED
    await nothing.result(timeout=5)


async def test_a_process_that_is_too_slow_is_killed(children: Queue, tmp_path: Path) -> None:
    job = await in_children.sleep.enqueue(str(tmp_path))
    started = time.monotonic()
    await drain(children)
    problem = await ended(job)
    assert time.monotonic() - started < 10
    assert isinstance(problem, JobDead)
    assert problem.error_type == "TimeoutError"
    [mark] = tmp_path.glob("started-*")  # noqa: ASYNC240 - one look
    pid = int(mark.name.split("-")[1])
    await until(lambda: not _alive(pid), "the child is gone")
    assert not (tmp_path / "ended").exists()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_error_in_a_child_is_told_as_it_was(children: Queue) -> None:
    job = await in_children.fail.enqueue()
    await drain(children)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.error_type == "ValueError"
    assert problem.message.startswith("in ")
    assert len((await job.info()).errors) == 2


async def test_steering_works_from_a_child(children: Queue) -> None:
    fatal, retry = await in_children.steer.enqueue("fatal"), await in_children.steer.enqueue("retry")
    await drain(children)
    problem = await ended(fatal)
    assert isinstance(problem, JobDead)
    assert problem.reason == "fatal: no use"
    problem = await ended(retry)
    assert isinstance(problem, JobDead)
    assert (problem.reason, (await retry.info()).attempts) == ("attempts exhausted", 3)


async def test_a_child_that_dies_is_a_failed_attempt(children: Queue) -> None:
    job = await in_children.die.enqueue()
    await drain(children)
    assert isinstance(await ended(job), JobDead)
    again = await in_children.add.enqueue(1, 1)
    await drain(children)
    assert (await again.result(timeout=5)).total == 2


async def test_a_value_that_cannot_travel_does_not_undo_the_work(children: Queue) -> None:
    job = await in_children.odd.enqueue()
    await drain(children)
    assert await job.state() is JobState.COMPLETED
    assert isinstance(await ended(job), ResultUnavailable)


async def test_what_cannot_run_in_a_process_is_refused_when_declared(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="module level"):

        @queue.handler("local", pool="process")
        def local() -> None: ...

    with pytest.raises(ConfigError, match="event loop"):

        @queue.handler("async", pool="process")
        async def coroutine() -> None:
            await asyncio.sleep(0)
