"""Backoff waits and delays: never early by the server's clock, late by milliseconds."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from streamq import Context, Exponential, Fixed, JobSpec, JobState, Linear, Queue, Worker
from streamq.errors import JobDead
from tests.worker.helpers import MakeQueue, drain, ended, until


def _in_seconds(attempt: int) -> float:
    return 0.02 * attempt


def _as_timedelta(attempt: int) -> timedelta:
    return timedelta(milliseconds=10 * attempt)


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Fixed(0.05), [0.05, 0.05, 0.05]),
        (Linear(0.04), [0.04, 0.08, 0.12]),
        (Linear(0.04, max=0.05), [0.04, 0.05, 0.05]),
        (Exponential(0.03, jitter=0), [0.03, 0.06, 0.12]),
        (Exponential(0.03, factor=3, max=0.1, jitter=0), [0.03, 0.09, 0.1]),
        (_in_seconds, [0.02, 0.04, 0.06]),
        (_as_timedelta, [0.01, 0.02, 0.03]),
    ],
    ids=["fixed", "linear", "linear-max", "exponential", "exponential-max", "function", "function-timedelta"],
)
async def test_waits_are_as_configured_and_never_early(queue: Queue, backoff: Any, waits: list[float]) -> None:
    ends: list[datetime] = []
    starts: list[datetime] = []

    @queue.handler("work", max_attempts=4, backoff=backoff)
    async def work(ctx: Context) -> None:
        starts.append(ctx.now())
        ends.append(ctx.now())
        raise ValueError

    job = await work.enqueue()
    async with Worker(queue):
        assert isinstance(await ended(job), JobDead)
    waited = [(start - end).total_seconds() for end, start in zip(ends, starts[1:], strict=False)]
    assert len(waited) == 3
    for got, wanted in zip(waited, waits, strict=True):
        # The clock a worker reads is the server's to a millisecond.
        assert wanted - 0.002 <= got < wanted + 0.25


async def test_jitter_stays_within_its_share(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    times: dict[str, list[datetime]] = {}

    @queue.handler("work", max_attempts=2, backoff=Fixed(0.1, jitter=0.5))
    async def work(ctx: Context) -> None:
        times.setdefault(ctx.job_id, []).append(ctx.now())
        raise ValueError

    await queue.enqueue_many([work.job() for _ in range(50)])
    async with Worker(queue):
        await until(lambda: sum(map(len, times.values())) == 100)
    waits = [(two - one).total_seconds() for one, two in times.values()]
    assert min(waits) >= 0.048
    chosen = [cast("float", vars(one)["backoff"]) for one in caplog.records if vars(one).get("event") == "retrying"]
    assert len(chosen) == 50
    assert 0.05 <= min(chosen) < 0.07, "they do not all come back at once"
    assert 0.13 < max(chosen) <= 0.15


async def test_a_job_may_bring_its_own_backoff(queue: Queue) -> None:
    @queue.handler("work", backoff=Fixed(3600))
    async def work(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise ValueError
        return ctx.attempt

    job = await work.with_options(backoff=Fixed(0.01)).enqueue()
    async with Worker(queue):
        assert await job.result(timeout=5) == 2


def _text(attempt: int) -> Any:
    return "soon"


def _negative(attempt: int) -> float:
    return -1.0


def _error(attempt: int) -> float:
    raise KeyError(attempt)


@pytest.mark.parametrize("backoff", [_text, _negative, _error])
async def test_a_broken_backoff_loses_nothing(queue: Queue, backoff: Callable[[int], Any]) -> None:
    @queue.handler("work", max_attempts=3, backoff=backoff)
    async def work() -> None:
        raise ValueError("the real trouble")

    job = await work.enqueue()
    await drain(queue)
    problem = await ended(job)
    assert isinstance(problem, JobDead)
    assert problem.reason.startswith("backoff failed: ")
    assert problem.message == "the real trouble"


async def test_delayed_jobs_start_on_time(
    queue: Queue, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    late: list[float] = []

    @queue.handler("work")
    async def work(ctx: Context, due_ms: int) -> None:
        late.append(ctx.now().timestamp() * 1000 - due_ms)

    async with Worker(queue):
        await work.enqueue(0)
        await until(lambda: late)
        late.clear()
        for _ in range(20):
            info = await (await work.with_options(delay=60).enqueue(0)).info()
            assert info.due_at is not None
            wait = timedelta(milliseconds=60)
            due = info.due_at - timedelta(seconds=60) + wait
            await work.with_options(at=due).enqueue(int(due.timestamp() * 1000))
            await asyncio.sleep(0.01)
        await until(lambda: len(late) == 20)
    middle, worst = statistics.median(late), max(late)
    record_property("late_ms_p50", round(middle, 2))
    record_property("late_ms_max", round(worst, 2))
    with capsys.disabled():
        print(f"\ndelayed jobs: late p50 {middle:.1f} ms, max {worst:.1f} ms, early {min(late):.1f} ms")  # noqa: T201
    assert min(late) >= -2  # the worker's reading of the server's clock
    assert middle < 50
    assert worst < 500


@pytest.mark.parametrize("workers", [1, 3])
async def test_an_earlier_job_is_not_held_up_by_a_later_one(make_queue: MakeQueue, workers: int) -> None:
    queue = make_queue()
    ran: list[str] = []

    @queue.handler("work")
    async def work(name: str) -> None:
        ran.append(name)

    running = [Worker(queue) for _ in range(workers)]
    for worker in running:
        await worker.__aenter__()
    await work.with_options(delay=30).enqueue("later")
    started = asyncio.get_running_loop().time()
    await work.with_options(delay=0.2).enqueue("sooner")
    await until(lambda: ran == ["sooner"])
    assert asyncio.get_running_loop().time() - started >= 0.2
    for worker in running:
        await worker.__aexit__()


async def test_many_delayed_jobs_all_run_once_and_none_early(queue: Queue) -> None:
    ran: dict[int, float] = {}

    @queue.handler("work")
    async def work(ctx: Context, n: int, due_ms: int) -> None:
        assert n not in ran
        ran[n] = ctx.now().timestamp() * 1000 - due_ms

    now = datetime.now(UTC)
    specs: list[JobSpec[None]] = []
    for n in range(500):
        due = now + timedelta(milliseconds=200 + n)
        specs.append(work.with_options(at=due).job(n, int(due.timestamp() * 1000)))
    await queue.enqueue_many(specs)
    async with Worker(queue), Worker(queue):
        await until(lambda: len(ran) == 500)
    assert min(ran.values()) >= -2


async def test_a_delayed_job_is_seen_as_such(queue: Queue) -> None:
    @queue.handler("work")
    async def work() -> None: ...

    due = datetime.now(UTC) + timedelta(hours=1)
    job = await work.with_options(at=due).enqueue()
    await drain(queue)
    info = await job.info()
    assert info.state is JobState.DELAYED
    assert info.due_at is not None
    assert timedelta(0) <= info.due_at - due < timedelta(milliseconds=2)
    assert (await queue.counts()).delayed == 1
