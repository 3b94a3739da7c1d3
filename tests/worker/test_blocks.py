"""Blocks and pauses of handlers and groups: what fits is held, nothing is dropped, and it goes on in its order."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from streamq import Arg, Fixed, Group, JobState, Queue, Worker
from streamq.errors import ConfigError
from tests.servers import Server
from tests.worker.helpers import MakeQueue, drain, keys_of, until


def recording(queue: Queue) -> tuple[list[tuple[str, str]], object]:
    ran: list[tuple[str, str]] = []

    @queue.handler("send")
    async def send(to: str, country: str = "GR") -> None:
        ran.append((to, country))

    return ran, send


async def held(queue: Queue, count: int) -> bool:
    return sum(one.held for one in await queue.blocks()) == count


async def test_a_block_holds_what_fits_and_lets_it_go_in_order(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[int] = []

    @queue.handler("send")
    async def send(n: int, country: str) -> None:
        del country
        ran.append(n)

    block = await queue.block(name="send", where=Arg("country") == "GR", reason="carrier down")
    async with Worker(queue):
        jobs = [await send.enqueue(n, "GR" if n % 2 else "IT") for n in range(20)]
        await until(lambda: len(ran) == 10, "the others ran")
        await until(lambda: held(queue, 10), "the block holds its ten")
        assert [n for n in ran if n % 2] == []
        assert {await job.state() for job in jobs[1::2]} == {JobState.WAITING}
        assert "carrier down" in str(await queue.explain(jobs[1].id))
        assert await block.release()
        await until(lambda: len(ran) == 20, "all ran")
    assert ran[10:] == list(range(1, 20, 2))
    assert await queue.blocks() == []
    assert not await block.release()


async def test_a_block_sees_arguments_left_at_their_defaults(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran, _ = recording(queue)
    await queue.block(where=Arg("country") == "GR")
    await queue.enqueue("send", {"to": "ada"})
    await queue.enqueue("send", {"to": "bob", "country": "IT"})
    async with Worker(queue):
        await until(lambda: held(queue, 1), "one is held")
        await until(lambda: ran == [("bob", "IT")], "the other ran")


async def test_a_block_by_tenant_holds_grouped_jobs_and_retries_too(make_queue: MakeQueue) -> None:
    queue = make_queue(group=Group(concurrency=1))
    ran: list[str] = []
    blocked = asyncio.Event()

    @queue.handler("send", max_attempts=2)
    async def send(to: str) -> None:
        ran.append(to)
        if to == "first" and len(ran) == 1:
            await blocked.wait()
            raise RuntimeError

    first = await send.with_options(group="shop", tenant="t1", backoff=Fixed(0.01)).enqueue("first")
    await send.with_options(group="shop", tenant="t1").enqueue("second")
    await send.with_options(group="else", tenant="t2").enqueue("third")
    async with Worker(queue):
        await until(lambda: sorted(ran) == ["first", "third"], "both groups began")
        block = await queue.block(tenant="t1")
        blocked.set()
        await until(lambda: held(queue, 1), "the retry is held, and with it its ordered group")
        assert sorted(ran) == ["first", "third"]
        await block.release()
        await until(lambda: len(ran) == 4, "all ran")
        await first.result(timeout=10)
    assert [one for one in ran if one != "third"] == ["first", "first", "second"]


async def test_pausing_a_handler_leaves_the_others_alone(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran: list[str] = []

    @queue.handler("a")
    async def a() -> None:
        ran.append("a")

    @queue.handler("b")
    async def b() -> None:
        ran.append("b")

    async with Worker(queue):
        assert await queue.pause(handler="a", reason="deploy")
        assert not await queue.pause(handler="a")
        jobs = [await a.enqueue() for _ in range(3)]
        for _ in range(3):
            await b.enqueue()
        await until(lambda: ran == ["b", "b", "b"], "b goes on")
        await until(lambda: parked_at(queue, jobs[2].id, "h.a"), "a waits at its gate")
        assert await queue.resume(handler="a")
        await until(lambda: ran[3:] == ["a", "a", "a"], "a goes on")
    assert [one.gate for one in await queue.limits.list()] == []


async def test_a_cancelled_job_leaves_the_block(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran, _ = recording(queue)
    block = await queue.block(name="send")
    async with Worker(queue):
        one = await queue.enqueue("send", {"to": "ada"})
        two = await queue.enqueue("send", {"to": "bob"})
        await until(lambda: held(queue, 2), "both are held")
        assert await one.cancel()
        await until(lambda: held(queue, 1), "one is held")
        await block.release()
        await two.result(timeout=10)
    assert ran == [("bob", "GR")]
    assert await one.state() is JobState.CANCELLED


async def test_held_jobs_expire_in_their_time(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran, _ = recording(queue)
    block = await queue.block(name="send")
    async with Worker(queue):
        job = await queue.enqueue("send", {"to": "ada"}, expires_in=2.0)
        await until(lambda: held(queue, 1), "it is held")
        await asyncio.sleep(2.1)  # its time, not a wait for a fact
        await block.release()
        await until(lambda: is_state(queue, job.id, JobState.EXPIRED), "it ended as expired")
    assert ran == []


@pytest.mark.parametrize("given", [{}, {"name": ""}, {"tenant": "\n"}, {"where": len}])
async def test_a_block_that_cannot_be_is_refused(make_queue: MakeQueue, given: dict[str, Any]) -> None:
    queue = make_queue()
    with pytest.raises(ConfigError):
        await queue.block(**given)
    assert await queue.blocks() == []


async def test_a_block_of_a_newer_version_is_shown_and_can_be_released(make_queue: MakeQueue, server: Server) -> None:
    queue = make_queue()
    block = await queue.block(name="send")
    for spoilt in (b"\xc1", msgspec.msgpack.encode({"w": ["from the future", ["a"], 1]})):
        server.command("HSET", keys_of(queue).rules, f"x.{block.id}", spoilt)
        [shown] = await queue.blocks()
        assert (shown.id, shown.reason) == (block.id, "this version cannot read what it holds")
    assert await queue.unblock(block.id)
    assert await queue.blocks() == []


async def test_a_queue_that_was_never_limited_has_no_trace_of_limits(make_queue: MakeQueue) -> None:
    queue = make_queue()
    ran, _ = recording(queue)
    await queue.enqueue("send", {"to": "ada"})
    await drain(queue)
    assert ran == [("ada", "GR")]
    assert await queue.limits.list() == []


async def parked_at(queue: Queue, job_id: str, gate: str) -> bool:
    return (await queue.explain(job_id)).parked_at == gate


async def is_state(queue: Queue, job_id: str, state: JobState) -> bool:
    job = await queue.job(job_id)
    return job is not None and await job.state() is state
