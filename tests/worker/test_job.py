"""A job along its life: states, what is known of it, and what can be done to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import Context, Fixed, Job, JobState, Priority, Queue, Worker
from streamq._runtime.control import Control
from streamq.errors import JobCancelled, JobStateError, JobUnknown
from tests.worker.helpers import Gate, MakeQueue, drain, ended, until


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def held(queue: Queue, gate: Gate) -> Any:
    """A handler that waits at the gate."""

    @queue.handler("held", max_attempts=1, timeout=None)
    async def held(ctx: Context, body: str = "") -> str:
        await gate.through(ctx.job_id)
        return body

    return held


async def test_states_along_the_life(queue: Queue, held: Any, gate: Gate) -> None:
    job: Job[str] = await held.with_options(delay=60).enqueue()
    states = [await job.state()]
    await job.promote()
    states.append(await job.state())
    async with Worker(queue):
        await until(lambda: gate.started)
        states.append(await job.state())
        gate.open()
        await ended(job)
        states.append(await job.state())
    assert states == [JobState.DELAYED, JobState.WAITING, JobState.ACTIVE, JobState.COMPLETED]


async def test_info_holds_every_attempts_error(queue: Queue) -> None:
    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context, body: str) -> None:
        raise ValueError(f"number {ctx.attempt}")

    job = await work.with_options(headers={"h": "1"}, tenant="acme", priority=Priority.HIGH).enqueue("hi")
    worker = Worker(queue, name="blue")
    await worker.run(burst=True)
    info = await job.info()
    assert (info.id, info.queue, info.name, info.state) == (job.id, "q", "work", JobState.DEAD)
    assert (info.args, info.headers, info.tenant, info.priority) == ({"body": "hi"}, {"h": "1"}, "acme", Priority.HIGH)
    assert (info.attempts, info.reason) == (3, "attempts exhausted")
    assert [(one.attempt, one.type, one.message) for one in info.errors] == [
        (number, "ValueError", f"number {number}") for number in (1, 2, 3)
    ]
    now = datetime.now(UTC)
    for one in info.errors:
        assert "test_job.py" in one.traceback
        assert 'raise ValueError(f"number {ctx.attempt}")' in one.traceback
        assert "streamq/_runtime" not in one.traceback
        assert abs(now - one.at) < timedelta(seconds=30)
        assert 0 <= one.duration < 5
        assert one.worker == worker.name
    assert info.finished_at is not None
    assert info.created_at is not None


async def test_info_of_a_running_job(queue: Queue, held: Any, gate: Gate) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    job = await held.with_options(deadline=deadline, expires_in=600).enqueue("hi")
    async with Worker(queue) as worker:
        await until(lambda: gate.started)
        info = await job.info()
        gate.open()
    assert (info.state, info.args, info.attempts, info.stalls, info.worker) == (
        JobState.ACTIVE, {"body": "hi"}, 0, 0, worker.name,
    )  # fmt: skip
    assert info.idle is not None
    assert info.idle < 5
    assert info.deadline is not None
    assert abs(info.deadline - deadline) < timedelta(milliseconds=2)
    assert info.expires_at is not None


async def test_info_of_a_completed_job(queue: Queue) -> None:
    @queue.handler("value")
    async def value() -> int:
        return 1

    @queue.handler("none", max_attempts=2)
    async def none(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError

    for job in (await value.enqueue(), await none.enqueue()):
        await drain(queue)
        info = await job.info()
        assert (info.state, info.args) == (JobState.COMPLETED, None)
        assert info.finished_at is not None
        assert info.duration is not None
        assert info.attempts == (2 if info.name == "none" else 1)


async def test_histories_are_bounded(queue: Queue) -> None:
    @queue.handler("work", max_attempts=30)
    async def work(ctx: Context) -> None:
        raise ValueError(f"{ctx.attempt} " + "x" * 10_000)

    job = await work.enqueue()
    await drain(queue)
    errors = (await job.info()).errors
    assert [one.attempt for one in errors] == [1, *range(22, 31)]
    assert max(len(one.message) for one in errors) <= 1024
    assert max(len(one.traceback) for one in errors) <= 4096


async def test_a_job_can_be_found_by_its_id(queue: Queue, held: Any) -> None:
    job = await held.enqueue()
    found = await queue.job(job.id)
    assert found is not None
    assert found.id == job.id
    assert await found.state() is JobState.WAITING
    assert await queue.job("nobody") is None
    with pytest.raises(JobUnknown):
        await Job[Any](queue, "nobody").info()


# -- cancel -----------------------------------------------------------------------------------------------


async def test_cancel_what_waits(queue: Queue, held: Any, gate: Gate) -> None:
    waiting, delayed = await held.enqueue(), await held.with_options(delay=60).enqueue()
    for job in (waiting, delayed):
        assert await job.cancel()
        assert await job.state() is JobState.CANCELLED
        assert isinstance(await ended(job), JobCancelled)
    gate.open()
    await drain(queue)
    assert gate.started == []
    assert (await queue.counts()).cancelled == 2
    assert not await waiting.cancel()


async def test_cancel_a_running_job(queue: Queue, held: Any, gate: Gate) -> None:
    job = await held.enqueue()
    async with Worker(queue):
        await until(lambda: gate.started)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await job.cancel()
        assert isinstance(await ended(job), JobCancelled)
        assert loop.time() - started < 2.5
    assert gate.cancelled == [job.id]
    assert (await queue.counts()).cancelled == 1


async def test_cancel_a_running_job_that_will_not_stop(queue: Queue) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @queue.handler("stubborn")
    async def stubborn() -> str:
        started.set()
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            await go_on.wait()
        return "done"

    job = await stubborn.enqueue()
    async with Worker(queue):
        await started.wait()
        assert await job.cancel()
        go_on.set()
        assert await job.result(timeout=10) == "done"  # it finished what it did, and that is what is told


def _deaf(control: object, message: object) -> None:
    """Hear nothing."""


async def test_cancel_a_job_whose_worker_did_not_hear_of_it(
    queue: Queue, held: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message was lost: the mark is found with the next tick."""
    monkeypatch.setattr(Control, "_hear", _deaf)
    job = await held.enqueue()
    async with Worker(queue):
        await until(lambda: gate.started)
        assert await job.cancel()
        assert isinstance(await ended(job), JobCancelled)


async def test_cancel_what_is_over(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> int:
        return 1

    job = await work.enqueue()
    await drain(queue)
    assert not await job.cancel()
    assert await job.state() is JobState.COMPLETED
    assert not await Job[Any](queue, "nobody").cancel()


async def test_cancel_a_job_between_two_attempts(queue: Queue) -> None:
    @queue.handler("work", backoff=Fixed(60))
    async def work() -> None:
        raise ValueError

    job = await work.enqueue()
    await drain(queue)
    assert await job.cancel()
    assert await job.state() is JobState.CANCELLED
    counts = await queue.counts()
    assert (counts.delayed, counts.waiting) == (0, 0)


# -- remove, promote, retry -------------------------------------------------------------------------------


async def test_remove(queue: Queue, held: Any, gate: Gate) -> None:
    waiting, delayed = await held.enqueue(), await held.with_options(delay=60).enqueue()
    await waiting.remove()
    await delayed.remove()
    assert await waiting.state() is JobState.CANCELLED
    running = await held.enqueue()
    async with Worker(queue):
        await until(lambda: gate.started)
        with pytest.raises(JobStateError, match="cancel it"):
            await running.remove()
        gate.open()
        assert await ended(running) is None
    with pytest.raises(JobUnknown):
        await Job[Any](queue, "nobody").remove()


async def test_remove_a_dead_letter(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        raise ValueError

    job = await work.enqueue()
    await drain(queue)
    await job.remove()
    assert await queue.dlq.count() == 0


async def test_promote(queue: Queue, held: Any, gate: Gate) -> None:
    gate.open()
    job = await held.with_options(delay=3600).enqueue("hi")
    await job.promote()
    await drain(queue)
    assert await job.result(timeout=5) == "hi"
    with pytest.raises(JobStateError, match="only delayed"):
        await job.promote()


async def test_retry_a_dead_job_with_all_its_attempts(queue: Queue) -> None:
    seen: list[int] = []
    broken = [True]

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> str:
        seen.append(ctx.attempt)
        if broken[0]:
            raise ValueError
        return "mended"

    job = await work.enqueue()
    await drain(queue)
    assert await job.state() is JobState.DEAD
    broken[0] = False
    await job.retry()
    assert await job.state() is JobState.WAITING
    await drain(queue)
    assert seen == [1, 2, 1]
    assert await job.result(timeout=5) == "mended"
    assert await queue.dlq.count() == 0
    with pytest.raises(JobStateError):
        await job.retry()


async def test_retry_later_and_in_another_lane(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        raise ValueError

    job = await work.enqueue()
    await drain(queue)
    await job.retry(delay=60, priority=Priority.CRITICAL)
    info = await job.info()
    assert (info.state, info.priority, info.attempts) == (JobState.DELAYED, Priority.CRITICAL, 0)
    assert len(info.errors) == 1  # the history stays
    await job.retry()  # a delayed one: now
    assert await job.state() is JobState.WAITING
    with pytest.raises(JobStateError):
        await job.retry()


# -- parked -----------------------------------------------------------------------------------------------


async def test_a_job_nobody_here_can_run_waits_for_a_worker_that_can(make_queue: MakeQueue) -> None:
    producer, old, new = make_queue(), make_queue(), make_queue()

    @old.handler("other")
    async def other() -> None: ...

    @new.handler("late", keep_result=True)
    async def late(n: int) -> int:
        return n

    jobs = [await producer.enqueue("late", {"n": n}) for n in range(3)]
    async with Worker(old):
        await until(lambda: parked(producer, 3))
        assert [await job.state() for job in jobs] == [JobState.PARKED] * 3
        info = await jobs[0].info()
        assert (info.args, info.attempts, info.errors) == ({"n": 0}, 0, ())
        async with Worker(new):
            assert [await job.result(timeout=15) for job in jobs] == [0, 1, 2]
    counts = await producer.counts()
    assert (counts.parked, counts.completed, counts.failed, counts.stalled) == (0, 3, 0, 0)


async def parked(queue: Queue, count: int) -> bool:
    return (await queue.counts()).parked == count


async def test_a_parked_job_can_be_cancelled_and_listed(make_queue: MakeQueue) -> None:
    producer, worker_queue = make_queue(), make_queue()

    @worker_queue.handler("other")
    async def other() -> None: ...

    one, two = await producer.enqueue("late"), await producer.enqueue("later")
    async with Worker(worker_queue):
        await until(lambda: parked(producer, 2))
    page = await producer.jobs(JobState.PARKED)
    assert {info.name for info in page.jobs} == {"late", "later"}
    assert await one.cancel()
    await two.remove()
    assert await one.state() is JobState.CANCELLED
    assert (await producer.counts()).parked == 0


async def test_a_parked_job_keeps_its_place_in_life(make_queue: MakeQueue) -> None:
    """Attempts, errors and priority survive; the next failure goes back to the old lane."""
    producer, one, old, two = (make_queue() for _ in range(4))
    seen: list[tuple[int, int]] = []

    @one.handler("work", backoff=Fixed(0.01))
    async def first(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.fence))
        raise ValueError

    @old.handler("other")
    async def other() -> None: ...

    @two.handler("work", backoff=Fixed(3600))
    async def second(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.fence))
        raise ValueError

    job = await producer.enqueue("work", priority=Priority.LOW)
    async with Worker(one):
        await until(lambda: seen)
    async with Worker(old):
        await until(lambda: parked(producer, 1))
    await drain(two)
    info = await job.info()
    assert (info.state, info.priority) == (JobState.DELAYED, Priority.LOW)
    assert len(info.errors) == len(seen)
    fences = [fence for _, fence in seen]
    assert fences == sorted(set(fences))


# -- how long a job is worth running ----------------------------------------------------------------------


async def test_expires_in_bounds_the_start(queue: Queue, held: Any, gate: Gate) -> None:
    gate.open()
    late, soon = await held.with_options(expires_in=0.01).enqueue(), await held.with_options(expires_in=60).enqueue()
    await asyncio.sleep(0.02)  # past the first one's time
    await drain(queue)
    assert await late.state() is JobState.EXPIRED
    problem = await ended(late)
    assert type(problem).__name__ == "JobExpired"
    assert await ended(soon) is None
    assert gate.started == [soon.id]
    assert (await queue.counts()).expired == 1


async def test_expires_in_does_not_stop_a_job_that_has_started(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> str:
        await asyncio.sleep(1.6)
        return "done"

    async with Worker(queue):
        job = await work.with_options(expires_in=1.5).enqueue()
        assert await job.result(timeout=10) == "done"


async def test_the_deadline_bounds_all_attempts(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", max_attempts=100, backoff=Fixed(0.05))
    async def work(ctx: Context) -> None:
        runs.append(ctx.attempt)
        raise ValueError

    job = await work.with_options(deadline=datetime.now(UTC) + timedelta(seconds=0.3)).enqueue()
    async with Worker(queue):
        problem: Any = await ended(job)
    assert problem.reason == "deadline passed"
    assert 1 <= len(runs) < 10


async def test_the_deadline_ends_a_run(queue: Queue) -> None:
    @queue.handler("work", max_attempts=3, timeout=60)
    async def work() -> None:
        await asyncio.sleep(30)

    async with Worker(queue):
        job = await work.with_options(deadline=datetime.now(UTC) + timedelta(seconds=0.2)).enqueue()
        problem: Any = await ended(job)
    assert problem.reason == "deadline passed"
    assert problem.error_type == "TimeoutError"


async def test_a_deadline_that_passed_before_the_start(queue: Queue, held: Any, gate: Gate) -> None:
    job = await held.with_options(deadline=datetime.now(UTC) - timedelta(seconds=1)).enqueue()
    await drain(queue)
    problem: Any = await ended(job)
    assert problem.reason == "deadline passed"
    assert gate.started == []
