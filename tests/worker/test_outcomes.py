"""What a handler returns or raises decides what becomes of its job."""

from __future__ import annotations

import asyncio
import itertools
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamq import Context, Discard, Fatal, Fixed, JobState, Queue, RateLimited, Retry, Snooze
from streamq.errors import JobCancelled, JobDead
from tests.worker.helpers import MakeQueue, drain, ended


class Flaky(Exception):
    """Something that may pass."""


async def test_a_return_completes(queue: Queue) -> None:
    @queue.handler("work")
    async def work(n: int) -> int:
        return n + 1

    job = await work.enqueue(1)
    await drain(queue)
    assert await job.result(timeout=5) == 2
    counts = await queue.counts()
    assert (counts.completed, counts.failed, counts.retried) == (1, 0, 0)


async def test_an_exception_is_tried_again_until_attempts_are_exhausted(queue: Queue) -> None:
    seen: list[tuple[int, bool]] = []

    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.is_last_attempt))
        raise Flaky(f"number {ctx.attempt}")

    job = await work.enqueue()
    await drain(queue)
    assert seen == [(1, False), (2, False), (3, True)]
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert (problem.reason, problem.message) == ("attempts exhausted", "number 3")
    assert problem.error_type.endswith("Flaky")
    letter = await queue.dlq.get(job.id)
    assert letter is not None
    assert (letter.name, letter.reason, letter.attempts) == ("work", "attempts exhausted", 3)
    assert [one.message for one in letter.errors] == ["number 1", "number 2", "number 3"]
    counts = await queue.counts()
    assert (counts.failed, counts.retried, counts.dead, counts.completed) == (3, 2, 1, 0)


async def test_one_that_succeeds_at_last_is_complete(queue: Queue) -> None:
    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context) -> int:
        if ctx.attempt < 3:
            raise Flaky
        return ctx.attempt

    job = await work.enqueue()
    await drain(queue)
    assert await job.result(timeout=5) == 3
    counts = await queue.counts()
    assert (counts.failed, counts.retried, counts.dead, counts.completed) == (2, 2, 0, 1)


async def test_one_attempt_means_one_run(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        runs.append(1)
        raise Flaky

    await work.enqueue()
    await drain(queue)
    assert runs == [1]


async def test_the_job_may_say_how_many_attempts_it_gets(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", max_attempts=5)
    async def work(ctx: Context) -> None:
        runs.append(ctx.max_attempts)
        raise Flaky

    await work.with_options(max_attempts=2).enqueue()
    await drain(queue)
    assert runs == [2, 2]


async def test_retry_uses_up_an_attempt_and_says_when(queue: Queue) -> None:
    seen: list[tuple[int, datetime]] = []

    @queue.handler("work", max_attempts=3, backoff=Fixed(60))
    async def work(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.now()))
        raise Retry("not yet", after=0.1)

    job = await work.enqueue()
    await drain(queue)
    while len(seen) < 3:
        await drain(queue)
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    for (_, one), (_, two) in itertools.pairwise(seen):
        assert two - one >= timedelta(seconds=0.099)
    assert isinstance(await ended(job), JobDead)


async def test_retry_without_a_time_goes_by_the_backoff(queue: Queue) -> None:
    @queue.handler("work", backoff=Fixed(60))
    async def work() -> None:
        raise Retry

    job = await work.enqueue()
    await drain(queue)
    info = await job.info()
    assert info.state is JobState.DELAYED
    assert info.due_at is not None
    assert timedelta(seconds=55) < info.due_at - datetime.now(UTC) <= timedelta(seconds=60)


async def test_snooze_costs_no_attempt(queue: Queue) -> None:
    seen: list[int] = []

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> None:
        seen.append(ctx.attempt)
        if len(seen) <= 3:
            raise Snooze(0.01)
        if len(seen) == 4:
            raise Snooze(until=ctx.now() + timedelta(milliseconds=10))

    job = await work.enqueue()
    while await job.state() is not JobState.COMPLETED:
        await drain(queue)
    assert seen == [1] * 5
    counts = await queue.counts()
    assert (counts.snoozed, counts.failed, counts.retried, counts.completed) == (4, 0, 0, 1)


async def test_snooze_until_waits_for_that_instant(queue: Queue) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)

    @queue.handler("work")
    async def work() -> None:
        raise Snooze(until=until)

    job = await work.enqueue()
    await drain(queue)
    info = await job.info()
    assert info.state is JobState.DELAYED
    assert info.due_at is not None
    assert timedelta(0) <= info.due_at - until < timedelta(milliseconds=2)
    assert info.attempts == 0


async def test_rate_limited_costs_no_attempt(queue: Queue) -> None:
    seen: list[int] = []

    @queue.handler("work", max_attempts=1)
    async def work(ctx: Context) -> None:
        seen.append(ctx.attempt)
        if len(seen) < 3:
            raise RateLimited(0.01)

    job = await work.enqueue()
    while await job.state() is not JobState.COMPLETED:
        await drain(queue)
    assert seen == [1, 1, 1]
    counts = await queue.counts()
    assert (counts.limited, counts.failed) == (2, 0)


async def test_discard_ends_as_cancelled_and_is_no_failure(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> None:
        raise Discard("nobody wants it")

    job = await work.enqueue()
    await drain(queue)
    assert await job.state() is JobState.CANCELLED
    problem = await ended(job)
    assert isinstance(problem, JobCancelled)
    assert problem.reason == "nobody wants it"
    counts = await queue.counts()
    assert (counts.cancelled, counts.failed, counts.dead) == (1, 0, 0)


async def test_fatal_goes_to_the_dead_letters_whatever_attempts_are_left(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", max_attempts=5)
    async def work() -> None:
        runs.append(1)
        raise Fatal("account closed")

    job = await work.enqueue()
    await drain(queue)
    assert runs == [1]
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.reason == "fatal: account closed"


async def test_no_retry_classes_go_to_the_dead_letters_at_once(queue: Queue) -> None:
    runs: list[str] = []

    class Worse(Flaky):
        pass

    @queue.handler("work", max_attempts=3, no_retry=(Flaky, KeyError))
    async def work(how: str) -> None:
        runs.append(how)
        raise {"listed": Flaky, "subclass": Worse, "other": OSError}[how]

    jobs = {how: await work.enqueue(how) for how in ("listed", "subclass", "other")}
    await drain(queue)
    assert {how: runs.count(how) for how in jobs} == {"listed": 1, "subclass": 1, "other": 3}
    problem = await ended(jobs["subclass"])
    assert isinstance(problem, JobDead)
    assert problem.reason == "no_retry: Worse"


async def test_arguments_that_no_longer_fit_are_buried_without_a_run(make_queue: MakeQueue) -> None:
    producer, queue = make_queue(), make_queue()
    runs: list[int] = []

    @queue.handler("work")
    async def work(n: int) -> None:
        runs.append(n)

    job = await producer.enqueue("work", {"n": "seven"})
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.reason == "invalid payload"
    assert "n" in problem.message
    assert runs == []


async def test_a_bad_enqueue_inside_a_handler_is_a_failure_of_that_run(queue: Queue) -> None:
    """It is not this job's payload that does not fit: the run failed, with its traceback, and is tried again."""
    runs: list[int] = []

    @queue.handler("other")
    async def other(n: int) -> None:
        del n

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> None:
        runs.append(ctx.attempt)
        wrong: Any = "seven"
        await other.enqueue(wrong)

    job = await work.enqueue()
    await drain(queue)
    assert runs == [1, 2]
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.reason == "attempts exhausted"
    info = await job.info()
    assert "other.enqueue(wrong)" in info.errors[0].traceback


async def test_system_exit_is_a_failed_attempt_and_not_the_workers_end(queue: Queue) -> None:
    runs: list[int] = []

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> None:
        runs.append(ctx.attempt)
        if ctx.attempt == 1:
            sys.exit(3)

    @queue.handler("threaded", max_attempts=2)
    def threaded(ctx: Context) -> None:
        runs.append(-ctx.attempt)
        if ctx.attempt == 1:
            sys.exit(3)

    job, other = await work.enqueue(), await threaded.enqueue()
    await drain(queue)
    assert sorted(runs) == [-2, -1, 1, 2]
    assert await job.state() is JobState.COMPLETED
    assert await other.state() is JobState.COMPLETED


@pytest.mark.parametrize("own_task", [False, True])
async def test_a_handler_that_cancels_itself_has_failed(queue: Queue, own_task: bool) -> None:  # noqa: FBT001
    runs: list[int] = []

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> None:
        runs.append(ctx.attempt)
        if ctx.attempt == 1:
            if own_task:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(60)
            raise asyncio.CancelledError

    job = await work.enqueue()
    await drain(queue)
    assert runs == [1, 2]
    assert await job.state() is JobState.COMPLETED
    counts = await queue.counts()
    assert (counts.failed, counts.retried) == (1, 1)


async def test_an_exception_that_cannot_be_shown_loses_nothing(queue: Queue) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Surrogate(Exception):
        pass

    @queue.handler("work", max_attempts=1)
    async def work(how: str) -> None:
        raise Mute if how == "mute" else Surrogate("file \udcff")

    jobs = [await work.enqueue("mute"), await work.enqueue("surrogate")]
    await drain(queue)
    for job in jobs:
        assert isinstance(await ended(job), JobDead)
    assert (await queue.counts()).dead == 2


async def test_an_exception_group_is_one_failure(queue: Queue) -> None:
    @queue.handler("work", max_attempts=1)
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail("one"))
            group.create_task(fail("two"))

    async def fail(name: str) -> None:
        raise Flaky(name)

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert "ExceptionGroup" in problem.error_type


async def test_max_attempts_survive_a_change_of_the_handler(make_queue: MakeQueue) -> None:
    """What a job does not say for itself is the handler's, as it is declared when the job runs."""
    one, two = make_queue(), make_queue()
    runs: list[int] = []

    @one.handler("work", max_attempts=10, backoff=Fixed(60))
    async def old() -> None:
        runs.append(1)
        raise Flaky

    @two.handler("work", max_attempts=2)
    async def new() -> None:
        runs.append(2)
        raise Flaky

    job = await old.enqueue()
    await drain(one)
    await job.promote()
    await drain(two)
    assert runs == [1, 2]
    assert isinstance(await ended(job), JobDead)


async def test_a_callable_object_is_refused_with_the_remedy(queue: Queue) -> None:
    class Callable:
        async def __call__(self, n: int) -> int:
            return n

    with pytest.raises(ValueError, match="wrap it in"):
        queue.handler("work")(Callable())
