"""Time moved by hand: delayed, retried and scheduled jobs run exactly then, and not before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from streamq import Context, Exponential, Fixed, JobState, Queue, Scheduler, Worker
from streamq.errors import ConfigError
from streamq.testing import Clock, MemoryQueues, freeze, run_until_idle

NOON = datetime(2031, 3, 4, 12, tzinfo=UTC)


def at(memory_queue: MemoryQueues, queue: Queue) -> list[datetime]:
    """Register a handler "note" that notes when it ran, by its context."""
    noted: list[datetime] = []

    @queue.handler("note")
    async def note(ctx: Context) -> None:
        noted.append(ctx.now())

    del memory_queue
    return noted


async def test_a_delayed_job_runs_exactly_then() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        noted = at(memory, queue)
        job = await queue.enqueue("note", delay=3600)
        info = await job.info()
        assert info.due_at == NOON + timedelta(hours=1)

        await clock.advance(minutes=59, seconds=59)
        await run_until_idle(queue)
        assert noted == []
        await clock.advance(seconds=1)
        report = await run_until_idle(queue)
        assert noted == [NOON + timedelta(hours=1)]
        assert report.attempts[0].at == NOON + timedelta(hours=1)
        assert clock.now() == NOON + timedelta(hours=1)


async def test_time_stops_on_its_way_for_what_is_due() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        noted = at(memory, queue)
        for minutes in (90, 30, 150):
            await queue.enqueue("note", delay=timedelta(minutes=minutes))
        await run_until_idle(queue, advance=timedelta(hours=2))
        assert noted == [NOON + timedelta(minutes=30), NOON + timedelta(minutes=90)]
        assert clock.now() == NOON + timedelta(hours=2)
        await run_until_idle(queue, include_delayed=True)
        assert noted[2:] == [NOON + timedelta(minutes=150)]


async def test_retries_come_by_their_backoff() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory(backoff=Exponential(10, factor=3, jitter=0), max_attempts=4)

        @queue.handler("fail")
        async def fail() -> None:
            raise ConnectionError

        await fail.enqueue()
        report = await run_until_idle(queue, include_delayed=True, raises=False)
    assert [(one.at - NOON).total_seconds() for one in report.attempts] == [0, 10, 40, 130]
    assert report.attempts[-1].outcome == "dead"


async def test_a_worker_beside_runs_what_falls_due_on_the_way() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory(backoff=Fixed(600), max_attempts=3)
        noted = at(memory, queue)

        @queue.handler("fail")
        async def fail(ctx: Context) -> None:
            noted.append(ctx.now())
            if ctx.attempt < 3:
                raise ConnectionError

        async with Worker(queue):
            delayed = await queue.enqueue("note", delay=7200)
            failing = await fail.enqueue()
            await clock.advance(hours=3)
            assert noted == [
                NOON,
                NOON + timedelta(minutes=10),
                NOON + timedelta(minutes=20),
                NOON + timedelta(hours=2),
            ]
            assert await delayed.state() is JobState.COMPLETED
            assert await failing.state() is JobState.COMPLETED


async def test_cron_fires_each_tick_at_its_instant() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        scheduler = Scheduler(queue)
        noted: list[datetime] = []

        @scheduler.cron("30 7 * * *", id="report", tz="Europe/Athens")
        async def report(ctx: Context) -> None:
            noted.append(ctx.now())

        await run_until_idle(queue, scheduler=scheduler)
        assert noted == []
        await run_until_idle(queue, scheduler=scheduler, advance=timedelta(days=3))
    # 07:30 in Athens in winter.
    assert noted == [NOON.replace(hour=5, minute=30) + timedelta(days=days) for days in (1, 2, 3)]


async def test_ticks_close_together_in_two_runs_are_not_late() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        scheduler = Scheduler(queue)
        noted: list[float] = []

        @scheduler.every(2, id="poll")
        async def poll(ctx: Context) -> None:
            noted.append((ctx.now() - NOON).total_seconds())

        for _ in range(3):
            await run_until_idle(queue, scheduler=scheduler, advance=4)
    assert noted[-6:] == [2, 4, 6, 8, 10, 12]


async def test_a_scheduler_in_a_worker_beside_fires_on_the_way() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        scheduler = Scheduler(queue)
        noted: list[datetime] = []

        @scheduler.cron("0 * * * *", id="hourly")
        async def hourly(ctx: Context) -> None:
            noted.append(ctx.now())

        async with Worker(queue, scheduler=scheduler):
            await clock.advance(hours=5)
    assert noted[-5:] == [NOON + timedelta(hours=hours) for hours in (1, 2, 3, 4, 5)]


async def test_a_clock_that_stands_still_does_not_go_on_by_itself() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        noted = at(memory, queue)
        async with Worker(queue):
            job = await queue.enqueue("note", delay=0.05)
            await asyncio.sleep(0.3)
            assert noted == []
            assert await job.state() is JobState.DELAYED
            assert clock.now() == NOON


async def test_a_clock_that_runs_can_be_moved_too(memory_queue: MemoryQueues) -> None:
    queue = memory_queue()
    noted = at(memory_queue, queue)
    await queue.enqueue("note", delay=3600)
    before = memory_queue.clock.now()
    await memory_queue.clock.advance(hours=1)
    await run_until_idle(queue)
    assert len(noted) == 1
    assert timedelta(hours=1) <= noted[0] - before < timedelta(hours=1, seconds=30)


async def test_it_may_begin_in_the_past_and_expiry_goes_by_it() -> None:
    clock = freeze(datetime(2001, 1, 1, tzinfo=UTC))
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        noted = at(memory, queue)
        job = await queue.enqueue("note", expires_in=60, delay=59)
        await run_until_idle(queue, include_delayed=True)
        late = await queue.enqueue("note", expires_in=60)
        await clock.advance(60)
        await run_until_idle(queue)
        assert [one.year for one in noted] == [2001]
        assert await job.state() is JobState.COMPLETED
        assert await late.state() is JobState.EXPIRED


async def test_a_long_jump_loses_no_lease(memory_queue: MemoryQueues, streamq_clock: Clock) -> None:
    queue = memory_queue()
    runs: list[int] = []
    door = asyncio.Event()

    @queue.handler("long", timeout=None)
    async def long(ctx: Context) -> None:
        runs.append(ctx.stalls)
        await door.wait()

    async with Worker(queue):
        job = await long.enqueue()
        moving = asyncio.create_task(streamq_clock.advance(hours=2))
        await asyncio.wait([moving], timeout=0.2)
        assert not moving.done(), "it waits for the end of the job"
        door.set()
        await moving
        assert await job.state() is JobState.COMPLETED
    assert runs == [0]


async def test_it_never_goes_back() -> None:
    clock = freeze(NOON)
    with pytest.raises(ConfigError, match="is past"):
        await clock.advance_to(NOON - timedelta(seconds=1))
    with pytest.raises(ConfigError, match="at least 0 s"):
        await clock.advance(-5)
    with pytest.raises(ConfigError, match="is past"):
        await clock.advance(hours=-1)


def test_naive_instants_are_refused() -> None:
    with pytest.raises(ConfigError, match="time zone"):
        freeze(datetime(2031, 1, 1))  # noqa: DTZ001 - that is the mistake


async def test_amounts_add_up_and_zones_are_understood() -> None:
    clock = freeze(datetime(2031, 3, 4, 14, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == NOON
    await clock.advance(timedelta(seconds=1), days=1, hours=1, minutes=1)
    assert clock.now() == NOON + timedelta(days=1, hours=1, minutes=1, seconds=1)
    await clock.advance(0.5)
    assert clock.now().microsecond == 500_000
    assert repr(clock) == "<Clock 2031-03-05T13:01:01.500000+00:00, frozen>"


def test_now_is_cut_to_what_jobs_know() -> None:
    clock = freeze()
    assert clock.now().microsecond % 1000 == 0
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=30)


async def test_a_delay_counts_from_the_end_of_a_started_millisecond() -> None:
    clock = freeze(NOON)
    async with MemoryQueues(clock=clock) as memory:
        queue = memory()
        await clock.advance(0.000_001)
        info = await (await queue.enqueue("note", delay=1)).info()
    assert info.due_at == NOON + timedelta(seconds=1, milliseconds=1)
