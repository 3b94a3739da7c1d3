"""What people are told of limits: who runs under the queue's own, and why somebody paused or blocked."""

from __future__ import annotations

from streamq import Arg, Queue, Worker
from tests.worker.helpers import Gate, MakeQueue, until


async def test_the_limit_of_the_queue_counts_what_runs(make_queue: MakeQueue) -> None:
    queue = make_queue(global_concurrency=2)
    gate = Gate()

    @queue.handler("wait")
    async def wait(name: str) -> None:
        await gate.through(name)

    async with Worker(queue):
        jobs = [await wait.enqueue(str(n)) for n in range(3)]
        await until(lambda: len(gate.started) == 2, "two run")
        (limit,) = await queue.limits.list()
        assert (limit.gate, limit.used, limit.concurrency, limit.state) == ("q", 2, 2, "slots")
        third = next(job for n, job in enumerate(jobs) if str(n) not in gate.started)
        assert str(await queue.explain(third.id)) == "waits in lane NORMAL; the queue is limited: 2/2 running"
        gate.open()
        for job in jobs:
            await job.result(timeout=10)
        (limit,) = await queue.limits.list()
        assert (limit.used, limit.state) == (0, "open")


async def test_who_pauses_says_why(queue: Queue) -> None:
    await queue.pause(group="shop_42", reason="unpaid")
    await queue.pause(handler="send", reason="provider is down")
    job = await queue.enqueue("send", {"n": 1}, group="shop_42")
    reasons = {one.gate: (one.paused, one.reason) for one in await queue.limits.list()}
    assert reasons == {"g:shop_42": (True, "unpaid"), "h.send": (True, "provider is down")}
    assert "paused: unpaid" in [one.text for one in (await queue.explain(job.id)).gates]
    assert not await queue.pause(group="shop_42"), "no news"
    assert {one.gate: one.reason for one in await queue.limits.list()}["g:shop_42"] == "unpaid"
    assert await queue.resume(group="shop_42")
    assert await queue.resume(handler="send")
    assert await queue.limits.list() == []


async def test_who_blocks_says_why(queue: Queue) -> None:
    @queue.handler("send")
    async def send(n: int) -> int:
        return n

    block = await queue.block(where=Arg("n") == 7, reason="wrong sender")
    async with Worker(queue):
        held, free = await send.enqueue(7), await send.enqueue(8)
        assert await free.result(timeout=10) == 8

        async def is_held() -> bool:
            return (await queue.blocks())[0].held == 1

        await until(is_held, "it waits at the block")
        assert str(await queue.explain(held.id)).endswith(f"parked at x.{block.id}: blocked: wrong sender")
        assert await block.release()
        assert await held.result(timeout=10) == 7
