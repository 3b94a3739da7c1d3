"""Limits of code through the front door: who declares them, and what survives a server that lost them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from streamq import JobState, Queue, RateLimit, Worker, declaring
from streamq.errors import RedisUnavailable
from tests.servers import Server
from tests.worker.helpers import MakeQueue, inside, until


async def rate_of(queue: Queue, gate: str) -> str | None:
    return next((one.rate for one in await queue.limits.list() if one.gate == gate), None)


async def test_a_job_is_dropped_while_its_handlers_places_are_taken(make_queue: MakeQueue) -> None:
    queue = make_queue()
    door = asyncio.Event()

    @queue.handler("rebuild", concurrency=1, on_conflict="drop")
    async def rebuild() -> None:
        await door.wait()

    async with Worker(queue):
        first = await rebuild.enqueue()
        await until(lambda: is_in(queue, first.id, JobState.ACTIVE))
        second = await rebuild.enqueue()
        assert (second.created, second.refused) == (False, "conflict")
        door.set()
        await first.result(timeout=10)
        assert (await rebuild.enqueue()).created


async def test_a_job_takes_the_place_of_the_one_its_handler_runs(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[int] = []

    @queue.handler("search", concurrency=1, on_conflict="cancel_running")
    async def search(n: int) -> None:
        ran.append(n)
        if n == 1:
            await asyncio.Event().wait()

    async with Worker(queue):
        first = await search.enqueue(1)
        await until(lambda: ran == [1])
        second = await search.enqueue(2)
        await second.result(timeout=10)
        await until(lambda: is_in(queue, first.id, JobState.CANCELLED))
    assert ran == [1, 2]


async def test_limits_that_the_server_lost_are_declared_again(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue(limits={"sms": RateLimit(5)})

    @queue.handler("send")
    async def send() -> None: ...

    async with Worker(queue):
        await send.with_options(rate_key="sms").enqueue()
        await until(lambda: rate_is(queue, "r.sms", "5 per 1 s"))
        keys = [key for key in server.command("KEYS", queue.prefix + ":*") if not key.endswith(b"}:bell")]
        server.command("DEL", *keys)
        await until(lambda: rate_is(queue, "r.sms", "5 per 1 s"), "the worker said it again")


async def test_a_process_that_merely_goes_on_does_not_bring_old_limits_back(make_queue: MakeQueue) -> None:
    old, new = make_queue(limits={"sms": RateLimit(5)}), make_queue(limits={"sms": RateLimit(9)})
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(Worker(old))
        await stack.enter_async_context(Worker(new))
        assert await rate_of(new, "r.sms") == "9 per 1 s"
        await inside(worker)._joints[0].declaring.declare()  # what its clock makes it do every hour
        assert await rate_of(new, "r.sms") == "9 per 1 s"


async def test_limits_that_could_not_be_declared_are_declared_soon(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = declaring.declare, list[int]()

    async def away(*args: object) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise RedisUnavailable("redis://localhost", "away")
        return await real(*args)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - handed on as they are

    monkeypatch.setattr(declaring, "declare", away)
    queue = make_queue(limits={"sms": RateLimit(5)})
    async with Worker(queue):
        await until(lambda: rate_is(queue, "r.sms", "5 per 1 s"))


async def is_in(queue: Queue, job_id: str, state: JobState) -> bool:
    job = await queue.job(job_id)
    return job is not None and await job.state() is state


async def rate_is(queue: Queue, gate: str, rate: str) -> bool:
    return await rate_of(queue, gate) == rate
