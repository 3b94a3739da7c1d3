"""What a handler may know about the attempt it is running in."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from streamq import Context, Queue, Snooze, Worker
from tests.servers import Server
from tests.worker.helpers import MakeQueue, drain, keys_of, until


async def test_everything_there_is_to_know(queue: Queue) -> None:
    seen: list[Context] = []

    @queue.handler("work", max_attempts=3, timeout=20)
    async def work(ctx: Context, body: str) -> None:
        seen.append(ctx)

    before = datetime.now(UTC)
    headers = {"x-request-id": "r-1", "other": "é"}
    job = await work.with_options(headers=headers, tenant="acme").enqueue("a secret")
    worker = Worker(queue, name="blue")
    async with worker:
        await until(lambda: seen)
    [ctx] = seen
    assert (ctx.job_id, ctx.queue, ctx.name) == (job.id, "q", "work")
    assert (ctx.attempt, ctx.max_attempts, ctx.is_last_attempt, ctx.stalls) == (1, 3, False, 0)
    assert (ctx.headers, ctx.tenant, ctx.request_id) == (headers, "acme", "r-1")
    assert ctx.idempotency_key == f"q:{job.id}"
    assert ctx.worker == worker.name
    assert ctx.worker.startswith(f"blue:{os.getpid()}:")
    assert ctx.created_at is not None
    assert abs(ctx.created_at - before) < timedelta(seconds=5)
    assert ctx.deadline is not None
    assert timedelta(seconds=19) < ctx.deadline - before < timedelta(seconds=22)
    assert abs(ctx.now() - datetime.now(UTC)) < timedelta(seconds=30)
    assert "secret" not in repr(ctx)


async def test_the_plain_case(queue: Queue) -> None:
    seen: list[Context] = []

    @queue.handler("work", timeout=None)
    async def work(ctx: Context) -> None:
        seen.append(ctx)

    await work.with_options(job_id="order-42").enqueue()
    await drain(queue)
    [ctx] = seen
    assert (ctx.headers, ctx.tenant, ctx.request_id, ctx.deadline) == ({}, None, None, None)
    assert ctx.created_at is not None
    assert ctx.max_attempts == 5


async def test_the_deadline_of_the_job_bounds_that_of_the_attempt(queue: Queue) -> None:
    seen: list[datetime | None] = []

    @queue.handler("work", timeout=3600)
    async def work(ctx: Context) -> None:
        seen.append(ctx.deadline)

    deadline = datetime.now(UTC) + timedelta(minutes=5)
    await work.with_options(deadline=deadline).enqueue()
    await drain(queue)
    [found] = seen
    assert found is not None
    assert abs(found - deadline) < timedelta(milliseconds=50)


async def test_now_is_the_servers(queue: Queue, server: Server) -> None:
    seen: list[tuple[float, float]] = []

    @queue.handler("work")
    async def work(ctx: Context) -> None:
        one = ctx.now().timestamp()
        seconds, micros = server.command("TIME")
        seen.append((one, int(seconds) + int(micros) / 1e6))

    await queue.enqueue_many([work.job() for _ in range(5)])
    await drain(queue)
    for told, true in seen:
        assert abs(told - true) < 0.05


async def test_the_fence_rises_with_every_take(make_queue: MakeQueue) -> None:
    queue = make_queue()
    fences: list[int] = []
    snoozed: list[int] = []

    @queue.handler("work", max_attempts=3)
    async def work(ctx: Context) -> None:
        fences.append(ctx.fence)
        if not snoozed:
            snoozed.append(1)
            raise Snooze(0)
        raise ValueError

    job = await work.enqueue()
    await drain(queue)
    await queue.dlq.replay(job.id)
    await drain(queue)
    assert len(fences) == 7
    assert fences == sorted(set(fences))


async def test_the_fence_and_the_stalls_rise_when_a_job_is_taken_over(queue: Queue, server: Server) -> None:
    seen: list[tuple[int, int, int]] = []
    hold = asyncio.Event()

    @queue.handler("work", timeout=None)
    async def work(ctx: Context) -> None:
        seen.append((ctx.fence, ctx.stalls, ctx.attempt))
        if len(seen) < 3:
            await hold.wait()

    job = await work.enqueue()
    first = Worker(queue, lease=60)
    async with first:
        await until(lambda: len(seen) == 1)
        # As if the first had frozen beyond its lease: its entry is old, and a second worker sweeps.
        await age(queue, server, first.name)
        async with Worker(queue, lease=3) as second:
            await until(lambda: len(seen) == 2)
            second.cancel()
        async with Worker(queue, lease=3):
            await until(lambda: len(seen) == 3)
            await until(lambda: done(job))
        hold.set()
    fences = [fence for fence, _, _ in seen]
    assert fences == sorted(set(fences))
    assert [(stalls, attempt) for _, stalls, attempt in seen] == [(0, 1), (1, 1), (1, 1)]
    counts = await queue.counts()
    assert (counts.stalled, counts.failed, counts.completed) == (1, 0, 1)


async def done(job: Any) -> bool:
    return bool(await job.state() == "completed")


async def age(queue: Queue, server: Server, consumer: str) -> None:
    """Make the lease of the one active job look as old as can be."""
    key = keys_of(queue).lanes[2]
    [(entry, *_)] = server.command("XPENDING", key, "w", "-", "+", 1)
    server.command("XCLAIM", key, "w", consumer, 0, entry, "IDLE", 3_600_000, "JUSTID")
    server.command("HDEL", keys_of(queue).meta, "swept")


async def test_the_idempotency_key_is_the_same_for_every_run(queue: Queue) -> None:
    keys: list[str] = []

    @queue.handler("work", max_attempts=2)
    async def work(ctx: Context) -> None:
        keys.append(ctx.idempotency_key)
        raise ValueError

    await work.enqueue()
    await work.enqueue()
    await drain(queue)
    assert len(keys) == 4
    assert len(set(keys)) == 2
